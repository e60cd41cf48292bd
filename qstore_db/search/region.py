"""Growing a region of the collection's links around a query: where a walk takes place.

Breadth first from the seeds: each round adds all neighbours of the last one. The round that would exceed the size
adds those that receive most weight from it, the nearer of equals first. Weights stay those of the whole graph: a
region that was normalised by itself ranks worse.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.links import Links, Mask, Nodes, Weights
from qstore_db.search.diffusion import Graph

Distances = Callable[[Nodes], NDArray[np.float64]]
"""Raw distances from the query to some nodes."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Part of the links, with the edges among its nodes."""

    nodes: Nodes
    """(m,) places in the view; the seeds come first."""
    graph: Graph
    """On the numbers 0 to m - 1 of `nodes`, with the entries of S of the whole graph."""


class _Numbers(threading.local):
    """For each node its number in the region, -1 outside. One array a thread, lent to one call at a time and given
    back wiped: clearing a million places each time would cost more than the walk. A call that fails, or that a key
    press interrupts, gives nothing back."""

    def __init__(self) -> None:
        self.array = np.empty(0, np.int32)

    def lent(self, n: int) -> NDArray[np.int32]:
        array, self.array = self.array, np.empty(0, np.int32)
        return array if len(array) >= n else np.full(n + n // 4, -1, np.int32)


_numbers = _Numbers()


def grow(
    links: Links, seeds: Nodes, size: int, allowed: Mask | None, distances: Distances, also: Nodes
) -> Region:
    """Up to `size` nodes around `seeds`, and those of `also` whatever their place in the graph.

    seeds: distinct nodes, at least one. allowed: (>= len(links),) which nodes may be entered; None: all.
    """
    number = _numbers.lent(len(links))
    rounds, held = [seeds], list[tuple[Nodes, Nodes, Weights]]()
    room = size - len(seeds)
    number[seeds] = 0
    while len(rounds[-1]):
        held.append(links.edges_of(rounds[-1]))
        if room <= 0:
            break
        reached = _next_round(*held[-1][1:], number, allowed, room, distances)
        number[reached] = 0
        rounds.append(reached)
        room -= len(reached)
    missing = also[number[also] < 0]
    held.append(links.edges_of(missing))
    nodes = np.concatenate([*rounds, missing])
    number[nodes] = np.arange(len(nodes))
    counts, target, weights = (np.concatenate(some) for some in zip(*held, strict=True))
    region = Region(nodes, _among(counts, target, weights, number))
    number[nodes] = -1
    _numbers.array = number
    return region


def _next_round(
    target: Nodes,
    weights: Weights,
    number: NDArray[np.int32],
    allowed: Mask | None,
    room: int,
    distances: Distances,
) -> Nodes:
    """What the edges of the last round lead to and may be entered, each once; of more than `room` those that
    receive most weight."""
    new = number.take(target) < 0
    if allowed is not None:
        new &= allowed.take(target)
    at = np.flatnonzero(new)
    reached = target.take(at)
    order = np.arange(len(reached), dtype=np.int32)
    number[reached] = order  # of several writes to one place the last one stands
    slot = number.take(reached)
    number[reached] = -1
    distinct = np.flatnonzero(slot == order)
    nodes = reached.take(distinct)
    if len(nodes) <= room:
        return nodes
    received = np.bincount(slot, weights.take(at), len(reached)).take(distinct)
    least = np.partition(received, len(nodes) - room)[len(nodes) - room]
    more, tied = nodes[received > least], nodes[received == least]
    short = room - len(more)
    if short < len(tied):
        tied = tied[np.argsort(distances(tied), kind="stable")[:short]]
    return np.concatenate([more, tied])


def _among(counts: Nodes, target: Nodes, weights: Weights, number: NDArray[np.int32]) -> Graph:
    """Those of the edges that stay inside. counts: (m,) edges of each node, in the order of their numbers."""
    inner = number.take(target)
    inside = np.flatnonzero(inner >= 0)
    ends = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    within = inner.take(inside).astype(np.int64)
    return Graph(np.searchsorted(inside, ends), within, weights.take(inside).astype(np.float64))
