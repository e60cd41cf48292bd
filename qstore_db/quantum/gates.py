"""The gates: their matrices, and for those that turn by an angle, their generators.

Qubit 0 of a gate, and of a state, is the most significant bit, as in PennyLane and Cirq. A gate with one angle is
U(theta) = exp(-i theta G) with a Hermitian generator G whose eigenvalues say how its gradient is found by shifts:
where they differ by 1 at most, two evaluations suffice, otherwise four.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[Any]
"""complex128"""

_I = np.eye(2, dtype=np.complex128)
_X = np.array([[0, 1], [1, 0]], np.complex128)
_Y = np.array([[0, -1j], [1j, 0]])
_Z = np.diag([1, -1]).astype(np.complex128)
_ONE = np.diag([0, 1]).astype(np.complex128)
"""|1><1|"""
PAULIS: Final[Mapping[str, Matrix]] = MappingProxyType({"I": _I, "X": _X, "Y": _Y, "Z": _Z})


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """A gate that is always the same: (2^n, 2^n) `matrix`."""

    name: str
    n_qubits: int
    matrix: Matrix
    inverse: str | None = None
    """The name of its inverse, where that has one."""


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A gate exp(-i theta G), `theta` in radians."""

    name: str
    n_qubits: int
    generator: Matrix
    """(2^n, 2^n), Hermitian."""
    levels: NDArray[np.float64]
    """(k,) the distinct eigenvalues of the generator."""
    projectors: Matrix
    """(k, 2^n, 2^n) onto the eigenspace of each."""

    def matrices(self, angles: NDArray[np.float64]) -> Matrix:
        """(..., 2^n, 2^n) for angles (...,)."""
        phases = np.exp(-1j * angles[..., np.newaxis] * self.levels)
        matrices: Matrix = np.einsum("...k,kij->...ij", phases, self.projectors)
        return matrices

    @property
    def frequencies(self) -> tuple[float, ...]:
        """The distinct positive differences of the eigenvalues: what <O> as a function of theta is made of."""
        gaps = np.abs(self.levels[:, np.newaxis] - self.levels)
        return tuple(sorted({float(gap) for gap in np.round(gaps, 12).ravel() if gap > 0}))


@dataclass(frozen=True, slots=True, eq=False)
class Composite:
    """A gate that is others in a row: of each the name and which angle is its own."""

    name: str
    n_qubits: int
    n_angles: int
    parts: tuple[tuple[str, int], ...]
    """The first acts first."""


def _controlled(matrix: Matrix) -> Matrix:
    whole = np.eye(2 * len(matrix), dtype=np.complex128)
    whole[len(matrix) :, len(matrix) :] = matrix
    return whole


def word_matrix(word: str) -> Matrix:
    """The tensor product of the Pauli matrices of a word, as `ZIX`."""
    matrix: Matrix = np.eye(1, dtype=np.complex128)
    for letter in word:
        matrix = np.kron(matrix, PAULIS[letter])
    return matrix


def _turn(name: str, generator: Matrix) -> Turn:
    values, vectors = np.linalg.eigh(generator)
    # Every generator here has eigenvalues that are multiples of a half; what eigh adds to them is rounding.
    values = np.round(2 * values) / 2
    levels = np.unique(values)
    projectors = np.array(
        [vectors[:, values == level] @ vectors[:, values == level].conj().T for level in levels]
    )
    return Turn(name, int(np.log2(len(generator))), generator, levels, projectors)


def _gates() -> dict[str, Gate | Turn | Composite]:
    h = (_X + _Z) * np.sqrt(0.5)
    s, t = np.diag([1, 1j]), np.diag([1, np.exp(0.25j * np.pi)])
    sx = 0.5 * np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]])
    swap = np.eye(4, dtype=np.complex128)[[0, 2, 1, 3]]
    iswap = np.diag([1, 1j, 1j, 1]) @ swap
    fixed: list[tuple[str, Matrix, str | None]] = [
        ("x", _X, "x"),
        ("y", _Y, "y"),
        ("z", _Z, "z"),
        ("h", h, "h"),
        ("s", s, "sdg"),
        ("sdg", s.conj(), "s"),
        ("t", t, "tdg"),
        ("tdg", t.conj(), "t"),
        ("sx", sx, None),
        ("cx", _controlled(_X), "cx"),
        ("cy", _controlled(_Y), "cy"),
        ("cz", _controlled(_Z), "cz"),
        ("ch", _controlled(h), "ch"),
        ("swap", swap, "swap"),
        ("iswap", iswap, None),
        ("ccx", _controlled(_controlled(_X)), "ccx"),
    ]
    turning: list[tuple[str, Matrix]] = [
        ("rx", 0.5 * _X),
        ("ry", 0.5 * _Y),
        ("rz", 0.5 * _Z),
        ("p", -_ONE),
        ("crx", 0.5 * np.kron(_ONE, _X)),
        ("cry", 0.5 * np.kron(_ONE, _Y)),
        ("crz", 0.5 * np.kron(_ONE, _Z)),
        ("cp", -np.kron(_ONE, _ONE)),
        ("rxx", 0.5 * word_matrix("XX")),
        ("ryy", 0.5 * word_matrix("YY")),
        ("rzz", 0.5 * word_matrix("ZZ")),
    ]
    every: list[Gate | Turn | Composite] = [
        *(Gate(name, int(np.log2(len(matrix))), matrix, inverse) for name, matrix, inverse in fixed),
        *(_turn(name, generator) for name, generator in turning),
        # u(theta, phi, lambda) = P(phi) RY(theta) P(lambda), as in Qiskit; OpenQASM 3 has another global phase.
        Composite("u", 1, 3, (("p", 2), ("ry", 0), ("p", 1))),
    ]
    return {gate.name: gate for gate in every}


GATES: Final[Mapping[str, Gate | Turn | Composite]] = MappingProxyType(_gates())
"""All gates with a name."""


def is_unitary(matrix: NDArray[Any], tolerance: float = 1e-9) -> bool:
    return bool(np.allclose(matrix @ matrix.conj().T, np.eye(len(matrix)), atol=tolerance, rtol=0))
