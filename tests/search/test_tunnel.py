"""What tunnel_search promises, over Flat collections."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db import QuantumDatabase, TunnelResult
from qstore_db.search import well as module
from qstore_db.search.diffusion import well_size

Fill = Callable[..., str]
METRICS = ["cosine", "l2", "dot"]


def points(seed: int, n: int, d: int = 4) -> np.ndarray:
    """Half of the seeds give vectors on a coarse grid, where ties abound."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, d)) if seed % 2 else rng.integers(-2, 3, size=(n, d)).astype(float)
    vectors[~vectors.any(axis=1)] = 1.0
    return vectors.astype(np.float32)


def bits(found: TunnelResult) -> list[Any]:
    rows = [(m.id, m.score, m.distance, m.similarity, m.weight, m.tunneled) for m in found]
    return [*rows, found.inside.ids, found.inside.scores.tobytes(), found.well_size, found.eligible]


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 150), top_k=st.integers(1, 160), b=st.floats(0, 1))
def test_strength_zero_is_the_order_of_distance(
    db: QuantumDatabase, fill: Fill, metric: str, seed: int, n: int, top_k: int, b: float
) -> None:
    vectors = points(seed, n)
    name = fill(vectors, metric=metric)
    plain = db.query(vectors[0], top_k=n, collection=name)
    found = db.tunnel_search(
        vectors[0],
        tunneling_strength=0.0,
        beyond_only=False,
        top_k=top_k,
        barrier_threshold=b,
        collection=name,
    )
    assert found.ids == plain.ids[:top_k]
    assert found.distances.tolist() == plain.distances[:top_k].tolist()
    beyond = db.tunnel_search(
        vectors[0], tunneling_strength=0.0, top_k=top_k, barrier_threshold=b, collection=name
    )
    inside = len(beyond.inside)
    assert beyond.inside.ids == plain.ids[:inside]
    assert beyond.ids == plain.ids[inside : inside + top_k]
    db.drop_collection(name)


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 150),
    b=st.none() | st.floats(0, 1),
    strength=st.sampled_from([0.3, 1.0]),
    context=st.sampled_from([None, "a"]),
)
def test_no_item_of_the_well_is_among_what_lies_beyond(
    db: QuantumDatabase,
    fill: Fill,
    metric: str,
    seed: int,
    n: int,
    b: float | None,
    strength: float,
    context: str | None,
) -> None:
    vectors = points(seed, n)
    name = fill(vectors, metric=metric, contexts=[{"a": 1.0} if i % 3 else None for i in range(n)])
    options: Any = {"barrier_threshold": b, "tunneling_strength": strength, "context": context, "top_k": n}
    found = db.tunnel_search(vectors[0], collection=name, **options)
    members = n if context is None else sum(1 for i in range(n) if i % 3)
    assert found.eligible == members
    assert not set(found.ids) & set(found.inside.ids)
    assert len(found) + len(found.inside) == members
    if len(found) and len(found.inside):
        assert found.distances.min() > found.inside.distances.max()
    db.drop_collection(name)


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 200),
    strength=st.sampled_from([0.0, 0.5, 1.0]),
    candidates=st.sampled_from([1, 7, 40, 2_000]),
    data=st.data(),
)
def test_scores_do_not_depend_on_ids_or_the_order_of_insertion(
    db: QuantumDatabase,
    fill: Fill,
    metric: str,
    seed: int,
    n: int,
    strength: float,
    candidates: int,
    data: st.DataObject,
) -> None:
    vectors = points(seed, n)
    order = np.random.default_rng(data.draw(st.integers(0, 10**6))).permutation(n)
    names = [f"x{i:04}" for i in np.random.default_rng(data.draw(st.integers(0, 10**6))).permutation(n)]
    once, again = fill(vectors, metric=metric), fill(vectors[order], metric=metric, ids=names)
    options: Any = {
        "tunneling_strength": strength,
        "candidates": candidates,
        "top_k": n,
        "beyond_only": False,
    }
    a = db.tunnel_search(vectors[0], collection=once, **options)
    b = db.tunnel_search(vectors[0], collection=again, **options)
    assert a.scores.tobytes() == b.scores.tobytes()
    assert a.distances.tobytes() == b.distances.tobytes()
    assert [m.tunneled for m in a] == [m.tunneled for m in b]
    assert (a.well_size, a.eligible) == (b.well_size, b.eligible)
    by_vector = sorted((vectors[int(m.id[1:])].tobytes(), m.score) for m in a)
    place = dict(zip(names, order.tolist(), strict=True))
    assert by_vector == sorted((vectors[place[m.id]].tobytes(), m.score) for m in b)
    db.drop_collection(once)
    db.drop_collection(again)


