"""The metric of states: against derivatives of the states themselves, and against PennyLane."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError
from qstore_db.quantum import Channel, Circuit, Metric, data, natural
from qstore_db.quantum.gates import Turn
from qstore_db.quantum.operations import Apply
from qstore_db.quantum.shift import ParameterShift
from qstore_db.quantum.torch_path import TorchProgram
from qstore_db.testing import circuits as drawn

CLOSE = 1e-10
Reals = NDArray[np.float64]


def whole_metric(circuit: Circuit, parameters: Reals, inputs: Reals) -> Reals:
    """(n, n): Re <d_i psi|d_j psi> - <d_i psi|psi><psi|d_j psi> of every pair, the mean over the batch."""
    program = TorchProgram(circuit, ())
    x = torch.from_numpy(inputs)

    def parts(angles: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(program.states(angles, x))

    angles = torch.from_numpy(parameters)
    psi = torch.view_as_complex(parts(angles)).numpy()
    by = torch.autograd.functional.jacobian(parts, angles).numpy()  # type: ignore[no-untyped-call]
    slopes = by[:, :, 0] + 1j * by[:, :, 1]
    overlap = np.einsum("bai,ba->bi", slopes.conj(), psi)
    found = np.einsum("bai,baj->bij", slopes.conj(), slopes) - overlap[:, :, None] * overlap.conj()[:, None]
    mean: Reals = found.real.mean(axis=0)
    return mean


@settings(max_examples=40)
@given(st.data())
def test_side_by_side_it_is_that_of_the_states_and_elsewhere_nothing(draw: st.DataObject) -> None:
    circuit = draw.draw(drawn.circuits(n_qubits=st.integers(1, 4)))
    parameters, inputs = draw.draw(drawn.parameters_for(circuit)), draw.draw(drawn.data_for(circuit))
    if not circuit.parameters or not len(inputs):
        return
    # Every gate with an angle of its own, of which all others are sums.
    opened = ParameterShift(circuit).circuit
    own = [place for place, name in enumerate(opened.parameters) if name.startswith("shift")]
    turned = [
        each
        for each in opened.steps
        if isinstance(each, Apply) and isinstance(each.gate, Turn) and each.angles[0].terms
    ]
    vector = np.zeros(len(opened.parameters))
    places = {name: place for place, name in enumerate(opened.parameters)}
    for name, value in zip(circuit.parameters, parameters, strict=True):
        vector[places[name]] = value
    expected = whole_metric(opened, vector, inputs)[np.ix_(own, own)]
    found = Metric(opened)(vector, inputs)[np.ix_(own, own)]
    np.testing.assert_allclose(np.diag(found), np.diag(expected), atol=CLOSE)
    kept = found != 0
    np.testing.assert_allclose(found[kept], expected[kept], atol=CLOSE)
    assert np.linalg.eigvalsh(found).min() > -CLOSE
    factors = np.zeros((len(turned), len(circuit.parameters)))
    for row, gate in enumerate(turned):
        for symbol, factor in gate.angles[0].terms:
            if symbol in circuit.parameters:
                factors[row, circuit.parameters.index(str(symbol))] = factor
    trainable = factors.any(axis=1)
    if trainable.all():
        np.testing.assert_allclose(
            Metric(circuit)(parameters, inputs), factors.T @ found @ factors, atol=CLOSE
        )


def layered(n_qubits: int, depth: int) -> Circuit:
    circuit = Circuit(n_qubits)
    for qubit in range(n_qubits):
        circuit = circuit.ry(qubit, data(qubit))
    for layer in range(depth):
        for kind in ("ry", "rz"):
            for qubit in range(n_qubits):
                circuit = getattr(circuit, kind)(qubit, f"{kind}{layer}_{qubit}")
        for qubit in range(n_qubits - 1):
            circuit = circuit.cx(qubit, qubit + 1)
    return circuit


def test_it_is_pennylanes_block_diagonal_metric() -> None:
    n_qubits, depth = 3, 2
    random = np.random.default_rng(3)
    inputs, parameters = random.normal(size=(2, n_qubits)), random.normal(size=2 * n_qubits * depth)
    device = qml.device("default.qubit", wires=n_qubits + 1)

    @qml.qnode(device)
    def run(angles: NDArray[np.float64], x: NDArray[np.float64]) -> object:
        for qubit in range(n_qubits):
            qml.RY(x[qubit], wires=qubit)
        for layer in range(depth):
            for kind, gate in enumerate((qml.RY, qml.RZ)):
                for qubit in range(n_qubits):
                    gate(angles[(2 * layer + kind) * n_qubits + qubit], wires=qubit)
            for qubit in range(n_qubits - 1):
                qml.CNOT(wires=[qubit, qubit + 1])
        return qml.expval(qml.PauliZ(0))

    each = [
        np.asarray(
            qml.metric_tensor(run, approx="block-diag")(
                qml.numpy.array(parameters), qml.numpy.array(x, requires_grad=False)
            )
        )
        for x in inputs
    ]
    expected = np.mean(each, axis=0)
    np.testing.assert_allclose(Metric(layered(n_qubits, depth))(parameters, inputs), expected, atol=1e-8)


def test_a_layer_of_turns_is_one_block_however_its_gates_are_written() -> None:
    one = Circuit(2).ry(0, "a").rz(0, "b").ry(1, "c").rz(1, "d").cx(0, 1).ry(0, "e").ry(1, "f")
    other = Circuit(2).ry(0, "a").ry(1, "c").rz(0, "b").rz(1, "d").cx(0, 1).ry(0, "e").ry(1, "f")
    values = {name: 0.3 + place for place, name in enumerate("abcdef")}
    nothing = np.zeros((1, 0))
    found = [
        Metric(circuit)(np.array([values[name] for name in circuit.parameters]), nothing)
        for circuit in (one, other)
    ]
    order = [other.parameters.index(name) for name in one.parameters]
    np.testing.assert_allclose(found[0], found[1][np.ix_(order, order)], atol=1e-12)
    assert abs(found[0][one.parameters.index("e"), one.parameters.index("f")]) > 1e-3


def test_states_to_begin_with_count() -> None:
    circuit, nothing = Circuit(1).rz(0, "a"), np.zeros((1, 0))
    angle = np.array([0.4])
    assert abs(Metric(circuit)(angle, nothing)[0, 0]) < 1e-12
    assert Metric(circuit)(angle, nothing, np.full((1, 2), 0.5**0.5))[0, 0] == pytest.approx(0.25)


def test_natural_solves_with_damping() -> None:
    np.testing.assert_allclose(natural(np.array([1.0, 2.0]), np.diag([0.25, 0.0]), 0.01), [1 / 0.26, 200.0])


def test_noise_is_refused() -> None:
    with pytest.raises(ArgumentError, match="pure states"):
        Metric(Circuit(1).ry(0, "a").noise(Channel("depolarising", 0.1)))
