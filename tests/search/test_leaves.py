"""What reaches records without links, against the dense formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qstore_db.engines.base import Floats, Hits
from qstore_db.engines.links import Links, Lists
from qstore_db.records import Geometry, Metric, Vectors
from qstore_db.search.diffusion import ALPHA
from qstore_db.search.leaves import MOST, Leaves, reach_leaves

METRICS = [Metric.COSINE, Metric.L2, Metric.DOT]


@dataclass(frozen=True)
class Some:
    """As much of `Hits` as leaves are made from."""

    places: NDArray[np.int64]
    x: Vectors
    raw: Floats
    metric: Metric

    def __len__(self) -> int:
        return len(self.places)

    def take(self, order: NDArray[np.intp]) -> Some:
        return Some(self.places[order], self.x[order], self.raw[order], self.metric)

    def vectors(self) -> Vectors:
        return self.x

    def between(self, others: Some) -> Vectors:
        if self.metric is Metric.DOT:
            return -(self.x @ others.x.T)
        apart = self.x[:, None].astype(np.float64) - others.x
        return (apart**2).sum(axis=2).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A region of n nodes whose places are 3, 4, ..., and m unlinked records at places 1,000, 1,001, ..."""

    links: Links
    region: Some
    arrived: Floats
    unlinked: Some
    geometry: Geometry

    def leaves(self) -> Leaves:
        hits = (cast("Hits", some) for some in (self.region, self.unlinked))
        return reach_leaves(self.links, next(hits), self.arrived, next(hits), self.geometry)


def case(seed: int, n: int, m: int, metric: Metric = Metric.L2, bare: Sequence[int] = ()) -> Case:
    """Nodes at `bare` positions of the region have no edges; all others have some weight on theirs."""
    rng = np.random.default_rng(seed)
    x, y, query = (rng.normal(size=(count, 5)).astype(np.float32) for count in (n, m, 1))
    if metric is Metric.COSINE:
        x, y, query = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y, query))
    raw = -(y @ query[0]) if metric is Metric.DOT else ((y - query) ** 2).sum(axis=1)
    root = rng.uniform(0.5, 3.0, n + 3).astype(np.float32)
    root[[at + 3 for at in bare]] = 0.0
    empty = Links.joining(Lists.empty(n + 3))
    links = Links(empty.indptr, empty.own, empty.edges, root)
    largest = float((np.concatenate([x, y]) ** 2).sum(axis=1).max()) if metric is Metric.DOT else 0.0
    return Case(
        links,
        Some(np.arange(3, n + 3), x, np.zeros(n), metric),
        rng.random(n),
        Some(np.arange(1_000, 1_000 + m), y, raw.astype(np.float64), metric),
        Geometry(metric, largest),
    )


def formula(of: Case, hubs: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """What reaches every unlinked record, and the node that passes most on to it."""
    x, y = of.region.x.astype(np.float64), of.unlinked.x.astype(np.float64)
    walked, best = np.zeros(len(y)), np.zeros(len(y), np.int64)
    for leaf, vector in enumerate(y):
        if of.geometry.metric is Metric.DOT:
            d2 = np.maximum(2.0 * (of.geometry.max_dot - x @ vector), 0.0)
        else:
            d2 = ((x - vector) ** 2).sum(axis=1)
        near = hubs[np.argsort(d2[hubs], kind="stable")[:10]]
        w = np.exp(-d2[near] / d2[near].max()) + 1e-6
        degree = of.links.root[of.region.places[near]].astype(np.float64) ** 2
        # One entry of S = D^-1/2 W D^-1/2 a hub; nothing comes from those without edges.
        passed = [
            of.arrived[node] * weight / np.sqrt(d * w.sum()) if d > 0.0 else 0.0
            for node, weight, d in zip(near, w, degree, strict=True)
        ]
        walked[leaf] = ALPHA * sum(passed)
        best[leaf] = near[int(np.argmax(passed))]
    return walked, best


@pytest.mark.parametrize("metric", METRICS)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 128), m=st.integers(1, MOST))
def test_a_leaf_gets_one_step_of_the_walk_from_its_ten_nearest(
    metric: Metric, seed: int, n: int, m: int
) -> None:
    of = case(seed, n, m, metric)
    leaves = of.leaves()
    walked, best = formula(of, np.arange(n))
    assert leaves.places.tolist() == of.unlinked.places.tolist()
    np.testing.assert_allclose(leaves.walked, walked, rtol=1e-4)
    assert leaves.nodes.tolist() == best.tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_of_many_unlinked_records_those_nearest_to_the_query_become_leaves(metric: Metric) -> None:
    of = case(1, 60, 200, metric)
    leaves = of.leaves()
    nearest = of.unlinked.places[np.argsort(of.unlinked.raw)[:MOST]]
    assert len(leaves.places) == MOST == 32
    assert set(leaves.places.tolist()) == set(nearest.tolist())
    walked, best = formula(of, np.arange(60))
    np.testing.assert_allclose(leaves.walked, walked[leaves.places - 1_000], rtol=1e-4)
    assert leaves.nodes.tolist() == best[leaves.places - 1_000].tolist()


def test_leaves_hang_on_the_nodes_with_most_probability_alone() -> None:
    of = case(2, 700, 20)
    hubs = np.sort(np.argsort(-of.arrived)[:128])
    leaves = of.leaves()
    walked, best = formula(of, hubs)
    np.testing.assert_allclose(leaves.walked, walked, rtol=1e-4)
    assert leaves.nodes.tolist() == best.tolist()
    assert set(leaves.nodes.tolist()) <= set(hubs.tolist())


@given(seed=st.integers(0, 10**6), n=st.integers(2, 40))
def test_a_node_that_lost_its_edges_passes_nothing_on(seed: int, n: int) -> None:
    bare = np.random.default_rng(seed).permutation(n)[: n // 2].tolist()
    of = case(seed, n, 8, bare=bare)
    leaves = of.leaves()
    walked, best = formula(of, np.arange(n))
    np.testing.assert_allclose(leaves.walked, walked, rtol=1e-4)
    reached = leaves.walked > 0.0
    assert leaves.nodes[reached].tolist() == best[reached].tolist()
    assert not set(leaves.nodes[reached].tolist()) & set(bare)


def test_where_nothing_can_be_passed_on_nothing_comes() -> None:
    assert case(3, 6, 4, bare=range(6)).leaves().walked.tolist() == [0.0] * 4


def test_a_copy_of_a_lone_node_hangs_on_it() -> None:
    of = case(4, 1, 3)
    copies = Some(of.unlinked.places, np.repeat(of.region.x, 3, axis=0), of.unlinked.raw, Metric.L2)
    leaves = Case(of.links, of.region, of.arrived, copies, of.geometry).leaves()
    root = float(of.links.root[3])
    expected = ALPHA * of.arrived[0] / root * np.sqrt(1.0 + 1e-6)  # W = 1 + 1e-6, and no other edge
    np.testing.assert_allclose(leaves.walked, expected, rtol=1e-5)
    assert leaves.nodes.tolist() == [0, 0, 0]


def test_leaves_longer_than_any_measured_product_still_tell_their_neighbours_apart() -> None:
    of = case(5, 40, 6, Metric.DOT)
    stale = Case(of.links, of.region, of.arrived, of.unlinked, Geometry(Metric.DOT, 0.01))
    np.testing.assert_array_equal(stale.leaves().nodes, of.leaves().nodes)
    np.testing.assert_allclose(stale.leaves().walked, of.leaves().walked, rtol=1e-4)
