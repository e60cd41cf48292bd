"""One step of a circuit: a gate on qubits, a channel, a measurement or a reset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError
from qstore_db.quantum.angles import Angle
from qstore_db.quantum.channels import Channel
from qstore_db.quantum.gates import GATES, Composite, Gate, Matrix, Turn, is_unitary

Rows: TypeAlias = tuple[tuple[complex, ...], ...]


@dataclass(frozen=True, slots=True)
class Apply:
    """A named gate. The first of `qubits` is the most significant one of its matrix: the control, if it has one."""

    name: str
    qubits: tuple[int, ...]
    angles: tuple[Angle, ...] = ()

    @property
    def gate(self) -> Gate | Turn | Composite:
        return GATES[self.name]


@dataclass(frozen=True, slots=True)
class Unitary:
    """A gate given by its matrix."""

    qubits: tuple[int, ...]
    rows: Rows

    @property
    def matrix(self) -> Matrix:
        """(2^k, 2^k) complex128"""
        return np.array(self.rows, np.complex128)

    @classmethod
    def of(cls, matrix: Matrix, qubits: tuple[int, ...]) -> Unitary:
        assert is_unitary(matrix)
        return cls(qubits, tuple(tuple(complex(entry) for entry in row) for row in matrix))


@dataclass(frozen=True, slots=True)
class Noise:
    """A channel on one qubit."""

    qubits: tuple[int]
    channel: Channel


@dataclass(frozen=True, slots=True)
class Measure:
    """A measurement in the middle, in the Z basis."""

    qubits: tuple[int]


@dataclass(frozen=True, slots=True)
class Reset:
    """Back to |0>."""

    qubits: tuple[int]


Operation: TypeAlias = "Apply | Unitary | Noise | Measure | Reset"


def simple(operation: Apply) -> list[Apply]:
    """The operation, or what it is composed of."""
    gate = operation.gate
    if not isinstance(gate, Composite):
        return [operation]
    return [Apply(name, operation.qubits, (operation.angles[which],)) for name, which in gate.parts]


def name_of(operation: Operation) -> str:
    return operation.name if isinstance(operation, Apply) else type(operation).__name__.lower()


def inverted(operation: Operation) -> Apply | Unitary:
    """What undoes it. Raises ArgumentError for what is no gate."""
    if isinstance(operation, Unitary):
        return Unitary.of(operation.matrix.conj().T, operation.qubits)
    if not isinstance(operation, Apply):
        raise ArgumentError(f"a {name_of(operation)} has no inverse", subject="circuit")
    gate = operation.gate
    if isinstance(gate, Turn):
        return Apply(operation.name, operation.qubits, (-operation.angles[0],))
    if isinstance(gate, Composite):  # u: the parts turned back, in the other order
        theta, phi, lam = operation.angles
        return Apply(operation.name, operation.qubits, (-theta, -lam, -phi))
    if gate.inverse is not None:
        return Apply(gate.inverse, operation.qubits)
    return Unitary.of(gate.matrix.conj().T, operation.qubits)


def moved(operation: Operation, places: Sequence[int]) -> Operation:
    """The same on other qubits: what was on qubit i is on places[i]."""
    qubits = tuple(places[qubit] for qubit in operation.qubits)
    if isinstance(operation, Apply):
        return Apply(operation.name, qubits, operation.angles)
    if isinstance(operation, Unitary):
        return Unitary(qubits, operation.rows)
    if isinstance(operation, Noise):
        return Noise((qubits[0],), operation.channel)
    return type(operation)((qubits[0],))


_MEASURED: Final = np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]]], np.complex128)
_EMPTIED: Final = np.array([[[1, 0], [0, 0]], [[0, 1], [0, 0]]], np.complex128)


def kraus_of(operation: Noise | Measure | Reset) -> NDArray[np.complex128]:
    """(k, 2, 2): of a measurement, one for each outcome, 0 first."""
    if isinstance(operation, Noise):
        return operation.channel.kraus()
    return _MEASURED if isinstance(operation, Measure) else _EMPTIED
