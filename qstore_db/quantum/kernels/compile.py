"""A lowered circuit and its observables as the arrays that the compiled code reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.quantum.angles import Angle
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.gates import Matrix
from qstore_db.quantum.kernels import run
from qstore_db.quantum.kernels.lanes import VECTOR_BYTES
from qstore_db.quantum.kernels.lowering import (
    Diagonal,
    Layer,
    Lowered,
    One,
    Permutation,
    Rotation,
    Sources,
    lowered,
)
from qstore_db.quantum.kernels.product import FIXED
from qstore_db.quantum.kernels.run import Tables
from qstore_db.quantum.observables import Observable, terms_of


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """Angles as affine functions of the parameters: constants (k,), and terms that add factor * parameter."""

    constants: NDArray[np.float64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    factors: NDArray[np.float64]

    @classmethod
    def of(cls, angles: Sequence[Angle], names: Sequence[str]) -> Affine:
        places = {name: place for place, name in enumerate(names)}
        terms = [
            (row, places[symbol], factor)
            for row, angle in enumerate(angles)
            for symbol, factor in angle.terms
            if isinstance(symbol, str)
        ]
        return cls(
            np.array([angle.constant for angle in angles], np.float64),
            np.array([row for row, _, _ in terms], np.int64),
            np.array([column for _, column, _ in terms], np.int64),
            np.array([factor for _, _, factor in terms], np.float64),
        )

    def at(self, parameters: NDArray[Any]) -> NDArray[np.float64]:
        """(k,) radians."""
        if not len(self.rows):
            return self.constants
        moved = np.bincount(self.rows, self.factors * parameters[self.columns], len(self.constants))
        return self.constants + moved

    def pulled(self, slopes: NDArray[np.float64], n_parameters: int) -> NDArray[np.float64]:
        """(n_parameters,): the slopes of the parameters from those of the angles."""
        if not len(self.rows):
            return np.zeros(n_parameters)
        pulled = np.bincount(self.columns, self.factors * slopes[self.rows], n_parameters)
        return pulled.astype(np.float64, copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A circuit and its observables, ready to be run."""

    tables: Tables
    size: int
    angles: Affine
    """Shared ones of layers; from `first_diagonal` on those of all diagonals, from `first_own` on the own ones."""
    first_diagonal: int
    first_own: int
    fits_in_lanes: bool
    """Whether one sample alone may lie inside of vectors."""


