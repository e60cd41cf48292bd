"""Search through a graph keeps its recall target under filters and deletes, or answers exactly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from qstore_db.engines.base import CollectionSpec, Selection
from qstore_db.engines.embedded.builder import Builder, plan
from qstore_db.engines.embedded.collection import Change, Collection
from qstore_db.engines.embedded.graph import Goal, Graph, Width, build
from qstore_db.engines.embedded.segment import Segment
from qstore_db.engines.embedded.store import Store
from qstore_db.records import Metric, Vectors, parse_filter

NO_STORE = cast("Store", None)
ROWS, DIMENSION, CLUSTERS = 8_000, 32, 16
TARGET = 0.99
SAMPLED = TARGET - 0.004
"""What a sample of 300 queries must show of it: their mean has a standard error of 0.0015."""


class Clustered:
    """Rows in clusters that overlap a little; `label` says which."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._centres = rng.normal(size=(CLUSTERS, DIMENSION)) * 1.2
        self.label = rng.integers(0, CLUSTERS, ROWS)
        self.rows = self.near(self.label, seed=1)

    def near(self, labels: NDArray[np.int64], seed: int = 2) -> Vectors:
        noise = np.random.default_rng(seed).normal(size=(len(labels), DIMENSION))
        return (self._centres[labels] + noise).astype(np.float32)

    def collection(self, metric: Metric = Metric.L2, rows: int = ROWS, **spec: object) -> Collection:
        made = Collection(NO_STORE, 1, replace(CollectionSpec("c", DIMENSION, metric), **spec), 0)
        made.publish(
            [
                Change(i + 1, 0, f"r{i}", self.rows[i], {"label": int(self.label[i]), "n": i % 100})
                for i in range(rows)
            ],
            rows,
        )
        made.seal(1)
        return made


@pytest.fixture(scope="module")
def clustered() -> Clustered:
    return Clustered()


def built(made: Collection) -> Collection:
    builder = Builder(lambda: [made], 2)
    try:
        assert builder.wait(300.0)
        assert builder.fault is None
    finally:
        builder.close()
    return made


@pytest.fixture(scope="module", params=["float32", "float16"])
def indexed(clustered: Clustered, request: pytest.FixtureRequest) -> Collection:
    return built(clustered.collection(storage=request.param))


def graph_of(made: Collection) -> Graph:
    graph = made.current.parts[0].graph
    assert graph is not None
    return graph


def recall(
    made: Collection,
    rows: Vectors,
    queries: Vectors,
    selection: Selection,
    admitted: NDArray[np.bool_],
    k: int = 10,
) -> float:
    """Share of the k nearest admitted that were found, ties counted."""
    places = np.flatnonzero(admitted)
    wide = rows.astype(np.float64)
    shares = []
    for query, hits in zip(queries, made.current.search(queries, k, selection), strict=True):
        true = np.sort(((wide[places] - query) ** 2).sum(axis=1))[:k]
        got = [int(id[1:]) for id in hits.ids()]
        assert len(got) == len(true)
        assert admitted[got].all()
        assert (np.diff(hits.raw) >= 0).all()
        distances = ((wide[got] - query) ** 2).sum(axis=1)
        shares.append(np.mean(distances <= true[-1] * (1 + 1e-3)))
    return float(np.mean(shares))


EVERYTHING = np.ones(ROWS, np.bool_)


def test_a_graph_meets_the_target(clustered: Clustered, indexed: Collection) -> None:
    queries = clustered.near(np.arange(300) % CLUSTERS)
    for k in (1, 10, 50):
        assert recall(indexed, clustered.rows, queries, Selection(), EVERYTHING, k) >= SAMPLED


@pytest.mark.parametrize("share", [1, 10, 50, 90])
def test_filters_that_ignore_position_meet_the_target(
    clustered: Clustered, indexed: Collection, share: int
) -> None:
    queries = clustered.near(np.arange(300) % CLUSTERS)
    admitted = np.arange(ROWS) % 100 < share
    selection = Selection(parse_filter({"n": {"$lt": share}}))
    assert recall(indexed, clustered.rows, queries, selection, admitted) >= SAMPLED


@pytest.mark.parametrize("kept", [1, 4, 8, 12, 15])
def test_filters_that_leave_out_the_query_s_own_cluster_meet_the_target(
    clustered: Clustered, indexed: Collection, kept: int
) -> None:
    queries = clustered.near(np.zeros(300, np.int64))
    labels = list(range(1, kept + 1))
    selection = Selection(parse_filter({"label": {"$in": labels}}))
    assert recall(indexed, clustered.rows, queries, selection, np.isin(clustered.label, labels)) >= SAMPLED


