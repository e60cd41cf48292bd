"""Far retrieval: what of the query's kind a method finds outside the R records nearest to the query.

Every method hands in a far list, its 20 best outside the R nearest. Methods that are not the database's get a
`Pool`, the N nearest by exact search, with which they may do what they like.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Floats, Integers, Truth, VectorSet, digits, fashion_mnist, unit
from benchmarks.docstrings import docstrings
from benchmarks.harness import Options

Values = NDArray[np.float64]

DEPTH = 20
SEEDS = 5
"""Where walks start: on this many of the nearest, as `tunnel_search` does."""
NEIGHBOURS = 20
"""Neighbours known of each member of a pool; graphs take the first k of them."""


@dataclass(frozen=True, slots=True)
class FarTask:
    """A data set with its R, and which of its queries settings are chosen on and which methods are judged on."""

    data: VectorSet
    far: int
    tune: Integers
    """Numbers of queries; none is in `evaluate`."""
    evaluate: Integers


def tasks(options: Options, tune: int, evaluate: int) -> Iterator[FarTask]:
    """Fashion-MNIST, docstrings and digits, with so many queries of each kind; quick: three of each.

    Digits have 497 queries at most, so that 1,300 stay to be searched.
    """
    if options.quick:
        tune, evaluate = 3, 3
    count = tune + evaluate
    yield _task(fashion_mnist(options, "l2", count), 100, tune)
    yield _task(docstrings(options, count), 50, tune)
    yield _task(digits(min(count, 497)), 60, tune)


def _task(data: VectorSet, far: int, tune: int) -> FarTask:
    return FarTask(data, far, np.arange(tune), np.arange(tune, len(data.queries)))


def barrier(rows: int, well: int) -> float:
    """The barrier_threshold b whose well floor(rows^(1 - b)) holds `well` records."""
    return 1.0 - math.log(well + 0.5) / math.log(rows)


@dataclass(frozen=True, eq=False)
class Pool:
    """The N nearest base vectors of one query, nearest first. Under cosine all vectors are of unit length."""

    query: Floats
    """(d,)"""
    positions: Integers
    """(N,) in the base."""
    vectors: Floats
    """(N, d)"""
    d2: Values
    """(N,) squared distances to the query, ascending."""
    far: int
    """R: the first R members are the well, and no method may list them."""

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def between(self) -> Floats:
        """(N, N) squared distances between members; the diagonal is infinite."""
        norms = np.einsum("nd,nd->n", self.vectors, self.vectors)
        d2: Floats = -2.0 * (self.vectors @ self.vectors.T) + norms + norms[:, np.newaxis]
        np.maximum(d2, 0.0, out=d2)
        np.fill_diagonal(d2, np.inf)
        return d2

    @cached_property
    def nearest(self) -> Integers:
        """(N, 20) each member's nearest others, nearest first."""
        count = min(NEIGHBOURS, len(self) - 1)
        near = np.argpartition(self.between, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(self.between, near, 1), axis=1, kind="stable")
        return np.take_along_axis(near, order, 1)

    def beyond(self, score: Values) -> Integers:
        """The 20 members outside the well with the highest score, ties by distance: (20,) members."""
        order = np.argsort(-score[self.far :], kind="stable")[:DEPTH]
        return order + self.far


def pools(task: FarTask, queries: Integers, candidates: int) -> Iterator[tuple[int, Pool]]:
    """(number, pool) of each of these queries; a set of fewer records than `candidates` is its own pool."""
    data = task.data
    truth = Truth(data)
    base, asked = (unit(v) if data.metric == "cosine" else v for v in (data.base, data.queries))
    for block in np.array_split(queries, max(1, len(queries) // 20)):
        for query, coarse in zip(block.tolist(), truth.coarse(block), strict=True):
            near = truth.nearest(query, coarse, min(candidates, len(data)))
            yield query, Pool(asked[query], near, base[near], truth.distances(query, near), task.far)


def hits(positions: Integers, data: VectorSet, query: int) -> NDArray[np.bool_]:
    """(20,) which places of a far list carry the query's label; places of a short list are misses."""
    found = np.zeros(DEPTH, np.bool_)
    found[: len(positions)] = data.labels[positions] == data.query_labels[query]
    return found


def precision(found: NDArray[np.bool_]) -> float:
    """Far P@20."""
    return float(found.mean())


def average_precision(found: NDArray[np.bool_]) -> float:
    """AP@20 over 20: the precision at each hit, summed, by 20. 1 for a list of hits; early hits count for more."""
    at = np.cumsum(found) / np.arange(1, DEPTH + 1)
    return float((at * found).sum() / DEPTH)


def as_positions(ids: Sequence[str]) -> Integers:
    """Positions of records whose ids are their positions."""
    return np.array([int(id) for id in ids], np.int64)
