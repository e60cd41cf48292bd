"""qulacs: one sample after the other, in double precision, with its own backpropagation."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from benchmarks.simulators.base import Numbers, Task


class Qulacs:
    name: ClassVar = "qulacs"
    package: ClassVar = "qulacs"

    def __init__(self, task: Task, /) -> None:
        qulacs = self._qulacs = import_module("qulacs")
        n_qubits = self._n_qubits = task.n_qubits
        self._parameters, self._inputs, self._weights = (each.astype(float) for each in task.numbers())
        circuit = self._circuit = qulacs.ParametricQuantumCircuit(n_qubits)
        for qubit in range(n_qubits):
            circuit.add_parametric_RY_gate(qubit, 0.0)
        for layer in range(task.depth):
            for qubit in range(n_qubits):
                # Its angles turn the other way.
                circuit.add_parametric_RY_gate(qubit, -float(self._parameters[layer, qubit, 0]))
                circuit.add_parametric_RZ_gate(qubit, -float(self._parameters[layer, qubit, 1]))
            for qubit in range(n_qubits - 1):
                circuit.add_CNOT_gate(qubit, qubit + 1)
        self._state = qulacs.QuantumState(n_qubits)
        self._read = [self._observable({qubit: 1.0}) for qubit in range(n_qubits)]

    def _observable(self, weights: dict[int, float]) -> Any:
        observable = self._qulacs.Observable(self._n_qubits)
        for qubit, weight in weights.items():
            observable.add_operator(weight, f"Z {qubit}")
        return observable

    def _set(self, row: Numbers) -> None:
        for qubit, value in enumerate(row.tolist()):
            self._circuit.set_parameter(qubit, -value)

    def forward(self) -> Numbers:
        values = np.empty(self._inputs.shape)
        for sample, row in enumerate(self._inputs):
            self._set(row)
            self._state.set_zero_state()
            self._circuit.update_quantum_state(self._state)
            values[sample] = [read.get_expectation_value(self._state) for read in self._read]
        return values

    def gradient(self) -> tuple[Numbers, Numbers]:
        by_parameter, by_input = np.zeros(self._parameters.size), np.empty(self._inputs.shape)
        for sample, row in enumerate(self._inputs):
            self._set(row)
            weighted = self._observable(dict(enumerate(self._weights[sample].tolist())))
            slopes = -np.array(self._circuit.backprop(weighted))
            by_input[sample] = slopes[: self._n_qubits]
            by_parameter += slopes[self._n_qubits :]
        return by_parameter.reshape(self._parameters.shape), by_input
