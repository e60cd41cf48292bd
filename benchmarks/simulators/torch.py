"""Plain Torch: the circuit gate by gate on the whole batch, with Torch's own derivatives."""

from __future__ import annotations

from typing import Any, ClassVar

from benchmarks.simulators.base import Task
from benchmarks.simulators.through_torch import ThroughTorch


class Torch(ThroughTorch):
    name: ClassVar = "torch"
    package: ClassVar = "torch"

    def __init__(self, task: Task, /) -> None:
        super().__init__(task)
        self._task = task

    def _turned(self, state: Any, cosine: Any, sine: Any, qubit: int) -> Any:
        """RY: cosine and sine () or (batch, 1, 1) of half the angle."""
        apart = state.view(self._task.batch, 1 << qubit, 2, -1)
        low, high = apart[:, :, 0], apart[:, :, 1]
        both = self._torch.stack([cosine * low - sine * high, sine * low + cosine * high], dim=2)
        return both.view(self._task.batch, -1)

    def values(self, parameters: Any, inputs: Any) -> Any:
        torch, task = self._torch, self._task
        complex_dtype = torch.complex64 if task.dtype == "float32" else torch.complex128
        state = torch.zeros(task.batch, 1 << task.n_qubits, dtype=complex_dtype)
        state[:, 0] = 1
        for qubit in range(task.n_qubits):
            half = 0.5 * inputs[:, qubit, None, None]
            state = self._turned(state, half.cos(), half.sin(), qubit)
        for layer in range(task.depth):
            for qubit in range(task.n_qubits):
                half = 0.5 * parameters[layer, qubit]
                state = self._turned(state, half[0].cos(), half[0].sin(), qubit)
                phases = torch.exp(1j * torch.stack([-half[1], half[1]])).to(complex_dtype)
                apart = state.view(task.batch, 1 << qubit, 2, -1)
                state = (apart * phases[None, None, :, None]).view(task.batch, -1)
            for qubit in range(task.n_qubits - 1):
                apart = state.view(task.batch, 1 << qubit, 2, 2, -1)
                state = torch.stack([apart[:, :, 0], apart[:, :, 1].flip(2)], dim=2).view(task.batch, -1)
        chances = state.real**2 + state.imag**2
        read = []
        for qubit in range(task.n_qubits):
            halves = chances.view(task.batch, 1 << qubit, 2, -1).sum(dim=(1, 3))
            read.append(halves[:, 0] - halves[:, 1])
        return torch.stack(read, dim=1)
