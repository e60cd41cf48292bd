"""Other ways to values and gradients: Torch, shifted circuits, perturbed circuits. Held against the plain path."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError
from qstore_db.quantum import Circuit, adjoint, data, pauli, plain, spsa
from qstore_db.quantum.gates import GATES, Turn
from qstore_db.quantum.observables import Observable
from qstore_db.quantum.shift import ParameterShift, rule
from qstore_db.quantum.torch_path import TorchProgram, full_precision
from qstore_db.testing import circuits as drawn

CLOSE = 1e-11
Run: TypeAlias = "tuple[Circuit, NDArray[np.float64], NDArray[np.float64], list[Observable], Any]"


@st.composite
def runs(draw: st.DrawFn, **options: Any) -> Run:
    """A circuit, parameters, a batch of inputs, observables, and random complex states or None."""
    circuit = draw(drawn.circuits(**options))
    inputs = draw(drawn.data_for(circuit))
    states = None
    if draw(st.booleans()):
        parts = np.random.default_rng(len(circuit)).normal(size=(2, len(inputs), 1 << circuit.n_qubits))
        states = parts[0] + 1j * parts[1]
        states /= np.linalg.norm(states, axis=1, keepdims=True)
    observables = draw(drawn.observables(circuit.n_qubits))
    return circuit, draw(drawn.parameters_for(circuit)), inputs, observables, states


def evaluated(circuit: Circuit, observables: list[Observable]) -> Any:
    return lambda *arrays: plain.expectations(plain.run(circuit, *arrays), observables)


@settings(max_examples=30)
@given(runs())
def test_torch_gives_the_values_and_gradients_of_the_plain_path(run: Run) -> None:
    circuit, parameters, inputs, observables, states = run
    weights = np.linspace(-1.0, 1.3, len(inputs) * len(observables)).reshape(len(inputs), -1)
    expected = adjoint.gradients(circuit, observables, parameters, inputs, weights, states)
    tensors = [torch.from_numpy(each) for each in (parameters, inputs, states) if each is not None]
    found, back = torch.func.vjp(TorchProgram(circuit, observables).values, *tensors)
    assert np.abs(found.numpy() - expected.values).max(initial=0.0) < CLOSE
    slopes = back(torch.from_numpy(weights))
    assert np.abs(slopes[0].numpy() - expected.parameters).max(initial=0.0) < 10 * CLOSE
    assert np.abs(slopes[1].numpy() - expected.data).max(initial=0.0) < 10 * CLOSE
    if expected.states is not None:
        assert np.abs(slopes[2].numpy() - expected.states).max(initial=0.0) < 10 * CLOSE


@settings(max_examples=20)
@given(runs(n_qubits=st.integers(1, 3)))
def test_shifted_circuits_give_the_gradients_of_the_adjoint(run: Run) -> None:
    circuit, parameters, inputs, observables, states = run
    real = None if states is None else states.real / np.linalg.norm(states.real, axis=1, keepdims=True)
    weights = np.linspace(-1.0, 1.3, len(inputs) * len(observables)).reshape(len(inputs), -1)
    began = None if real is None else real.astype(np.complex128)
    expected = adjoint.gradients(circuit, observables, parameters, inputs, weights, began)
    shift = ParameterShift(circuit)
    evaluate = evaluated(shift.circuit, observables)
    found = shift.gradients(evaluate, parameters, inputs, weights, real, of_states=True)
    assert np.abs(found.parameters - expected.parameters).max(initial=0.0) < 1e-9
    assert np.abs(found.data - expected.data).max(initial=0.0) < 1e-9
    if real is not None:
        assert found.states is not None
        assert expected.states is not None
        assert np.abs(found.states - expected.states.real).max() < 1e-9


def test_real_states_that_no_gate_meets_have_gradients() -> None:
    began = np.array([[0.6, 0.8]])
    weights = np.ones((1, 2))
    read: list[Observable] = [pauli(""), pauli("Z0")]
    found = adjoint.gradients(Circuit(1), read, np.empty(0), np.empty((1, 0)), weights, began)
    assert found.states is not None
    np.testing.assert_allclose(found.states, [[4 * 0.6, 0.0]])


def test_in_single_precision_torch_is_close() -> None:
    circuit = drawn.some_circuit(6, 80, seed=1)
    random = np.random.default_rng(0)
    parameters, inputs = random.normal(size=len(circuit.parameters)), random.normal(size=(4, circuit.n_slots))
    observables: list[Observable] = [pauli("Z0 X1"), pauli("Y5")]
    found = TorchProgram(circuit, observables).values(
        torch.tensor(parameters).float(), torch.tensor(inputs).float()
    )
    assert found.dtype == torch.float32
    exact = plain.expectations(plain.run(circuit, parameters, inputs), observables)
    assert np.abs(found.numpy() - exact).max() < 1e-5


def test_torch_is_asked_for_all_digits_whatever_the_program_around_it_wants() -> None:
    circuit = Circuit(2).ry(0, "a").crx(0, 1, "b").rz(1, data(0))
    program = TorchProgram(circuit, [pauli("Z1"), pauli("X0")])
    arguments = torch.tensor([0.3, 0.7]), torch.tensor([[0.2]])
    expected = program.values(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(program.values(*arguments), expected)
        with full_precision(torch.device("cpu")):
            assert (torch.eye(2) @ torch.eye(2)).dtype == torch.float32


def test_a_circuit_with_a_measurement_has_no_values_in_torch() -> None:
    with pytest.raises(ArgumentError, match="measure"):
        TorchProgram(Circuit(1).measure(0), [pauli("Z0")])


@pytest.mark.parametrize("name", [name for name, gate in GATES.items() if isinstance(gate, Turn)])
def test_a_rule_is_exact_for_every_frequency_of_its_gate(name: str) -> None:
    gate = GATES[name]
    assert isinstance(gate, Turn)
    assert len(rule(gate)) == (2 if name in ("crx", "cry", "crz") else 1)
    theta = 0.4
    for frequency in gate.frequencies:
        slope = sum(
            factor * (np.sin(frequency * (theta + shift)) - np.sin(frequency * (theta - shift)))
            for shift, factor in rule(gate)
        )
        assert slope == pytest.approx(frequency * np.cos(frequency * theta), abs=1e-12)


def test_circuits_are_counted_before_they_are_run() -> None:
    circuit = (
        Circuit(2).rx(0, "a").ry(1, "a").crz(0, 1, "b").rz(0, data(0)).rx(0, 0.3).u(1, "a", 0.1, data(0))
    )
    shift, calls = ParameterShift(circuit), []

    def evaluate(*arrays: Any) -> NDArray[np.float64]:
        calls.append(arrays)
        return evaluated(shift.circuit, [pauli("Z0")])(*arrays)

    arguments = np.array([0.1, 0.2]), np.array([[0.3]]), np.ones((1, 1))
    shift.gradients(evaluate, *arguments)
    assert len(calls) == shift.evaluations() == 2 + 2 + 4 + 2 + 2 + 2
    calls.clear()
    shift.gradients(evaluate, *arguments, of_data=False)
    assert len(calls) == shift.evaluations(of_data=False) == 2 + 2 + 4 + 2


def test_a_parameter_may_have_the_name_of_a_shift() -> None:
    circuit = Circuit(1).rx(0, "shift0").ry(0, "shift_0").rz(0, "shift")
    shift = ParameterShift(circuit)
    arguments = np.array([0.1, 0.2, 0.3]), np.zeros((1, 0)), np.ones((1, 1))
    found = shift.gradients(evaluated(shift.circuit, [pauli("X0")]), *arguments)
    expected = adjoint.gradients(circuit, [pauli("X0")], *arguments)
    assert np.allclose(found.parameters, expected.parameters, atol=1e-12)


def test_perturbation_takes_two_evaluations_and_is_right_on_average() -> None:
    circuit = drawn.some_circuit(3, 30, seed=2)
    observables: list[Observable] = [pauli("Z0"), pauli("X2")]
    random = np.random.default_rng(0)
    parameters, inputs = random.normal(size=len(circuit.parameters)), random.normal(size=(2, circuit.n_slots))
    weights, calls = random.normal(size=(2, 2)), []

    def evaluate(*arrays: Any) -> NDArray[np.float64]:
        calls.append(arrays)
        return evaluated(circuit, observables)(*arrays)

    draws = [
        spsa.gradients(evaluate, parameters, inputs, weights, random=random, size=1e-3) for _ in range(600)
    ]
    assert len(calls) == 2 * len(draws)
    exact = adjoint.gradients(circuit, observables, parameters, inputs, weights)
    for place, wanted in ((0, exact.parameters), (1, exact.data)):
        each = np.array([draw[place] for draw in draws])
        error = np.abs(each.mean(axis=0) - wanted)
        assert (error < 5 * each.std(axis=0) / np.sqrt(len(draws)) + 1e-4).all()
