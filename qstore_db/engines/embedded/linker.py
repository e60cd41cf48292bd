"""Links of an embedded collection: when they are due, and how its segments search for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import Selection
from qstore_db.engines.embedded.view import Snapshot
from qstore_db.engines.linking import Found, linked
from qstore_db.engines.links import Links, Mask, Nodes
from qstore_db.records import Metric

LEAST_ROWS = 256
"""Fewer unlinked rows wait, while writes go on: a walk reaches them all the same, as leaves."""
LEAST_SHARE = 0.01
"""... and so does less than this share of all rows, since every pass goes over the whole graph."""
MAX_EXACT_ROWS = 20_000
"""With more rows outside of graphs there are no links: finding all their neighbours exactly costs too much."""
MAX_WIDTH = 200
"""Where a graph has to be searched wider than this for ten neighbours, near and far hardly differ: links would cost
more than the graph itself (200 s for 100,000 uniform vectors), and a walk over them would find nothing."""
_BLOCK = 1_024


def backlog(snapshot: Snapshot) -> int:
    """Rows that the links have not taken in: living ones without edges, and dead ones that had some."""
    links = snapshot.links
    if links is None:
        return sum(part.alive_count for part in snapshot.parts)
    dead = sum(part.dead_count for part in snapshot.parts)
    return len(snapshot) - len(links) + links.lost + max(0, dead - links.bare)


def is_due(snapshot: Snapshot, *, calm: bool) -> bool:
    """Whether the backlog is worth a pass. `calm`: nothing was written for a while."""
    return backlog(snapshot) >= (1 if calm else max(LEAST_ROWS, LEAST_SHARE * len(snapshot)))


def is_linkable(snapshot: Snapshot) -> bool:
    """Whether graphs do most of the searching, and without much effort."""
    graphs = [part.graph for part in snapshot.parts if part.graph is not None]
    without = sum(part.n for part in snapshot.parts if part.graph is None)
    return bool(graphs) and without <= MAX_EXACT_ROWS and max(g.width.ten for g in graphs) <= MAX_WIDTH


def relink(snapshot: Snapshot, progress: Callable[[], None]) -> Links:
    """Links over all rows of a snapshot. `progress` is called between blocks; it may raise Cancelled."""
    dot = snapshot.spec.metric is Metric.DOT
    peak = max((part.peak() for part in snapshot.parts), default=0.0) if dot else 0.0
    everything = Selection(now=-np.inf)

    def squared(raw: NDArray[Any]) -> NDArray[np.float32]:
        return np.maximum(2.0 * (peak + raw) if dot else raw, 0.0).astype(np.float32)

    def search(nodes: Nodes, k: int) -> Iterator[Found]:
        for start in range(0, len(nodes), _BLOCK):
            progress()
            block = nodes[start : start + _BLOCK]
            others = np.full((len(block), k), -1, np.int64)
            d2 = np.full((len(block), k), np.inf, np.float32)
            for at, hits in enumerate(snapshot.search(snapshot.vectors(block), k + 1, everything)):
                apart = np.flatnonzero(hits.places != block[at])[:k]
                others[at, : len(apart)] = hits.places[apart]
                d2[at, : len(apart)] = squared(hits.raw[apart])
            yield Found(block, others, d2)

    def measure(nodes: Nodes, others: NDArray[np.int32]) -> NDArray[np.float32]:
        progress()
        return squared(snapshot.distances(nodes, np.maximum(others, 0)))

    return linked(snapshot.links, _alive(snapshot), search, measure)


def _alive(snapshot: Snapshot) -> Mask:
    return np.concatenate([~part.dead_mask() for part in snapshot.parts])
