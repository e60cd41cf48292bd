from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from qstore_db.search.diffusion import (
    Graph,
    diffuse,
    knn_graph,
    query_scale,
    seed_distribution,
    tunnel_scores,
    well_size,
)

Floats = NDArray[np.float64]


def dense(graph: Graph) -> Floats:
    matrix = np.zeros((len(graph), len(graph)))
    for node in range(len(graph)):
        others, weights = graph.neighbours(node)
        matrix[node, others] = weights
    return matrix


def reference(d2: NDArray[np.floating], k: int) -> Floats:
    """S by its definition, from a full matrix of squared distances, in loops."""
    n = len(d2)
    kth = np.array([sorted(np.delete(d2[i], i))[min(k, n - 1) - 1] for i in range(n)])
    floor = 1e-12 * kth.mean() if kth.any() else 1.0
    s = np.sqrt(np.maximum(kth, floor))
    w = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j and (d2[i, j] <= kth[i] or d2[i, j] <= kth[j]):
                w[i, j] = np.exp(-d2[i, j] / (s[i] * s[j])) + 1e-6
    root = 1.0 / np.sqrt(w.sum(axis=1))
    s_matrix: Floats = root[:, None] * w * root[None, :]
    return s_matrix


def normal(n: int, d: int = 12, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def tied(n: int, seed: int = 0) -> NDArray[np.float32]:
    """Small whole numbers in three dimensions: many duplicates and many exactly equal distances."""
    return np.random.default_rng(seed).integers(-2, 3, (n, 3)).astype(np.float32)


def to_query(vectors: NDArray[np.float32]) -> Floats:
    """Squared distances to the query (0.25, 0.25, ...), each a function of its own vector alone."""
    d2: Floats = ((vectors.astype(np.float64) - 0.25) ** 2).sum(axis=1)
    return d2


def scores(vectors: NDArray[np.float32], strength: float = 0.7, max_dot: float | None = None) -> Floats:
    d2 = to_query(vectors)
    p = diffuse(knn_graph(vectors, 10, max_dot=max_dot), seed_distribution(d2))
    return tunnel_scores(d2, p, strength, query_scale(d2))


cases = st.builds(
    lambda kind, n, seed: kind(n, seed=seed),
    st.sampled_from([normal, tied]),
    st.integers(2, 120),
    st.integers(0, 10_000),
)


@given(vectors=cases, k=st.integers(1, 15))
def test_the_graph_is_the_dense_definition_under_squared_distance(
    vectors: NDArray[np.float32], k: int
) -> None:
    wanted = reference(cdist(vectors, vectors, "sqeuclidean"), k)
    got = dense(knn_graph(vectors, k, max_dot=None))
    np.testing.assert_array_equal(got > 0, wanted > 0)
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@given(vectors=cases, k=st.integers(1, 15))
def test_the_graph_is_the_dense_definition_under_the_dot_metric(vectors: NDArray[np.float32], k: int) -> None:
    products = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    max_dot = float(np.ceil(products.max()))
    wanted = reference(np.maximum(0.0, 2 * (max_dot - products)), k)
    np.testing.assert_allclose(dense(knn_graph(vectors, k, max_dot=max_dot)), wanted, atol=1e-6)


def test_a_product_above_a_stale_max_dot_counts_as_distance_zero() -> None:
    vectors = normal(40)
    products = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    stale = float(np.median(products.diagonal())) / 4
    wanted = reference(np.maximum(0.0, 2 * (stale - products)), 10)
    np.testing.assert_allclose(dense(knn_graph(vectors, 10, max_dot=stale)), wanted, atol=1e-6)


@given(vectors=cases)
def test_s_is_symmetric_to_the_last_bit_with_eigenvalues_in_one(vectors: NDArray[np.float32]) -> None:
    matrix = dense(knn_graph(vectors, 10, max_dot=None))
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.abs(np.linalg.eigvalsh(matrix)).max() <= 1 + 1e-9


@given(vectors=cases, seed=st.integers(0, 100))
def test_multiply_is_the_product_with_the_dense_matrix(vectors: NDArray[np.float32], seed: int) -> None:
    graph = knn_graph(vectors, 10, max_dot=None)
    p = np.random.default_rng(seed).random(len(vectors))
    np.testing.assert_allclose(graph.multiply(p), dense(graph) @ p, rtol=1e-13)


def test_multiply_gives_zero_to_nodes_without_edges() -> None:
    graph = Graph(np.array([0, 0, 1, 1, 2, 2]), np.array([3, 1]), np.array([0.5, 0.5]))
    np.testing.assert_array_equal(graph.multiply(np.arange(5.0)), [0, 1.5, 0, 0.5, 0])


@given(vectors=cases, alpha=st.sampled_from([0.5, 0.9, 0.99]))
def test_ten_steps_are_the_closed_form(vectors: NDArray[np.float32], alpha: float) -> None:
    graph, p0 = knn_graph(vectors, 10, max_dot=None), seed_distribution(to_query(vectors))
    matrix = alpha * dense(graph)
    powers = [np.linalg.matrix_power(matrix, step) @ p0 for step in range(11)]
    wanted = powers[10] + (1 - alpha) * np.sum(powers[:10], axis=0)
    np.testing.assert_allclose(diffuse(graph, p0, alpha=alpha, steps=10), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("vectors", [normal(200), tied(200)], ids=["normal", "tied"])
def test_many_steps_solve_the_linear_system(vectors: NDArray[np.float32]) -> None:
    graph, p0 = knn_graph(vectors, 10, max_dot=None), seed_distribution(to_query(vectors))
    solved = np.linalg.solve(np.eye(200) - 0.99 * dense(graph), 0.01 * p0)
    np.testing.assert_allclose(diffuse(graph, p0, steps=2_000), solved, rtol=0, atol=1e-6)


@given(vectors=cases, seed=st.integers(0, 100), max_dot=st.sampled_from([None, 12.0]))
def test_scores_do_not_depend_on_the_order_of_the_candidates(
    vectors: NDArray[np.float32], seed: int, max_dot: float | None
) -> None:
    shuffle = np.random.default_rng(seed).permutation(len(vectors))
    np.testing.assert_array_equal(
        scores(vectors[shuffle], max_dot=max_dot), scores(vectors, max_dot=max_dot)[shuffle]
    )


@given(vectors=cases, copies=st.integers(2, 15), seed=st.integers(0, 100))
def test_equal_vectors_get_equal_scores_in_every_order(
    vectors: NDArray[np.float32], copies: int, seed: int
) -> None:
    again = np.concatenate([vectors, np.repeat(vectors[:3], copies, axis=0)])
    shuffle = np.random.default_rng(seed).permutation(len(again))
    plain, shuffled = scores(again), scores(again[shuffle])
    np.testing.assert_array_equal(shuffled, plain[shuffle])
    _, member = np.unique(again, axis=0, return_inverse=True)
    for group in range(member.max() + 1):
        assert len(set(plain[member == group])) == 1


def test_scores_of_a_large_wide_set_do_not_depend_on_its_order() -> None:
    vectors = normal(1_500, 300)
    vectors[1_400:] = vectors[:100]
    shuffle = np.random.default_rng(1).permutation(1_500)
    np.testing.assert_array_equal(scores(vectors[shuffle]), scores(vectors)[shuffle])


def far_off(n: int, seed: int = 0) -> NDArray[np.float32]:
    """Vectors whose products dwarf their distances, so that the rounding of a product shows in a distance."""
    return normal(n, 301, seed) + np.float32(10_000)


def test_equal_vectors_get_equal_scores_where_products_dwarf_distances() -> None:
    vectors = np.concatenate([far_off(300), np.repeat(far_off(20), 2, axis=0)])
    got = scores(vectors)
    np.testing.assert_array_equal(got[300::2], got[:20])
    np.testing.assert_array_equal(got[301::2], got[:20])


def test_negative_zero_is_zero() -> None:
    vectors = far_off(300)
    vectors[:, 0] = 0.0
    signed = vectors[:20].copy()
    signed[:, 0] = -0.0
    got = scores(np.concatenate([vectors, signed]))
    np.testing.assert_array_equal(got[300:], got[:20])


def test_a_second_call_gives_the_same_bits() -> None:
    vectors = normal(700, 100)
    np.testing.assert_array_equal(scores(vectors), scores(vectors.copy()))


@given(vectors=cases, power=st.sampled_from([-60, 60]))
def test_scaling_the_vectors_by_a_power_of_two_changes_nothing(
    vectors: NDArray[np.float32], power: int
) -> None:
    scaled = np.ldexp(vectors, power)
    np.testing.assert_array_equal(
        dense(knn_graph(scaled, 10, max_dot=None)), dense(knn_graph(vectors, 10, max_dot=None))
    )


def test_the_largest_finite_vectors_do_not_overflow() -> None:
    vectors = np.finfo(np.float32).max * np.sign(normal(30))
    assert np.isfinite(knn_graph(vectors, 10, max_dot=None).weights).all()


def test_isolated_clusters_keep_nothing_from_a_seed_elsewhere() -> None:
    vectors = np.concatenate([normal(40), normal(40, seed=1) + 100])
    p0 = np.zeros(80)
    p0[:5] = 0.2
    p = diffuse(knn_graph(vectors, 10, max_dot=None), p0, steps=50)
    np.testing.assert_array_equal(p[40:], 0.0)
    assert (p[:40] > 0).all()


def test_more_duplicates_than_k_stay_joined_to_each_other_and_barely_to_the_rest() -> None:
    vectors = np.concatenate([np.ones((20, 12), np.float32), normal(30)])
    graph = knn_graph(vectors, 10, max_dot=None)
    others, weights = graph.neighbours(0)
    assert set(range(1, 20)) <= set(others)
    np.testing.assert_allclose(weights[others < 20], 1 / 19, rtol=1e-4)
    assert weights[others >= 20].max(initial=0.0) < 1e-5


def test_a_set_of_nothing_but_duplicates_is_a_complete_even_graph() -> None:
    graph = knn_graph(np.zeros((30, 4), np.float32), 10, max_dot=None)
    np.testing.assert_allclose(dense(graph), (1 - np.eye(30)) / 29, rtol=1e-12)


def test_ties_of_the_last_neighbour_are_all_neighbours() -> None:
    graph = knn_graph(np.eye(25, dtype=np.float32), 3, max_dot=None)
    assert {len(graph.neighbours(node)[0]) for node in range(25)} == {24}


@pytest.mark.parametrize("n", [2, 5, 10, 11])
def test_with_at_most_k_others_all_are_neighbours(n: int) -> None:
    graph = knn_graph(normal(n), 10, max_dot=None)
    assert [sorted(graph.neighbours(node)[0]) for node in range(n)] == [
        [other for other in range(n) if other != node] for node in range(n)
    ]


def test_a_lone_candidate_keeps_the_restart_alone() -> None:
    graph = knn_graph(normal(1), 10, max_dot=None)
    np.testing.assert_allclose(diffuse(graph, np.ones(1), alpha=0.99), [0.01])


def test_no_candidates_give_no_scores() -> None:
    assert scores(np.empty((0, 4), np.float32)).shape == (0,)


def test_two_candidates_exchange_all_they_have() -> None:
    graph = knn_graph(normal(2), 10, max_dot=None)
    np.testing.assert_allclose(dense(graph), [[0, 1], [1, 0]], rtol=1e-12)


def test_the_seeds_are_the_five_nearest_by_their_gaussian_weight() -> None:
    p = seed_distribution([9.0, 1.0, 2.0, 3.0, 5.0, 4.0, 7.0])
    weight = np.exp(-np.array([1.0, 2.0, 3.0, 5.0, 4.0]) / 5.0)
    np.testing.assert_allclose(p, [0, *weight / weight.sum(), 0], rtol=1e-15)


def test_fewer_than_five_candidates_are_all_seeds() -> None:
    weight = np.exp(-np.array([1.0, 4.0]) / 4.0)
    np.testing.assert_allclose(seed_distribution([1.0, 4.0]), weight / weight.sum())


def test_ties_at_the_fifth_distance_are_all_seeds() -> None:
    p = seed_distribution([1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 3.0])
    assert np.count_nonzero(p) == 7
    assert len(set(p[3:7])) == 1


def test_five_candidates_at_the_query_share_the_start_evenly() -> None:
    np.testing.assert_allclose(seed_distribution([0.0] * 6 + [1.0]), [1 / 6] * 6 + [0])


distances = st.lists(st.floats(0, 1e6), min_size=1, max_size=80)


@given(d2=distances)
def test_the_start_is_a_distribution(d2: list[float]) -> None:
    p = seed_distribution(d2)
    assert (p >= 0).all()
    assert p.sum() == pytest.approx(1.0)


@given(d2=distances)
def test_the_start_and_the_scale_do_not_depend_on_order(d2: list[float]) -> None:
    backwards = d2[::-1]
    np.testing.assert_array_equal(seed_distribution(backwards)[::-1], seed_distribution(d2))
    assert query_scale(backwards) == query_scale(d2)


def test_the_scale_is_the_twentieth_distance() -> None:
    assert query_scale(np.arange(50.0)[::-1]) == 19.0


def test_the_scale_of_fewer_than_twenty_is_the_farthest_distance() -> None:
    assert query_scale([3.0, 7.0, 5.0]) == 7.0


def test_the_scale_among_twenty_duplicates_is_floored_by_the_mean() -> None:
    assert query_scale([0.0] * 20 + [21.0]) == pytest.approx(1e-12)


def test_the_floored_scale_does_not_depend_on_order() -> None:
    rng = np.random.default_rng(0)
    d2 = np.concatenate([np.zeros(20), rng.random(500)])
    assert {query_scale(rng.permutation(d2)) for _ in range(50)} == {query_scale(d2)}


@pytest.mark.parametrize("d2", [[], [0.0] * 3, [0.0] * 30, [0.0] * 40 + [5e-324]])
def test_the_scale_is_one_where_there_is_no_distance(d2: list[float]) -> None:
    assert query_scale(d2) == 1.0


@given(d2=distances)
def test_strength_zero_is_exactly_the_order_of_distance(d2: list[float]) -> None:
    near = np.array(d2)
    p = np.random.default_rng(0).random(len(near))
    ranked = tunnel_scores(near, p, 0.0, query_scale(near))
    np.testing.assert_array_equal(np.lexsort((near, -ranked)), np.argsort(near, kind="stable"))


def test_strength_one_is_the_log_of_the_probability_alone() -> None:
    p = np.array([0.5, 0.0, 1e-30])
    got = tunnel_scores([1.0, 2.0, 3.0], p, 1.0, 2.0)
    np.testing.assert_array_equal(got, np.log([0.5, 1e-12, 1e-12]))


def test_strength_mixes_distance_and_probability() -> None:
    got = tunnel_scores([1.0, 4.0], np.array([0.5, 0.25]), 0.25, 2.0)
    np.testing.assert_allclose(got, [-0.375 + 0.25 * np.log(0.5), -1.5 + 0.25 * np.log(0.25)])


@pytest.mark.parametrize(
    ("n", "barrier", "inside"),
    [
        (60_000, 0.8, 9),
        (60_000, 0.7, 27),
        (60_000, 0.5, 244),
        (60_000, 0.0, 60_000),
        (60_000, 1.0, 1),
        (100_000, 0.8, 10),
        (1_000_000, 0.5, 1_000),
        (999_999_999, 0.0, 999_999_999),
        (1, 0.5, 1),
    ],
)
def test_the_well_holds_the_floor_of_the_power(n: int, barrier: float, inside: int) -> None:
    assert well_size(n, barrier) == inside


@given(n=st.integers(1, 10**9), lower=st.floats(0, 1), higher=st.floats(0, 1))
def test_a_higher_barrier_never_makes_a_larger_well(n: int, lower: float, higher: float) -> None:
    lower, higher = sorted((lower, higher))
    assert 1 <= well_size(n, higher) <= well_size(n, lower) <= n
