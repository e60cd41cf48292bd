"""Links against dense formulas: how they are made, brought up to date, cut, read and smoothed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qstore_db.engines.linking import Found, Measure, Search, linked
from qstore_db.engines.links import LEAST_WEIGHT, NEIGHBOURS, Links, Mask, Nodes
from qstore_db.search.diffusion import knn_graph

Dense = NDArray[np.float64]


def points(seed: int, n: int, d: int = 8) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def squares(x: NDArray[np.float32], alive: Mask) -> NDArray[np.float32]:
    """(n, n) squared distances, infinite to oneself and to the dead: one matrix for searches and oracles."""
    wide = x.astype(np.float64)
    d2 = ((wide[:, None] - wide[None]) ** 2).sum(axis=2).astype(np.float32)
    np.fill_diagonal(d2, np.inf)
    d2[~alive] = np.inf
    d2[:, ~alive] = np.inf
    return d2


def brute(d2: NDArray[np.float32], asked: list[int] | None = None) -> tuple[Search, Measure]:
    """Exact search, in blocks of 7. The nodes asked for are noted in `asked`."""

    def search(nodes: Nodes, k: int) -> Iterator[Found]:
        for start in range(0, len(nodes), 7):
            block = nodes[start : start + 7]
            if asked is not None:
                asked.extend(block.tolist())
            others = np.argsort(d2[block], axis=1, kind="stable")[:, :k]
            near = np.take_along_axis(d2[block], others, 1)
            others = np.where(np.isfinite(near), others, -1)
            short = k - others.shape[1]
            yield Found(
                block,
                np.pad(others, ((0, 0), (0, max(short, 0))), constant_values=-1),
                np.pad(near, ((0, 0), (0, max(short, 0))), constant_values=np.inf),
            )

    def measure(nodes: Nodes, others: NDArray[np.int32]) -> NDArray[np.float32]:
        return d2[nodes[:, None], others]

    return search, measure


def nearest(d2: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(n, n): whether the row lists the column among its nearest."""
    listed = np.zeros(d2.shape, np.bool_)
    np.put_along_axis(listed, np.argsort(d2, axis=1, kind="stable")[:, :NEIGHBOURS], True, 1)
    return listed & np.isfinite(d2)


def formula(d2: NDArray[np.float32]) -> tuple[Dense, Dense]:
    """W and S of the exact graph, dense and in float64."""
    listed = nearest(d2)
    reach = np.where(listed, d2, 0.0).max(axis=1)
    edge = listed | listed.T
    alive = edge.any(axis=1)
    reach = np.maximum(reach, 1e-12 * reach[alive].mean() if alive.any() and reach.any() else 1.0)
    scale = np.sqrt(reach)
    with np.errstate(invalid="ignore"):
        w = np.where(edge, np.exp(-d2 / (scale[:, None] * scale)) + LEAST_WEIGHT, 0.0)
    return w, normal(w)


def normal(w: Dense) -> Dense:
    root = np.sqrt(w.sum(axis=1))
    safe = np.where(root > 0.0, root, 1.0)
    return np.asarray(w / safe[:, None] / safe)


def dense(links: Links) -> Dense:
    out = np.zeros((len(links), len(links)))
    source = np.repeat(np.arange(len(links)), np.diff(links.indptr))
    assert len(set(zip(source.tolist(), links.indices.tolist(), strict=True))) == len(source)
    out[source, links.indices] = links.weights
    return out


def lists(links: Links) -> list[set[int]]:
    return [set(links.listed(node).tolist()) for node in range(len(links))]


def exact(x: NDArray[np.float32]) -> Links:
    everyone = np.ones(len(x), np.bool_)
    return linked(None, everyone, *brute(squares(x, everyone)))


def recall(links: Links, d2: NDArray[np.float32]) -> float:
    wanted = [set(np.flatnonzero(row).tolist()) for row in nearest(d2)]
    found = sum(len(a & b) for a, b in zip(wanted, lists(links), strict=True))
    return found / sum(map(len, wanted))


