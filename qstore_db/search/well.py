"""The well of a query: its nearest records, those inside the barrier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from qstore_db.engines.base import Floats, Hits, Selection, View
from qstore_db.records import Geometry, Vectors
from qstore_db.search.diffusion import well_size
from qstore_db.search.ranking import Ranking

BarrierScale: TypeAlias = Literal["rank", "similarity", "distance"]
MAX_CANDIDATES = 4_000
"""More are never looked at, whatever the well holds: the exact graph on them would take seconds and gigabytes."""


@dataclass(frozen=True, slots=True)
class Barrier:
    """Where the well of a query ends, already checked."""

    value: float | None
    """None: the k nearest are the well. Else a similarity, a distance, or a rank exponent: 0 and less puts
    everything inside, more than 1 nothing."""
    scale: BarrierScale
    k: int

    def rank(self, eligible: int) -> int | None:
        """How many of the nearest the well holds, before ties; None where a distance decides."""
        if self.value is None:
            return min(self.k, eligible)
        if self.scale != "rank":
            return None
        if self.value > 1.0 or not eligible:
            return 0
        return min(well_size(eligible, max(self.value, 0.0)), eligible)

    def inside(self, near: Hits, wanted: int | None, geometry: Geometry) -> int:
        """How many of the nearest lie inside, ties at the edge included."""
        if wanted is not None:
            if wanted == 0 or len(near) == 0:
                return 0
            edge = near.raw[min(wanted, len(near)) - 1]
            return int(np.searchsorted(near.raw, edge, side="right"))
        assert self.value is not None
        if self.scale == "similarity":
            return int((geometry.similarity(near.raw) >= self.value).sum())
        return int((geometry.distance(near.raw) <= self.value).sum())


@dataclass(frozen=True, slots=True)
class Well:
    """The nearest admitted records of a query, nearest first, and how many of them lie inside."""

    near: Hits
    probabilities: Floats | None
    """Born probabilities of `near`; None without a context."""
    inside: int
    wanted: int | None
    """What the barrier's rank asked for, before ties; None where a distance decides."""
    fetched: int
    """How many were looked at, those without probability in the context included."""


def find_well(
    view: View,
    query: Vectors,
    selection: Selection,
    barrier: Barrier,
    geometry: Geometry,
    ranking: Ranking | None,
    *,
    eligible: int,
    least: int,
    spare: int,
) -> Well:
    """The well, with at least `least` of the nearest and `spare` times as many as lie inside.

    Fewer where there are no more, and MAX_CANDIDATES at most.
    """
    wanted = barrier.rank(eligible)
    limit = min(eligible, MAX_CANDIDATES)
    fetch = min(max(least, spare * (wanted or 0)), limit)
    while True:
        near = _nearest(view, query, fetch, selection)
        fetched = len(near)
        probabilities = None
        if ranking is not None:
            admitted, probabilities = ranking.admit(near)
            near = near.take(admitted)
        inside = barrier.inside(near, wanted, geometry)
        complete = len(near) >= wanted if wanted is not None else inside < len(near)
        if fetch == limit or (complete and spare * inside <= len(near)):
            return Well(near, probabilities, inside, wanted, fetched)
        fetch = min(spare * inside if spare * inside > fetch else 2 * fetch, limit)


def _nearest(view: View, query: Vectors, count: int, selection: Selection) -> Hits:
    """The `count` nearest, or a few more: ties of the last one belong to them, whatever their ids are.

    Where the ties alone are more than MAX_CANDIDATES, those of lowest id are taken.
    """
    fetch = count + 1
    while True:
        found = view.search(query[None], fetch, selection)[0]
        if len(found) <= count:
            return found
        tied = int(np.searchsorted(found.raw, found.raw[count - 1], side="right"))
        if tied < len(found) or len(found) < fetch:
            return found.take(np.arange(tied))
        if fetch > MAX_CANDIDATES:
            nearer = int(np.searchsorted(found.raw, found.raw[count - 1], side="left"))
            return found.take(np.arange(nearer or count))
        fetch = min(4 * fetch, MAX_CANDIDATES + 1)