def test_after_deleting_nearly_all_of_some_clusters_the_target_is_still_met(clustered: Clustered) -> None:
    made = built(clustered.collection())
    rng = np.random.default_rng(1)
    killed = np.isin(clustered.label, [0, 1, 2, 3]) & (rng.random(ROWS) < 0.95)
    made.publish([Change(0, int(i) + 1) for i in np.flatnonzero(killed)], ROWS + 1)
    queries = clustered.near(np.arange(300) % 4)
    assert graph_of(made) is not None
    assert recall(made, clustered.rows, queries, Selection(), ~killed) >= SAMPLED


def test_a_batch_through_a_graph_gives_the_same_bits_as_single_queries(
    clustered: Clustered, indexed: Collection
) -> None:
    queries = clustered.near(np.arange(40) % CLUSTERS)
    for selection in (Selection(), Selection(parse_filter({"n": {"$lt": 60}}))):
        for query, batched in zip(queries, indexed.current.search(queries, 10, selection), strict=True):
            alone = indexed.current.search(query[None], 10, selection)[0]
            assert batched.ids() == alone.ids()
            assert batched.raw.tobytes() == alone.raw.tobytes()


@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.DOT])
def test_other_metrics_meet_the_target_too(clustered: Clustered, metric: Metric) -> None:
    made = built(clustered.collection(metric, rows=4_000))
    assert graph_of(made)
    queries = clustered.near(np.arange(300) % CLUSTERS)
    rows = clustered.rows[:4_000].astype(np.float64)
    if metric is Metric.COSINE:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    shares = []
    for query, hits in zip(queries, made.current.search(queries, 10, Selection()), strict=True):
        true = np.argsort(-(rows @ query), kind="stable")[:10]
        shares.append(len({f"r{i}" for i in true} & set(hits.ids())) / 10)
    assert np.mean(shares) >= SAMPLED


def test_only_full_precision_claims_to_be_exact(clustered: Clustered, indexed: Collection) -> None:
    selection = Selection(parse_filter({"n": 5}))
    hits = indexed.current.search(clustered.rows[:1], 10, selection)[0]
    assert hits.exact == (graph_of(indexed).storage == "float32")
    assert not indexed.current.search(clustered.rows[:1], 10, Selection())[0].exact


def test_a_flat_collection_gets_no_graph(clustered: Clustered) -> None:
    made = built(clustered.collection(rows=3_000, index="flat"))
    assert made.current.parts[0].graph is None
    assert made.current.search(clustered.rows[:1], 10, Selection())[0].exact


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Vectors:
    """Rows without structure, for which no width that is tried finds everything."""
    monkeypatch.setattr("qstore_db.engines.embedded.graph._WIDTHS", (16, 100))
    return np.random.default_rng(0).normal(size=(3_000, 64)).astype(np.float32)


def test_where_the_target_is_out_of_reach_search_stays_exact(narrow: Vectors) -> None:
    made = Collection(NO_STORE, 1, CollectionSpec("c", 64, Metric.L2, target_recall=1.0), 0)
    made.publish([Change(i + 1, 0, f"r{i}", row) for i, row in enumerate(narrow)], len(narrow))
    made.seal(1)
    built(made)
    assert made.current.parts[0].graph is None
    assert plan(made.current.parts, made.spec) is None
    assert made.current.search(narrow[:1], 10, Selection())[0].exact


def test_hnsw_insists_on_a_graph_that_auto_would_not_take(narrow: Vectors) -> None:
    assert build(narrow, Metric.L2, "float32", Goal(1.0), lambda done: None) is None
    graph = build(narrow, Metric.L2, "float32", Goal(1.0, insist=True), lambda done: None)
    assert graph is not None
    assert (graph.width.ten, graph.width.hundred) == (100, 100)


def test_a_collection_that_auto_left_exact_gets_its_graph_once_hnsw_is_asked_for(
    clustered: Clustered,
) -> None:
    made = clustered.collection(rows=3_000, index="auto")
    source = made.current.parts[0].source
    assert isinstance(source, Segment)
    source.settled = ("auto", "float32")
    assert plan(made.current.parts, made.spec) is None
    made.respecify(replace(made.spec, index="hnsw"))
    assert graph_of(built(made))


def test_float16_is_refused_where_it_does_not_hold_the_rows(clustered: Clustered) -> None:
    for factor in (1e5, 1e-7):
        scaled = (clustered.rows[:2_500] * np.float32(factor)).astype(np.float32)
        assert build(scaled, Metric.L2, "float16", Goal(0.9), lambda done: None) is None
        assert build(scaled, Metric.L2, "float32", Goal(0.9), lambda done: None) is not None