@pytest.mark.parametrize("metric", METRICS)
def test_repeats_are_equal_bit_for_bit(db: QuantumDatabase, fill: Fill, metric: str) -> None:
    vectors = points(1, 1_000, 8)
    name = fill(vectors, metric=metric, contexts=[{"a": 1.0, "b": float(i % 7)} for i in range(1_000)])
    options: Any = {"top_k": 50, "context": "a", "collection": name}
    first = bits(db.tunnel_search(vectors[3], **options))
    assert all(bits(db.tunnel_search(vectors[3], **options)) == first for _ in range(5))
    assert bits(db.tunnel_search_batch(vectors[2:5], **options)[1]) == first


def test_a_search_before_and_after_a_restart_is_equal_bit_for_bit(tmp_path: Any) -> None:
    vectors = points(1, 3_000, 8)
    options: Any = {"top_k": 50, "context": "a", "barrier_threshold": 0.5}
    with QuantumDatabase.connect(tmp_path / "db") as db:
        db.create_collection("default", dimension=8, index="flat")
        states = [{"a": 1.0, "b": float(i % 7)} for i in range(3_000)]
        db.insert_many(ids=[f"r{i}" for i in range(3_000)], vectors=vectors, contexts=states)
        before = [bits(db.tunnel_search(vector, **options)) for vector in vectors[:3]]
        ranked = [db.query(vector, context="a").scores.tobytes() for vector in vectors[:3]]
    with QuantumDatabase.connect(tmp_path / "db") as db:
        assert [bits(db.tunnel_search(vector, **options)) for vector in vectors[:3]] == before
        assert [db.query(vector, context="a").scores.tobytes() for vector in vectors[:3]] == ranked


# The well


@pytest.mark.parametrize(("b", "size"), [(1.0, 1), (0.8, 3), (0.5, 17), (0.2, 95), (0.0, 300)])
def test_a_rank_barrier_holds_the_power_of_the_count(
    db: QuantumDatabase, fill: Fill, b: float, size: int
) -> None:
    vectors = points(1, 300)
    found = db.tunnel_search(vectors[0], barrier_threshold=b, collection=fill(vectors))
    assert (found.well_size, len(found.inside)) == (well_size(300, b), size)


def test_without_a_barrier_the_well_holds_the_top_k(db: QuantumDatabase, fill: Fill) -> None:
    vectors = points(1, 300)
    found = db.tunnel_search(vectors[0], top_k=13, collection=fill(vectors))
    assert (found.well_size, len(found)) == (13, 13)


def test_ties_of_the_wells_last_record_lie_inside(db: QuantumDatabase, fill: Fill) -> None:
    vectors = np.repeat([[0.0], [1.0], [2.0]], 5, axis=0)
    found = db.tunnel_search([0.0], top_k=7, collection=fill(vectors))
    assert found.well_size == 10
    assert sorted(found.ids) == [f"r{i:05}" for i in range(10, 15)]


def test_a_barrier_of_zero_leaves_nothing_beyond_and_says_so(db: QuantumDatabase, fill: Fill) -> None:
    found = db.tunnel_search(np.ones(4), barrier_threshold=0.0, collection=fill(points(1, 50)))
    assert (len(found), len(found.inside)) == (0, 50)
    assert "nothing is beyond" in found.warnings[0]


