"""The circuit that all simulators run, and what a simulator has to do with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Task:
    """Layers of RY and RZ on every qubit and a chain of CNOT, on inputs by RY; <Z> of each qubit is read."""

    n_qubits: int
    depth: int
    batch: int
    dtype: str
    """Of real numbers: float32 or float64."""

    @property
    def n_parameters(self) -> int:
        return 2 * self.n_qubits * self.depth

    def numbers(self) -> tuple[Numbers, Numbers, Numbers]:
        """Parameters (depth, n, 2), inputs (batch, n), and weights (batch, n) of the values in what is derived."""
        draw = np.random.default_rng(0)
        shapes = ((self.depth, self.n_qubits, 2), (self.batch, self.n_qubits), (self.batch, self.n_qubits))
        parameters, inputs, weights = (draw.normal(size=shape).astype(self.dtype) for shape in shapes)
        return parameters, inputs, weights


class Simulator(Protocol):
    """Runs one task over and over. Both calls give NumPy arrays, and the inputs are new to it each time."""

    name: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, task: Task, /) -> None: ...

    def forward(self) -> Numbers:
        """(batch, n)"""
        ...

    def gradient(self) -> tuple[Numbers, Numbers]:
        """Of the weighted sum of the values: for the parameters (depth, n, 2), and for the inputs (batch, n)."""
        ...
