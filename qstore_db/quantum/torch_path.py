"""Expectation values in plain Torch operations: on any device, differentiable as often as wanted.

It is the way where Numba is missing, on GPUs, and for second derivatives. A batch of states is (batch, 2^n),
complex; qubit 0 is the most significant bit. What does not depend on the input has a batch of 1 and is
computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from qstore_db.errors import ArgumentError
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.gates import Composite, Gate, Matrix
from qstore_db.quantum.memory import COPIES, check_bytes, check_memory
from qstore_db.quantum.observables import Observable, check_observables, strings_of
from qstore_db.quantum.operations import Apply, Measure, Noise, Reset, Unitary
from qstore_db.quantum.torch_readout import Readout, moved_by
from qstore_db.quantum.torch_stages import (
    Layer,
    Matrices,
    Shuffle,
    Source,
    Stage,
    Turning,
    Wide,
    applied,
    copies_kept,
    fused,
    matrix_of,
    product,
    shuffled,
    sources_of,
    turned,
)
from qstore_db.quantum.torch_tables import Constants, Made, Tables, made


class TorchProgram:
    """A circuit and what is read from it. Computes in the precision of `parameters`, float32 or float64.

    Raises ArgumentError for circuits with channels, measurements or resets.
    """

    def __init__(self, circuit: Circuit, observables: Sequence[Observable]) -> None:
        check_observables(observables, circuit.n_qubits)
        check_memory(circuit.n_qubits, 1 + len(strings_of(observables)), copies=2)
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
        self._check_memory(self.n_qubits, parameters, data, states)
        return self._pure(self._stages, self._tables.matrices(parameters, data), parameters, states)

    def _pure(
        self, stages: Sequence[Stage], tables: Matrices, parameters: Tensor, states: Tensor | None
    ) -> Tensor:
        """(1 or batch, 2^n) after these stages, none of which is noise."""
        kind = torch.complex64 if parameters.dtype == torch.float32 else torch.complex128
        psi = None if states is None else states.to(kind)
        for stage in stages:
            if isinstance(stage, Layer) and psi is None:
                psi = product(fused(stage, tables), list(stage.gates), self.n_qubits, kind)
                continue
            if psi is None:
                psi = product(None, [], self.n_qubits, kind, parameters.device)
            if isinstance(stage, Layer):
                psi = turned(psi, fused(stage, tables), list(stage.gates), self.n_qubits)
            elif isinstance(stage, Shuffle):
                psi = self._moved(psi, id(stage), stage.index)
            elif isinstance(stage, Wide):
                psi = applied(psi, matrix_of(stage.source, len(stage.qubits), tables), stage.qubits)
        return product(None, [], self.n_qubits, kind, parameters.device) if psi is None else psi

    def _check_memory(self, n_bits: int, *inputs: Tensor | None) -> None:
        """Before anything is allocated: working copies, and what each stage keeps for the way back."""
        given = [each for each in inputs if each is not None]
        device, number = given[0].device, 2 * given[0].element_size()
        recorded = torch.is_grad_enabled() and any(each.requires_grad for each in given)
        kept = sum(map(copies_kept, self._stages)) if recorded else 0
        needed = (len(given[1]) * number * (COPIES + kept)) << n_bits
        on_gpu = device.type == "cuda"
        check_bytes(needed, self.n_qubits, len(given[1]), (lambda: _available(device)) if on_gpu else None)

    def _moved(self, psi: Tensor, name: object, index: Made) -> Tensor:
        there = self._constants(name, index, psi.device, torch.int64)
        back = self._constants((name, "back"), lambda: np.argsort(made(index)), psi.device, torch.int64)
        return moved_by(psi, there, back)

    # Made once

    def _compiled(self, circuit: Circuit) -> list[Stage]:
        stages: list[Stage] = []
        for step in circuit.steps:
            if isinstance(step, (Noise, Measure, Reset)):
                self._add_channel(stages, step)
            elif len(step.qubits) == 1:
                source = self._source(step)
                if not (stages and isinstance(stages[-1], Layer)):
                    stages.append(Layer({}))
                layer = stages[-1]
                assert isinstance(layer, Layer)
                layer.gates.setdefault(step.qubits[0], []).append(source)
            elif (sources := sources_of(step)) is not None:
                before = np.arange(1 << circuit.n_qubits)
                if stages and isinstance(stages[-1], Shuffle):
                    before = stages.pop().index  # type: ignore[union-attr]
                stages.append(Shuffle(shuffled(before, sources, step.qubits)))
            else:
                stages.append(Wide(step.qubits, self._source(step)))
        return stages

    def _add_channel(self, stages: list[Stage], step: Noise | Measure | Reset) -> None:  # noqa: ARG002
        raise ArgumentError(
            f"a circuit with {type(step).__name__.lower()} has no state vector", subject="circuit"
        )

    def _source(self, step: Apply | Unitary) -> Source:
        size = len(step.qubits)
        fixed = self._fixed.setdefault(size, [np.eye(1 << size, dtype=np.complex128)])
        if isinstance(step, Unitary):
            fixed.append(step.matrix)
            return len(fixed) - 1
        gate = step.gate
        assert not isinstance(gate, Composite), "composed gates were taken apart"
        if isinstance(gate, Gate):
            fixed.append(gate.matrix)
            return len(fixed) - 1
        own = any(isinstance(symbol, int) for symbol, _ in step.angles[0].terms)
        rows = self._turns.setdefault((size, own), [])
        rows.append(step)
        return Turning(len(rows) - 1, own)


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


def _available(gpu: torch.device) -> int:
    """What is free, and what Torch holds without using it."""
    unused = torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu)
    return int(torch.cuda.mem_get_info(gpu)[0]) + unused