def compiled_circuit(
    circuit: Circuit, observables: Sequence[Observable], dtype: np.dtype[Any], *, from_states: bool
) -> Compiled:
    """Raises ArgumentError for circuits without a state vector."""
    low = lowered(circuit, from_states=from_states)
    strings, entries, factors = _strings(observables, circuit.n_qubits)
    last: Sources = np.empty(0, np.int32)
    if low.steps and isinstance(low.steps[-1], Permutation) and not any(flip for flip, _, _ in strings):
        last = low.steps[-1].sources
        del low.steps[-1]
    builder = _Builder(low)
    masks = [string for string in strings if string[0] == 0]
    others = [string for string in strings if string[0] != 0]
    order = {string: place for place, string in enumerate([*masks, *others])}
    own = builder.own
    slot_terms = [
        (row, symbol, factor)
        for row, angle in enumerate(own)
        for symbol, factor in angle.terms
        if isinstance(symbol, int)
    ]
    tables = Tables(
        ops=np.array(builder.ops, np.int64).reshape(-1, 5),
        bits=np.array(builder.bits, np.int64),
        sources=np.array(builder.sources, np.int32).reshape(-1, 2, 1 << circuit.n_qubits),
        masks_of=np.array([mask for each in builder.diagonals for mask in each], np.int64),
        diagonals=np.cumsum([0, *map(len, builder.diagonals)], dtype=np.int64),
        joint=_joint(builder.diagonals),
        gates=_gates(builder.gates, dtype),
        inverses=_gates([gate.conj().T for gate in builder.gates], dtype),
        kinds=np.array(builder.kinds, np.int64),
        which=np.array(builder.which, np.int64),
        starts=np.array(builder.starts, np.int64),
        last=last,
        single=all(mask & (mask - 1) == 0 for _, mask, _ in masks),
        masks=np.array([mask for _, mask, _ in masks], np.int64),
        others=np.array(others, np.int64).reshape(-1, 3),
        entries=np.array([(o, order[s]) for o, s in entries], np.int64).reshape(-1, 2),
        factors=np.array(factors, dtype),
        slot_terms=np.array([(row, slot) for row, slot, _ in slot_terms], np.int64).reshape(-1, 2),
        slot_factors=np.array([factor for _, _, factor in slot_terms], dtype),
    )
    in_diagonals = [angle for each in builder.diagonals for angle in each.values()]
    in_lanes = (VECTOR_BYTES // dtype.itemsize).bit_length() - 1
    return Compiled(
        tables,
        1 << circuit.n_qubits,
        Affine.of([*builder.layer_angles, *in_diagonals, *own], circuit.parameters),
        len(builder.layer_angles),
        len(builder.layer_angles) + len(in_diagonals),
        circuit.n_qubits >= in_lanes and not low.joins_two(),
    )


class _Builder:
    """Numbers for the steps, and lists of what they refer to."""

    def __init__(self, low: Lowered) -> None:
        self.ops: list[tuple[int, int, int, int, int]] = []
        self.bits: list[int] = []
        self.layer_angles: list[Angle] = []
        self.diagonals: list[dict[int, Angle]] = []
        self.sources: list[tuple[Sources, Sources]] = []
        self.gates: list[Matrix] = []
        self.own: list[Angle] = []
        self.kinds: list[int] = []
        self.which: list[int] = []
        self.starts = [0]
        for chain in low.chains:
            for link in chain:
                if isinstance(link, tuple):
                    self.kinds.append(link[0])
                    self.which.append(self._own(link[1]))
                else:
                    self.kinds.append(FIXED)
                    self.which.append(self._gate(link))
            self.starts.append(len(self.kinds))
        for step in low.steps:
            self.ops.append(self._op(step))

    def _op(self, step: Any) -> tuple[int, int, int, int, int]:
        if isinstance(step, Layer):
            first = len(self.bits)
            for bit in sorted(step.angles):
                self.bits.append(bit)
                self.layer_angles.append(step.angles[bit])
            return run.LAYER, first, len(self.bits), 0, 0
        if isinstance(step, Diagonal):
            self.diagonals.append(step.angles)
            return run.DIAGONAL, len(self.diagonals) - 1, 0, 0, 0
        if isinstance(step, Permutation):
            return run.PERMUTATION, self._permutation(step.sources), 0, 0, 0
        if isinstance(step, Rotation):
            return run.TURN, self._own(step.angle), step.flip, step.sign, step.ys
        if isinstance(step, One):
            return run.ONE, step.bit, self._gate(step.matrix), 0, 0
        return run.TWO, step.high, step.low, self._gate(step.matrix), 0

    def _permutation(self, sources: Sources) -> int:
        """Layers often have the same."""
        for place, (known, _) in enumerate(self.sources):
            if np.array_equal(known, sources):
                return place
        back = np.empty_like(sources)
        back[sources] = np.arange(len(sources), dtype=sources.dtype)
        self.sources.append((sources, back))
        return len(self.sources) - 1

    def _own(self, angle: Angle) -> int:
        self.own.append(angle)
        return len(self.own) - 1

    def _gate(self, matrix: Matrix) -> int:
        whole = np.zeros((4, 4), np.complex128)
        whole[: len(matrix), : len(matrix)] = matrix
        self.gates.append(whole)
        return len(self.gates) - 1


def _joint(diagonals: Sequence[Mapping[int, Angle]]) -> NDArray[np.int64]:
    """A number for each that has a Z on several qubits, else -1."""
    found, count = np.full(len(diagonals), -1, np.int64), 0
    for place, masks in enumerate(diagonals):
        if any(mask & (mask - 1) for mask in masks):
            found[place] = count
            count += 1
    return found


def _gates(gates: Sequence[Matrix], dtype: np.dtype[Any]) -> NDArray[Any]:
    whole = np.array(gates, np.complex128).reshape(-1, 4, 4)
    return np.ascontiguousarray(np.stack([whole.real, whole.imag], axis=-1).astype(dtype))


_String = tuple[int, int, int]
"""Flip, sign, and how many Y."""


def _strings(
    observables: Sequence[Observable], n_qubits: int
) -> tuple[list[_String], list[tuple[int, _String]], list[float]]:
    """The Pauli strings that occur, those of Z by falling mask; which observable has which, and its factors."""
    found: dict[_String, None] = {}
    entries: list[tuple[int, _String]] = []
    factors: list[float] = []
    for place, observable in enumerate(observables):
        for factor, string in terms_of(observable):
            masks = (*string.masks(n_qubits), sum(letter == "Y" for _, letter in string.factors))
            found[masks] = None
            entries.append((place, masks))
            factors.append(factor)
    return sorted(found, key=lambda masks: (masks[0], -masks[1])), entries, factors
