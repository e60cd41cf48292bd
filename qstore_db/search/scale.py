"""The distance scale u of a collection: what a context's weight is traded against.

Context ranking scores -d^2/u + lambda log p. u is the median squared distance from a record to its 20th
neighbour, so lambda means the same in every data set. It is a stored, versioned statistic, measured when a
collection reaches 64, 1,000, 2,000, 4,000 ... records and kept until it doubles again: the same query ranks the
same from hour to hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qstore_db.engines.base import Hits, Selection, View
from qstore_db.records import Geometry, Metric, Vectors

NEIGHBOUR = 20
FIRST = 64
_SAMPLE = 256
_TURN = 32  # queries searched for at a time: alone, each would take several times as long
_NORMS = 100_000
_BLOCK = 4_096  # rows whose vectors are in memory at a time
_FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class Scale:
    """One measurement of u. `version` counts the measurements of a collection from 1; 0 is the start."""

    u: float = 1.0
    max_dot: float = 0.0
    """Largest dot product of two records; shifts d^2 under the dot metric, 0 elsewhere."""
    count: int = 0
    """Records there were when it was measured."""
    version: int = 0

    def as_data(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Scale:
        return cls(data["u"], data["max_dot"], data["count"], data["version"])


def milestone(count: int) -> int:
    """The last of 64, 1,000, 2,000, 4,000 ... that `count` has reached; 0 below 64."""
    if count < FIRST:
        return 0
    reached = FIRST
    while following(reached) <= count:
        reached = following(reached)
    return reached


def following(count: int) -> int:
    """The first of 64, 1,000, 2,000, 4,000 ... above `count`."""
    if count < FIRST:
        return FIRST
    step = 1_000
    while step <= count:
        step *= 2
    return step


def measure(view: View, now: float, previous: Scale, check: Callable[[], None]) -> Scale:
    """u from up to 256 sampled records, max_dot from all; the same for the same state of a collection.

    check: called every now and then, and may raise to give up; where many vectors are equal this takes seconds.
    """
    check()
    everyone = Selection(now=now)
    count = view.count(everyone)
    sample = view.sample(_SAMPLE, seed=milestone(count))
    max_dot = largest_product(view) if view.spec.metric is Metric.DOT else 0.0
    geometry = Geometry(view.spec.metric, max_dot)
    far: list[float] = []
    every: list[float] = []
    for id, hits in zip(sample.ids(), _nearest(view, sample.vectors(), everyone, check), strict=True):
        raw = hits.raw[[found != id for found in hits.ids()]]
        d2 = np.maximum(geometry.squared(raw), 0.0)
        far.append(float(d2[min(NEIGHBOUR, len(d2)) - 1]))
        every.append(float(d2.mean()))
    floor = _FLOOR * float(np.mean(every))
    u = max(float(np.median(far)), floor)
    return Scale(u if u > 0.0 else 1.0, max_dot, count, previous.version + 1)


def _nearest(view: View, queries: Vectors, everyone: Selection, check: Callable[[], None]) -> Iterator[Hits]:
    """The neighbours of each query, itself among them."""
    for at in range(0, len(queries), _TURN):
        check()
        yield from view.search(queries[at : at + _TURN], NEIGHBOUR + 1, everyone)


def largest_product(view: View) -> float:
    """The largest dot product of a record with any record, which is one with itself; 0 without records.

    Of up to 100,000 records; in the usual case of fewer it does not depend on the order they came in.
    """
    sample = view.sample(_NORMS, seed=0)
    blocks = (
        sample.take(np.arange(at, min(at + _BLOCK, len(sample)))) for at in range(0, len(sample), _BLOCK)
    )
    return max((_largest_square(block.vectors()) for block in blocks), default=0.0)


def _largest_square(vectors: Vectors) -> float:
    return float(np.einsum("md,md->m", vectors, vectors, dtype=np.float64).max())