@pytest.mark.parametrize("metric", METRICS)
def test_a_barrier_in_raw_units_bounds_distance_or_similarity(
    db: QuantumDatabase, fill: Fill, metric: str
) -> None:
    vectors = points(1, 300)
    name = fill(vectors, metric=metric)
    plain = db.query(vectors[0], top_k=300, collection=name)
    edge = plain[40]
    for scale, value in (("distance", edge.distance), ("similarity", edge.similarity)):
        options: Any = {"barrier_scale": scale, "barrier_threshold": value, "collection": name}
        found = db.tunnel_search(vectors[0], **options)
        assert found.inside.ids == plain.ids[:41]


def test_a_barrier_in_raw_units_may_leave_the_well_empty(db: QuantumDatabase, fill: Fill) -> None:
    name = fill(points(1, 50))
    found = db.tunnel_search(
        np.full(4, 9.0), barrier_scale="distance", barrier_threshold=0.001, collection=name
    )
    assert (found.well_size, len(found.inside), len(found)) == (0, 0, 10)


def test_equal_wells_give_equal_results_whatever_the_unit(db: QuantumDatabase, fill: Fill) -> None:
    vectors = points(1, 1_000)
    name = fill(vectors)
    by_rank = db.tunnel_search(vectors[0], barrier_threshold=0.3, candidates=100, collection=name)
    edge = by_rank.inside[-1].distance
    options: Any = {"barrier_scale": "distance", "barrier_threshold": edge, "candidates": 100}
    assert bits(db.tunnel_search(vectors[0], collection=name, **options)) == bits(by_rank)


# Candidates


def test_a_large_well_raises_the_candidates_to_twice_its_size(db: QuantumDatabase, fill: Fill) -> None:
    vectors = points(1, 1_000)
    name = fill(vectors)
    found = db.tunnel_search(vectors[0], barrier_threshold=0.1, candidates=10, top_k=1_000, collection=name)
    assert found.well_size == well_size(1_000, 0.1) == 501
    assert len(found) == 499
    found = db.tunnel_search(
        vectors[0], barrier_threshold=0.2, candidates=10, top_k=1, beyond_only=False, collection=name
    )
    assert found.well_size == 251
    assert found.warnings == ()