def test_an_extended_graph_is_searched_as_widely_as_it_was_before(clustered: Clustered) -> None:
    first = build(clustered.rows[:3_000], Metric.L2, "float32", Goal(TARGET), lambda done: None)
    assert first is not None
    easy = np.zeros((2_500, DIMENSION), np.float32)
    easy[:, 0] = 1_000.0 + np.arange(2_500)
    second = first.extended(easy, Goal(TARGET), lambda done: None)
    assert second is not None
    assert second.width.ten >= first.width.ten
    assert second.width.hundred >= first.width.hundred
    assert len(second.matrix) == 5_500
    assert len(first.matrix) == 3_000


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_a_mapped_graph_grows_from_its_file(clustered: Clustered, tmp_path: Path, storage: str) -> None:
    made = build(clustered.rows[:2_500], Metric.L2, storage, Goal(TARGET), lambda done: None)  # type: ignore[arg-type]
    assert made is not None
    path = tmp_path / "graph"
    made.save(path)
    mapped = Graph.load(path, Metric.L2, made.storage, made.width)
    assert mapped.matrix.tobytes() == made.matrix.tobytes()
    grown = mapped.extended(clustered.rows[2_500:4_000], Goal(TARGET), lambda done: None)
    assert grown is not None
    assert len(grown.matrix) == 4_000
    assert grown.search(clustered.rows[3_999:4_000], 1, 64)[1].tolist() == [[3_999]]
    path.unlink()
    assert not mapped.can_grow()
    assert grown.can_grow()


def test_segments_behind_a_graph_are_added_to_it(clustered: Clustered) -> None:
    made = built(clustered.collection(rows=3_000))
    for start in (3_000, 4_500):
        changes = [Change(i + 1, 0, f"r{i}", clustered.rows[i], {}) for i in range(start, start + 1_500)]
        made.publish(changes, start + 1_500)
        made.seal(1)
    built(made)
    assert [part.n for part in made.current.parts] == [6_000]
    queries = clustered.near(np.arange(300) % CLUSTERS)
    assert recall(made, clustered.rows[:6_000], queries, Selection(), EVERYTHING[:6_000]) >= SAMPLED


def test_a_segment_whose_rows_died_before_it_was_added_is_dropped(clustered: Clustered) -> None:
    made = built(clustered.collection(rows=3_000))
    made.publish([Change(i + 1, 0, f"r{i}", clustered.rows[i], {}) for i in range(3_000, 3_100)], 3_100)
    made.seal(1)
    made.publish([Change(0, i + 1) for i in range(3_000, 3_100)], 3_101)
    built(made)
    assert [part.n for part in made.current.parts] == [3_000]


def test_rows_that_die_while_a_graph_is_built_are_dead_in_it(
    clustered: Clustered, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = clustered.collection(rows=2_500)
    begun, go_on = threading.Event(), threading.Event()

    def waiting(rows: Vectors, *more: object) -> Graph | None:
        begun.set()
        assert go_on.wait(60.0)
        return build(rows, *more)  # type: ignore[arg-type]

    monkeypatch.setattr("qstore_db.engines.embedded.builder.build", waiting)
    builder = Builder(lambda: [made], 2)
    builder.wake()
    assert begun.wait(60.0)
    made.publish([Change(0, 8)], 2_501)
    go_on.set()
    assert builder.wait(60.0)
    builder.close()
    assert graph_of(made)
    assert "r7" not in made.current.search(clustered.rows[7:8], 20, Selection())[0].ids()
    assert made.current.count(Selection()) == 2_499


def test_a_graph_with_a_fifth_of_its_rows_dead_is_built_anew(clustered: Clustered) -> None:
    made = built(clustered.collection(rows=3_000))
    made.publish([Change(0, i + 1) for i in range(700)], 3_001)
    built(made)
    assert [(part.n, part.dead_count) for part in made.current.parts] == [(2_300, 0)]


def test_a_failing_build_is_told_and_tried_again(
    clustered: Clustered, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = clustered.collection(rows=2_500)
    outcomes: list[Callable[..., Graph | None]] = [build]

    def failing(*arguments: object) -> Graph | None:
        if outcomes and len(outcomes) == 1:
            outcomes.clear()
            raise MemoryError("no room for a graph")
        return build(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("qstore_db.engines.embedded.builder.build", failing)
    monkeypatch.setattr("qstore_db.engines.embedded.builder.RETRY_SECONDS", 0.01)
    builder = Builder(lambda: [made], 2)
    assert builder.wait(60.0)
    for _ in range(200):
        if builder.fault is None and made.current.parts[0].graph is not None:
            break
        threading.Event().wait(0.1)
    builder.close()
    assert builder.fault is None
    assert graph_of(made)


def test_nobody_waits_for_a_closed_builder(clustered: Clustered) -> None:
    made = clustered.collection(rows=2_500)
    builder = Builder(lambda: [made], 2)
    builder.close()
    assert builder.wait(10.0)


def test_widths_grow_with_what_is_asked_for() -> None:
    width = Width(ten=24, hundred=128, recall=0.995)
    assert [width.of(k) for k in (1, 10, 50, 100, 1_000)] == [24, 24, 64, 128, 2_000]
    assert width.widest(Width(16, 256, 0.99)) == Width(24, 256, 0.99)
