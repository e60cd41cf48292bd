"""Search without a graph equals brute force in float64, however the rows came and wherever they lie."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.engines.base import CollectionSpec, Selection
from qstore_db.engines.embedded import collection as module
from qstore_db.engines.embedded.builder import Builder, plan
from qstore_db.engines.embedded.collection import Change, Collection
from qstore_db.engines.embedded.kernels import exact_rows
from qstore_db.engines.embedded.store import Store
from qstore_db.engines.embedded.view import Snapshot
from qstore_db.records import Metric, Superposition, Vectors, parse_filter, unit_rows

NO_STORE = cast("Store", None)
A = Superposition.parse([("a", 1.0)])
B = Superposition.parse([("b", 0.5), ("c", 0.5)])


def collection_of(
    vectors: Vectors,
    metric: Metric,
    *,
    ids: list[str] | None = None,
    tail: int = 10_000,
    dead: tuple[int, ...] = (),
) -> Collection:
    """Rows 1, 2, ...; metadata n = row, every third in context a, every fourth expires at 10."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TAIL_ROWS", tail)
        made = Collection(NO_STORE, 1, CollectionSpec("c", vectors.shape[1], metric, index="flat"), 0)
        for i, vector in enumerate(vectors):
            id = ids[i] if ids else f"r{i:04d}"
            made.publish(
                [Change(i + 1, 0, id, vector, {"n": i}, B if i % 3 else A, None if i % 4 else 10.0)], i + 1
            )
    made.publish([Change(0, row + 1) for row in dead], len(vectors) + 1)
    return made


