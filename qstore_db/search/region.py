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

from qstore_db.engines.links import Edges, Links, Mask, Nodes
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
    """For each node its number in the region, -1 outside. Kept between calls, one a thread, and wiped by those who
    wrote to it: clearing a million places each time would cost more than the walk."""

    def __init__(self) -> None:
        self.array = np.empty(0, np.int32)

    def over(self, n: int) -> NDArray[np.int32]:
        if len(self.array) < n:
            self.array = np.full(n + n // 4, -1, np.int32)
        return self.array


_numbers = _Numbers()


def grow(
    links: Links, seeds: Nodes, size: int, allowed: Mask | None, distances: Distances, also: Nodes
) -> Region:
    """Up to `size` nodes around `seeds`, and those of `also` whatever their place in the graph.

    seeds: distinct nodes, at least one. allowed: (>= len(links),) which nodes may be entered; None: all.
    """
    number = _numbers.over(len(links))
    rounds = [seeds]
    pieces: list[Edges] = []
    count = len(seeds)
    try:
        number[seeds] = np.arange(count)
        while len(rounds[-1]):
            pieces.append(links.edges(rounds[-1]))
            if count >= size:
                break
            fresh = _outside(pieces[-1], number, allowed)
            reached = _strongest(*fresh, number, size - count, distances)
            number[reached] = np.arange(count, count + len(reached))
            rounds.append(reached)
            count += len(reached)
        missing = also[number[also] < 0]
        number[missing] = np.arange(count, count + len(missing))
        rounds.append(missing)
        pieces.append(links.edges(missing))
        nodes = np.concatenate(rounds)
        return Region(nodes, _among(pieces, number, len(nodes)))
    finally:
        for reached in rounds:
            number[reached] = -1
        number[also] = -1


def _outside(
    edges: Edges, number: NDArray[np.int32], allowed: Mask | None
) -> tuple[Nodes, NDArray[np.float32]]:
    """The neighbours that may still be entered, as often as they are reached, with the weights."""
    new = number[edges.nodes] < 0
    if allowed is not None:
        new &= allowed[edges.nodes]
    return edges.nodes[new].astype(np.int64), edges.weights[new]


def _strongest(
    reached: Nodes, weights: NDArray[np.float32], number: NDArray[np.int32], room: int, distances: Distances
) -> Nodes:
    """Each node reached, once; of more than `room` those that received most weight."""
    order = np.arange(len(reached), dtype=np.int32)
    number[reached] = order  # of several writes to one place the last one stands
    slot = number[reached]
    number[reached] = -1
    distinct = np.flatnonzero(slot == order)
    nodes = reached[distinct]
    if len(nodes) <= room:
        return nodes
    received = np.bincount(slot, weights, len(reached))[distinct]
    least = np.partition(received, len(nodes) - room)[len(nodes) - room]
    more, tied = nodes[received > least], nodes[received == least]
    short = room - len(more)
    if short < len(tied):
        tied = tied[np.argsort(distances(tied), kind="stable")[:short]]
    return np.concatenate([more, tied])


def _among(pieces: list[Edges], number: NDArray[np.int32], count: int) -> Graph:
    """The edges that stay inside. Pieces hold the edges of all nodes, in the order of their numbers."""
    held = np.concatenate([piece.counts for piece in pieces])
    inner = number[np.concatenate([piece.nodes for piece in pieces])]
    inside = inner >= 0
    before = np.zeros(len(inside) + 1, np.int64)
    np.cumsum(inside, out=before[1:])
    ends = np.zeros(count + 1, np.int64)
    np.cumsum(held, out=ends[1:])
    weights = np.concatenate([piece.weights for piece in pieces])[inside]
    return Graph(before[ends], inner[inside].astype(np.int64), weights.astype(np.float64))
