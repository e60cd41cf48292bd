"""Circuits as IonQ takes them, held against what its gates mean, in Qiskit's order of bits."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, quantum_info

from qstore_db.errors import ArgumentError
from qstore_db.quantum import Channel, Circuit, data
from qstore_db.quantum.convert import to_ionq
from qstore_db.testing import circuits as drawn

CLOSE = 1e-12


def little_endian(job: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Probabilities by IonQ's integers, in which qubit 0 is the least significant bit."""
    fixed = {"x": "x", "y": "y", "z": "z", "h": "h", "s": "s", "si": "sdg", "t": "t", "ti": "tdg", "v": "sx"}
    circuit = QuantumCircuit(job["qubits"])
    for line in job["circuit"]:
        gate = line["gate"]
        if gate == "cnot":
            circuit.cx(line["control"], line["target"])
        elif gate == "swap":
            circuit.swap(*line["targets"])
        elif gate in ("xx", "yy", "zz"):
            getattr(circuit, f"r{gate}")(line["rotation"], *line["targets"])
        elif gate in ("rx", "ry", "rz"):
            getattr(circuit, gate)(line["rotation"], line["target"])
        else:
            getattr(circuit, fixed[gate])(line["target"])
    return quantum_info.Statevector(circuit).probabilities()


@settings(max_examples=40)
@given(
    circuit=drawn.circuits(n_qubits=st.integers(1, 4), symbols=False, unitary=False), seed=st.integers(0, 99)
)
def test_ionq_measures_what_the_circuit_does(circuit: Circuit, seed: int) -> None:
    # A turn of every qubit before and behind, so that phases are seen too.
    turns = np.random.default_rng(seed).uniform(0, 6, (2, 3, circuit.n_qubits))
    before, behind = (turned(Circuit(circuit.n_qubits), *each) for each in turns)
    asked = before.unitary(drawn.some_unitary(2, seed), 0).compose(circuit).compose(behind)
    job = json.loads(json.dumps(to_ionq(asked)))
    assert (job["gateset"], job["qubits"]) == ("qis", circuit.n_qubits)
    axes = (2,) * circuit.n_qubits
    found = little_endian(job).reshape(axes).transpose(*reversed(range(circuit.n_qubits))).ravel()
    assert np.abs(found - asked.probs()).max() < CLOSE


def turned(circuit: Circuit, first: Any, second: Any, third: Any) -> Circuit:
    for qubit in range(circuit.n_qubits):
        circuit = circuit.u(qubit, first[qubit], second[qubit], third[qubit])
    return circuit


@pytest.mark.parametrize("matrix", [np.eye(2), [[0, 1], [1, 0]], [[0, 1j], [1, 0]], np.diag([1, 1j])])
def test_a_matrix_with_zeros_goes_to_ionq(matrix: Any) -> None:
    circuit = Circuit(1).h(0).t(0).unitary(matrix, 0).h(0)
    assert np.abs(little_endian(to_ionq(circuit)) - circuit.probs()).max() < CLOSE


@pytest.mark.parametrize(
    ("circuit", "message"),
    [
        (Circuit(1).rx(0, "theta").ry(0, data(0)), "bind theta, the data first"),
        (Circuit(1).noise(Channel("bit_flip", 0.1)), "a noise cannot go to IonQ: run it on this machine"),
        (Circuit(1).measure(0), "a measure cannot"),
        (Circuit(1).reset(0), "a reset cannot"),
        (Circuit(2).unitary(np.eye(4), 0, 1), "a unitary cannot go to IonQ: give it by named gates"),
    ],
)
def test_ionq_refuses_what_it_has_not(circuit: Circuit, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        to_ionq(circuit)
