"""The distinct optima of an objective over a graph, told from ripples by their topographic prominence.

Let the values be heights and a falling sea lay the graph bare, from the highest node down. Each local optimum
rises as an island. Where two islands meet, at a saddle, the lower one's peak stops being the highest of its
land: its prominence is its height above that saddle, the depth one has to go down on the way to anything
higher. A pair of good settings with a poor region between them is two prominent peaks; twenty near-copies of
one setting are one, with ripples on it.

Plateaus (connected nodes of equal value) rise at once and hold one peak at most.

Source: 0-dimensional persistence of superlevel sets (Edelsbrunner, Letscher and Zomorodian, 2002), on a
neighbour graph as by Chazal, Guibas, Oudot and Skraba (2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """The peaks of a landscape, best first, and the basin of each node."""

    nodes: NDArray[np.int64]
    """(peaks,), by falling value, then rising rank."""
    prominence: NDArray[np.float64]
    """(peaks,), in the unit of the values. > 0, but for a peak that lies at sea level."""
    labels: NDArray[np.int64]
    """(n,), which of the peaks a node climbs to: a position in `nodes`."""


def peaks(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int64],
    values: NDArray[np.float64],
    rank: NDArray[np.int64],
) -> Peaks:
    """All peaks of `values` over a graph of n nodes, each with its prominence and its basin.

    indptr, indices: (n + 1,) and (edges,), compressed sparse rows; every edge in both directions.
    values: (n,) finite, higher is better.
    rank: (n,) distinct; of nodes of equal value the one of lower rank counts as the higher. Nothing else
        breaks ties, so the result does not depend on how nodes and edges are numbered.

    A peak is a plateau (often a single node) without a higher neighbour, represented by its node of lowest
    rank. Its prominence is its value less that of the highest saddle on the way to a higher peak: the largest
    lowest value of any path there. From the highest peak of a connected part no path leads higher. As the
    summit of an island it stands out above the sea, whose level is the lowest of all values: prominences of
    different parts compare, an unconnected part counts by how good it gets, and the best peak of all is the
    most prominent one.

    A node belongs to the basin of the best of its higher neighbours, and so on up to a peak. A plateau that
    has higher neighbours is shared among their basins, by steps along itself.

    Takes a tenth of a second for 20,000 nodes with 16 neighbours each."""
    n = len(values)
    order = np.lexsort((rank, -values))
    place = np.empty(n, np.int64)  # of a node in the falling order; from here on, nodes are their places
    place[order] = np.arange(n)
    low, high = np.repeat(place, np.diff(indptr)), place[indices]
    downwards = low > high
    low, high = low[downwards], high[downwards]
    rising = np.lexsort((high, low))
    edges = zip(low[rising].tolist(), high[rising].tolist(), strict=True)

    height: list[float] = values[order].tolist()
    prominence = [own - height[-1] for own in height]
    uphill = list(range(n))
    summit = list(range(n))
    for lower, higher in edges:
        here, there = _summit(summit, lower), _summit(summit, higher)
        if here == there:
            continue
        elder, younger = min(here, there), max(here, there)
        summit[younger] = elder
        prominence[younger] = height[younger] - height[lower]
        if height[younger] == height[lower]:  # no peak, but a step on the way to one
            uphill[younger] = higher if younger == here else lower
    reached = _ends(np.array(uphill, np.int64))
    tops = np.unique(reached)
    return Peaks(order[tops], np.array(prominence)[tops], np.searchsorted(tops, reached)[place])


def distinct_best(
    found: Peaks, values: NDArray[np.float64], min_prominence: float | None = None
) -> NDArray[np.int64]:
    """The positions in `found` of the peaks that stand out, best first: (distinct,).

    values: (n,) finite, those that `found` was made from.
    min_prominence: at least 0, in the unit of the values. None: `usual_prominence(values)`, which keeps at
        least the best peak of all. A higher one keeps a part of what a lower one keeps, and none at all
        beyond the range of the values."""
    least = usual_prominence(values) if min_prominence is None else min_prominence
    return np.flatnonzero(found.prominence >= least)


def usual_prominence(values: NDArray[np.float64]) -> float:
    """Half the interquartile range of n finite values, >= 0: what a peak must stand out by unless told.

    Quartiles, for some diverged runs stretch the range of an objective without end and would drown every peak
    but one. Half, by measurement: of landscapes with three optima of heights 1, .9 and .8 in 2, 4 and 6 dimensions
    (300 to 2,000 samples) it kept all three, with a mean of .3 ripples at most under noise of .02, 1.5 under
    .05 and 13 under .1. A quarter kept several times as many, the whole often lost an optimum. Where noise is
    larger, give the depth that matters to you. 0 where half of the values are equal: then a few spikes on a
    plain are all peaks."""
    if not len(values):
        return 0.0
    # Of values that occur, not between two of them: nothing is rounded, and nothing overflows on the way.
    lower, upper = np.quantile(values, [0.25, 0.75], method="inverted_cdf")
    return (float(upper) - float(lower)) / 2.0


def _summit(summit: list[int], node: int) -> int:
    """The highest node of the island that holds `node`; halves the path there for the next time."""
    while summit[node] != node:
        summit[node] = summit[summit[node]]
        node = summit[node]
    return node


def _ends(following: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each node ends that goes on and on to its following one; no cycles but fixed points."""
    while True:
        further = following[following]
        if np.array_equal(further, following):
            return following
        following = further