@given(seed=st.integers(0, 10**6), n=st.integers(1, 80), dead=st.floats(0.0, 0.6))
def test_links_made_from_nothing_are_the_exact_graph_of_the_living(seed: int, n: int, dead: float) -> None:
    x = points(seed, n)
    alive = np.random.default_rng(seed).random(n) >= dead
    d2 = squares(x, alive)
    links = linked(None, alive, *brute(d2))
    w, s = formula(d2)
    np.testing.assert_allclose(dense(links), s, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(links.root, np.sqrt(w.sum(axis=1)), rtol=1e-6)
    assert lists(links) == [set(np.flatnonzero(row).tolist()) for row in nearest(d2)]
    assert not dense(links)[~alive].any()


def test_without_ties_the_links_are_the_graph_that_the_reference_walks_over() -> None:
    x = points(1, 200)
    graph = knn_graph(x, NEIGHBOURS, max_dot=None)
    s = np.zeros((200, 200))
    s[np.repeat(np.arange(200), np.diff(graph.indptr)), graph.indices] = graph.weights
    np.testing.assert_allclose(dense(exact(x)), s, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 10, 11])
def test_with_fewer_than_eleven_nodes_everyone_lists_everyone(n: int) -> None:
    links = exact(points(2, n))
    assert lists(links) == [set(range(n)) - {node} for node in range(n)]
    assert links.bare == (1 if n == 1 else 0)


@pytest.mark.parametrize("copies", [3, 11, 40])
def test_duplicates_are_joined_with_finite_weights(copies: int) -> None:
    x = np.repeat(points(3, 5), copies, axis=0)
    links = exact(x)
    s = dense(links)
    assert np.isfinite(links.weights).all()
    assert links.weights.min() > 0.0
    assert links.weights.max() <= 1.0
    assert np.array_equal(s, s.T)
    assert np.abs(np.linalg.eigvalsh(s)).max() <= 1.0 + 1e-5
    np.testing.assert_allclose(s, formula(squares(x, np.ones(len(x), np.bool_)))[1], rtol=1e-4, atol=1e-9)


def test_nothing_but_one_point_many_times_is_joined_with_equal_weights() -> None:
    links = exact(np.ones((30, 3), np.float32))
    w = (
        links.weights
        * links.root[np.repeat(np.arange(30), np.diff(links.indptr))]
        * links.root[links.indices]
    )
    np.testing.assert_allclose(w, 1.0 + LEAST_WEIGHT, rtol=1e-5)


@given(seed=st.integers(0, 10**6), n=st.integers(2, 90))
def test_every_edge_stands_in_both_rows_with_one_weight(seed: int, n: int) -> None:
    links = exact(points(seed, n))
    for s in (dense(links), dense(links.kept(np.arange(n) % 3 > 0))):
        assert np.array_equal(s, s.T)
        assert not s.diagonal().any()


@pytest.fixture
def grown() -> Callable[[int, int, float], tuple[Links, NDArray[np.float32], list[int]]]:
    """Links over the first nodes, then brought up to date with the others, and with some of all dead."""

    def grow(before: int, n: int, dead: float) -> tuple[Links, NDArray[np.float32], list[int]]:
        x = points(4, n)
        alive = np.random.default_rng(5).random(n) >= dead
        asked: list[int] = []
        d2 = squares(x, alive)
        return linked(exact(x[:before]), alive, *brute(d2, asked)), d2, asked

    return grow


@pytest.mark.parametrize("before", [31, 25, 20])
def test_a_few_additions_give_the_exact_links_bit_for_bit_where_offers_reach_everyone(
    grown: Callable[[int, int, float], tuple[Links, NDArray[np.float32], list[int]]], before: int
) -> None:
    links, d2, asked = grown(before, 31, 0.0)
    whole = linked(None, np.ones(31, np.bool_), *brute(d2))
    assert asked == list(range(before, 31))
    assert lists(links) == lists(whole)
    np.testing.assert_allclose(dense(links), dense(whole), rtol=1e-6)
    a, b = dense(links) > 0.0, dense(whole) > 0.0
    assert np.array_equal(a, b)


