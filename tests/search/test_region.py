"""Growing a region of links, against a breadth-first growth in plain Python."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qstore_db.engines.links import NEIGHBOURS, Links, Lists
from qstore_db.search import region as module
from qstore_db.search.diffusion import Graph
from qstore_db.search.region import Distances, Region, grow

Ints = NDArray[np.int64]
NOBODY = np.empty(0, np.int64)


def listing(n: int, listed: dict[int, dict[int, float]]) -> Links:
    """Links over n nodes from what each lists: neighbours and squared distances."""
    lists = Lists.empty(n)
    for node, others in listed.items():
        for slot, (other, d2) in enumerate(others.items()):
            lists.nodes[node, slot], lists.d2[node, slot] = other, d2
    return Links.joining(lists)


def path(n: int) -> Links:
    """0 - 1 - 2 - ..., all steps alike."""
    return listing(n, {node: {node + 1: 1.0} for node in range(n - 1)})


def scattered(n: int, seed: int, dead: float = 0.0) -> tuple[Links, NDArray[np.float64]]:
    """The nearest of random points, some of which have no edges; and how far a query is from each."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    alive = rng.random(n) >= dead
    d2 = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    np.fill_diagonal(d2, np.inf)
    d2[~alive] = np.inf
    d2[:, ~alive] = np.inf
    lists = Lists.empty(n)
    width = min(NEIGHBOURS, int(rng.integers(1, NEIGHBOURS + 1)), n)
    near = np.argsort(d2, axis=1, kind="stable")[:, :width]
    there = np.isfinite(np.take_along_axis(d2, near, 1))
    lists.nodes[:, :width] = np.where(there, near, -1)
    lists.d2[:, :width] = np.take_along_axis(d2, near, 1)
    return Links.joining(lists), ((x - rng.normal(size=3)) ** 2).sum(axis=1)


def matrix(links: Links) -> NDArray[np.float64]:
    s = np.zeros((len(links), len(links)))
    s[np.repeat(np.arange(len(links)), np.diff(links.indptr)), links.indices] = links.weights
    return s


def dense(graph: Graph) -> NDArray[np.float64]:
    s = np.zeros((len(graph), len(graph)))
    s[np.repeat(np.arange(len(graph)), np.diff(graph.indptr)), graph.indices] = graph.weights
    return s


def brute(
    s: NDArray[np.float64],
    seeds: list[int],
    size: int,
    allowed: set[int],
    far: NDArray[np.float64],
    also: list[int],
) -> tuple[set[int], bool]:
    """The nodes by the rule in the module's docstring, and whether rounding may have decided about one."""
    inside, last, close = list(seeds), list(seeds), False
    while last and len(inside) < size:
        received = {
            node: math.fsum(s[node, last])
            for node in range(len(s))
            if s[node, last].any() and node in allowed and node not in inside
        }
        room = size - len(inside)
        last = sorted(received, key=lambda node: (-received[node], far[node]))
        if len(last) > room:
            edge = received[last[room - 1]]
            close = sum(abs(weight - edge) < 1e-9 for weight in received.values()) > 1
            last = last[:room]
        inside += last
    return {*inside, *also}, close


def by(far: Iterable[float]) -> Distances:
    """Distances of the nodes, in their order."""
    known = np.array(list(far), np.float64)
    return lambda some: known[some]


def nodes(region: Region) -> list[int]:
    return [int(node) for node in region.nodes]


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 70),
    size=st.integers(1, 80),
    seeds=st.integers(1, 5),
    dead=st.sampled_from([0.0, 0.3]),
    barred=st.sampled_from([None, 0.0, 0.4, 0.9]),
    extra=st.integers(0, 6),
)
def test_a_region_is_what_growing_by_the_rule_gives(
    seed: int, n: int, size: int, seeds: int, dead: float, barred: float | None, extra: int
) -> None:
    links, far = scattered(n, seed, dead)
    rng = np.random.default_rng(seed + 1)
    start = rng.permutation(n)[: min(seeds, size)].astype(np.int64)
    also = rng.permutation(n)[:extra].astype(np.int64)
    # The mask may be longer than the links: some records have none yet.
    allowed = None if barred is None else rng.random(n + 7) >= barred
    region = grow(links, start, size, allowed, by(far), also)

    found, s = nodes(region), matrix(links)
    everyone = set(range(n)) if allowed is None else set(np.flatnonzero(allowed[:n]).tolist())
    expected, close = brute(s, start.tolist(), size, everyone, far, also.tolist())
    assert len(found) == len(set(found)) == len(expected)
    if not close:
        assert set(found) == expected
    assert found[: len(start)] == start.tolist()
    assert set(also.tolist()) <= set(found)
    assert set(found) - set(start.tolist()) - set(also.tolist()) <= everyone
    assert len(set(found) - set(also.tolist())) <= size
    assert np.array_equal(dense(region.graph), s[np.ix_(region.nodes, region.nodes)])


@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), size=st.integers(1, 60))
def test_a_region_can_be_walked_over(seed: int, n: int, size: int) -> None:
    links, far = scattered(n, seed)
    graph = grow(links, np.array([0]), size, None, by(far), NOBODY).graph
    assert graph.indptr[0] == 0
    assert graph.indptr[-1] == len(graph.indices) == len(graph.weights)
    s = dense(graph)
    assert np.array_equal(s, s.T)
    assert not s.diagonal().any()
    assert np.abs(np.linalg.eigvalsh(s)).max() <= 1.0 + 1e-5


