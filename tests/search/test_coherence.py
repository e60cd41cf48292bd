"""Ranking by age: lambda log 2^(-age/tau) beside the other terms, against a brute force."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db import QuantumDatabase
from qstore_db.search.ranking import Coherence

Fill = Callable[..., str]
K = 12
AGES = st.sampled_from([0.0, 0.5, 10.0, 60.0, 3_600.0, -30.0])
WEIGHTS = st.sampled_from([0.0, 0.1, 0.5, 1.0])


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@given(
    seed=st.integers(0, 10**6),
    records=st.lists(st.tuples(AGES, WEIGHTS, st.integers(0, 2)), min_size=1, max_size=40),
    half_life=st.sampled_from([0.25, 10.0, 3_600.0, 1e12]),
    strength=st.sampled_from([0.0, 0.5, 3.0]),
    context=st.sampled_from([None, "a"]),
    soft=st.booleans(),
    filtered=st.booleans(),
    u=st.sampled_from([1e-3, 1.0, 40.0]),
)
def test_a_query_with_a_coherence_time_ranks_as_the_formula_says(
    db: QuantumDatabase,
    fill: Fill,
    metric: str,
    seed: int,
    records: list[tuple[float, float, int]],
    half_life: float,
    strength: float,
    context: str | None,
    soft: bool,
    filtered: bool,
    u: float,
) -> None:
    ages, weights, kinds = (np.array(column) for column in zip(*records, strict=True))
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-3, 4, size=(len(records), 3)).astype(np.float32)
    vectors[~vectors.any(axis=1)] = 1.0
    query = rng.integers(1, 4, size=3).astype(np.float32)
    name = fill(
        vectors,
        metric=metric,
        contexts=[{"a": float(w), "b": 1.0 - float(w)} for w in weights],
        metadata=[{"kind": int(kind)} for kind in kinds],
        ages=ages,
    )
    found = db.query(
        query,
        top_k=K,
        context=context,
        soft=soft,
        context_strength=strength,
        coherence_time=half_life,
        filter={"kind": {"$gt": 0}} if filtered else None,
        scale=u,
        collection=name,
    )

    p = np.ones(len(records)) if context is None else weights
    if context is not None and soft:
        p = (1 - 1 / 60) * p + 1 / 60
    wide, asked = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "cosine":
        wide, asked = wide / np.linalg.norm(wide, axis=1)[:, None], asked / np.linalg.norm(asked)
    if metric == "dot":
        d2 = 2.0 * ((wide * wide).sum(axis=1).max() - wide @ asked)
    else:
        d2 = ((wide - asked) ** 2).sum(axis=1)
    age_term = -strength * math.log(2) * np.maximum(ages, 0.0) / half_life
    score = -d2 / u + strength * np.log(np.maximum(p, 1e-300)) + age_term
    eligible = np.flatnonzero((p > 0) & ((kinds > 0) | (not filtered)))
    best = eligible[np.lexsort((eligible, d2[eligible], -score[eligible]))][:K]
    mine = [int(id[1:]) for id in found.ids]
    assert len(mine) == len(set(mine)) == len(best)
    tolerance: dict[str, Any] = {"rel": 1e-5, "abs": 1e-5 * max(1.0, 1 / u)}
    assert score[mine] == pytest.approx(score[best], **tolerance)
    assert list(found.scores) == pytest.approx(score[best], **tolerance)
    for match, i in zip(found, mine, strict=True):
        assert match.explain().terms["age"] == pytest.approx(age_term[i])
        assert match.weight == (None if context is None else pytest.approx(p[i]))
    keys = [(-match.score, match.distance, match.id) for match in found]
    assert keys == sorted(keys)
    assert found.exact
    db.drop_collection(name)


def test_after_a_half_life_a_record_counts_exactly_half(db: QuantumDatabase, fill: Fill) -> None:
    name = fill([[1.0]] * 4, ages=[0.0, 64.0, 128.0, 192.0])
    found = db.query([1.0], context_strength=0.25, coherence_time=64.0, collection=name)
    assert found.ids == ["r00000", "r00001", "r00002", "r00003"]
    assert [math.exp(score / 0.25) for score in found.scores] == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8])


def test_a_long_coherence_time_leaves_the_plain_order(db: QuantumDatabase, fill: Fill) -> None:
    rng = np.random.default_rng(0)
    name = fill(rng.normal(size=(200, 4)), ages=rng.choice([0.0, 10.0, 1_000.0], 200))
    found = db.query(np.zeros(4), top_k=200, coherence_time=1e15, collection=name)
    assert found.ids == db.query(np.zeros(4), top_k=200, collection=name).ids


def test_a_short_coherence_time_is_the_order_of_age(db: QuantumDatabase, fill: Fill) -> None:
    ages = np.random.default_rng(0).permutation(40).astype(float)
    name = fill(np.random.default_rng(1).normal(size=(40, 4)), ages=ages)
    found = db.query(np.zeros(4), top_k=40, coherence_time=1e-6, collection=name)
    assert [ages[int(id[1:])] for id in found.ids] == sorted(ages)


def test_records_of_one_age_keep_their_order_and_ties_go_by_id(db: QuantumDatabase, fill: Fill) -> None:
    name = fill([[2.0], [1.0], [1.0], [0.0]], ids=["far", "b", "a", "near"], ages=[7.0] * 4)
    assert db.query([0.0], coherence_time=1.0, collection=name).ids == ["near", "a", "b", "far"]


@pytest.mark.parametrize("half_life", [5e-324, 1e-300, 1e-9, 1.0, 1e300])
def test_no_age_and_no_half_life_leaves_the_floats(half_life: float) -> None:
    updated = np.array([1e9, 0.0, -1e300, 2e9])
    kept = Coherence(half_life, 1e9).log_kept(updated)
    assert np.isfinite(1e6 * kept).all()
    assert kept[0] == kept[3] == 0.0
    assert kept[2] <= kept[1] <= 0.0
