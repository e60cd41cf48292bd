"""Circuits with noise in plain Torch operations: density matrices, differentiable as often as wanted.

A batch is (batch, 4^n): four entries a qubit, as those of a pure state are two, the bits of row and column in
turn. Up to the first channel the state is pure and runs as one. Nothing is recomputed on the way back, so that
each stage keeps its matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import takewhile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.density import check_size, on_both
from qstore_db.quantum.observables import Observable
from qstore_db.quantum.operations import Measure, Noise, Reset
from qstore_db.quantum.torch_path import TorchProgram, full_precision
from qstore_db.quantum.torch_readout import in_turn
from qstore_db.quantum.torch_stages import (
    Channels,
    Layer,
    Matrices,
    Shuffle,
    Stage,
    applied,
    fused,
    matrix_of,
    turned,
)


class DensityProgram(TorchProgram):
    """As `TorchProgram`, for circuits with channels, measurements and resets too.

    Measurements act as the average over what they give. Raises ArgumentError beyond 10 qubits.
    """

    def __init__(self, circuit: Circuit, observables: Sequence[Observable]) -> None:
        check_size(circuit.n_qubits)
        super().__init__(circuit, observables)

    def values(self, parameters: Tensor, data: Tensor, states: Tensor | None = None) -> Tensor:
        with full_precision(parameters.device):
            found = self._readout.mixed_values(self._run(parameters, data, states))
        return found.expand(len(data), -1)

    def states(self, parameters: Tensor, data: Tensor, states: Tensor | None = None) -> Tensor:
        """(batch, 2^n, 2^n) density matrices at the end of the circuit."""
        with full_precision(parameters.device):
            found = self._run(parameters, data, states)
        bits = found.reshape(-1, *(2,) * (2 * self.n_qubits))
        rows = range(1, 2 * self.n_qubits, 2)
        apart = bits.permute(0, *rows, *(row + 1 for row in rows))
        return apart.reshape(-1, 1 << self.n_qubits, 1 << self.n_qubits).expand(len(data), -1, -1)

    def _run(self, parameters: Tensor, data: Tensor, states: Tensor | None) -> Tensor:
        self._check_memory(2 * self.n_qubits, parameters, data, states)
        tables = self._tables.matrices(parameters, data)
        pure = list(takewhile(lambda stage: not isinstance(stage, Channels), self._stages))
        rho = self._product(self._pure(pure, tables, parameters, states))
        for stage in self._stages[len(pure) :]:
            rho = self._after(stage, rho, tables)
        return rho

    def _product(self, psi: Tensor) -> Tensor:
        """The density matrices of pure states."""
        n = self.n_qubits
        both = (psi.unsqueeze(2) * psi.conj().unsqueeze(1)).reshape(-1, *(2,) * (2 * n))
        by_qubit = [axis for qubit in range(1, n + 1) for axis in (qubit, qubit + n)]
        return both.permute(0, *by_qubit).flatten(1)

    def _after(self, stage: Stage, rho: Tensor, tables: Matrices) -> Tensor:
        if isinstance(stage, Layer):
            its = fused(stage, tables)
            both = torch.einsum("bqij,bqkl->bqikjl", its, its.conj()).reshape(*its.shape[:2], 4, 4)
            return turned(rho, both, list(stage.gates), self.n_qubits)
        if isinstance(stage, Channels):
            whole = np.array(list(stage.matrices.values()))
            matrices = self._constants(id(stage), whole, rho.device, rho.dtype).unsqueeze(0)
            return turned(rho, matrices, list(stage.matrices), self.n_qubits)
        if isinstance(stage, Shuffle):
            return self._moved(rho, id(stage), partial(_on_rows_and_columns, stage.index))
        matrix = matrix_of(stage.source, len(stage.qubits), tables)
        rho = applied(rho, matrix, [2 * qubit for qubit in stage.qubits])
        return applied(rho, matrix.conj(), [2 * qubit + 1 for qubit in stage.qubits])

    def _add_channel(self, stages: list[Stage], step: Noise | Measure | Reset) -> None:
        if not (stages and isinstance(stages[-1], Channels)):
            stages.append(Channels({}))
        matrices, qubit = stages[-1].matrices, step.qubits[0]  # type: ignore[union-attr]
        matrices[qubit] = on_both(step) @ matrices[qubit] if qubit in matrices else on_both(step)


def _on_rows_and_columns(index: NDArray[np.int64]) -> NDArray[np.int64]:
    here, found = np.arange(len(index)), np.empty(len(index) ** 2, np.int64)
    found[in_turn(here[:, np.newaxis], here)] = in_turn(index[:, np.newaxis], index)
    return found
