"""Tables of finished trials, with the optima that they can show, and those of two real models.

A trial is a point of parameters, scaled to [0, 1] each, and a score to be maximised. Which optimum a trial belongs
to is known without looking at its neighbours in the table: from the formula, or from the full grid that a real
table is half of.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.data import Floats, Integers
from benchmarks.far import Values
from benchmarks.peaks import basins

PROMINENT = 0.005
"""How far a second optimum of a real table must stand out, in accuracy: less is the noise of 600 images."""
IMAGES = 600
FOLDS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """n trials. `optimum` numbers the true optimum in whose basin each lies, -1 for none."""

    name: str
    points: Floats
    """(n, p), parameters in [0, 1]; kinds are one-hot."""
    scores: Values
    """(n,), higher is better."""
    optimum: Integers
    """(n,)"""
    heights: Values
    """(m,) the score of each optimum."""
    ceiling: float
    """The best score there is, whether a trial reached it or not."""

    def take(self, rows: Integers) -> Trials:
        return Trials(
            self.name,
            self.points[rows],
            self.scores[rows],
            self.optimum[rows],
            self.heights,
            self.ceiling,
        )

    def good(self) -> Integers:
        """The trials to be found: the best one in the basin of each of the ten best optima, ties included."""
        edge = np.sort(self.heights)[::-1][: min(10, len(self.heights))][-1]
        order = np.argsort(-self.scores, kind="stable")
        order = order[self.optimum[order] >= 0]
        _, first = np.unique(self.optimum[order], return_index=True)
        best = order[first]
        return best[self.heights[self.optimum[best]] >= edge - 1e-9]  # symmetric optima differ by rounding


def real_tables(quick: bool) -> Iterator[tuple[Trials, Integers]]:
    """Full grids over the hyperparameters of two models, and each trial's place on its grid: (n, axes)."""
    many, few = (4, 2) if quick else (12, 4)
    yield _table("SVC on digits", _svc, {"C": many, "gamma": many, "kernel": 3}, kinds=3)
    yield _table(
        "random forest on digits", _forest, {"depth": many, "features": few + 3, "leaf": few}, kinds=0
    )


def _table(
    name: str, model: Callable[[Integers], Any], axes: dict[str, int], kinds: int
) -> tuple[Trials, Integers]:
    places = np.array(list(itertools.product(*map(range, axes.values()))), np.int64)
    with ThreadPoolExecutor(2) as pool:
        scores = np.array(list(pool.map(lambda place: _accuracy(model(place)), places)))
    points = places / np.maximum(np.array(list(axes.values())) - 1, 1)
    if kinds:
        # The last axis has no order: its values are all equally far from each other.
        points = np.hstack([points[:, :-1], np.eye(kinds)[places[:, -1]]])
    optimum, heights = basins(scores, _lattice(places, ordered=len(axes) - bool(kinds)), PROMINENT)
    return Trials(name, points.astype(np.float32), scores, optimum, heights, float(scores.max())), places


def _lattice(places: Integers, ordered: int) -> list[list[int]]:
    """The neighbours of each place: one step or none along each of the first `ordered` axes, others equal."""
    at = {tuple(place): row for row, place in enumerate(places.tolist())}
    steps = [
        (*step, *[0] * (places.shape[1] - ordered)) for step in itertools.product((-1, 0, 1), repeat=ordered)
    ]
    return [
        [
            at[there]
            for step in steps
            if any(step) and (there := tuple(p + s for p, s in zip(place, step, strict=True))) in at
        ]
        for place in places.tolist()
    ]


def _svc(place: Integers) -> Any:
    from sklearn.svm import SVC

    c, gamma, kernel = place.tolist()
    return SVC(
        C=10.0 ** (c / 2 - 3), gamma=10.0 ** (gamma / 2 - 4), kernel=("rbf", "poly", "sigmoid")[kernel]
    )


def _forest(place: Integers) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    depth, features, leaf = place.tolist()
    return RandomForestClassifier(
        20, max_depth=depth + 2, max_features=2**features, min_samples_leaf=3**leaf, random_state=0
    )


def _accuracy(model: Any) -> float:
    """Mean accuracy of a small cross-validation."""
    from sklearn.model_selection import cross_val_score

    return float(cross_val_score(model, *_digits(), cv=_folds()).mean())


@functools.cache
def _digits() -> tuple[Floats, Integers]:
    from benchmarks.data import digits

    data = digits(IMAGES)
    return data.queries / np.float32(16.0), data.query_labels


def _folds() -> Any:
    from sklearn.model_selection import StratifiedKFold

    return StratifiedKFold(FOLDS, shuffle=True, random_state=0)
