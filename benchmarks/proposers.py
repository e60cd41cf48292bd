"""Searches that choose their next trial from a table whose scores they have not all seen.

All start from the same five trials. Each then asks for one trial after the other; what counts is how many it
takes to find one of the best.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Integers
from benchmarks.far import Values, as_positions, barrier
from benchmarks.rivals import Setting, grid
from benchmarks.trials import Trials
from qstore_db import QuantumDatabase

STARTS = 5


@dataclass(slots=True)
class Search:
    """One search in progress: what it has tried, in order, and nothing else of the scores."""

    trials: Trials
    collection: str
    rng: np.random.Generator
    tried: list[int] = field(default_factory=list)
    left: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.left = np.ones(len(self.trials.scores), np.bool_)

    def try_(self, row: int) -> float:
        self.tried.append(row)
        self.left[row] = False
        return float(self.trials.scores[row])

    @property
    def best(self) -> int:
        return max(self.tried, key=lambda row: (self.trials.scores[row], -row))

    def any_left(self) -> int:
        return int(self.rng.choice(np.flatnonzero(self.left)))

    def first_left(self, rows: Integers) -> int | None:
        left = rows[self.left[rows]]
        return int(left[0]) if len(left) else None


@dataclass(frozen=True, slots=True)
class Proposer:
    """A way to choose the next trial, and the settings it is tuned over."""

    name: str
    grid: tuple[Setting, ...]
    begin: Callable[[Search, Setting], Iterator[int]]
    """The rows that it tries after the starts, one at a time; it may look at `Search.tried` between them."""


def proposers(db: QuantumDatabase) -> tuple[Proposer, ...]:
    @functools.cache
    def around(collection: str, point: bytes, well: int, rows: int) -> tuple[Integers, Integers]:
        """The well of a point, and what tunnelling reaches beyond it."""
        found = db.tunnel_search(
            np.frombuffer(point, np.float32),
            barrier_threshold=barrier(rows, well),
            top_k=500,
            candidates=min(rows, 2_000),
            collection=collection,
        )
        return as_positions(found.inside.ids), as_positions(found.ids)

    def tunnelling(search: Search, setting: Setting) -> Iterator[int]:
        """From the best trial so far to what lies beyond its well; with `inside`, by turns with the well itself."""
        for turn in itertools.count():
            point = search.trials.points[search.best].tobytes()
            well, rows = setting["well"], len(search.trials.scores)
            inside, beyond = around(search.collection, point, well, rows)
            first, then = (inside, beyond) if setting["inside"] and turn % 2 else (beyond, inside)
            row = search.first_left(first)
            row = search.first_left(then) if row is None else row
            yield search.any_left() if row is None else row

    return (
        Proposer("qstore tunnelling", grid(well=(5, 20, 60), inside=(False, True)), tunnelling),
        Proposer("random", ({},), at_random),
        Proposer("grid", ({},), by_grid),
        Proposer("nearest to the best", grid(at_random=(0.0, 0.1, 0.3)), climb),
        Proposer("TPE", grid(good=(0.1, 0.25)), tpe),
    )


def at_random(search: Search, _setting: Setting) -> Iterator[int]:
    while True:
        yield search.any_left()


def by_grid(search: Search, _setting: Setting) -> Iterator[int]:
    """Ever finer grids, the points of each in random order, and of each point the nearest trial that is left."""
    points = search.trials.points
    for side in itertools.count(2):
        axis = (np.arange(side) + 0.5) / side
        nodes = np.array(list(itertools.product(axis, repeat=points.shape[1])))
        for node in search.rng.permutation(nodes):
            away = np.square(points - node).sum(axis=1)
            yield int(np.where(search.left, away, np.inf).argmin())


def climb(search: Search, setting: Setting) -> Iterator[int]:
    """The trial nearest to the best one so far; now and then one at random."""
    points = search.trials.points
    while True:
        if search.rng.random() < setting["at_random"]:
            yield search.any_left()
        else:
            away = np.square(points - points[search.best]).sum(axis=1)
            yield int(np.where(search.left, away, np.inf).argmin())


def tpe(search: Search, setting: Setting) -> Iterator[int]:
    """Where the density of good trials is highest over that of the others (Bergstra et al., 2011).

    Gaussian kernels over all parameters, with Scott's bandwidth and one uniform kernel beside them.
    """
    points = search.trials.points
    while True:
        rows = np.array(search.tried)
        order = rows[np.argsort(-search.trials.scores[rows], kind="stable")]
        count = max(2, round(setting["good"] * len(order)))
        ratio = _log_density(points, points[order[:count]]) - _log_density(points, points[order[count:]])
        yield int(np.where(search.left, ratio, -np.inf).argmax())


def _log_density(at: NDArray[np.float32], seen: NDArray[np.float32]) -> Values:
    """(n,) the log density at (n, p) points of a kernel estimate from (m, p) ones in the unit cube."""
    m, p = seen.shape
    width = np.maximum(seen.std(axis=0), 0.05) * m ** (-1.0 / (p + 4))
    a, b = at / width, seen / width
    d2 = np.square(a).sum(axis=1)[:, np.newaxis] + np.square(b).sum(axis=1) - 2.0 * (a @ b.T)
    kernels = np.exp(-0.5 * np.maximum(d2, 0.0)).sum(axis=1) / np.prod(width * np.sqrt(2.0 * np.pi))
    return np.asarray(np.log((kernels + 1.0) / (m + 1)), np.float64)
