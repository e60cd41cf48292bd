"""Runs compiled circuits over batches of samples, on several threads where that pays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qstore_db.quantum.adjoint import Gradients
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.kernels.compile import compiled_circuit
from qstore_db.quantum.kernels.diagonals import fill_table
from qstore_db.quantum.kernels.lanes import VECTOR_BYTES
from qstore_db.quantum.kernels.planes import planes
from qstore_db.quantum.kernels.run import Values, run_gradients, run_values
from qstore_db.quantum.memory import check_bytes, check_memory
from qstore_db.quantum.observables import Observable

Numbers = NDArray[Any]

_COMPILED = 2
"""States whose memory the tables of a circuit may take while they are made."""
_ALONE = 4
"""Up to so many samples of many qubits are run one after the other, each inside of vectors."""
_LARGEST_PLANE = 2 << 20
"""Bytes of a plane of samples side by side; larger ones are run as those are."""
_BESIDES = 48
"""Amplitudes that take as long, in each step, as all else that a sample costs."""
_BACKWARD = 3
"""Times that gradients take as long as values."""
_WORTH_A_THREAD = 4 << 20
"""Bytes of amplitudes that steps go through in the time that it takes to wake a thread and to wait for it."""


class _Plan(NamedTuple):
    """How a batch is run."""

    low: int
    """Qubits inside of vectors; 0 for a sample in each lane."""
    block: int
    """Samples in a plane."""
    plane: int
    """Numbers in it."""
    blocks: int
    threads: int


class Engine:
    """A compiled circuit and its observables."""

    def __init__(
        self, circuit: Circuit, observables: Sequence[Observable], dtype: np.dtype[Any], *, from_states: bool
    ) -> None:
        check_memory(circuit.n_qubits, copies=_COMPILED)
        self._n_qubits = circuit.n_qubits
        self._dtype = dtype
        self._n_parameters = len(circuit.parameters)
        self._n_slots = circuit.n_slots
        self._n_observables = len(observables)
        self._width = VECTOR_BYTES // dtype.itemsize
        self._compiled = compiled_circuit(circuit, observables, dtype, from_states=from_states)

    def values(self, parameters: Numbers, data: Numbers, states: Numbers | None) -> Numbers:
        """(batch, n_observables)"""
        compiled, batch = self._compiled, len(data)
        plan = self._plan(batch)
        self._check_memory(batch, plan, states, copies=3)
        values = np.empty((batch, self._n_observables), self._dtype)
        shared, (re, im), data = self._shared(parameters), self._parts(states), self._array(data)

        def run(first: int, end: int) -> None:
            kept = planes(3, plan.plane, self._dtype)
            run_values(compiled.tables, shared, data, re, im, kept, plan.plane, plan.low, first, end, values)

        _spread(run, batch, plan)
        return values

    def gradients(
        self, parameters: Numbers, data: Numbers, weights: Numbers, states: Numbers | None
    ) -> Gradients:
        compiled, batch = self._compiled, len(data)
        plan = self._plan(batch, _BACKWARD)
        self._check_memory(batch, plan, states, copies=5, backward=True)
        values = np.empty((batch, self._n_observables), self._dtype)
        shared, (re, im) = self._shared(parameters), self._parts(states)
        data, weights = self._array(data), self._array(weights)
        by_data = np.zeros((batch, self._n_slots))
        by_state, by_state_im = np.empty_like(re), np.empty_like(re)
        parts: dict[int, Numbers] = {}

        def run(first: int, end: int) -> None:
            layers = np.zeros(compiled.first_diagonal)
            diagonals = np.zeros(compiled.first_own - compiled.first_diagonal)
            own = np.zeros(len(compiled.angles.constants) - compiled.first_own)
            kept = planes(5, plan.plane, self._dtype)
            run_gradients(
                compiled.tables, shared, data, re, im, weights, kept, plan.plane, plan.low, first, end, values,
                layers, diagonals, own, by_data, by_state, by_state_im,
            )  # fmt: skip
            parts[first] = np.concatenate([layers, diagonals, own])

        _spread(run, batch, plan)
        # In the order of the samples, whichever thread was the first: rounding is the same in each run.
        slopes = reduce(np.add, (parts[first] for first in sorted(parts)))
        found = compiled.angles.pulled(slopes, self._n_parameters)
        return Gradients(values, found, by_data, None if states is None else by_state + 1j * by_state_im)

    def _shared(self, parameters: Numbers) -> Values:
        compiled = self._compiled
        angles, tables = compiled.angles.at(parameters), compiled.tables
        half = 0.5 * angles[: compiled.first_diagonal]
        phases = angles[compiled.first_diagonal : compiled.first_own]
        cosines = np.empty((len(tables.joint), compiled.size), self._dtype)
        sines = np.empty_like(cosines)
        for place, (first, end) in enumerate(pairwise(tables.diagonals.tolist())):
            fill_table(tables.masks_of[first:end], phases[first:end], cosines[place], sines[place])
        return Values(
            np.cos(half).astype(self._dtype),
            np.sin(half).astype(self._dtype),
            cosines,
            sines,
            angles[compiled.first_own :].astype(self._dtype),
        )

    def _parts(self, states: Numbers | None) -> tuple[Numbers, Numbers]:
        nothing = np.empty((0, 0), self._dtype)
        if states is None:
            return nothing, nothing
        imaginary = self._array(np.imag(states)) if np.iscomplexobj(states) else nothing
        return self._array(np.real(states)), imaginary

    def _array(self, numbers: Numbers) -> Numbers:
        """Of the one kind that the code is compiled for: for each other it would be compiled again."""
        return np.require(numbers, self._dtype, ("C", "W"))

    def _plan(self, batch: int, passes: int = 1) -> _Plan:
        """passes: over all amplitudes, in each step."""
        compiled, width = self._compiled, self._width
        alone = batch <= _ALONE or compiled.size * VECTOR_BYTES > _LARGEST_PLANE
        # Samples side by side fill vectors better where few qubits would lie outside of them.
        inside = alone and compiled.fits_in_lanes and compiled.size > 4 * width
        block = 1 if inside else width
        blocks = -(-batch // block)
        steps = passes * (1 + len(compiled.tables.ops))
        work = blocks * block * steps * (compiled.size + _BESIDES) * self._dtype.itemsize
        return _Plan(
            low=width.bit_length() - 1 if inside else 0,
            block=block,
            plane=compiled.size * block,
            blocks=blocks,
            threads=max(1, min(blocks, _cores(), 1 + work // _WORTH_A_THREAD)),
        )

    def _check_memory(
        self, batch: int, plan: _Plan, states: Numbers | None, copies: int, *, backward: bool = False
    ) -> None:
        """Before anything is allocated. copies: planes that each thread has."""
        size, number = self._compiled.size, self._dtype.itemsize
        joint = self._compiled.tables.joint
        summed = 8 * size * int((joint >= 0).sum()) if backward else 0
        needed = plan.threads * (copies * plan.plane * number + summed) + 2 * len(joint) * size * number
        if states is not None:
            # Parts of the states; of their slopes too, and these as complex numbers.
            needed += batch * size * (4 * number + 32 if backward else 2 * number)
        check_bytes(needed, self._n_qubits, batch)


def _spread(run: Callable[[int, int], None], batch: int, plan: _Plan) -> None:
    """Run all samples, on as many threads as pay."""
    if plan.threads == 1:
        run(0, batch)
        return
    edges = [
        min(batch, plan.block * (plan.blocks * each // plan.threads)) for each in range(plan.threads + 1)
    ]
    waiting = [_pool().submit(run, first, end) for first, end in pairwise(edges[1:])]
    run(edges[0], edges[1])
    for each in waiting:
        each.result()


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, _cores() - 1), "qstore-circuits")


# A child has none of its parent's threads: it would wait for them for ever.
os.register_at_fork(after_in_child=_pool.cache_clear)
