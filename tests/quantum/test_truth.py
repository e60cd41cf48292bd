"""Random circuits to eight qubits give what Cirq and PennyLane give, and the gradients that PennyLane gives."""

from __future__ import annotations

from typing import Any, TypeAlias

import cirq
import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qstore_db.quantum import (
    Circuit,
    PauliString,
    PauliSum,
    Projector,
    adjoint,
    data,
    expectations,
    parameter,
    pauli,
    plain,
)
from qstore_db.quantum.convert import to_cirq
from qstore_db.quantum.gates import GATES
from qstore_db.quantum.observables import Observable
from qstore_db.testing import circuits as drawn
from qstore_db.testing import pennylane_peer

CLOSE = 1e-12
CLOSE_SLOPE = 1e-10
Run: TypeAlias = tuple[Circuit, NDArray[np.float64], NDArray[np.float64], list[Observable]]
"""A circuit, parameters, a batch of inputs, and observables."""


@st.composite
def runs(draw: st.DrawFn, **options: Any) -> Run:
    circuit = draw(drawn.circuits(**options))
    return (
        circuit,
        draw(drawn.parameters_for(circuit)),
        draw(drawn.data_for(circuit)),
        draw(drawn.observables(circuit.n_qubits)),
    )


def deep(n_qubits: int) -> Run:
    """A circuit in which every gate that fits occurs, and one observable of each kind."""
    circuit = drawn.some_circuit(n_qubits, 120, seed=n_qubits)
    generator = np.random.default_rng(n_qubits)
    word = PauliString(tuple((qubit, "XYZ"[qubit % 3]) for qubit in range(0, n_qubits, 2)))
    mixed = 0.7 * word - 1.3 * pauli(f"Y{n_qubits - 1}") + 0.2 * pauli("")
    bits = Projector((n_qubits - 1, 0), (1, 0)) if n_qubits > 1 else Projector((0,), (1,))
    parameters = generator.normal(size=len(circuit.parameters))
    return circuit, parameters, generator.normal(size=(2, circuit.n_slots)), [word, mixed, bits]


@settings(max_examples=40)
@given(run=runs())
def test_states_and_values_are_those_of_cirq(run: Run) -> None:
    agree_with_cirq(run)


@settings(max_examples=40)
@given(run=runs())
def test_states_and_values_are_those_of_pennylane(run: Run) -> None:
    agree_with_pennylane(run)


@settings(max_examples=30)
@given(run=runs(), seed=st.integers(0, 1000))
def test_gradients_are_those_of_pennylane(run: Run, seed: int) -> None:
    slopes_agree_with_pennylane(run, seed)


@pytest.mark.parametrize("n_qubits", range(1, 9))
def test_a_deep_circuit_over_all_gates_gives_what_the_others_give(n_qubits: int) -> None:
    run = deep(n_qubits)
    gates = set(run[0].specs().gates)
    assert gates == {name for name, gate in GATES.items() if gate.n_qubits <= n_qubits} | {"unitary"}
    agree_with_cirq(run)
    agree_with_pennylane(run)
    slopes_agree_with_pennylane(run, n_qubits)


def agree_with_cirq(run: Run) -> None:
    circuit, parameters, inputs, observables = run
    states = plain.run(circuit, parameters, inputs)
    values = plain.expectations(states, observables)
    symbolic = to_cirq(circuit)
    qubits = cirq.LineQubit.range(circuit.n_qubits)
    for sample, row in enumerate(inputs):
        numbers = dict(zip(circuit.parameters, parameters, strict=True))
        numbers |= {f"x[{slot}]": value for slot, value in enumerate(row)}
        resolved = cirq.resolve_parameters(symbolic, numbers)
        state = resolved.final_state_vector(qubit_order=qubits, dtype=np.complex128)
        assert np.abs(states[sample] - state).max() < CLOSE
        for column, wanted in enumerate(observables):
            theirs = in_cirq(wanted, qubits).expectation_from_state_vector(
                state, {qubit: qubit.x for qubit in qubits}
            )
            assert abs(values[sample, column] - theirs) < CLOSE * max(1.0, scale(wanted))


def agree_with_pennylane(run: Run) -> None:
    circuit, parameters, inputs, observables = run

    @qml.qnode(qml.device("default.qubit", wires=circuit.n_qubits))
    def node(row: Any) -> Any:
        pennylane_peer.apply(circuit, parameters, row)
        return qml.state(), *(qml.expval(pennylane_peer.observable(each)) for each in observables)

    states = plain.run(circuit, parameters, inputs)
    values = plain.expectations(states, observables)
    for sample, row in enumerate(inputs):
        state, *theirs = node(row)
        assert np.abs(states[sample] - state).max() < CLOSE
        for mine, its, wanted in zip(values[sample], theirs, observables, strict=True):
            assert abs(mine - its) < CLOSE * max(1.0, scale(wanted))


