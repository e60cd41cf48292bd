"""Expectation values in plain Torch operations: on any device, differentiable as often as wanted.

It is the way where Numba is missing, on GPUs, and for second derivatives. A batch of states is (batch, 2^n),
complex; qubit 0 is the most significant bit. What does not depend on the input has a batch of 1 and is
computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qstore_db.errors import ArgumentError
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.gates import Composite, Gate, Matrix, Turn
from qstore_db.quantum.observables import Observable, check_observables
from qstore_db.quantum.operations import Apply, Operation, Unitary
from qstore_db.quantum.torch_readout import Readout, moved_by
from qstore_db.quantum.torch_tables import Constants, Tables

SHARED_WIDTH, OWN_WIDTH = 4, 2
"""Neighbouring qubits whose gates become one matrix: where all samples share it, and where each has its own."""


@dataclass(frozen=True, slots=True)
class _Turning:
    """Where a turned gate's matrix is found: which row of the table of its size, shared or of each sample."""

    row: int
    own: bool


_Source: TypeAlias = "_Turning | int"
"""An integer is a row of the fixed matrices of that size."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """Gates on one qubit each: of every qubit touched, in the order in which they act."""

    gates: dict[int, list[_Source]]


@dataclass(frozen=True, slots=True)
class _Shuffle:
    """Gates that only move amplitudes, in one: new[i] = old[index[i]]."""

    index: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Wide:
    """A gate on several qubits."""

    qubits: tuple[int, ...]
    source: _Source


_Stage: TypeAlias = "_Layer | _Shuffle | _Wide"


class TorchProgram:
    """A circuit and what is read from it. Computes in the precision of `parameters`, float32 or float64.

    Raises ArgumentError for circuits with channels, measurements or resets.
    """

    def __init__(self, circuit: Circuit, observables: Sequence[Observable]) -> None:
        check_observables(observables, circuit.n_qubits)
        self.n_qubits = circuit.n_qubits
        self._fixed: dict[int, list[Matrix]] = {}
        self._turns: dict[tuple[int, bool], list[Apply]] = {}
        self._stages = self._compiled(circuit)
        self._tables = Tables(circuit, self._fixed, self._turns)
        self._readout = Readout(observables, circuit.n_qubits)
        self._constants = Constants()

    def values(self, parameters: Tensor, data: Tensor, states: Tensor | None = None) -> Tensor:
        """(batch, n_observables).

        parameters: (n_parameters,), radians. data: (batch, n_slots). states: (batch, 2^n), real or complex,
        to begin with instead of |0...0>.
        """
        with full_precision(parameters.device):
            found = self._readout.values(self._run(parameters, data, states))
        return found.expand(len(data), -1)

    def states(self, parameters: Tensor, data: Tensor, states: Tensor | None = None) -> Tensor:
        """(batch, 2^n) at the end of the circuit."""
        with full_precision(parameters.device):
            return self._run(parameters, data, states).expand(len(data), -1)

    def _run(self, parameters: Tensor, data: Tensor, states: Tensor | None) -> Tensor:
        tables = self._tables.matrices(parameters, data)
        real = parameters.dtype
        kind = torch.complex64 if real == torch.float32 else torch.complex128
        psi = None if states is None else states.to(kind)
        for stage in self._stages:
            if isinstance(stage, _Layer) and psi is None:
                psi = _product(_fused(stage, tables), list(stage.gates), self.n_qubits, kind)
                continue
            if psi is None:
                psi = _product(None, [], self.n_qubits, kind, parameters.device)
            if isinstance(stage, _Layer):
                psi = _turned(psi, _fused(stage, tables), list(stage.gates), self.n_qubits)
            elif isinstance(stage, _Shuffle):
                psi = self._moved(psi, stage)
            else:
                psi = _applied(psi, _matrix(stage.source, len(stage.qubits), tables), stage.qubits)
        return _product(None, [], self.n_qubits, kind, parameters.device) if psi is None else psi

    def _moved(self, psi: Tensor, stage: _Shuffle) -> Tensor:
        index = self._constants(id(stage), stage.index, psi.device, torch.int64)
        inverse = self._constants((id(stage), "back"), np.argsort(stage.index), psi.device, torch.int64)
        return moved_by(psi, index, inverse)

    # Made once

    def _compiled(self, circuit: Circuit) -> list[_Stage]:
        stages: list[_Stage] = []
        for step in circuit.steps:
            if len(step.qubits) == 1:
                source = self._source(step)
                if not (stages and isinstance(stages[-1], _Layer)):
                    stages.append(_Layer({}))
                layer = stages[-1]
                assert isinstance(layer, _Layer)
                layer.gates.setdefault(step.qubits[0], []).append(source)
            elif (places := _places(step)) is not None:
                before = np.arange(1 << circuit.n_qubits)
                if stages and isinstance(stages[-1], _Shuffle):
                    before = stages.pop().index  # type: ignore[union-attr]
                stages.append(_Shuffle(_shuffled(before, places, step.qubits)))
            else:
                stages.append(_Wide(step.qubits, self._source(step)))
        return stages

    def _source(self, step: Operation) -> _Source:
        size = len(step.qubits)
        fixed = self._fixed.setdefault(size, [np.eye(1 << size, dtype=np.complex128)])
        if isinstance(step, Unitary):
            fixed.append(step.matrix)
            return len(fixed) - 1
        if not isinstance(step, Apply):
            raise ArgumentError(
                f"a circuit with {type(step).__name__.lower()} has no state vector", subject="circuit"
            )
        gate = step.gate
        assert not isinstance(gate, Composite), "composed gates were taken apart"
        if isinstance(gate, Gate):
            fixed.append(gate.matrix)
            return len(fixed) - 1
        own = any(isinstance(symbol, int) for symbol, _ in step.angles[0].terms)
        rows = self._turns.setdefault((size, own), [])
        rows.append(step)
        return _Turning(len(rows) - 1, own)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Without autocast and, on GPUs, without TF32: amplitudes need all of their digits."""
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        matmul = torch.backends.cuda.matmul
        before, matmul.allow_tf32 = matmul.allow_tf32, False
        try:
            yield
        finally:
            matmul.allow_tf32 = before


