"""The paths that a match explains itself by, against a search in plain Python."""

from __future__ import annotations

import itertools
from collections import deque

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qstore_db.search.diffusion import Graph, diffuse, knn_graph
from qstore_db.search.trace import carriers

Floats = NDArray[np.float64]


def graph_of(s: Floats) -> Graph:
    """The graph of a symmetric matrix of weights, 0 where there is no edge."""
    indptr = np.concatenate([[0], np.cumsum((s > 0.0).sum(axis=1))])
    return Graph(indptr.astype(np.int64), np.nonzero(s)[1].astype(np.int64), s[s > 0.0])


def edges(n: int, *weighted: tuple[int, int, float]) -> Graph:
    s = np.zeros((n, n))
    for a, b, weight in weighted:
        s[a, b] = s[b, a] = weight
    return graph_of(s)


def paths(graph: Graph, seeds: list[int], arrived: list[float], targets: list[int]) -> list[list[int]]:
    start = np.zeros(len(graph))
    start[seeds] = 1.0
    return carriers(graph, start, np.array(arrived, np.float64), np.array(targets, np.int64))


def depths(graph: Graph, start: Floats) -> list[int]:
    """Edges from the nearest seed, -1 where there is no way."""
    depth = [0 if p > 0.0 else -1 for p in start]
    queue = deque(np.flatnonzero(start > 0.0).tolist())
    while queue:
        node = queue.popleft()
        for other in graph.neighbours(node)[0].tolist():
            if depth[other] < 0:
                depth[other] = depth[node] + 1
                queue.append(other)
    return depth


@st.composite
def walks(draw: st.DrawFn) -> tuple[Graph, Floats, Floats]:
    """Graphs of all densities and parts, some seeds, and what arrived: with ties, and zeros, or by diffusion."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    s = np.triu(rng.random((n, n)) < draw(st.sampled_from([0.02, 0.08, 0.2, 0.7])), 1)
    weights = s * rng.integers(1, 5, size=(n, n)) / 4.0
    graph = graph_of(weights + weights.T)
    start = np.zeros(n)
    start[rng.permutation(n)[: draw(st.integers(1, 5))]] = 0.2
    by_hand = draw(st.booleans())
    return graph, start, rng.integers(0, 4, size=n) / 4.0 if by_hand else diffuse(graph, start)


@given(walk=walks(), data=st.data())
def test_a_path_is_a_shortest_one_that_takes_the_strongest_passer_at_every_step(
    walk: tuple[Graph, Floats, Floats], data: st.DataObject
) -> None:
    graph, start, arrived = walk
    n = len(graph)
    targets = data.draw(st.lists(st.integers(0, n - 1), max_size=12))
    depth = depths(graph, start)
    found = carriers(graph, start, arrived, np.array(targets, np.int64))
    assert len(found) == len(targets)
    for target, way in zip(targets, found, strict=True):
        assert len(way) == max(depth[target], 0)  # empty for a seed, and for what no way leads to
        if way:
            assert start[way[0]] > 0.0
        here = target
        for node in reversed(way):
            around, weights = graph.neighbours(here)
            passed = {
                other: weight * arrived[other]
                for other, weight in zip(around.tolist(), weights.tolist(), strict=True)
                if depth[other] == depth[here] - 1
            }
            assert passed[node] == max(passed.values())
            here = node


@given(seed=st.integers(0, 10**6), n=st.integers(12, 120))
def test_over_neighbours_of_points_every_match_is_traced_to_a_seed(seed: int, n: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
    graph = knn_graph(x, 3, max_dot=None)
    start = np.zeros(n)
    start[:5] = 0.2
    found = carriers(graph, start, diffuse(graph, start), np.arange(n))
    depth = depths(graph, start)
    assert [len(way) for way in found] == [max(edges, 0) for edges in depth]
    for target, way in enumerate(found):
        steps = [*way, target]
        for a, b in itertools.pairwise(steps):
            assert b in graph.neighbours(a)[0]


def test_a_seed_and_what_no_path_leads_to_have_none() -> None:
    graph = edges(5, (0, 1, 0.5), (2, 3, 0.5))
    assert paths(graph, [0], [1.0] * 5, [0, 1, 2, 3, 4, 1]) == [[], [0], [], [], [], [0]]


def test_a_shorter_path_is_taken_however_little_came_over_it() -> None:
    graph = edges(4, (0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0), (0, 3, 0.01))
    assert paths(graph, [0], [1.0, 1.0, 1.0, 1.0], [3]) == [[0]]


def test_of_paths_of_one_length_the_one_over_the_strongest_passer_is_taken() -> None:
    graph = edges(4, (0, 1, 0.5), (0, 2, 0.5), (1, 3, 0.5), (2, 3, 0.4))
    assert paths(graph, [0], [1.0, 0.2, 0.3, 0.1], [3]) == [[0, 2]]  # .4 * .3 > .5 * .2
    assert paths(graph, [0], [1.0, 0.3, 0.3, 0.1], [3]) == [[0, 1]]


def test_a_path_leads_there_even_where_nothing_arrived_on_the_way() -> None:
    graph = edges(3, (0, 1, 0.5), (1, 2, 0.5))
    assert paths(graph, [0], [1.0, 0.0, 0.5], [2]) == [[0, 1]]


def test_without_targets_there_are_no_paths() -> None:
    assert paths(edges(2, (0, 1, 1.0)), [0], [1.0, 1.0], []) == []
