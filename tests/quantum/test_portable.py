"""Circuits in the functions of other array libraries: the values of the plain path, on NumPy and on JAX."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import ArgumentError
from qstore_db.quantum import Circuit, adjoint, data, pauli, plain
from qstore_db.quantum.portable import PortableProgram
from qstore_db.testing.circuits import circuits, data_for, observables, parameters_for, some_circuit


@given(st.data())
@settings(max_examples=40)
def test_any_circuit_gives_what_the_plain_path_gives(draw: st.DataObject) -> None:
    circuit = draw.draw(circuits())
    read = draw.draw(observables(circuit.n_qubits))
    parameters, inputs = draw.draw(parameters_for(circuit)), draw.draw(data_for(circuit))
    true = plain.expectations(plain.run(circuit, parameters, inputs), read)
    program = PortableProgram(circuit, read, np, lambda array, like: np.asarray(array, like.dtype))
    np.testing.assert_allclose(program.values(parameters, inputs), true, rtol=0, atol=1e-11)


def test_states_to_begin_with() -> None:
    circuit = some_circuit(4, 30, seed=3)
    generator = np.random.default_rng(0)
    states = generator.normal(size=(3, 16)) + 1j * generator.normal(size=(3, 16))
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    parameters, inputs = (
        generator.normal(size=len(circuit.parameters)),
        generator.normal(size=(3, circuit.n_slots)),
    )

    read = [pauli("Z0"), pauli("X1 Y3")]
    true = plain.expectations(plain.run(circuit, parameters, inputs, states), read)
    program = PortableProgram(circuit, read, np, lambda array, like: np.asarray(array, like.dtype))
    np.testing.assert_allclose(
        program.values(parameters, inputs, (states.real, states.imag)), true, atol=1e-12
    )


def test_jax_differentiates_compiles_and_maps_it() -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    from qstore_db.layers.jax import expectations

    circuit = some_circuit(4, 30, seed=3)
    read = [pauli("Z0"), pauli("X1 Y3"), 0.5 * pauli("Z2") + pauli("Z0 Z1")]
    generator = np.random.default_rng(1)
    parameters, inputs = (
        generator.normal(size=len(circuit.parameters)),
        generator.normal(size=(5, circuit.n_slots)),
    )
    weights = generator.normal(size=(5, 3))
    true = adjoint.gradients(circuit, read, parameters, inputs, weights)
    f = expectations(circuit, read)
    np.testing.assert_allclose(f(parameters, inputs), true.values, atol=1e-12)
    np.testing.assert_allclose(jax.jit(f)(parameters, inputs), true.values, atol=1e-12)
    np.testing.assert_allclose(jax.vmap(f, in_axes=(None, 0))(parameters, inputs), true.values, atol=1e-12)
    slopes = jax.jit(jax.grad(lambda p, x: (f(p, x) * weights).sum(), argnums=(0, 1)))(parameters, inputs)
    np.testing.assert_allclose(slopes[0], true.parameters, atol=1e-11)
    np.testing.assert_allclose(slopes[1], true.data, atol=1e-11)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_jax_computes_in_the_precision_of_its_input(precision: str) -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    from qstore_db.layers.jax import expectations

    circuit = Circuit(2).ry(0, data(0)).cx(0, 1).rz(1, "a").unitary(np.eye(2), 0)
    f = expectations(circuit, [pauli("Z0"), pauli("X1")])
    assert f(np.ones(1, precision), np.ones((3, 1), precision)).dtype == precision
    assert f(np.ones(1, precision), [1]).dtype == precision


def test_jax_takes_one_row_for_all_and_names_what_does_not_fit() -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    from qstore_db.layers.jax import expectations

    circuit = Circuit(2).ry(0, data(0)).cx(0, 1).rz(1, "a")
    f = expectations(circuit, [pauli("Z0"), pauli("X1")])
    states = np.eye(4)[:3]
    assert f([0.1], [0.2]).shape == (2,)
    np.testing.assert_allclose(f([0.1], [0.2], states), f([0.1], [[0.2]] * 3, states), atol=1e-15)
    np.testing.assert_allclose(
        f([0.1], [[0.2]] * 3, states[1]), f([0.1], [[0.2]] * 3, states[[1, 1, 1]]), atol=1e-15
    )
    for name, arguments in {
        "parameters": ([0.1, 0.2], [0.2]),
        "data": ([0.1],),
        "states": ([0.1], [0.2], np.eye(8)),
    }.items():
        with pytest.raises(ArgumentError, match=name) as caught:
            f(*arguments)
        assert caught.value.subject == name