def _places(step: Operation) -> NDArray[np.int64] | None:
    """For a gate that only moves amplitudes, from where each comes."""
    if not isinstance(step, Apply) or isinstance(step.gate, (Turn, Composite)):
        return None
    matrix = step.gate.matrix
    return matrix.argmax(axis=1) if np.isin(matrix, (0, 1)).all() else None


def _shuffled(before: NDArray[np.int64], places: NDArray[np.int64], qubits: Sequence[int]) -> Any:
    n_qubits = len(before).bit_length() - 1
    front = range(len(qubits))
    apart = np.moveaxis(before.reshape((2,) * n_qubits), qubits, front)
    turned = apart.reshape(len(places), -1)[places].reshape(apart.shape)
    return np.moveaxis(turned, front, qubits).reshape(-1)


# Applied to states

_Matrices: TypeAlias = "dict[tuple[int, bool | None], Tensor]"
"""By number of qubits and whether each sample has its own (None: fixed): (1 or batch, rows, 2^k, 2^k)."""


def _matrix(source: _Source, size: int, tables: _Matrices) -> Tensor:
    if isinstance(source, int):
        return tables[size, None][:, source]
    return tables[size, source.own][:, source.row]


def _fused(layer: _Layer, tables: _Matrices) -> Tensor:
    """(1 or batch, touched qubits, 2, 2): the gates of each qubit in one, by few operations for all qubits."""
    longest = max(map(len, layer.gates.values()))
    rows = [gates + [0] * (longest - len(gates)) for gates in layer.gates.values()]
    product: Tensor | None = None
    for column in zip(*rows, strict=True):
        matrices = _stacked(column, tables)
        product = matrices if product is None else matrices @ product
    assert product is not None
    return product


def _stacked(column: Sequence[_Source], tables: _Matrices) -> Tensor:
    kinds = [source.own if isinstance(source, _Turning) else None for source in column]
    rows = [source.row if isinstance(source, _Turning) else source for source in column]
    parts, order = [], []
    for kind in dict.fromkeys(kinds):
        places = [place for place, its in enumerate(kinds) if its is kind]
        parts.append(tables[1, kind][:, [rows[place] for place in places]])
        order += places
    if len(parts) == 1:
        return parts[0]
    batch = max(map(len, parts))
    return torch.cat([part.expand(batch, -1, -1, -1) for part in parts], dim=1)[:, np.argsort(order).tolist()]


def _product(
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


def _turned(psi: Tensor, matrices: Tensor, qubits: Sequence[int], n_qubits: int) -> Tensor:
    """With a matrix on each of the qubits; neighbours go together."""
    width = SHARED_WIDTH if len(matrices) == 1 else OWN_WIDTH
    for run in _runs(sorted(qubits), width):
        together = matrices[:, qubits.index(run[0])]
        for qubit in run[1:]:
            its = matrices[:, qubits.index(qubit)]
            size = 2 * together.shape[-1]
            together = torch.einsum("bij,bkl->bikjl", together, its).reshape(-1, size, size)
        right = 1 << (n_qubits - 1 - run[-1])
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


def _applied(psi: Tensor, matrices: Tensor, qubits: Sequence[int]) -> Tensor:
    """With (1 or batch, 2^k, 2^k) matrices on any k qubits."""
    n_qubits = psi.shape[1].bit_length() - 1
    axes, front = [1 + qubit for qubit in qubits], list(range(1, 1 + len(qubits)))
    apart = psi.reshape(-1, *(2,) * n_qubits).movedim(axes, front)
    turned = matrices @ apart.reshape(len(psi), 1 << len(qubits), -1)
    return turned.reshape(-1, *(2,) * n_qubits).movedim(front, axes).flatten(1)
