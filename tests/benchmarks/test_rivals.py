"""Rivals do what they are named after: checked against formulas that are written out, on pools of random points."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.linalg import expm

from benchmarks import far, regimes, rivals
from benchmarks.data import VectorSet
from qstore_db.search.diffusion import diffuse, knn_graph, seed_distribution, well_size

FAR = 30


@pytest.fixture(scope="module")
def data() -> VectorSet:
    rng = np.random.default_rng(0)
    centres = 4.0 * rng.standard_normal((6, 5))
    labels = rng.integers(0, 6, 320)
    vectors = (centres[labels] + rng.standard_normal((320, 5))).astype(np.float32)
    return VectorSet("points", "l2", vectors[20:], vectors[:20], labels[20:], labels[:20], "random")


@pytest.fixture(scope="module")
def pool(data: VectorSet) -> far.Pool:
    task = far.FarTask(data, FAR, np.arange(5), np.arange(5, 20))
    return next(pool for _, pool in far.pools(task, task.tune[:1], 200))


def contenders(data: VectorSet) -> tuple[rivals.Rival, ...]:
    return (*rivals.walkers(), *rivals.listers(), regimes.rival(data))


def dense(pool: far.Pool, k: int) -> np.ndarray:
    """W, entry by entry."""
    d2 = ((pool.vectors[:, None].astype(np.float64) - pool.vectors[None]) ** 2).sum(-1)
    n = len(pool)
    near = [sorted((j for j in range(n) if j != i), key=lambda j: d2[i, j])[:k] for i in range(n)]
    scale = np.sqrt([d2[i, near[i][-1]] for i in range(n)])
    w = np.zeros((n, n))
    for i in range(n):
        for j in near[i]:
            w[i, j] = w[j, i] = np.exp(-d2[i, j] / (scale[i] * scale[j])) + 1e-6
    return w


def test_a_pool_holds_the_nearest_in_order(data: VectorSet, pool: far.Pool) -> None:
    d2 = ((data.base.astype(np.float64) - data.queries[0]) ** 2).sum(1)
    assert np.array_equal(pool.positions, np.argsort(d2)[:200])
    assert np.allclose(pool.d2, np.sort(d2)[:200])


def test_every_setting_lists_twenty_members_outside_the_well(data: VectorSet, pool: far.Pool) -> None:
    for rival in contenders(data):
        for setting in rival.grid:
            listed = rival.rank(pool, setting).tolist()
            assert len(set(listed)) == len(listed) == far.DEPTH, (rival.name, setting)
            assert min(listed) >= FAR, (rival.name, setting)


@pytest.mark.parametrize("k", rivals.GRAPHS)
def test_the_graph_joins_the_k_nearest_either_way(pool: far.Pool, k: int) -> None:
    assert np.allclose(rivals.adjacency(pool, k).toarray(), dense(pool, k), atol=1e-5)


def test_diffusion_on_the_pool_is_the_databases_own(pool: far.Pool) -> None:
    p = diffuse(knn_graph(pool.vectors, max_dot=None), seed_distribution(pool.d2))
    setting = {"k": 10, "alpha": 0.99, "steps": 10}
    assert np.array_equal(rivals.diffusion(pool, setting), pool.beyond(p))


@pytest.mark.parametrize("per_degree", [False, True])
def test_page_rank_solves_its_equation(pool: far.Pool, per_degree: bool) -> None:
    w = dense(pool, 10)
    degree = w.sum(1)
    start = seed_distribution(pool.d2, far.SEEDS)
    p = np.linalg.solve(np.eye(len(pool)) - 0.85 * w / degree, 0.15 * start)
    listed = rivals.page_rank(pool, {"k": 10, "alpha": 0.85, "per_degree": per_degree})
    assert np.array_equal(listed, pool.beyond(p / degree if per_degree else p))


def test_heat_is_the_exponential_of_the_laplacian(pool: far.Pool) -> None:
    w = dense(pool, 10)
    root = 1.0 / np.sqrt(w.sum(1))
    laplacian = np.eye(len(pool)) - w * root * root[:, None]
    p = expm(-3.0 * laplacian) @ seed_distribution(pool.d2, far.SEEDS)
    assert np.array_equal(rivals.heat(pool, {"k": 10, "time": 3.0}), pool.beyond(p))


def test_hops_go_along_edges_first_the_fewest(pool: far.Pool) -> None:
    w = dense(pool, 5) > 0
    reached = np.full(len(pool), np.inf)
    front = seed_distribution(pool.d2, far.SEEDS) > 0
    for hop in range(len(pool)):
        reached[front & np.isinf(reached)] = hop
        front = (w @ front) > 0
    assert np.array_equal(rivals.hops(pool, {"k": 5, "length": "hops"}), pool.beyond(-reached))


def test_mmr_without_diversity_is_plain(pool: far.Pool) -> None:
    assert np.array_equal(rivals.mmr(pool, {"trade": 1.0}), rivals.nearest(pool, {}))


def test_mmr_spreads_its_list_the_more_diversity_weighs(pool: far.Pool) -> None:
    def spread(trade: float) -> float:
        listed = rivals.mmr(pool, {"trade": trade})
        return float(pool.between[np.ix_(listed, listed)].min(axis=1).mean())

    assert spread(0.5) > spread(0.9) > spread(1.0)


def test_dpp_picks_what_raises_the_determinant_most(pool: far.Pool) -> None:
    setting = {"quality": 0.5, "width": 0.25}
    edge = pool.d2[FAR]
    quality = np.exp(-0.5 * (pool.d2 - edge) / edge)
    between = pool.between.astype(np.float64)
    np.fill_diagonal(between, 0.0)
    kernel = quality * quality[:, None] * np.exp(-between / (0.25 * edge))
    chosen: list[int] = []
    for _ in range(far.DEPTH):
        rest = [i for i in range(FAR, len(pool)) if i not in chosen]
        chosen.append(
            max(rest, key=lambda i: np.linalg.slogdet(kernel[np.ix_([*chosen, i], [*chosen, i])])[1])
        )
    assert rivals.dpp(pool, setting).tolist() == chosen


def test_a_mean_query_that_does_not_move_is_plain(pool: far.Pool) -> None:
    listed = rivals.mean_query(pool, {"m": 10, "beta": 0.0, "passes": 3})
    assert np.array_equal(listed, rivals.nearest(pool, {}))


def test_a_mean_query_ranks_by_distance_to_the_mean(pool: far.Pool) -> None:
    mean = pool.vectors[:10].astype(np.float64).mean(0)
    d2 = ((pool.vectors - mean) ** 2).sum(1)
    listed = rivals.mean_query(pool, {"m": 10, "beta": 1.0, "passes": 1})
    assert np.array_equal(listed, pool.beyond(-d2))


def test_regimes_list_the_querys_own_cluster_first(data: VectorSet) -> None:
    apart = np.array([0.0, 1_000.0], np.float32)[np.arange(300) % 2]
    base = np.column_stack([apart, np.random.default_rng(1).random(300)]).astype(np.float32)
    two = dataclasses.replace(data, base=base, queries=base[:1], labels=np.arange(300) % 2)
    task = far.FarTask(two, FAR, np.arange(1), np.arange(1))
    _, pool = next(far.pools(task, task.tune, 300))
    listed = regimes.rival(two).rank(pool, {"regimes": 2, "by": "query"})
    assert set(two.labels[pool.positions[listed]].tolist()) == {0}


def test_the_barrier_makes_a_well_of_just_that_size() -> None:
    for rows in (1_300, 4_845, 60_000, 1_000_000):
        for well in (5, 20, 50, 60, 100):
            assert well_size(rows, far.barrier(rows, well)) == well


def test_average_precision_is_one_for_hits_alone_and_rewards_early_ones() -> None:
    early, late = np.zeros(20, np.bool_), np.zeros(20, np.bool_)
    early[:5], late[-5:] = True, True
    assert far.average_precision(np.ones(20, np.bool_)) == 1.0
    assert far.average_precision(early) == 5 / 20
    assert far.average_precision(late) == pytest.approx(sum((i + 1) / (16 + i) for i in range(5)) / 20)
