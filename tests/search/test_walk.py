from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import expm
from scipy.special import jv

from qstore_db.search.diffusion import Graph, knn_graph, seed_distribution
from qstore_db.search.walk import quantum_walk

Floats = NDArray[np.float64]


def dense(graph: Graph) -> Floats:
    matrix = np.zeros((len(graph), len(graph)))
    for node in range(len(graph)):
        others, weights = graph.neighbours(node)
        matrix[node, others] = weights
    return matrix


def reference(graph: Graph, p0: Floats, horizon: float = 20.0, moments: int = 8) -> Floats:
    """The definition: one matrix exponential a moment."""
    h, psi = -dense(graph), np.sqrt(p0)
    at = [np.abs(expm(-1j * h * horizon * j / moments) @ psi) ** 2 for j in range(1, moments + 1)]
    mean: Floats = np.mean(at, axis=0)
    return mean


def normal(n: int, d: int = 12, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def tied(n: int, seed: int = 0) -> NDArray[np.float32]:
    """Small whole numbers in three dimensions: many duplicates and many exactly equal distances."""
    return np.random.default_rng(seed).integers(-2, 3, (n, 3)).astype(np.float32)


def start(vectors: NDArray[np.float32]) -> Floats:
    """Seeds near (0.25, 0.25, ...), each a function of its own vector alone."""
    return seed_distribution(((vectors.astype(np.float64) - 0.25) ** 2).sum(axis=1))


def walked(vectors: NDArray[np.float32]) -> Floats:
    return quantum_walk(knn_graph(vectors, 10, max_dot=None), start(vectors))


def path(*weights: float) -> Graph:
    """Nodes in a row, joined by entries of S given as they are."""
    n = len(weights) + 1
    rows = [[i for i in (node - 1, node + 1) if 0 <= i < n] for node in range(n)]
    indptr = np.cumsum([0, *map(len, rows)])
    entries = [weights[min(node, other)] for node, row in enumerate(rows) for other in row]
    return Graph(indptr, np.array([i for row in rows for i in row], np.int64), np.array(entries))


cases = st.builds(
    lambda kind, n, seed: kind(n, seed=seed),
    st.sampled_from([normal, tied]),
    st.integers(2, 60),
    st.integers(0, 10_000),
)


@given(vectors=cases, horizon=st.floats(1e-3, 60), moments=st.integers(1, 9))
def test_the_walk_is_the_mean_of_matrix_exponentials(
    vectors: NDArray[np.float32], horizon: float, moments: int
) -> None:
    graph, p0 = knn_graph(vectors, 5, max_dot=None), start(vectors)
    got = quantum_walk(graph, p0, horizon=horizon, moments=moments)
    np.testing.assert_allclose(got, reference(graph, p0, horizon, moments), rtol=0, atol=1e-11)


@pytest.mark.parametrize("vectors", [normal(200), tied(200)], ids=["normal", "tied"])
def test_the_walk_on_two_hundred_nodes_is_that_of_matrix_exponentials(vectors: NDArray[np.float32]) -> None:
    graph, p0 = knn_graph(vectors, 10, max_dot=None), start(vectors)
    np.testing.assert_allclose(quantum_walk(graph, p0), reference(graph, p0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("horizon", [0.001, 0.5, 20.0, 300.0])
def test_two_candidates_swap_as_cosine_and_sine(horizon: float) -> None:
    t = horizon * np.arange(1, 9) / 8
    wanted = [np.mean(np.cos(t) ** 2), np.mean(np.sin(t) ** 2)]
    got = quantum_walk(path(1.0), np.array([1.0, 0.0]), horizon=horizon)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)


def test_on_a_long_even_path_amplitudes_are_bessel_functions() -> None:
    p0 = np.zeros(201)
    p0[100] = 1.0
    got = quantum_walk(path(*[0.5] * 200), p0, horizon=20.0, moments=1)
    np.testing.assert_allclose(got, jv(np.abs(np.arange(-100, 101)), 20.0) ** 2, rtol=0, atol=1e-12)


@given(vectors=cases, horizon=st.floats(0.1, 100))
def test_probabilities_are_not_negative_and_sum_to_those_of_the_start(
    vectors: NDArray[np.float32], horizon: float
) -> None:
    p = quantum_walk(knn_graph(vectors, 10, max_dot=None), start(vectors), horizon=horizon)
    assert (p >= 0).all()
    assert p.sum() == pytest.approx(1.0, abs=1e-9)


def test_each_connected_part_keeps_what_it_began_with() -> None:
    vectors = np.concatenate([normal(40), normal(30, seed=1) + 100, normal(20, seed=2) - 100])
    p0 = np.zeros(90)
    p0[[0, 1, 45]] = 0.5, 0.2, 0.3
    p = quantum_walk(knn_graph(vectors, 10, max_dot=None), p0)
    assert p[:40].sum() == pytest.approx(0.7, abs=1e-12)
    assert p[40:70].sum() == pytest.approx(0.3, abs=1e-12)
    np.testing.assert_array_equal(p[70:], 0.0)


def test_the_walk_spreads_from_the_seeds_over_their_part() -> None:
    vectors = normal(60)
    p0 = np.zeros(60)
    p0[0] = 1.0
    p = quantum_walk(knn_graph(vectors, 10, max_dot=None), p0)
    assert (p > 0).all()
    assert p[0] < 0.5


def test_a_node_without_edges_keeps_its_probability_and_gets_none() -> None:
    graph = Graph(np.array([0, 1, 1, 2, 2]), np.array([2, 0]), np.array([1.0, 1.0]))
    p = quantum_walk(graph, np.array([0.75, 0.25, 0.0, 0.0]))
    assert p[1] == pytest.approx(0.25, abs=1e-12)
    assert p[3] == 0.0


def test_a_lone_candidate_keeps_everything() -> None:
    graph = knn_graph(normal(1), 10, max_dot=None)
    np.testing.assert_allclose(quantum_walk(graph, np.ones(1)), [1.0], rtol=0, atol=1e-12)


def test_no_candidates_give_no_probabilities() -> None:
    assert walked(np.empty((0, 4), np.float32)).shape == (0,)


def test_the_start_is_left_as_it_was() -> None:
    vectors = normal(50)
    p0 = start(vectors)
    before = p0.copy()
    quantum_walk(knn_graph(vectors, 10, max_dot=None), p0)
    np.testing.assert_array_equal(p0, before)


@given(vectors=cases, seed=st.integers(0, 100))
def test_the_walk_does_not_depend_on_the_order_of_the_candidates(
    vectors: NDArray[np.float32], seed: int
) -> None:
    shuffle = np.random.default_rng(seed).permutation(len(vectors))
    np.testing.assert_array_equal(walked(vectors[shuffle]), walked(vectors)[shuffle])


def test_the_walk_on_a_large_set_does_not_depend_on_its_order() -> None:
    vectors = normal(1_501, 30)
    vectors[1_400:] = vectors[:101]
    shuffle = np.random.default_rng(1).permutation(1_501)
    np.testing.assert_array_equal(walked(vectors[shuffle]), walked(vectors)[shuffle])


@given(vectors=cases, copies=st.integers(2, 15))
def test_equal_vectors_get_equal_probabilities(vectors: NDArray[np.float32], copies: int) -> None:
    again = np.concatenate([vectors, np.repeat(vectors[:1], copies, axis=0)])
    assert len({float(p) for p in walked(again)[(again == again[0]).all(axis=1)]}) == 1
