"""Circuits with noise in plain Torch operations: density matrices, differentiable as often as wanted.

A batch is (batch, 4^n): a state of 2 n qubits, the row's and then the column's. Up to the first channel the state is
pure and runs as one. Nothing is recomputed on the way back, so that each stage keeps its matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from torch import Tensor

from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.density import check_size, on_both
from qstore_db.quantum.observables import Observable
from qstore_db.quantum.operations import Measure, Noise, Reset
from qstore_db.quantum.torch_path import TorchProgram, full_precision
from qstore_db.quantum.torch_stages import (
    Channels,
    Layer,
    Matrices,
    Shuffle,
    Stage,
    Wide,
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
        return found.reshape(-1, 1 << self.n_qubits, 1 << self.n_qubits).expand(len(data), -1, -1)

    def _run(self, parameters: Tensor, data: Tensor, states: Tensor | None) -> Tensor:
        self._check_memory(2 * self.n_qubits, parameters, data, states)
        tables = self._tables.matrices(parameters, data)
        pure = list(takewhile(lambda stage: not isinstance(stage, Channels), self._stages))
        psi = self._pure(pure, tables, parameters, states)
        rho = (psi.unsqueeze(2) * psi.conj().unsqueeze(1)).flatten(1)
        for stage in self._stages[len(pure) :]:
            rho = self._after(stage, rho, tables)
        return rho

    def _after(self, stage: Stage, rho: Tensor, tables: Matrices) -> Tensor:
        n = self.n_qubits
        if isinstance(stage, Layer):
            matrices, qubits = fused(stage, tables), list(stage.gates)
            rho = turned(rho, matrices, qubits, 2 * n)
            return turned(rho, matrices.conj(), [qubit + n for qubit in qubits], 2 * n)
        if isinstance(stage, Shuffle):
            both = ((stage.index[:, None] << n) + stage.index).reshape(-1)
            return self._moved(rho, id(stage), both)
        if isinstance(stage, Wide):
            matrix = matrix_of(stage.source, len(stage.qubits), tables)
            rho = applied(rho, matrix, stage.qubits)
            return applied(rho, matrix.conj(), [qubit + n for qubit in stage.qubits])
        for qubit, matrix in stage.matrices.items():
            whole = self._constants((id(stage), qubit), matrix, rho.device, rho.dtype)
            rho = applied(rho, whole, (qubit, qubit + n))
        return rho

    def _add_channel(self, stages: list[Stage], step: Noise | Measure | Reset) -> None:
        if not (stages and isinstance(stages[-1], Channels)):
            stages.append(Channels({}))
        matrices, qubit = stages[-1].matrices, step.qubits[0]  # type: ignore[union-attr]
        matrices[qubit] = on_both(step) @ matrices[qubit] if qubit in matrices else on_both(step)
