"""The same circuit as a Torch module: forwards, backwards, and as part of a model that is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, ClassVar

from benchmarks.simulators.base import Numbers, Task
from benchmarks.simulators.pennylane import DefaultQubit
from benchmarks.simulators.torch import Torch

CLASSES = 10


class _Layer(ABC):
    """What all have alike: inputs and weights, a loss, and one step of Adam."""

    def __init__(self, task: Task, /) -> None:
        self._torch = import_module("torch")
        self._torch.set_default_dtype(getattr(self._torch, task.dtype))
        _, self._inputs, self._weights = map(self._torch.tensor, task.numbers())
        self._module = self._make(task)
        nn = self._torch.nn
        self._model = nn.Sequential(
            nn.Linear(16, task.n_qubits), self._module, nn.Linear(task.n_qubits, CLASSES)
        )
        self._optimizer = self._torch.optim.Adam(self._model.parameters(), lr=0.01)
        self._features = self._torch.randn(task.batch, 16)
        self._labels = self._torch.randint(0, CLASSES, (task.batch,))

    @abstractmethod
    def _make(self, task: Task) -> Any:
        """The module."""

    @abstractmethod
    def _slopes(self) -> Any:
        """(depth, n, 2): the gradient that the trained angles have now."""

    def forward(self) -> Numbers:
        with self._torch.no_grad():
            values: Numbers = self._module(self._inputs).numpy()
        return values

    def gradient(self) -> tuple[Numbers, Numbers]:
        inputs = self._inputs.clone().requires_grad_()
        self._module.zero_grad()
        (self._module(inputs) * self._weights).sum().backward()
        return self._slopes().numpy(), inputs.grad.numpy()

    def step(self) -> None:
        """One training step: forward, backward, Adam."""
        self._optimizer.zero_grad()
        loss = self._torch.nn.functional.cross_entropy(self._model(self._features), self._labels)
        loss.backward()
        self._optimizer.step()


class OurLayer(_Layer):
    name: ClassVar = "qstore"
    package: ClassVar = "torch"

    def _make(self, task: Task) -> Any:
        layer = import_module("qstore_db.layers").QuantumLayer(task.n_qubits, task.depth)
        if task.dtype == "float64":
            layer = layer.double()
        layer.set_quantum_parameters(task.numbers()[0].ravel())
        self._shape = (task.depth, task.n_qubits, 2)
        return layer

    def _slopes(self) -> Any:
        return self._module.quantum_params.grad.reshape(self._shape)


class _FunctionLayer(_Layer):
    """A module around a function of parameters and inputs."""

    @abstractmethod
    def _values(self, task: Task) -> Any:
        """The function."""

    def _make(self, task: Task) -> Any:
        torch, values, start = self._torch, self._values(task), task.numbers()[0]

        class Module(torch.nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.angles = torch.nn.Parameter(torch.tensor(start))

            def forward(self, x: Any) -> Any:
                return values(self.angles, x).to(x.dtype)  # PennyLane gives doubles

        return Module()

    def _slopes(self) -> Any:
        return self._module.angles.grad


class PennylaneLayer(_FunctionLayer):
    name: ClassVar = "PennyLane"
    package: ClassVar = "pennylane"

    def _values(self, task: Task) -> Any:
        return DefaultQubit(task).values


class TorchLayer(_FunctionLayer):
    name: ClassVar = "plain Torch"
    package: ClassVar = "torch"

    def _values(self, task: Task) -> Any:
        return Torch(task).values
