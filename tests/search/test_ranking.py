"""Log-linear ranking against a brute force: -d^2/u + lambda log p, ties by distance, then id."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db import QuantumDatabase

NAMES = ("a", "b", "c")
K = 12


def born(state: dict[str, float]) -> dict[str, float]:
    total = math.fsum(state.values())
    return {name: weight / total for name, weight in state.items() if weight}


def probability(state: dict[str, float], context: Any, soft: bool) -> float:
    """p of one record, straight from the definition."""
    w = born(state)
    if isinstance(context, str):
        p = w.get(context, 0.0)
    elif all(isinstance(value, tuple) for value in context.values()):
        v = born({name: weight for name, (weight, _) in context.items()})
        amplitude = sum(math.sqrt(v[name] * w.get(name, 0.0)) * np.exp(-1j * context[name][1]) for name in v)
        p = min(abs(amplitude) ** 2, 1.0)
    else:
        v = born(context)
        p = min(sum(v[name] * w.get(name, 0.0) for name in v), 1.0)
    if p < 1e-12:
        p = 0.0
    return (1 - 1 / 60) * p + 1 / 60 if soft else p


def d_squared(vectors: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    v, q = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "dot":
        return 2.0 * ((v * v).sum(axis=1).max() - v @ q)
    if metric == "cosine":
        v, q = v / np.linalg.norm(v, axis=1)[:, None], q / np.linalg.norm(q)
    return ((v - q) ** 2).sum(axis=1)


WEIGHTS = st.sampled_from([0.0, 0.1, 1.0, 2.5])
STATES = st.fixed_dictionaries(dict.fromkeys(NAMES, WEIGHTS)).map(
    lambda state: {name: weight for name, weight in state.items() if weight}
)
PLAIN = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0.2, 1.0, 3.0]), min_size=1)
PHASED = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from([0.2, 1.0]), st.sampled_from([0.0, 0.7, math.pi])),
    min_size=1,
)
CONTEXTS = st.sampled_from(NAMES) | PLAIN | PHASED


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@given(
    seed=st.integers(0, 10**6),
    states=st.lists(STATES, min_size=1, max_size=40),
    context=CONTEXTS,
    strength=st.sampled_from([0.0, 0.5, 3.0, 1e6]),
    soft=st.booleans(),
    u=st.sampled_from([1e-6, 1.0, 40.0]),
)
def test_a_context_query_ranks_as_the_formula_says(
    db: QuantumDatabase,
    fill: Callable[..., str],
    metric: str,
    seed: int,
    states: list[dict[str, float]],
    context: Any,
    strength: float,
    soft: bool,
    u: float,
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-3, 4, size=(len(states), 3)).astype(np.float32)
    vectors[~vectors.any(axis=1)] = 1.0
    query = rng.integers(1, 4, size=3).astype(np.float32)
    name = fill(vectors, metric=metric, contexts=[state or None for state in states])
    found = db.query(
        query,
        top_k=K,
        context=context,
        context_strength=strength,
        soft=soft,
        scale=u,
        collection=name,
    )

    p = np.array([probability(state, context, soft) for state in states])
    d2 = d_squared(vectors, query, metric)
    score = -d2 / u + strength * np.log(np.maximum(p, 1e-300))
    inside = np.flatnonzero(p > 0)
    best = inside[np.lexsort((inside, d2[inside], -score[inside]))][:K]
    assert len(found) == len(best)
    mine = [int(id[1:]) for id in found.ids]
    assert len(set(mine)) == len(mine)
    tolerance = {"rel": 1e-5, "abs": 1e-5 * max(1.0, 1 / u)}
    assert score[mine] == pytest.approx(score[best], **tolerance)
    assert list(found.scores) == pytest.approx(score[best], **tolerance)
    assert [match.weight for match in found] == pytest.approx(p[mine], abs=1e-9)
    keys = [(-match.score, match.distance, match.id) for match in found]
    assert keys == sorted(keys)
    db.drop_collection(name)


@given(seed=st.integers(0, 10**6), strength=st.sampled_from([0.0, 0.5, 2.0, 1e6]), k=st.integers(1, 30))
def test_ties_are_broken_by_distance_and_id_where_arithmetic_is_exact(
    db: QuantumDatabase, fill: Callable[..., str], seed: int, strength: float, k: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(0, 2, size=(30, 2)).astype(np.float32)  # four places, many ties
    states = [{"a": 1.0} if bit else {"a": 1.0, "b": 1.0} for bit in rng.integers(0, 2, 30)]
    ids = [f"{x:02}" for x in rng.permutation(30)]
    name = fill(vectors, contexts=states, ids=ids)
    found = db.query([1.0, 1.0], top_k=k, context="a", context_strength=strength, scale=1.0, collection=name)
    keys = []
    for vector, state, id in zip(vectors, states, ids, strict=True):
        d2 = float(((vector - 1) ** 2).sum())
        keys.append((d2 - strength * math.log(1.0 if len(state) == 1 else 0.5), d2, id))
    assert found.ids == [id for _, _, id in sorted(keys)[:k]]
    db.drop_collection(name)


def test_strength_zero_is_the_order_of_distance_within_the_context(
    db: QuantumDatabase, fill: Callable[..., str]
) -> None:
    rng = np.random.default_rng(0)
    states = [{"a": w, "b": 1 - w} for w in rng.uniform(0.01, 0.99, 100)]
    name = fill(rng.normal(size=(100, 4)), contexts=states)
    found = db.query(np.zeros(4), top_k=100, context="a", context_strength=0.0, collection=name)
    assert found.ids == db.query(np.zeros(4), top_k=100, collection=name).ids


def test_a_large_strength_is_the_order_of_weight(db: QuantumDatabase, fill: Callable[..., str]) -> None:
    rng = np.random.default_rng(0)
    weights = rng.permutation(np.linspace(0.01, 0.99, 100))
    name = fill(rng.normal(size=(100, 4)), contexts=[{"a": w, "b": 1 - w} for w in weights])
    found = db.query(np.zeros(4), top_k=100, context="a", context_strength=1e6, collection=name)
    assert [int(id[1:]) for id in found.ids] == np.argsort(-weights).tolist()


def test_scaling_all_vectors_changes_no_ranking_once_the_scale_is_measured(
    db: QuantumDatabase, fill: Callable[..., str]
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 4)).astype(np.float32)
    states = [{"a": w, "b": 1 - w} for w in rng.uniform(0.01, 0.99, 200)]
    near, far = fill(vectors, contexts=states), fill(1024 * vectors, contexts=states)
    for query in rng.normal(size=(5, 4)).astype(np.float32):
        once = db.query(query, context="a", collection=near)
        again = db.query(1024 * query, context="a", collection=far)
        assert once.ids == again.ids
        assert list(once.scores) == pytest.approx(list(again.scores))
