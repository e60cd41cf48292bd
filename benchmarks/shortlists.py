"""Ten trials of a table to look at: the best record of each basin, and the usual ways to pick ten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.data import Integers
from benchmarks.far import as_positions
from benchmarks.rivals import Setting, grid
from benchmarks.trials import Trials
from qstore_db import QuantumDatabase

LENGTH = 10


@dataclass(frozen=True, slots=True)
class Picker:
    """A way to pick trials, and the settings it is tuned over."""

    name: str
    grid: tuple[Setting, ...]
    pick: Callable[[Trials, str, Setting], Integers]
    """Of a table and the collection that holds it: (up to 10,) rows."""


def pickers(db: QuantumDatabase) -> tuple[Picker, ...]:
    def objective(trials: Trials, collection: str, setting: Setting) -> Integers:
        """The best records of basins around the best trial, as a user would ask for them."""
        share = setting["prominence"]
        found = db.tunnel_search(
            trials.points[int(trials.scores.argmax())],
            objective="score",
            min_prominence=None if share is None else share * float(trials.scores.std()),
            top_k=LENGTH,
            beyond_only=False,
            candidates=len(trials.scores),
            collection=collection,
        )
        return as_positions(found.ids)

    return (
        Picker("qstore objective", grid(prominence=(None, 0.1, 0.3, 1.0)), objective),
        Picker("sort by score", ({},), by_score),
        Picker("sort by score, spaced", grid(apart=(0.02, 0.05, 0.1, 0.2, 0.3)), spaced),
        Picker("best of each k-means cluster", grid(clusters=(10, 20, 50, 100)), clustered),
    )


def by_score(trials: Trials, _collection: str, _setting: Setting) -> Integers:
    return np.argsort(-trials.scores, kind="stable")[:LENGTH]


def spaced(trials: Trials, _collection: str, setting: Setting) -> Integers:
    """By score, leaving out what lies nearer than `apart` (of the cube's diagonal) to one that was picked."""
    least = setting["apart"] * np.sqrt(trials.points.shape[1])
    free = np.ones(len(trials.scores), np.bool_)
    picked: list[int] = []
    for row in np.argsort(-trials.scores, kind="stable").tolist():
        if free[row] and len(picked) < LENGTH:
            picked.append(row)
            free &= np.linalg.norm(trials.points - trials.points[row], axis=1) >= least
    return np.array(picked, np.int64)


def clustered(trials: Trials, _collection: str, setting: Setting) -> Integers:
    """The best trial of each cluster, the ten best of those."""
    from sklearn.cluster import KMeans

    count = min(setting["clusters"], len(trials.scores) // 2)
    cluster = KMeans(count, n_init=1, random_state=count).fit_predict(trials.points)
    order = np.argsort(-trials.scores, kind="stable")
    _, first = np.unique(cluster[order], return_index=True)
    best = order[np.sort(first)]
    return best[:LENGTH]
