"""Our own engine, with what a layer adds to it left out."""

from __future__ import annotations

import os
from typing import ClassVar

import numpy as np

from benchmarks.simulators.base import Numbers, Task
from qstore_db.quantum import Circuit, Program, data, pauli


class Ours:
    name: ClassVar = "qstore"
    package: ClassVar = "numba"

    def __init__(self, task: Task, /) -> None:
        circuit = Circuit(task.n_qubits)
        for qubit in range(task.n_qubits):
            circuit = circuit.ry(qubit, data(qubit))
        for layer in range(task.depth):
            for qubit in range(task.n_qubits):
                circuit = circuit.ry(qubit, f"y{layer}_{qubit}").rz(qubit, f"z{layer}_{qubit}")
            for qubit in range(task.n_qubits - 1):
                circuit = circuit.cx(qubit, qubit + 1)
        parameters, self._inputs, self._weights = task.numbers()
        self._shape = parameters.shape
        self._parameters = parameters.ravel()
        read = [pauli(f"Z{qubit}") for qubit in range(task.n_qubits)]
        self._program = Program(circuit, read, getattr(np, task.dtype))

    def forward(self) -> Numbers:
        return self._program.values(self._parameters, self._inputs)

    def gradient(self) -> tuple[Numbers, Numbers]:
        found = self._program.gradients(self._parameters, self._inputs, self._weights)
        return found.parameters.reshape(self._shape), found.data


class Alone(Ours):
    """On one core."""

    name: ClassVar = "qstore, one thread"

    def __init__(self, task: Task, /) -> None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
        super().__init__(task)
