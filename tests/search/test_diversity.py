from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qstore_db.search.diversity import POOL, diversify

Floats = NDArray[np.float64]
Case = tuple[Floats, Floats, NDArray[np.float32]]


def normal(m: int, d: int = 8, seed: int = 0) -> Case:
    """Score, distance and vectors of m candidates."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(m), rng.random(m), rng.standard_normal((m, d)).astype(np.float32)


def tied(m: int, seed: int = 0) -> Case:
    """Few scores, few distances, few vectors: ties of every kind, and many copies."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 4, (4, m)).astype(np.float64)
    return whole[0], whole[1], whole[2:].T.astype(np.float32)


def naive(case: Case, k: int, diversity: float, pool: int) -> list[int]:
    """The definition, in loops, and with every similarity computed anew."""
    score, distance, vectors = case
    v = vectors.astype(np.float64)
    left = sorted(range(len(score)), key=lambda i: (-score[i], distance[i], i))[:pool]
    worst, span = score[left[-1]], (score[left[0]] - score[left[-1]]) or 1.0
    best = left[0]
    apart = sorted(x for i in left if (x := float(((v[i] - v[best]) ** 2).sum())) > 0.0)
    scale = max(apart[:20][-1], 1e-12 * float(np.mean(apart))) if apart else 1.0

    def value(i: int, chosen: list[int]) -> float:
        similar = max((1.0 / (1.0 + ((v[i] - v[j]) ** 2).sum() / scale) for j in chosen), default=0.0)
        return float((1.0 - diversity) * ((score[i] - worst) / span) - diversity * similar)

    chosen: list[int] = []
    while left and len(chosen) < k:
        chosen.append(max(left, key=lambda i: value(i, chosen)))  # the first of equals
        left.remove(chosen[-1])
    return chosen


# Whole numbers make every sum exact, so that rounding cannot break a tie of the naive loops otherwise.
cases = st.builds(
    lambda kind, m, seed: kind(m, seed=seed),
    st.sampled_from([normal, tied]),
    st.integers(1, 60),
    st.integers(0, 10_000),
)


@given(case=cases, k=st.integers(1, 12), diversity=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.75, 0.9, 1.0]))
def test_the_choice_is_that_of_the_naive_definition(case: Case, k: int, diversity: float) -> None:
    assert diversify(*case, k, diversity).tolist() == naive(case, k, diversity, POOL * k)


@given(case=cases, k=st.integers(1, 12), pool=st.integers(12, 40))
def test_a_pool_is_the_best_candidates_and_no_others(case: Case, k: int, pool: int) -> None:
    assert diversify(*case, k, 0.5, pool=pool).tolist() == naive(case, k, 0.5, pool)


@given(case=cases, k=st.integers(1, 80))
def test_without_diversity_the_order_is_by_score_then_distance_then_as_given(case: Case, k: int) -> None:
    score, distance, _ = case
    wanted = sorted(range(len(score)), key=lambda i: (-score[i], distance[i], i))[:k]
    assert diversify(*case, k, 0.0).tolist() == wanted


@given(case=cases, diversity=st.floats(0, 1))
def test_the_best_by_score_always_comes_first(case: Case, diversity: float) -> None:
    assert diversify(*case, 5, diversity)[0] == diversify(*case, 1, 0.0)[0]


@given(case=cases, k=st.integers(1, 80), diversity=st.floats(0, 1))
def test_no_candidate_is_chosen_twice_and_as_many_as_there_are(case: Case, k: int, diversity: float) -> None:
    chosen = diversify(*case, k, diversity).tolist()
    assert len(set(chosen)) == len(chosen) == min(k, len(case[0]))


def test_no_candidates_give_no_choice() -> None:
    assert diversify(np.empty(0), np.empty(0), np.empty((0, 3), np.float32), 5, 0.5).shape == (0,)


def test_at_full_diversity_each_next_one_is_the_farthest_from_those_chosen() -> None:
    case = normal(300)
    v = case[2].astype(np.float64)
    chosen = diversify(*case, 30, 1.0).tolist()
    for count in range(1, 30):
        nearest = np.min([((v - v[i]) ** 2).sum(axis=1) for i in chosen[:count]], axis=0)
        assert chosen[count] == np.argmax(nearest)


def test_at_full_diversity_far_is_told_from_farther_even_among_near_copies() -> None:
    places = np.array([0.0, *(1e-6 * np.arange(1, 30)), 50.0, 99.0, 80.0])
    vectors = places[:, np.newaxis].astype(np.float32)
    chosen = diversify(-np.arange(33.0), places, vectors, 4, 1.0)
    np.testing.assert_array_equal(places[chosen], [0.0, 99.0, 50.0, 80.0])


