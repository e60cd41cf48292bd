"""Far precision: what `tunnel_search` finds beyond a query's neighbourhood, beside what plain ranks find there.

Far P@20 is the share of 20 results outside the R nearest to a query that carry the query's label. Plain ranks
answer with ranks R+1 to R+20, tunnelling with what it reached beyond a well that holds the same R records.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.database import QuantumDatabase
from qstore_db.demo.contexts import vectors
from qstore_db.demo.dataset import CLASSES, FashionMnist
from qstore_db.pictures.walk import WalkPicture
from qstore_db.records import Match
from qstore_db.records.showing import walk_of

R: Final = 100
FAR: Final = 20
QUERIES: Final = 200
_RESAMPLES: Final = 2_000
_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Case:
    """One test image: 20 plain ranks beyond R, and 20 results of tunnelling beyond the same R."""

    image: int
    """Its place among the test images."""
    label: str
    well: tuple[str, ...]
    """Ids of the R nearest, nearest first."""
    plain: tuple[Match, ...]
    tunneled: tuple[Match, ...]

    @property
    def plain_share(self) -> float:
        return share(self.plain, self.label)

    @property
    def tunnel_share(self) -> float:
        return share(self.tunneled, self.label)

    @property
    def gain(self) -> float:
        return self.tunnel_share - self.plain_share


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over queries with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Far P@20 of both over the same queries, and their paired difference."""

    cases: tuple[Case, ...]
    plain: Interval
    tunnel: Interval
    difference: Interval
    better: int
    """Queries on which tunnelling found more of the label than the plain ranks."""
    worse: int
    milliseconds: float
    """Mean time of one tunnelling search."""

    def examples(self) -> tuple[tuple[str, Case], ...]:
        """Three queries, chosen by rule: among those sorted by gain the 90th percentile, the median, the last."""
        ranked = sorted(self.cases, key=lambda case: (case.gain, case.image))
        last = len(ranked) - 1
        return (
            ("A clear gain (nine of ten queries gain less)", ranked[round(0.9 * last)]),
            ("The typical query (median gain)", ranked[round(0.5 * last)]),
            ("The worst loss of all", ranked[0]),
        )


def share(matches: tuple[Match, ...], label: str) -> float:
    """How many of the matches carry the label."""
    return sum(match.metadata["class"] == label for match in matches) / max(len(matches), 1)


def choose(images: FashionMnist) -> list[int]:
    """Test images to measure with: equally many of each class, drawn with a fixed seed."""
    rng = np.random.default_rng(_SEED)
    each = QUERIES // len(CLASSES)
    chosen: list[int] = []
    for label in range(len(CLASSES)):
        of_class = np.flatnonzero(images.test_labels == label)
        chosen += rng.choice(of_class, min(each, len(of_class)), replace=False).tolist()
    return sorted(chosen)


def compare(
    database: QuantumDatabase, images: FashionMnist, chosen: list[int], advance: Callable[[float], None]
) -> Comparison:
    """Measure both on the chosen test images. `advance` is told the milliseconds of each tunnelling search."""
    barrier = well_barrier(database.count(), R)
    cases: list[Case] = []
    times: list[float] = []
    for image in chosen:
        vector = vectors(images.test_images[image][None])[0]
        case, elapsed = _case(database, vector, image, CLASSES[images.test_labels[image]], barrier)
        cases.append(case)
        times.append(elapsed)
        advance(elapsed)
    plain = np.array([case.plain_share for case in cases])
    tunnel = np.array([case.tunnel_share for case in cases])
    return Comparison(
        tuple(cases),
        interval(plain),
        interval(tunnel),
        interval(tunnel - plain),
        int((tunnel > plain).sum()),
        int((tunnel < plain).sum()),
        float(np.mean(times)),
    )


def walk(database: QuantumDatabase, vector: NDArray[np.float32]) -> WalkPicture:
    """The picture of the search that `compare` measures, for one query (d,)."""
    barrier = well_barrier(database.count(), R)
    return walk_of(database.tunnel_search(vector, barrier_threshold=barrier, top_k=FAR, include_vectors=True))


def well_barrier(count: int, well: int) -> float:
    """The barrier_threshold whose well holds `well` of `count` records."""
    return 1.0 - math.log(well + 0.5) / math.log(count)


def interval(values: NDArray[np.float64]) -> Interval:
    """The mean with a 95 % interval from resampled queries."""
    rng = np.random.default_rng(_SEED)
    means = values[rng.integers(0, len(values), (_RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def _case(
    database: QuantumDatabase, vector: NDArray[np.float32], image: int, label: str, barrier: float
) -> tuple[Case, float]:

    started = time.perf_counter()
    found = database.tunnel_search(vector, barrier_threshold=barrier, top_k=FAR)
    tunneled = tuple(found)
    elapsed = (time.perf_counter() - started) * 1e3
    ranks = database.query(vector, top_k=found.well_size + FAR)
    plain = tuple(ranks)[found.well_size :]
    return Case(image, label, tuple(found.inside.ids), plain, tunneled), elapsed
