"""What simulators have alike that Torch differentiates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any

from benchmarks.simulators.base import Numbers, Task


class ThroughTorch(ABC):
    """A simulator by its values as Torch tensors."""

    def __init__(self, task: Task, /) -> None:
        self._torch = import_module("torch")
        # In which values come out that begin as Python's numbers.
        self._torch.set_default_dtype(getattr(self._torch, task.dtype))
        self._parameters, self._inputs, self._weights = map(self._torch.tensor, task.numbers())

    @abstractmethod
    def values(self, parameters: Any, inputs: Any) -> Any:
        """(batch, n), for parameters (depth, n, 2) and inputs (batch, n)."""

    def forward(self) -> Numbers:
        with self._torch.no_grad():
            values: Numbers = self.values(self._parameters, self._inputs).numpy()
        return values

    def gradient(self) -> tuple[Numbers, Numbers]:
        parameters = self._parameters.clone().requires_grad_()
        inputs = self._inputs.clone().requires_grad_()
        (self.values(parameters, inputs) * self._weights).sum().backward()
        return parameters.grad.numpy(), inputs.grad.numpy()
