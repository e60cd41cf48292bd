"""Observables of Torch states. Those that are diagonal share one pass, those that flip the same qubits another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qstore_db.quantum.observables import Observable, PauliString, PauliSum, Projector, strings_of
from qstore_db.quantum.torch_tables import Constants


class _Moved(torch.autograd.Function):
    """new[:, i] = old[:, index[i]], whose gradient is moved back: far cheaper than adding up by index."""

    @staticmethod
    def forward(states: Tensor, index: Tensor, inverse: Tensor) -> Tensor:  # noqa: ARG004
        return states.index_select(1, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        index, inverse = ctx.saved_tensors
        return moved_by(gradients[0], inverse, index), None, None


def moved_by(states: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
    found: Tensor = _Moved.apply(states, index, inverse)  # type: ignore[no-untyped-call]
    return found


def in_turn(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where entries of density matrices lie: bits of row and column in turn, those of a qubit side by side."""
    found, bits = (
        np.zeros(np.broadcast_shapes(rows.shape, columns.shape), np.int64),
        int(rows.max()).bit_length(),
    )
    for bit in range(bits):
        found |= (rows >> bit & 1) << (2 * bit + 1) | (columns >> bit & 1) << 2 * bit
    return found


class Readout:
    """Expectation values of observables on `n_qubits`."""

    def __init__(self, observables: Sequence[Observable], n_qubits: int) -> None:
        index = np.arange(1 << n_qubits)
        diagonal: dict[Observable, NDArray[Any]] = {}
        flipping: dict[int, dict[Observable, NDArray[Any]]] = {}
        for string in strings_of(observables):
            flip, sign = string.masks(n_qubits)
            signs = 1.0 - 2.0 * (np.bitwise_count(index & sign) & 1)
            if flip:
                phase = 1j ** sum(letter == "Y" for _, letter in string.factors)
                flipping.setdefault(flip, {})[string] = phase * signs
            else:
                diagonal[string] = signs
        for projector in observables:
            if isinstance(projector, Projector):
                diagonal[projector] = _kept(projector, index, n_qubits)
        self._diagonal = np.array(list(diagonal.values())).T if diagonal else None
        self._flipping = {
            flip: np.array(list(rows.values()), np.complex128).T for flip, rows in flipping.items()
        }
        read = [*diagonal, *(string for rows in flipping.values() for string in rows)]
        self._sums = _sums(observables, read)
        self._constants = Constants()
        self._index = index

    def values(self, psi: Tensor) -> Tensor:
        """(1 or batch, n_observables) of states (1 or batch, 2^n)."""

        def entries(flip: int) -> Tensor:
            if not flip:
                return psi.real.square() + psi.imag.square()
            index = self._constants(("index", flip), self._index ^ flip, psi.device, torch.int64)
            return moved_by(psi, index, index).conj() * psi

        return self._read(entries, psi)

    def mixed_values(self, rho: Tensor) -> Tensor:
        """(1 or batch, n_observables) of density matrices (1 or batch, 4^n), entries where `in_turn` says."""

        def entries(flip: int) -> Tensor:
            places = in_turn(self._index, self._index ^ flip)
            index = self._constants(("entries", flip), places, rho.device, torch.int64)
            found = rho.index_select(1, index)
            return found if flip else found.real

        return self._read(entries, rho)

    def _read(self, entries: Callable[[int], Tensor], states: Tensor) -> Tensor:
        """entries: those of the density matrices at (i, i ^ flip), real for a flip of 0."""
        device, real = states.device, states.real.dtype
        tensor, found = self._constants, []
        if self._diagonal is not None:
            found.append(entries(0) @ tensor("diagonal", self._diagonal, device, real))
        for flip, signs in self._flipping.items():
            overlap = entries(flip)
            # Re(p v) of a phase p that is 1, -1, i or -i
            found.append(
                overlap.real @ tensor(("real", flip), signs.real, device, real)
                - overlap.imag @ tensor(("imag", flip), signs.imag, device, real)
            )
        if not found:
            return states.real.new_zeros(len(states), self._sums.shape[1])
        return torch.cat(found, dim=1) @ tensor("sums", self._sums, device, real)


def _kept(projector: Projector, index: NDArray[np.int64], n_qubits: int) -> NDArray[np.float64]:
    kept = np.ones(len(index), bool)
    for qubit, bit in zip(projector.qubits, projector.bits, strict=True):
        kept &= (index >> (n_qubits - 1 - qubit) & 1) == bit
    return kept.astype(np.float64)


def _sums(observables: Sequence[Observable], read: Sequence[Observable]) -> NDArray[np.float64]:
    """(read, observables): how much of what is read each observable takes."""
    places = {its: place for place, its in enumerate(read)}
    sums = np.zeros((len(read), len(observables)))
    for column, observable in enumerate(observables):
        terms: Sequence[tuple[float, PauliString | Projector]] = (
            observable.terms if isinstance(observable, PauliSum) else ((1.0, observable),)
        )
        for factor, its in terms:
            sums[places[its], column] += factor
    return sums
