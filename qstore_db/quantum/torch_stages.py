"""What compiled circuits are made of, and what each part does to a batch of Torch states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qstore_db.quantum.gates import Composite, Matrix, Turn
from qstore_db.quantum.operations import Apply, Operation

SHARED_WIDTH, OWN_WIDTH = 4, 2
"""Neighbouring qubits whose gates become one matrix: where all samples share it, and where each has its own."""


@dataclass(frozen=True, slots=True)
class Turning:
    """Where a turned gate's matrix is found: which row of the table of its size, shared or of each sample."""

    row: int
    own: bool


Source: TypeAlias = "Turning | int"
"""An integer is a row of the fixed matrices of that size."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Gates on one qubit each: of every qubit touched, in the order in which they act."""

    gates: dict[int, list[Source]]


@dataclass(frozen=True, slots=True)
class Shuffle:
    """Gates that only move amplitudes, in one: new[i] = old[index[i]]."""

    index: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Wide:
    """A gate on several qubits."""

    qubits: tuple[int, ...]
    source: Source


@dataclass(frozen=True, slots=True)
class Channels:
    """Noise: of each qubit touched, what it does to the four entries of its density matrix."""

    matrices: dict[int, Matrix]


Stage: TypeAlias = "Layer | Shuffle | Wide | Channels"


def sources_of(step: Operation) -> NDArray[np.int64] | None:
    """For a gate that only moves amplitudes, from where each comes."""
    if not isinstance(step, Apply) or isinstance(step.gate, (Turn, Composite)):
        return None
    matrix = step.gate.matrix
    return matrix.argmax(axis=1) if np.isin(matrix, (0, 1)).all() else None


def shuffled(before: NDArray[np.int64], sources: NDArray[np.int64], qubits: Sequence[int]) -> Any:
    """(2^n,): from where amplitudes come after a gate with these sources, `before` which they were moved."""
    n_qubits = len(before).bit_length() - 1
    front = range(len(qubits))
    apart = np.moveaxis(before.reshape((2,) * n_qubits), qubits, front)
    turned = apart.reshape(len(sources), -1)[sources].reshape(apart.shape)
    return np.moveaxis(turned, front, qubits).reshape(-1)


# Applied to states: batches (batch, 2^n)

Matrices: TypeAlias = "dict[tuple[int, bool | None], Tensor]"
"""By number of qubits and whether each sample has its own (None: fixed): (1 or batch, rows, 2^k, 2^k)."""


def copies_kept(stage: Stage) -> int:
    """How many states are kept for the way back, at most."""
    if isinstance(stage, Layer):
        return -(-len(stage.gates) // OWN_WIDTH)
    return len(stage.matrices) if isinstance(stage, Channels) else 1


def matrix_of(source: Source, size: int, tables: Matrices) -> Tensor:
    if isinstance(source, int):
        return tables[size, None][:, source]
    return tables[size, source.own][:, source.row]


def fused(layer: Layer, tables: Matrices) -> Tensor:
    """(1 or batch, touched qubits, 2, 2): the gates of each qubit in one, by few operations for all qubits."""
    longest = max(map(len, layer.gates.values()))
    rows = [gates + [0] * (longest - len(gates)) for gates in layer.gates.values()]
    product: Tensor | None = None
    for column in zip(*rows, strict=True):
        matrices = _stacked(column, tables)
        product = matrices if product is None else matrices @ product
    assert product is not None
    return product


def _stacked(column: Sequence[Source], tables: Matrices) -> Tensor:
    kinds = [source.own if isinstance(source, Turning) else None for source in column]
    rows = [source.row if isinstance(source, Turning) else source for source in column]
    parts, order = [], []
    for kind in dict.fromkeys(kinds):
        places = [place for place, its in enumerate(kinds) if its is kind]
        parts.append(tables[1, kind][:, [rows[place] for place in places]])
        order += places
    if len(parts) == 1:
        return parts[0]
    batch = max(map(len, parts))
    return torch.cat([part.expand(batch, -1, -1, -1) for part in parts], dim=1)[:, np.argsort(order).tolist()]


def product(
    matrices: Tensor | None,
    qubits: Sequence[int],
    n_qubits: int,
    kind: torch.dtype,
    device: torch.device | None = None,
) -> Tensor:
    """(1 or batch, 2^n): what the gates of a first layer make of |0...0>."""
    if matrices is None:
        psi = torch.zeros(1, 1 << n_qubits, dtype=kind, device=device)
        psi[0, 0] = 1.0
        return psi
    zero = torch.eye(2, dtype=kind, device=matrices.device)[:1]
    psi = torch.ones(1, 1, dtype=kind, device=matrices.device)
    for qubit in range(n_qubits):
        factor = matrices[:, qubits.index(qubit), :, 0] if qubit in qubits else zero
        psi = (psi.unsqueeze(2) * factor.unsqueeze(1)).flatten(1)
    return psi


def turned(psi: Tensor, matrices: Tensor, qubits: Sequence[int], n_qubits: int) -> Tensor:
    """With a matrix on each of the qubits; neighbours go together.

    matrices: (1 or batch, len(qubits), d, d), of states psi (1 or batch, d^n): 2 entries a qubit, or 4 of a density
    matrix.
    """
    entries = matrices.shape[-1]
    width = (SHARED_WIDTH if len(matrices) == 1 else OWN_WIDTH) * 2 // entries
    for run in _runs(sorted(qubits), width):
        together = matrices[:, qubits.index(run[0])]
        for qubit in run[1:]:
            its = matrices[:, qubits.index(qubit)]
            size = entries * together.shape[-1]
            together = torch.einsum("bij,bkl->bikjl", together, its).reshape(-1, size, size)
        right = entries ** (n_qubits - 1 - run[-1])
        apart = psi.reshape(len(psi), -1, together.shape[-1], right)
        factor = together[0] if len(together) == 1 else together.unsqueeze(1)
        psi = (factor @ apart).flatten(1)
    return psi


def _runs(qubits: Sequence[int], width: int) -> list[list[int]]:
    runs: list[list[int]] = []
    for qubit in qubits:
        if runs and runs[-1][-1] == qubit - 1 and len(runs[-1]) < width:
            runs[-1].append(qubit)
        else:
            runs.append([qubit])
    return runs


def applied(psi: Tensor, matrices: Tensor, qubits: Sequence[int]) -> Tensor:
    """With (1 or batch, 2^k, 2^k) matrices on any k qubits."""
    n_qubits = psi.shape[1].bit_length() - 1
    axes, front = [1 + qubit for qubit in qubits], list(range(1, 1 + len(qubits)))
    apart = psi.reshape(-1, *(2,) * n_qubits).movedim(axes, front)
    turned = matrices @ apart.reshape(len(psi), 1 << len(qubits), -1)
    return turned.reshape(-1, *(2,) * n_qubits).movedim(front, axes).flatten(1)
