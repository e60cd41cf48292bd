"""Runs compiled circuits over batches of samples, on several threads where that pays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, reduce
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.quantum.adjoint import Gradients
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.kernels.compile import compiled_circuit
from qstore_db.quantum.kernels.diagonals import fill_table
from qstore_db.quantum.kernels.lanes import VECTOR_BYTES
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
_WORTH_A_THREAD = 1 << 16
"""Amplitudes times steps that take longer than to wake a thread."""


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
        low = self._low(batch)
        self._check_memory(batch, low, states, planes=3)
        values = np.empty((batch, self._n_observables), self._dtype)
        shared, (re, im), data = self._shared(parameters), self._parts(states), self._array(data)

        def run(first: int, end: int) -> None:
            run_values(compiled.tables, shared, data, re, im, compiled.size, low, first, end, values)

        self._spread(run, batch, low)
        return values

    def gradients(
        self, parameters: Numbers, data: Numbers, weights: Numbers, states: Numbers | None
    ) -> Gradients:
        compiled, batch = self._compiled, len(data)
        low = self._low(batch)
        self._check_memory(batch, low, states, planes=5, backward=True)
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
            run_gradients(
                compiled.tables, shared, data, re, im, weights, compiled.size, low, first, end, values,
                layers, diagonals, own, by_data, by_state, by_state_im,
            )  # fmt: skip
            parts[first] = np.concatenate([layers, diagonals, own])

        self._spread(run, batch, low)
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

    def _low(self, batch: int) -> int:
        """How many qubits lie inside of vectors: none where samples fill them better."""
        alone = batch <= _ALONE or self._compiled.size * VECTOR_BYTES > _LARGEST_PLANE
        if not alone or not self._compiled.fits_in_lanes or self._compiled.size <= 4 * self._width:
            return 0
        return self._width.bit_length() - 1

    def _check_memory(
        self, batch: int, low: int, states: Numbers | None, planes: int, *, backward: bool = False
    ) -> None:
        """Before anything is allocated. planes: that each thread has."""
        size, number = self._compiled.size, self._dtype.itemsize
        plane = size * number if low else size * VECTOR_BYTES
        joint = self._compiled.tables.joint
        summed = 8 * size * int((joint >= 0).sum()) if backward else 0
        needed = self._threads(batch, low) * (planes * plane + summed) + 2 * len(joint) * size * number
        if states is not None:
            # Parts of the states; of their slopes too, and these as complex numbers.
            needed += batch * size * (4 * number + 32 if backward else 2 * number)
        check_bytes(needed, self._n_qubits, batch)

    def _threads(self, batch: int, low: int) -> int:
        """As many as pay."""
        blocks = -(-batch // (1 if low else self._width))
        work = (
            blocks * self._compiled.size * (1 if low else self._width) * (1 + len(self._compiled.tables.ops))
        )
        return max(1, min(blocks, _cores(), 1 + work // _WORTH_A_THREAD))

    def _spread(self, run: Callable[[int, int], None], batch: int, low: int) -> None:
        """Run all samples, on as many threads as pay."""
        step = 1 if low else self._width
        blocks, threads = -(-batch // step), self._threads(batch, low)
        if threads == 1:
            run(0, batch)
            return
        edges = [min(batch, step * (blocks * each // threads)) for each in range(threads + 1)]
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