def slopes_agree_with_pennylane(run: Run, seed: int) -> None:
    circuit, parameters, inputs, observables = run
    weights = np.random.default_rng(seed).normal(size=(len(inputs), len(observables)))

    @qml.qnode(qml.device("default.qubit", wires=circuit.n_qubits), interface="torch", diff_method="backprop")
    def node(theta: Any, row: Any) -> Any:
        pennylane_peer.apply(circuit, theta, row)
        return [qml.expval(pennylane_peer.observable(each)) for each in observables]

    theta = torch.tensor(parameters, requires_grad=True)
    rows = torch.tensor(inputs, requires_grad=True)
    total = sum(
        weight * value.real
        for row, line in zip(rows, weights, strict=True)
        for weight, value in zip(line, node(theta, row), strict=True)
    )
    by_parameter, by_input = torch.zeros_like(theta), torch.zeros_like(rows)
    if isinstance(total, torch.Tensor) and total.requires_grad:
        found = torch.autograd.grad(total, [theta, rows], allow_unused=True, materialize_grads=True)
        by_parameter, by_input = found

    gradients = adjoint.gradients(circuit, observables, parameters, inputs, weights)
    bound = CLOSE_SLOPE * max(1.0, *map(scale, observables)) * (1 + np.abs(weights).sum())
    assert np.abs(gradients.parameters - by_parameter.numpy()).max(initial=0.0) < bound
    assert np.abs(gradients.data - by_input.numpy()).max(initial=0.0) < bound


@settings(max_examples=40)
@given(run=runs(n_qubits=st.integers(1, 4)), seed=st.integers(0, 1000))
def test_gradients_are_the_slopes_of_the_values(run: Run, seed: int) -> None:
    """By differences, so that no other library is needed: parameters, inputs and the states one begins with."""
    circuit, parameters, inputs, observables = run
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=(len(inputs), len(observables)))
    shape = (len(inputs), 1 << circuit.n_qubits)
    states = generator.normal(size=shape) + 1j * generator.normal(size=shape)
    states /= np.linalg.norm(states, axis=1, keepdims=True)

    def value(theta: Any, rows: Any, begin: Any) -> float:
        found = plain.expectations(plain.run(circuit, theta, rows, begin), observables)
        return float((weights * found).sum())

    step = 1e-5
    along = [generator.normal(size=each.shape) for each in (parameters, inputs, states, states)]
    turn = along[2] + 1j * along[3]
    gradients = adjoint.gradients(circuit, observables, parameters, inputs, weights, states)
    assert gradients.states is not None
    ahead, behind = (
        value(parameters + way * along[0], inputs + way * along[1], states + way * turn)
        for way in (step, -step)
    )
    slope = (ahead - behind) / (2 * step)
    told = (gradients.parameters * along[0]).sum() + (gradients.data * along[1]).sum()
    told += (gradients.states.conj() * turn).sum().real
    # What central differences leave: third derivatives times 1e-10, and rounding over 1e-5.
    size = 1.0 + np.abs(weights).sum() * max(1.0, *map(scale, observables))
    assert abs(slope - told) < 1e-6 * size * (1 + sum(float(np.abs(each).sum()) for each in along)) ** 3
    assert (
        np.abs(
            gradients.values - plain.expectations(plain.run(circuit, parameters, inputs, states), observables)
        ).max()
        < CLOSE * size
    )


def test_a_parameter_that_several_gates_share_has_the_sum_of_their_slopes() -> None:
    shared = (
        Circuit(2).ry(0, "a").cx(0, 1).ry(1, 3 * parameter("a") - 0.2).crx(0, 1, parameter("a") + data(0) / 2)
    )
    apart = (
        Circuit(2).ry(0, "a").cx(0, 1).ry(1, 3 * parameter("b") - 0.2).crx(0, 1, parameter("c") + data(0) / 2)
    )
    inputs, weights = np.array([[0.4], [1.9]]), np.array([[1.0], [-0.5]])
    one = adjoint.gradients(shared, [pauli("Z0 X1")], np.array([0.7]), inputs, weights)
    three = adjoint.gradients(apart, [pauli("Z0 X1")], np.array([0.7, 0.7, 0.7]), inputs, weights)
    assert abs(one.parameters[0] - three.parameters.sum()) < CLOSE
    assert np.abs(one.data - three.data).max() < CLOSE


def test_without_symbols_there_is_nothing_to_differentiate() -> None:
    circuit = Circuit(2).h(0).cx(0, 1).rx(1, 0.3)
    gradients = adjoint.gradients(circuit, [pauli("Z0 Z1")], np.zeros(0), np.zeros((3, 0)), np.ones((3, 1)))
    assert gradients.parameters.shape == (0,)
    assert gradients.data.shape == (3, 0)
    assert np.abs(gradients.values - np.cos(0.3)).max() < CLOSE


def test_a_bell_state_is_one() -> None:
    bell = Circuit(2).h(0).cx(0, 1)
    assert np.abs(bell.state() - np.array([1, 0, 0, 1]) / np.sqrt(2)).max() < CLOSE
    found = expectations(bell, [pauli("Z0"), pauli("Z0 Z1"), pauli("X0 X1"), pauli("Y0 Y1"), pauli("I")])
    assert np.abs(found - [0, 1, 1, -1, 1]).max() < CLOSE


def in_cirq(wanted: Observable, qubits: list[cirq.LineQubit]) -> Any:
    if isinstance(wanted, PauliString):
        return cirq.PauliString({qubits[place]: letter for place, letter in wanted.factors})
    if isinstance(wanted, PauliSum):
        return sum((factor * in_cirq(string, qubits) for factor, string in wanted.terms), cirq.PauliSum())
    return cirq.ProjectorString(
        {qubits[place]: bit for place, bit in zip(wanted.qubits, wanted.bits, strict=True)}
    )


def scale(wanted: Observable) -> float:
    """The largest value that it can have."""
    return sum(abs(factor) for factor, _ in wanted.terms) if isinstance(wanted, PauliSum) else 1.0
