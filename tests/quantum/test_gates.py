"""Every gate is the gate of that name in Cirq, PennyLane and Qiskit, on asymmetric circuits and to 1e-12."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cirq
import numpy as np
import pennylane as qml
import pytest
from numpy.typing import NDArray
from qiskit import QuantumCircuit, quantum_info

from qstore_db.quantum import Circuit
from qstore_db.quantum.gates import GATES, Composite, Gate, Turn, is_unitary
from qstore_db.testing import pennylane_peer
from qstore_db.testing.circuits import some_unitary, unitary_of

CLOSE = 1e-12
ANGLES = (0.7, -1.3, 2.1)
PLACES = ((1,), (2, 0), (2, 0, 3))
"""Qubits of four for gates on one, two and three: never in order, and never all."""
Matrix = NDArray[np.complex128]


def angles_of(name: str) -> tuple[float, ...]:
    gate = GATES[name]
    return ANGLES[: gate.n_angles if isinstance(gate, Composite) else int(isinstance(gate, Turn))]


def ours(name: str) -> Matrix:
    return unitary_of(Circuit(4).gate(name, PLACES[GATES[name].n_qubits - 1], *angles_of(name)))


def controlled(gate: cirq.Gate) -> cirq.Gate:
    return cirq.ControlledGate(gate)


def phase(theta: float) -> cirq.Gate:
    return cirq.MatrixGate(np.diag([1, np.exp(1j * theta)]))


IN_CIRQ: dict[str, Callable[..., cirq.Gate]] = {
    "x": lambda: cirq.X,
    "y": lambda: cirq.Y,
    "z": lambda: cirq.Z,
    "h": lambda: cirq.H,
    "s": lambda: cirq.S,
    "sdg": lambda: cirq.S**-1,
    "t": lambda: cirq.T,
    "tdg": lambda: cirq.T**-1,
    "sx": lambda: cirq.X**0.5,
    "cx": lambda: cirq.CX,
    "cy": lambda: controlled(cirq.Y),
    "cz": lambda: cirq.CZ,
    "ch": lambda: controlled(cirq.H),
    "swap": lambda: cirq.SWAP,
    "iswap": lambda: cirq.ISWAP,
    "ccx": lambda: cirq.CCX,
    "rx": cirq.rx,
    "ry": cirq.ry,
    "rz": cirq.rz,
    "p": phase,
    "crx": lambda theta: controlled(cirq.rx(theta)),
    "cry": lambda theta: controlled(cirq.ry(theta)),
    "crz": lambda theta: controlled(cirq.rz(theta)),
    "cp": lambda theta: controlled(phase(theta)),
    "rxx": lambda theta: cirq.XXPowGate(exponent=theta / np.pi, global_shift=-0.5),
    "ryy": lambda theta: cirq.YYPowGate(exponent=theta / np.pi, global_shift=-0.5),
    "rzz": lambda theta: cirq.ZZPowGate(exponent=theta / np.pi, global_shift=-0.5),
    # Cirq's own reading of OpenQASM's U has another global phase.
    "u": lambda theta, phi, lam: cirq.MatrixGate(
        cirq.unitary(phase(phi)) @ cirq.unitary(cirq.ry(theta)) @ cirq.unitary(phase(lam))
    ),
}


def cirq_matrix(name: str) -> Matrix:
    q = cirq.LineQubit.range(4)
    gate = IN_CIRQ[name](*angles_of(name))
    operation = gate(*(q[place] for place in PLACES[GATES[name].n_qubits - 1]))
    found: Matrix = cirq.Circuit(operation).unitary(qubit_order=q, qubits_that_should_be_present=q)
    return found


def pennylane_matrix(name: str) -> Matrix:
    gate = pennylane_peer.GATES[name](*angles_of(name), wires=PLACES[GATES[name].n_qubits - 1])
    found: Matrix = qml.matrix(gate, wire_order=range(4))
    return found


def qiskit_matrix(name: str) -> Matrix:
    """Qiskit's qubit 0 is the least significant bit."""
    circuit = QuantumCircuit(4)
    getattr(circuit, name)(*angles_of(name), *PLACES[GATES[name].n_qubits - 1])
    found: Matrix = quantum_info.Operator(circuit.reverse_bits()).data
    return found


@pytest.mark.parametrize("peer", [cirq_matrix, pennylane_matrix, qiskit_matrix])
@pytest.mark.parametrize("name", list(GATES))
def test_a_gate_is_that_of_its_name_elsewhere(name: str, peer: Callable[[str], Matrix]) -> None:
    assert np.abs(ours(name) - peer(name)).max() < CLOSE


def test_every_gate_has_a_method_of_its_name_with_the_same_arguments() -> None:
    for name, gate in GATES.items():
        places = PLACES[gate.n_qubits - 1]
        method = getattr(Circuit(4), name)
        assert method(*places, *angles_of(name)) == Circuit(4).gate(name, places, *angles_of(name))


@pytest.mark.parametrize("qubits", [(1,), (2, 0)])
def test_a_matrix_acts_as_in_pennylane(qubits: tuple[int, ...]) -> None:
    matrix = some_unitary(1 << len(qubits), 7)
    wanted: Any = qml.matrix(qml.QubitUnitary(matrix, wires=qubits), wire_order=range(4))
    assert np.abs(unitary_of(Circuit(4).unitary(matrix, *qubits)) - wanted).max() < CLOSE


def test_the_angles_of_u_are_in_the_order_of_openqasm() -> None:
    theta, phi, lam = ANGLES
    c, s = np.cos(theta / 2), np.sin(theta / 2)
    wanted = [
        [c, -np.exp(1j * lam) * s],
        [np.exp(1j * phi) * s, np.exp(1j * (phi + lam)) * c],
    ]
    assert np.abs(unitary_of(Circuit(1).u(0, theta, phi, lam)) - wanted).max() < CLOSE


@pytest.mark.parametrize("name", [name for name, gate in GATES.items() if isinstance(gate, Turn)])
def test_a_turn_is_the_exponential_of_its_generator(name: str) -> None:
    gate = GATES[name]
    assert isinstance(gate, Turn)
    values, vectors = np.linalg.eigh(gate.generator)
    wanted = vectors @ np.diag(np.exp(-0.9j * values)) @ vectors.conj().T
    assert np.abs(gate.matrices(np.array(0.9)) - wanted).max() < CLOSE
    assert np.abs(gate.matrices(np.zeros(2)) - np.eye(len(gate.generator))).max() < CLOSE
    assert is_unitary(gate.matrices(np.array(0.9)), CLOSE)


def test_the_frequencies_of_turns_say_how_they_are_shifted() -> None:
    found = {name: gate.frequencies for name, gate in GATES.items() if isinstance(gate, Turn)}
    two_term = {name for name, frequencies in found.items() if frequencies == (1.0,)}
    four_term = {name for name, frequencies in found.items() if frequencies == (0.5, 1.0)}
    assert two_term == {"rx", "ry", "rz", "p", "cp", "rxx", "ryy", "rzz"}
    assert four_term == {"crx", "cry", "crz"}


@pytest.mark.parametrize("name", [name for name, gate in GATES.items() if isinstance(gate, Gate)])
def test_the_inverse_that_a_gate_names_is_its_inverse(name: str) -> None:
    gate = GATES[name]
    assert isinstance(gate, Gate)
    if gate.inverse is not None:
        inverse = GATES[gate.inverse]
        assert isinstance(inverse, Gate)
        assert np.abs(gate.matrix @ inverse.matrix - np.eye(len(gate.matrix))).max() < CLOSE
