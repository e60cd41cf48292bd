"""PennyLane: its default device with backpropagation through Torch, and lightning with the adjoint method."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

from benchmarks.simulators.base import Numbers, Task


class DefaultQubit:
    name: ClassVar = "default.qubit"
    package: ClassVar = "pennylane"
    dtypes: ClassVar = ("float32", "float64")
    _device: ClassVar = "default.qubit"
    _method: ClassVar = "backprop"

    def __init__(self, task: Task, /) -> None:
        qml, self._torch = import_module("pennylane"), import_module("torch")
        # In which lightning's values come out.
        self._torch.set_default_dtype(getattr(self._torch, task.dtype))
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
        self._parameters, self._inputs, self._weights = map(self._torch.tensor, task.numbers())

    def _make(self, qml: Any, task: Task) -> Any:
        return qml.device(self._device, wires=task.n_qubits)

    def _values(self, parameters: Any, inputs: Any) -> Any:
        return self._torch.stack(list(self._circuit(parameters, inputs)), dim=-1)

    def forward(self) -> Numbers:
        with self._torch.no_grad():
            values: Numbers = self._values(self._parameters, self._inputs).numpy()
        return values

    def gradient(self) -> tuple[Numbers, Numbers]:
        parameters = self._parameters.clone().requires_grad_()
        inputs = self._inputs.clone().requires_grad_()
        (self._values(parameters, inputs) * self._weights).sum().backward()
        return parameters.grad.numpy(), inputs.grad.numpy()


class Lightning(DefaultQubit):
    name: ClassVar = "lightning.qubit"
    package: ClassVar = "pennylane_lightning"
    _device: ClassVar = "lightning.qubit"
    _method: ClassVar = "adjoint"

    def _make(self, qml: Any, task: Task) -> Any:
        np = import_module("numpy")
        complex_dtype = np.complex64 if task.dtype == "float32" else np.complex128
        return qml.device(self._device, wires=task.n_qubits, c_dtype=complex_dtype)
