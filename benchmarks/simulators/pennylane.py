"""PennyLane: its default device with backpropagation through Torch, and lightning with the adjoint method."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

from benchmarks.simulators.base import Task
from benchmarks.simulators.through_torch import ThroughTorch


class DefaultQubit(ThroughTorch):
    name: ClassVar = "default.qubit"
    package: ClassVar = "pennylane"
    _device: ClassVar = "default.qubit"
    _method: ClassVar = "backprop"

    def __init__(self, task: Task, /) -> None:
        super().__init__(task)
        qml = import_module("pennylane")
        device = self._make(qml, task)

        @qml.qnode(device, interface="torch", diff_method=self._method)
        def circuit(parameters: Any, inputs: Any) -> Any:
            for qubit in range(task.n_qubits):
                qml.RY(inputs[..., qubit], wires=qubit)
            for layer in range(task.depth):
                for qubit in range(task.n_qubits):
                    qml.RY(parameters[layer, qubit, 0], wires=qubit)
                    qml.RZ(parameters[layer, qubit, 1], wires=qubit)
                for qubit in range(task.n_qubits - 1):
                    qml.CNOT(wires=[qubit, qubit + 1])
            return [qml.expval(qml.PauliZ(qubit)) for qubit in range(task.n_qubits)]

        self._circuit = circuit

    def _make(self, qml: Any, task: Task) -> Any:
        return qml.device(self._device, wires=task.n_qubits)

    def values(self, parameters: Any, inputs: Any) -> Any:
        return self._torch.stack(list(self._circuit(parameters, inputs)), dim=-1)


class Lightning(DefaultQubit):
    name: ClassVar = "lightning.qubit"
    package: ClassVar = "pennylane_lightning"
    _device: ClassVar = "lightning.qubit"
    _method: ClassVar = "adjoint"

    def _make(self, qml: Any, task: Task) -> Any:
        np = import_module("numpy")
        complex_dtype = np.complex64 if task.dtype == "float32" else np.complex128
        return qml.device(self._device, wires=task.n_qubits, c_dtype=complex_dtype)