@pytest.mark.parametrize("diversity", [0.67, 0.8, 0.95])
def test_above_two_thirds_no_copy_comes_before_what_is_at_most_half_similar_to_all_chosen(
    diversity: float,
) -> None:
    others = 10 * np.eye(40, dtype=np.float32)
    vectors = np.concatenate([np.zeros((30, 40), np.float32), others])
    score = np.concatenate([np.full(30, 1.0), np.zeros(40)])
    chosen = diversify(score, np.arange(70.0), vectors, 41, diversity).tolist()
    assert chosen == [0, *range(30, 70)]


def test_copies_of_the_best_do_not_change_what_counts_as_similar() -> None:
    score, distance, vectors = normal(60)
    best = int(np.argmax(score))
    wanted = diversify(score, distance, vectors, 10, 0.7, pool=100)
    copied = diversify(
        np.concatenate([score, np.full(30, score[best])]),
        np.concatenate([distance, np.full(30, distance[best])]),
        np.concatenate([vectors, np.repeat(vectors[best][np.newaxis], 30, axis=0)]),
        10,
        0.7,
        pool=100,
    )
    np.testing.assert_array_equal(copied, wanted)


def test_a_better_score_wins_between_two_that_are_equally_unlike_the_chosen() -> None:
    vectors = np.array([[0, 0], [0, 0], [3, 0], [0, 3], [-3, 0]], np.float32)
    chosen = diversify(np.array([1.0, 0.9, 0.2, 0.3, 0.1]), np.zeros(5), vectors, 2, 0.6)
    assert chosen.tolist() == [0, 3]


def test_more_diversity_spreads_the_results_further() -> None:
    score, distance, vectors = normal(400)
    score -= (vectors.astype(np.float64) ** 2).sum(axis=1)

    def spread(diversity: float) -> float:
        v = vectors[diversify(score, distance, vectors, 10, diversity)].astype(np.float64)
        d2 = ((v[:, np.newaxis] - v) ** 2).sum(axis=2) + np.diag(np.full(10, np.inf))
        return float(d2.min(axis=1).mean())

    spreads = [spread(diversity) for diversity in (0.0, 0.4, 0.7, 1.0)]
    assert spreads == sorted(spreads)
    assert spreads[-1] > 2 * spreads[0]


def test_what_lies_below_the_pool_changes_nothing() -> None:
    score, distance, vectors = normal(500)
    best = np.argsort(-score, kind="stable")[: POOL * 7]
    alone = diversify(score[best], distance[best], vectors[best], 7, 0.6)
    score[np.setdiff1d(np.arange(500), best)] -= 1e6
    np.testing.assert_array_equal(diversify(score, distance, vectors, 7, 0.6), best[alone])


@given(case=cases, power=st.integers(-20, 20), shift=st.integers(-8, 8), diversity=st.floats(0, 1))
def test_scale_and_offset_of_the_score_do_not_matter(
    case: Case, power: int, shift: int, diversity: float
) -> None:
    score, distance, vectors = case
    score = np.round(10 * score)  # so that adding is exact
    np.testing.assert_array_equal(
        diversify(np.ldexp(score + shift, power), distance, vectors, 8, diversity),
        diversify(score, distance, vectors, 8, diversity),
    )


@given(case=cases, power=st.integers(-40, 40), diversity=st.floats(0, 1))
def test_the_scale_of_the_vectors_does_not_matter(case: Case, power: int, diversity: float) -> None:
    score, distance, vectors = case
    np.testing.assert_array_equal(
        diversify(score, distance, np.ldexp(vectors, power), 8, diversity),
        diversify(score, distance, vectors, 8, diversity),
    )


def test_an_offset_of_all_vectors_does_not_matter() -> None:
    score, distance, vectors = tied(60)
    np.testing.assert_array_equal(
        diversify(score, distance, vectors + np.float32(4_096), 8, 0.7),
        diversify(score, distance, vectors, 8, 0.7),
    )


def test_the_largest_finite_vectors_do_not_overflow() -> None:
    score, distance, vectors = normal(40)
    largest = np.finfo(np.float32).max * np.sign(vectors)
    assert len(diversify(score, distance, largest, 10, 0.9)) == 10


@pytest.mark.parametrize("d", [1, 7, 64, 301])
@pytest.mark.parametrize("diversity", [0.3, 0.7, 1.0])
def test_the_choice_does_not_depend_on_the_order_the_candidates_are_given_in(
    d: int, diversity: float
) -> None:
    score, distance, vectors = normal(500, d)
    vectors[250:] = vectors[:250]
    shuffle = np.random.default_rng(1).permutation(500)
    moved = diversify(score[shuffle], distance[shuffle], vectors[shuffle], 20, diversity, pool=500)
    np.testing.assert_array_equal(
        shuffle[moved], diversify(score, distance, vectors, 20, diversity, pool=500)
    )


def test_arguments_are_left_as_they_were() -> None:
    case = normal(50)
    before = [part.copy() for part in case]
    diversify(*case, 10, 0.5)
    for part, was in zip(case, before, strict=True):
        np.testing.assert_array_equal(part, was)
