"""Building, rebuilding and changing the index while queries go on."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from qstore_db.engines.base import CollectionSpec, Delete, Patch, Put, Selection
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.engines.embedded.segment import Segment
from qstore_db.errors import UnavailableError
from qstore_db.records import Metric, unit_rows

ONE = np.ones(3, np.float32)
ALL = Selection()

pytestmark = pytest.mark.usefixtures("resting_janitor")


def rows(n: int, dimension: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dimension)).astype(np.float32)


def graph_everything(db: EmbeddedEngine, name: str = "c") -> None:
    db.collection(name).seal(1)
    db.wait_indexed(60.0)


def test_queries_go_on_while_a_collection_is_reindexed(db: EmbeddedEngine, small_segments: None) -> None:
    vectors = rows(600)
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(vectors)]).result()
    stop = threading.Event()
    wrong: list[list[str]] = []

    def query() -> None:
        while not stop.is_set():
            for i in (5, 400):
                hits = db.view("c").search(vectors[i : i + 1], 1, ALL)[0]
                if hits.ids() != [f"{i}"]:
                    wrong.append(hits.ids())

    thread = threading.Thread(target=query)
    thread.start()
    try:
        for index, storage in (
            ("hnsw", "float16"),
            ("flat", "float32"),
            ("hnsw", "float32"),
            ("auto", "float16"),
        ):
            db.reindex("c", index=index, storage=storage)  # type: ignore[arg-type]
            db.wait_indexed(120.0)
            parts = db.view("c").parts
            graphs = [part.graph for part in parts if part.graph is not None]
            assert bool(graphs) == (index != "flat")
            assert all(graph.storage == storage for graph in graphs)
    finally:
        stop.set()
        thread.join(60.0)
    assert wrong == []


@pytest.mark.parametrize("index", ["flat", "hnsw"])
def test_full_precision_comes_back_after_half(db: EmbeddedEngine, small_segments: None, index: Any) -> None:
    vectors = rows(300)
    db.create_collection(CollectionSpec("h", 3, Metric.COSINE, "hnsw", "float16"))
    db.write("h", [Put(f"{i}", row) for i, row in enumerate(vectors)]).result()
    db.write("h", [Patch("7", vector=-vectors[7])]).result()
    graph_everything(db, "h")
    assert db.view("h").parts[0].matrix.dtype == np.float16
    assert not db.view("h").scan(vectors[0], ALL).exact
    db.reindex("h", index=index, storage="float32")
    db.wait_indexed(60.0)
    assert db.view("h").scan(vectors[0], ALL).exact
    hits = db.view("h").select(ALL)
    vectors[7] *= -1
    expected = unit_rows(vectors)
    for id, vector in zip(hits.ids(), hits.vectors(), strict=True):
        assert vector.tobytes() == expected[int(id)].tobytes()


def test_a_flat_collection_gets_its_graph_when_reindexed_even_after_merges(
    db: EmbeddedEngine, small_segments: None
) -> None:
    db.reindex("c", index="flat", storage="float32")
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(400))]).result()
    db.wait_indexed(60.0)
    assert any(isinstance(p.source, Segment) and p.source.settled for p in db.view("c").parts)
    db.reindex("c", index="auto", storage="float32")
    db.wait_indexed(60.0)
    assert any(part.graph is not None for part in db.view("c").parts)


def test_deletes_alone_bring_about_a_rebuild(db: EmbeddedEngine, small_segments: None) -> None:
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(300))]).result()
    graph_everything(db)
    db.write("c", [Delete(f"{i}") for i in range(100)]).result()
    db._chores.index_quiet()
    assert db._builder.wait(60.0)
    assert sum(part.dead_count for part in db.view("c").parts) == 0


def test_waiting_for_an_index_that_cannot_be_built_says_why(
    db: EmbeddedEngine, small_segments: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr("qstore_db.engines.embedded.builder.build", fail)
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(200))]).result()
    with pytest.raises(UnavailableError, match="too large"):
        db.wait_indexed(60.0)
    assert db.view("c").search(rows(1), 3, ALL)[0].exact
    assert db.statistics()["builder_fault"]


def test_unbuilt_segments_slow_the_writer_down_but_not_without_end(
    db: EmbeddedEngine, small_segments: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qstore_db.engines.embedded.builder.Builder._step", lambda self: False)
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(32 * 60))]).result()
    assert 0 < db._backlog_delay() <= 1.0
    statistics = db.statistics()["collections"]["c"]
    assert statistics["unbuilt_segments"] > 8
    assert statistics["index_lag_rows"] == 32 * 60
    db.reindex("c", index="flat", storage="float32")
    assert db._backlog_delay() == 0.0