def test_a_well_beyond_every_candidate_is_said_to_be_cut(
    db: QuantumDatabase, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CANDIDATES", 100)
    vectors = points(1, 300)
    name = fill(vectors)
    for options in (
        {"barrier_threshold": 0.1},
        {"barrier_threshold": 1e9, "barrier_scale": "distance"},
    ):
        found = db.tunnel_search(vectors[0], candidates=50, collection=name, **options)  # type: ignore[arg-type]
        assert len(found) == 0
        assert "at least 100 records" in found.warnings[0]


def test_top_k_beyond_the_candidates_is_said_to_be_cut(
    db: QuantumDatabase, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CANDIDATES", 100)
    vectors = points(1, 300)
    found = db.tunnel_search(vectors[0], top_k=200, barrier_threshold=1.0, collection=fill(vectors))
    assert len(found) == 99
    assert "top_k=200" in found.warnings[0]


def test_candidates_beyond_the_count_change_nothing(db: QuantumDatabase, fill: Fill) -> None:
    vectors = points(1, 100)
    name = fill(vectors)
    some = db.tunnel_search(vectors[0], candidates=100, top_k=90, collection=name)
    assert bits(db.tunnel_search(vectors[0], candidates=4_000, top_k=90, collection=name)) == bits(some)


def test_only_candidates_are_ranked(db: QuantumDatabase, fill: Fill) -> None:
    vectors = points(1, 500)
    name = fill(vectors)
    nearest = db.query(vectors[0], top_k=60, collection=name).ids
    found = db.tunnel_search(vectors[0], candidates=60, top_k=20, beyond_only=False, collection=name)
    assert set(found.ids) <= set(nearest)


def test_more_ties_than_candidates_can_be_are_still_answered(
    db: QuantumDatabase, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CANDIDATES", 100)
    name = fill(np.repeat([[0.0], [1.0]], [40, 300], axis=0))
    found = db.tunnel_search([0.0], candidates=60, barrier_threshold=1.0, collection=name)
    assert found.well_size == 40
    found = db.tunnel_search([1.0], candidates=60, top_k=5, collection=name)
    assert len(found) == 0
    assert "at least" in found.warnings[0]


# Filter, context, nothing


def test_filter_and_context_hold_together(db: QuantumDatabase, fill: Fill) -> None:
    vectors = points(1, 300)
    name = fill(
        vectors,
        contexts=[{"a": 1.0 + i % 5, "b": 1.0} if i % 2 else None for i in range(300)],
        metadata=[{"n": i} for i in range(300)],
    )
    options: Any = {"filter": {"n": {"$lt": 200}}, "context": "a", "collection": name}
    found = db.tunnel_search(vectors[0], top_k=300, barrier_threshold=0.5, **options)
    members = {f"r{i:05}" for i in range(200) if i % 2}
    assert (found.eligible, found.well_size) == (100, 10)
    assert set(found.ids) | set(found.inside.ids) == members
    alone = db.query(
        vectors[0], top_k=10, filter={"n": {"$in": [int(id[1:]) for id in members]}}, collection=name
    )
    assert found.inside.ids == alone.ids  # the well is nearness, whatever the context's weights


def test_a_filtered_search_equals_one_over_the_matching_records_alone(
    db: QuantumDatabase, fill: Fill
) -> None:
    vectors = points(1, 300)
    every = fill(vectors, metadata=[{"third": i % 3 == 0} for i in range(300)])
    alone = fill(vectors[::3], ids=[f"r{i:05}" for i in range(0, 300, 3)])
    found = db.tunnel_search(vectors[1], top_k=100, filter={"third": True}, collection=every)
    expected = db.tunnel_search(vectors[1], top_k=100, collection=alone)
    assert found.ids == expected.ids
    assert found.scores.tobytes() == expected.scores.tobytes()


def test_the_context_term_is_added_to_the_walk(db: QuantumDatabase, fill: Fill) -> None:
    vectors = points(1, 200)
    weights = np.random.default_rng(0).uniform(0.01, 1.0, 200)
    states = [{"a": float(w), "b": 1.0 - float(w)} for w in weights]
    name = fill(vectors, contexts=states)
    plain = {
        m.id: m.score for m in db.tunnel_search(vectors[0], top_k=200, collection=name, beyond_only=False)
    }
    found = db.tunnel_search(
        vectors[0], top_k=200, context="a", context_strength=2.0, collection=name, beyond_only=False
    )
    for match in found:
        weight = weights[int(match.id[1:])]
        assert match.weight == pytest.approx(weight)
        assert match.score == pytest.approx(plain[match.id] + 2.0 * math.log(weight))


@pytest.mark.parametrize("context", [None, "a"])
def test_the_age_term_is_added_to_the_walk(db: QuantumDatabase, fill: Fill, context: str | None) -> None:
    vectors = points(1, 200)
    ages = np.random.default_rng(0).choice([0.0, 1.0, 30.0, 90.0, -5.0], 200)
    name = fill(vectors, contexts=[{"a": 0.25, "b": 0.75}] * 200, ages=ages)
    options: Any = {"context": context, "context_strength": 2.0, "beyond_only": False, "collection": name}
    fresh = db.tunnel_search(vectors[0], top_k=200, **options)
    found = db.tunnel_search(vectors[0], top_k=200, coherence_time=30.0, **options)
    scores = {match.id: match.score for match in fresh}
    for match in found:
        term = -2.0 * math.log(2.0) * max(ages[int(match.id[1:])], 0.0) / 30.0
        assert match.explain().terms["age"] == pytest.approx(term)
        assert match.score == pytest.approx(scores[match.id] + term)
        assert match.weight == (None if context is None else 0.25)
    assert list(found.scores) == sorted(found.scores, reverse=True)
    assert found.inside.ids == fresh.inside.ids  # the well is nearness, whatever the records' ages


def test_soft_makes_everything_eligible(db: QuantumDatabase, fill: Fill) -> None:
    vectors = points(1, 60)
    name = fill(vectors, contexts=[{"a": 1.0} if i % 3 else None for i in range(60)])
    assert db.tunnel_search(vectors[0], context="a", collection=name).eligible == 40
    assert db.tunnel_search(vectors[0], context="a", soft=True, collection=name).eligible == 60


def test_a_record_whose_amplitudes_cancel_is_not_reached(db: QuantumDatabase, fill: Fill) -> None:
    states = [{"a": 1.0, "b": 1.0}, {"a": 1.0}, {"b": 1.0}, {"a": 1.0, "b": 2.0}]
    name = fill(np.arange(4.0)[:, None], contexts=states)
    phases = {"a": (0.5, 0.0), "b": (0.5, math.pi)}
    found = db.tunnel_search([0.0], context=phases, beyond_only=False, collection=name)
    assert sorted(found.ids) == ["r00001", "r00002", "r00003"]


def test_an_empty_collection_gives_an_empty_result(db: QuantumDatabase) -> None:
    db.create_collection("empty", dimension=2, index="flat")
    for options in ({}, {"barrier_threshold": 0.5}, {"filter": {"n": 1}}, {"beyond_only": False}):
        found = db.tunnel_search([1.0, 2.0], collection="empty", **options)  # type: ignore[arg-type]
        assert (len(found), len(found.inside), found.well_size, found.eligible) == (0, 0, 0, 0)
        assert found.exact


def test_a_chain_of_near_neighbours_is_followed_past_what_is_merely_nearer(
    db: QuantumDatabase, fill: Fill
) -> None:
    chain = np.stack([np.linspace(0, 6, 61), np.zeros(61)], axis=1)
    noise = np.random.default_rng(0).uniform(-1, 1, size=(40, 2)) * [2.0, 0.3] + [0.0, 3.0]
    name = fill(np.concatenate([chain, noise]))
    options: Any = {"barrier_scale": "distance", "barrier_threshold": 1.0, "collection": name}
    near = db.tunnel_search([0.0, 0.0], tunneling_strength=0.0, top_k=30, **options)
    found = db.tunnel_search([0.0, 0.0], tunneling_strength=1.0, top_k=30, **options)
    on_chain = {f"r{i:05}" for i in range(61)}
    assert len(set(found.ids) & on_chain) == 30
    assert len(set(near.ids) & on_chain) < 30


@pytest.mark.parametrize("engine", ["diffusion", "walk"])
def test_under_dot_products_it_does_not_matter_when_the_longest_vectors_came(
    db: QuantumDatabase, fill: Fill, engine: Any
) -> None:
    # The largest product of a collection is measured at 64 records, and not again before 1,000.
    vectors = np.concatenate([points(1, 70) * 0.1, points(3, 300) * 3.0])
    at_once = fill(vectors, metric="dot")
    later = fill(vectors[:70], metric="dot")
    db.insert_many(ids=[f"r{i:05}" for i in range(70, 370)], vectors=vectors[70:], collection=later)
    for query in vectors[70:75]:
        a, b = (
            db.tunnel_search(query, top_k=30, engine=engine, collection=name) for name in (at_once, later)
        )
        assert a.ids == b.ids


def test_under_dot_products_a_walk_begins_at_the_five_nearest_however_long_the_query(
    db: QuantumDatabase, fill: Fill
) -> None:
    vectors = points(1, 300)
    name = fill(vectors, metric="dot")
    for query in points(5, 5) * 100.0:
        nearest = db.query(query, top_k=5, collection=name).ids
        found = db.tunnel_search(query, top_k=40, collection=name)
        begun = {path[0] for match in found if (path := match.explain().path)}
        assert begun
        assert begun <= set(nearest)
