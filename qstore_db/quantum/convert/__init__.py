"""Circuits to and from other libraries, each of which is imported when it is first needed."""

from qstore_db.quantum.convert.cirq import from_cirq, to_cirq
from qstore_db.quantum.convert.ionq import to_ionq
from qstore_db.quantum.convert.openqasm import from_openqasm, to_openqasm
from qstore_db.quantum.convert.qiskit import from_qiskit, to_qiskit

__all__ = [
    "from_cirq",
    "from_openqasm",
    "from_qiskit",
    "to_cirq",
    "to_ionq",
    "to_openqasm",
    "to_qiskit",
]