def test_rounds_follow_one_another_until_the_size_is_reached() -> None:
    links = path(9)
    for size, expected in ((1, [4]), (3, [4, 3, 5]), (5, [4, 3, 5, 2, 6]), (50, list(range(9)))):
        region = grow(links, np.array([4]), size, None, by(abs(node - 4.0) for node in range(9)), NOBODY)
        assert sorted(nodes(region)) == sorted(expected)


def test_the_last_round_takes_those_that_receive_most() -> None:
    links = listing(6, {0: {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}} | {node: {5: 9.0} for node in range(1, 5)})
    received = matrix(links)[0, 1:5]
    assert len(set(received.tolist())) == 4
    strongest = {int(node) + 1 for node in np.argsort(received)[2:]}
    weakest = by([0.0, *received, 0.0])  # nearness alone would choose otherwise
    assert set(nodes(grow(links, np.array([0]), 3, None, weakest, NOBODY))) == {0, *strongest}


def test_weight_from_several_nodes_of_the_last_round_adds_up() -> None:
    # 4 is joined to both seeds, 2 and 3 to one each, all by edges of one length.
    links = listing(5, {0: {2: 1.0, 4: 1.0}, 1: {3: 1.0, 4: 1.0}})
    s = matrix(links)
    assert s[0, 4] + s[1, 4] > s[0, 2] == s[1, 3]
    region = grow(links, np.array([0, 1]), 3, None, by(range(0, -5, -1)), NOBODY)
    assert nodes(region) == [0, 1, 4]


def test_of_equals_the_nearer_to_the_query_come_in() -> None:
    links = listing(6, {0: {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0}})
    far = np.array([0.0, 5.0, 1.0, 4.0, 2.0, 3.0])
    region = grow(links, np.array([0]), 3, None, by(far), NOBODY)
    assert set(nodes(region)) == {0, 2, 4}


def test_what_is_not_allowed_is_neither_entered_nor_passed() -> None:
    allowed = np.array([True, True, False, True, True])
    region = grow(path(5), np.array([0]), 5, allowed, by(range(9)), NOBODY)
    assert nodes(region) == [0, 1]


def test_what_is_wanted_besides_comes_whatever_its_place_and_is_not_grown_from() -> None:
    region = grow(path(9), np.array([0]), 2, None, by(range(9)), np.array([8, 1, 5, 6]))
    assert nodes(region) == [0, 1, 8, 5, 6]
    s = dense(region.graph)
    joined = {(0, 1), (3, 4)}  # 0 - 1 and 5 - 6
    assert {(a, b) for a, b in np.argwhere(s > 0.0).tolist() if a < b} == joined


def test_a_node_without_edges_is_a_region_of_its_own() -> None:
    links = listing(3, {0: {1: 1.0}})
    region = grow(links, np.array([2]), 10, None, by(range(9)), NOBODY)
    assert nodes(region) == [2]
    assert region.graph.indptr.tolist() == [0, 0]


def test_one_search_leaves_no_trace_in_the_next() -> None:
    # Numbers are kept between calls: over more nodes, fewer, and other ones.
    for n, start in ((400, 3), (30, 29), (400, 399), (700, 5), (30, 0)):
        links, far = scattered(n, n + start)
        seeds, also = np.array([start]), np.array([1, 2])
        used = grow(links, seeds, 25, None, by(far), also)
        with ThreadPoolExecutor(1) as another:
            fresh = another.submit(grow, links, seeds, 25, None, by(far), also).result()
        assert nodes(used) == nodes(fresh)
        assert np.array_equal(dense(used.graph), dense(fresh.graph))


def test_a_search_that_fails_leaves_no_trace_either() -> None:
    links = listing(6, {0: {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0}})

    def unreadable(some: Ints) -> NDArray[np.float64]:
        raise OSError(f"{len(some)} vectors could not be read")

    with pytest.raises(OSError, match="5 vectors"):
        grow(links, np.array([0]), 3, None, unreadable, np.array([5]))
    region = grow(links, np.array([5]), 2, None, by(range(9)), NOBODY)
    assert nodes(region) == [5, 0]


def test_an_interrupt_at_any_line_leaves_no_trace_either() -> None:
    """A key press in a notebook comes between any two steps, and the next search runs in the same thread."""
    links = listing(6, {0: {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0}})

    def search() -> list[int]:
        return nodes(grow(links, np.array([0]), 3, None, by(range(9)), np.array([5])))

    def interrupted(after: int) -> bool:
        lines = 0

        def trace(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal lines
            if frame.f_code.co_filename == module.__file__ and event == "line":
                lines += 1
                if lines == after:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            search()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    expected, after = search(), 1
    while interrupted(after):
        assert search() == expected, f"after {after} lines"
        after += 1
    assert after > 30


def test_threads_grow_their_regions_apart() -> None:
    links, far = scattered(600, 8)
    expected = [nodes(grow(links, np.array([i]), 60, None, by(far), NOBODY)) for i in range(40)]
    with ThreadPoolExecutor(4) as several:
        found = [several.submit(grow, links, np.array([i]), 60, None, by(far), NOBODY) for i in range(40)]
    assert [nodes(region.result()) for region in found] == expected