@pytest.mark.parametrize(("before", "n", "dead"), [(500, 600, 0.0), (500, 500, 0.1), (500, 650, 0.1)])
def test_after_additions_and_deletions_the_lists_keep_nearly_all_the_nearest(
    grown: Callable[[int, int, float], tuple[Links, NDArray[np.float32], list[int]]],
    before: int,
    n: int,
    dead: float,
) -> None:
    links, d2, asked = grown(before, n, dead)
    assert recall(links, d2) >= 0.95 - dead
    assert len(asked) < n
    assert set(range(before, n)) - set(np.flatnonzero(~np.isfinite(d2).any(axis=1))) <= set(asked)
    gone = ~np.isfinite(d2).any(axis=1)
    assert not dense(links)[gone].any()
    assert not dense(links)[:, gone].any()
    assert links.bare == gone.sum()


def test_once_most_nodes_are_new_all_are_searched_for_and_the_lists_are_exact(
    grown: Callable[[int, int, float], tuple[Links, NDArray[np.float32], list[int]]],
) -> None:
    links, d2, asked = grown(100, 300, 0.0)
    assert sorted(asked) == list(range(300))
    assert recall(links, d2) == 1.0


@pytest.mark.parametrize("gone", [0.0, 0.3, 0.9, 1.0])
def test_links_kept_are_the_edges_that_remain_normalised_anew(gone: float) -> None:
    links = exact(points(6, 150))
    keep = np.random.default_rng(7).random(150) >= gone
    w = dense(links) * links.root[:, None] * links.root
    kept = links.kept(keep)
    np.testing.assert_allclose(dense(kept), normal(w[np.ix_(keep, keep)]), rtol=1e-5, atol=1e-9)
    place = np.cumsum(keep) - 1
    expected = [
        {int(place[other]) for other in links.listed(node) if keep[other]} for node in np.flatnonzero(keep)
    ]
    assert lists(kept) == expected
    assert kept.lost == (~keep).sum()
    assert kept.kept(np.ones(len(kept), np.bool_)).lost == kept.lost


def test_a_node_that_was_bare_already_is_not_lost() -> None:
    x = points(8, 60)
    alive = np.arange(60) % 6 > 0
    links = linked(None, alive, *brute(squares(x, alive)))
    assert links.bare == 10
    assert links.kept(alive).lost == 0
    assert links.kept(alive).bare == 0


def test_edges_lists_and_listed_tell_the_same_as_the_matrix() -> None:
    links = exact(points(9, 120))
    s = dense(links)
    nodes = np.array([5, 0, 119, 5])
    counts, neighbours, weights = links.edges_of(nodes)
    for node, end, count in zip(nodes, np.cumsum(counts), counts, strict=True):
        row = np.zeros(120)
        row[neighbours[end - count : end]] = weights[end - count : end]
        assert np.array_equal(row, s[node])
    assert len(links.edges_of(np.empty(0, np.int64))[1]) == 0
    all_lists = links.lists()
    assert [set(row[row >= 0].tolist()) for row in all_lists.nodes] == lists(links)
    assert all_lists.counts().tolist() == links.own.tolist()


@given(seed=st.integers(0, 10**6), steps=st.integers(0, 5), share=st.floats(0.0, 1.0))
def test_smoothing_is_repeated_averaging_over_neighbours(seed: int, steps: int, share: float) -> None:
    x = points(seed, 50)
    alive = np.random.default_rng(seed).random(50) > 0.2
    d2 = squares(x, alive)
    links = linked(None, alive, *brute(d2))
    values = np.random.default_rng(seed).random(50)
    w = formula(d2)[0]
    wanted = values.copy()
    joined = w.any(axis=1)
    for _ in range(steps):
        mean = w[joined] @ wanted / w[joined].sum(axis=1)
        wanted[joined] = share * mean + (1.0 - share) * values[joined]
    np.testing.assert_allclose(links.smoothed(values, steps, share), wanted, rtol=1e-5, atol=1e-7)


def test_smoothing_leaves_what_it_was_given_untouched() -> None:
    values = np.random.default_rng(0).random(50)
    before = values.copy()
    exact(points(1, 50)).smoothed(values, 3, 0.9)
    assert np.array_equal(values, before)