def brute_force(vectors: Vectors, query: Vectors, metric: Metric) -> np.ndarray:
    if metric is Metric.COSINE:
        vectors, query = unit_rows(vectors), unit_rows(query)
    wide, asked = vectors.astype(np.float64), query.astype(np.float64)
    return -(wide @ asked) if metric is Metric.DOT else ((wide - asked) ** 2).sum(axis=1)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Vectors, Vectors]:
    """Rows and queries: random ones, ones with many duplicates, ones far from the origin, huge and tiny ones."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, d, q = draw(st.integers(1, 60)), draw(st.integers(1, 9)), draw(st.sampled_from([1, 3, 25]))
    rows = rng.normal(size=(n + q, d))
    kind = draw(st.sampled_from(["random", "duplicates", "shifted", "huge", "tiny"]))
    if kind == "duplicates":
        rows = rng.integers(1, 3, size=(n + q, d)).astype(float)
    elif kind == "shifted":
        rows = 1e4 + rows * draw(st.sampled_from([1e-2, 1.0]))
    else:
        rows *= {"random": 1.0, "huge": 1e25, "tiny": 1e-25}[kind]
    rows = rows.astype(np.float32)
    return rows[:n], rows[n:]


@given(scenes(), st.sampled_from(Metric), st.integers(1, 70), st.sampled_from([4, 16, 10_000]), st.data())
@settings(max_examples=150)
def test_search_gives_the_nearest_of_the_selection_with_ties_by_id(
    scene: tuple[Vectors, Vectors], metric: Metric, k: int, tail: int, data: st.DataObject
) -> None:
    rows, queries = scene
    n = len(rows)
    dead = tuple(data.draw(st.lists(st.integers(0, n - 1), unique=True), label="dead"))
    selection = Selection(
        parse_filter(data.draw(st.sampled_from([None, {"n": {"$lt": 30}}, {"n": {"$in": [1, 5, 9]}}]))),
        data.draw(st.sampled_from([(), ("a",), ("b", "a"), ("none",)])),
        data.draw(st.sampled_from([0.0, 10.0])),
    )
    admitted = [
        i
        for i in range(n)
        if i not in dead
        and (selection.filter is None or selection.filter.matches({"n": i}))
        and (not selection.contexts or ({"a"} & set(selection.contexts) and i % 3 == 0)
             or ({"b", "c"} & set(selection.contexts) and i % 3))
        and (i % 4 or selection.now < 10.0)
    ]  # fmt: skip
    view = collection_of(rows, metric, tail=tail, dead=dead).current
    assert view.count(selection) == len(admitted)
    for query, hits in zip(queries, view.search(queries, k, selection), strict=True):
        true = brute_force(rows, query, metric)
        assert hits.exact
        assert len(hits) == min(k, len(admitted))
        got = [int(id[1:]) for id in hits.ids()]
        assert set(got) <= set(admitted)
        scale = 1e-12 * (
            np.abs(rows.astype(np.float64)).max() ** 2 + np.abs(query.astype(np.float64)).max() ** 2
        )
        if metric is Metric.COSINE:
            scale = 1e-12
        np.testing.assert_allclose(hits.raw, true[got], rtol=1e-9, atol=scale * rows.shape[1])
        np.testing.assert_allclose(
            np.sort(true[admitted])[: len(got)], true[got], rtol=1e-9, atol=scale * rows.shape[1]
        )
        assert got == sorted(got, key=lambda i: (hits.raw[got.index(i)], i))


@given(scenes(), st.sampled_from(Metric), st.integers(1, 20))
@settings(max_examples=100)
def test_a_batch_gives_the_same_bits_as_single_queries(
    scene: tuple[Vectors, Vectors], metric: Metric, k: int
) -> None:
    rows, queries = scene
    view = collection_of(rows, metric).current
    for query, batched in zip(queries, view.search(queries, k, Selection()), strict=True):
        alone = view.search(query[None], k, Selection())[0]
        assert batched.ids() == alone.ids()
        assert batched.raw.tobytes() == alone.raw.tobytes()


@given(scenes(), st.sampled_from(Metric), st.integers(1, 20), st.data())
@settings(max_examples=100)
def test_results_do_not_depend_on_insertion_order_or_segments(
    scene: tuple[Vectors, Vectors], metric: Metric, k: int, data: st.DataObject
) -> None:
    rows, queries = scene
    names = [f"r{i:04d}" for i in range(len(rows))]
    order = data.draw(st.permutations(range(len(rows))))
    one = collection_of(rows, metric, ids=names, tail=7).current
    other = collection_of(rows[order], metric, ids=[names[i] for i in order], tail=10_000).current
    for a, b in zip(one.search(queries, k, Selection()), other.search(queries, k, Selection()), strict=True):
        assert a.ids() == b.ids()
        assert a.raw.tobytes() == b.raw.tobytes()


def test_a_thousand_copies_of_one_vector_are_cut_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.ones((1_000, 4), np.float32)
    ids = [f"r{i:04d}" for i in np.random.default_rng(0).permutation(1_000)]
    for tail in (100, 10_000):
        view = collection_of(rows, Metric.L2, ids=ids, tail=tail).current
        assert view.search(rows[:1], 5, Selection())[0].ids() == [f"r{i:04d}" for i in range(5)]


def test_neighbours_that_a_difference_of_products_cannot_tell_apart_are_found_in_batches_too() -> None:
    rng = np.random.default_rng(1)
    rows = (1_000.0 + rng.normal(size=(3_000, 32)) * 0.05).astype(np.float32)
    queries = rows[:64] + np.float32(0.01)
    view = collection_of(rows, Metric.L2).current
    for query, hits in zip(queries, view.search(queries, 10, Selection()), strict=True):
        true = np.argsort(brute_force(rows, query, Metric.L2), kind="stable")[:10]
        assert hits.ids() == [f"r{i:04d}" for i in true]


def test_no_queries_give_no_results() -> None:
    view = collection_of(np.eye(3, dtype=np.float32), Metric.L2).current
    assert list(view.search(np.empty((0, 3), np.float32), 2, Selection())) == []


def test_an_empty_collection_gives_empty_results() -> None:
    view = collection_of(np.empty((0, 3), np.float32), Metric.L2).current
    hits = view.search(np.zeros((2, 3), np.float32), 2, Selection())
    assert [len(one) for one in hits] == [0, 0]
    assert len(view.sample(3, 0)) == 0
    assert view.scroll(Selection(), 5, 0) == ([], None) if view.parts else True


@given(
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(1, 130),
    st.sampled_from(list(Metric)),
    st.integers(0, 9),
)
def test_the_float64_value_of_a_pair_does_not_depend_on_what_is_asked_with_it(
    q: int, m: int, d: int, metric: Metric, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(50, d)).astype(np.float32)
    queries = rng.normal(size=(q, d)).astype(np.float32)
    positions = rng.integers(0, 50, size=(q, m))
    together = exact_rows(rows, queries, positions, metric)
    i, j = int(rng.integers(q)), int(rng.integers(m))
    alone = exact_rows(rows, queries[i : i + 1], positions[i : i + 1, j : j + 1], metric)
    assert alone[0, 0] == together[i, j]


def test_float64_values_are_the_same_when_computed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows, queries = rng.normal(size=(90, 33)).astype(np.float32), rng.normal(size=(7, 33)).astype(np.float32)
    positions = rng.integers(0, 90, size=(7, 11))
    for metric in (Metric.L2, Metric.DOT):
        whole = exact_rows(rows, queries, positions, metric)
        with monkeypatch.context() as patch:
            patch.setattr("qstore_db.engines.embedded.kernels._WIDE_BLOCK", 100)
            assert exact_rows(rows, queries, positions, metric).tobytes() == whole.tobytes()


def merged(made: Collection) -> Snapshot:
    """The collection once the builder has nothing more to do."""
    builder = Builder(lambda: [made], 1)
    try:
        assert builder.wait(60.0)
        assert builder.fault is None
    finally:
        builder.close()
    assert plan(made.current.parts, made.spec) is None
    return made.current


def test_merging_and_shedding_dead_rows_change_no_result() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(400, 5)).astype(np.float32)
    dead = tuple(rng.choice(400, 150, replace=False).tolist())
    made = collection_of(rows, Metric.COSINE, tail=10, dead=dead)
    before = made.current
    after = merged(made)
    assert len(after.parts) < len(before.parts) / 4
    for selection in (Selection(), Selection(parse_filter({"n": {"$gte": 200}}), ("a",))):
        for a, b in zip(
            before.search(rows[:30], 12, selection), after.search(rows[:30], 12, selection), strict=True
        ):
            assert a.ids() == b.ids()
            assert a.raw.tobytes() == b.raw.tobytes()
            assert a.weights(["a", "b"]).tolist() == b.weights(["a", "b"]).tolist()


def test_a_segment_of_dead_rows_only_disappears() -> None:
    made = collection_of(np.eye(40, 3, dtype=np.float32) + 1, Metric.L2, tail=10, dead=tuple(range(10, 20)))
    assert all(part.alive_count for part in merged(made).parts)


def test_a_scan_gives_every_distance_of_the_selection() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(50, 6)).astype(np.float32)
    view = collection_of(rows, Metric.L2, tail=20, dead=(3, 30)).current
    hits = view.scan(rows[0], Selection(now=0.0))
    got = dict(zip(hits.ids(), hits.raw, strict=True))
    true = brute_force(rows, rows[0], Metric.L2)
    assert sorted(got) == [f"r{i:04d}" for i in range(50) if i not in (3, 30)]
    assert all(
        math.isclose(got[f"r{i:04d}"], true[i], rel_tol=1e-5, abs_tol=1e-6)
        for i in range(50)
        if i not in (3, 30)
    )


def test_a_sample_is_reproducible_whatever_the_segments() -> None:
    rows = np.random.default_rng(5).normal(size=(60, 4)).astype(np.float32)
    one, other = collection_of(rows, Metric.L2, tail=7, dead=(5,)), collection_of(rows, Metric.L2, dead=(5,))
    ids = one.current.sample(20, 3).ids()
    assert ids == other.current.sample(20, 3).ids()
    assert len(set(ids)) == 20
    assert "r0005" not in one.current.sample(60, 1).ids()
