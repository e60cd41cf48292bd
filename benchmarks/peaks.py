"""The peaks of a height over a graph, and the basin of each: a plain union-find, from the highest node down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.data import Integers
from benchmarks.far import Values


def basins(
    heights: Values, neighbours: Sequence[Sequence[int]], prominence: float
) -> tuple[Integers, Values]:
    """(n,) the number of each node's peak, and (m,) the heights of the peaks.

    A peak counts if one has to go down by at least `prominence` to get from it to a higher one; the basin of a
    lesser one belongs to the peak that its ridge leads to. Ties go to the lower number. The highest peak of a
    component always counts.
    """
    order = np.argsort(-heights, kind="stable").tolist()
    linked: dict[int, int] = {}  # towards the peak of the node's component, as far as the water has sunk
    absorbed: dict[int, int] = {}  # lesser peaks, and where their basins go
    own: dict[int, int] = {}
    for node in order:
        there = {_root(linked, other) for other in neighbours[node] if other in linked}
        reached = sorted(there, key=lambda peak: (-heights[peak], peak))
        linked[node] = reached[0] if reached else node
        own[node] = _uphill(node, neighbours[node], heights, own)
        for peak in reached[1:]:
            linked[peak] = reached[0]
            if heights[peak] - heights[node] < prominence:
                absorbed[peak] = reached[0]
    ends = np.array([_root(absorbed, own[node]) for node in range(len(heights))], np.int64)
    peaks, number = np.unique(ends, return_inverse=True)
    return number.astype(np.int64), heights[peaks]


def _uphill(node: int, around: Sequence[int], heights: Values, own: dict[int, int]) -> int:
    """The peak that the steepest neighbour above leads to; the node itself where there is none."""
    above = [other for other in around if other in own]
    return own[max(above, key=lambda other: (heights[other], -other))] if above else node


def _root(towards: dict[int, int], node: int) -> int:
    while towards.get(node, node) != node:
        node = towards[node]
    return node
