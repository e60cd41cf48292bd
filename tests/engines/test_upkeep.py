"""What happens behind the readers' backs: purging, erasing, trimming, compacting, reindexing, checking."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db.engines.base import CollectionSpec, Delete, Patch, Put, Selection
from qstore_db.engines.embedded import chores, columns, layout
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.engines.embedded.segment import Segment
from qstore_db.errors import ClosedError, CollectionNotFoundError, UnavailableError
from qstore_db.records import Metric, parse_filter, unit_rows

ONE = np.ones(3, np.float32)
ALL = Selection()

pytestmark = pytest.mark.usefixtures("resting_janitor")


def rows(n: int, dimension: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dimension)).astype(np.float32)


def stored(db: EmbeddedEngine, table: str) -> int:
    """How many entries a table has."""
    with db._environment.read() as transaction:
        return int(transaction.stat(db._environment.tables[table])["entries"])


def graph_everything(db: EmbeddedEngine, name: str = "c") -> None:
    db.collection(name).seal(1)
    db.wait_indexed(60.0)


# Superseded rows


def test_what_a_held_view_or_result_can_read_is_not_purged(db: EmbeddedEngine) -> None:
    db.write("c", [Put(f"{i}", ONE * i, metadata={"v": 1}) for i in range(20)]).result()
    hits = db.view("c").search(ONE[None], 20, ALL)[0]
    view = db.view("c")
    for version in (2, 3):
        db.write("c", [Put(f"{i}", -ONE * i, metadata={"v": version}) for i in range(20)]).result()
        db._chores.purge()
    assert [(r.metadata["v"], r.vector[0]) for r in hits.records()] == [(1, float(id)) for id in hits.ids()]
    assert len(view.scroll(ALL, 100, 0)[0]) == 20
    assert stored(db, layout.ROWS) == 60
    del hits, view
    db._chores.purge()
    assert stored(db, layout.ROWS) == stored(db, layout.VECTORS) == 20
    assert db.verify().ok


def test_metadata_and_vector_are_of_one_version_while_rows_are_replaced_and_purged(
    db: EmbeddedEngine,
) -> None:
    stop = threading.Event()
    faults: list[object] = []
    db.write("c", [Put(f"{i}", ONE, metadata={"v": 1}) for i in range(10)]).result()

    def upkeep() -> None:
        while not stop.is_set():
            db._chores.purge()

    def read() -> None:
        while not stop.is_set():
            hits = db.view("c").search(ONE[None], 10, ALL)[0]
            for record, raw in zip(hits.records(), hits.raw.tolist(), strict=True):
                value = record.metadata["v"]
                if record.vector[0] != value or raw != 3.0 * (float(value) - 1.0) ** 2:  # type: ignore[arg-type]
                    faults.append((record, raw))

    threads = [threading.Thread(target=job) for job in (upkeep, read, read)]
    for thread in threads:
        thread.start()
    try:
        for version in range(2, 120):
            db.write("c", [Put(f"{i}", ONE * version, metadata={"v": version}) for i in range(10)]).result()
    finally:
        stop.set()
        for thread in threads:
            thread.join(60.0)
    assert faults == []
    assert db.statistics()["read_only"] is None


def test_a_rename_never_hides_the_collection_from_upkeep(db: EmbeddedEngine) -> None:
    before = db._collections
    db.rename_collection("c", "d")
    assert list(before) == ["c"]  # replaced as a whole: the purge must not overlook its readers for a moment
    db.rename_collection("d", "d")
    assert [c.spec.name for c in db.live_collections()] == ["d"]


def test_the_purge_waits_for_readers_of_a_collection_made_meanwhile(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    views: list[Any] = []
    horizons = EmbeddedEngine.horizons

    def late(self: EmbeddedEngine) -> dict[int, int]:
        found = horizons(self)
        if not views:
            db.create_collection(CollectionSpec("late", 3, Metric.L2))
            db.write("late", [Put("a", ONE, metadata={"v": 1})]).result()
            views.append(db.view("late"))
            db.write("late", [Put("a", ONE, metadata={"v": 2})]).result()
        return found

    monkeypatch.setattr(EmbeddedEngine, "horizons", late)
    db._chores.purge()
    assert [record.metadata["v"] for record in views[0].scroll(ALL, 5, 0)[0]] == [1]


def test_expired_records_are_deleted_and_their_space_comes_back(db: EmbeddedEngine, clock: Any) -> None:
    db.write("c", [Put("a", ONE, expires_at=2_000.0), Put("b", ONE)]).result()
    clock.now = 1_999.0
    db._chores.expire()
    assert db.view("c").count(Selection(now=-np.inf)) == 2
    clock.now = 2_000.0
    db._chores.expire()
    assert db.view("c").count(Selection(now=-np.inf)) == 1
    db._chores.purge()
    assert stored(db, layout.ROWS) == 1
    assert db.verify().ok


def test_a_record_written_again_meanwhile_does_not_expire_by_its_old_time(
    db: EmbeddedEngine, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.write("c", [Put("a", ONE, expires_at=2_000.0)]).result()
    clock.now = 3_000.0
    run = chores.Chores._run

    def late(self: chores.Chores, request: Any) -> None:
        db.write("c", [Put("a", ONE)]).result()
        run(self, request)

    with monkeypatch.context() as patch:
        patch.setattr(chores.Chores, "_run", late)
        db._chores.expire()
    assert db.view("c").count(Selection(now=clock.now)) == 1


# Filters that read the records


def test_a_filter_that_reads_records_leaves_nothing_to_older_views(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "MAX_PATHS", 1)
    db.write("c", [Put(f"{i}", ONE * i, metadata={"a": 1, "b": i % 2}) for i in range(10)]).result()
    db.collection("c").seal(1)
    older = db.view("c")
    db.write("c", [Delete("1"), Delete("3")]).result()
    newer = db.view("c")
    selection = Selection(parse_filter({"b": 1}))
    assert newer.count(selection) == 3
    assert older.count(selection) == 5
    hits = older.search(ONE[None], 10, selection)[0]
    assert hits.ids() == ["1", "3", "5", "7", "9"]
    assert "not indexed" in hits.warnings[0]
    assert newer.count(selection) == 3


# Dropped collections


def test_a_dropped_collection_gives_its_space_back(db: EmbeddedEngine) -> None:
    db.create_collection(CollectionSpec("other", 3, Metric.L2))
    db.write("other", [Put("kept", ONE)]).result()
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(50))]).result()
    db.write("c", [Put("3", ONE), Delete("4")]).result()
    db.collection("c").seal(1)
    db.snapshot()
    folder = db.index_files(db.collection("c")).directory
    assert folder.is_dir()
    db.drop_collection("c")
    db._chores.erase_dropped()
    assert (stored(db, layout.IDS), stored(db, layout.ROWS), stored(db, layout.VECTORS)) == (1, 1, 1)
    assert not folder.exists()
    assert db.dropped() == []
    assert db.verify().ok


def test_a_dropped_collection_gives_its_space_back_after_a_restart(
    db: EmbeddedEngine, start: Callable[..., EmbeddedEngine]
) -> None:
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(50))]).result()
    db.drop_collection("c")
    db.close()
    again = start()
    assert again.collections() == []
    again._chores.erase_dropped()
    assert stored(again, layout.ROWS) == stored(again, layout.IDS) == 0
    assert again.verify().ok


def test_views_and_results_of_a_dropped_collection_stay_readable(db: EmbeddedEngine) -> None:
    db.write("c", [Put(f"{i}", row, metadata={"i": i}) for i, row in enumerate(rows(50))]).result()
    hits = db.view("c").search(ONE[None], 10, ALL)[0]
    db.write("c", [Put("3", ONE, metadata={"i": -3})]).result()
    db.drop_collection("c")
    db._chores.erase_dropped()
    db._chores.purge()
    assert [record.metadata["i"] for record in hits.records()] == [int(id) for id in hits.ids()]
    del hits
    db._chores.erase_dropped()
    assert stored(db, layout.ROWS) == 0
    assert db.statistics()["read_only"] is None


def test_a_check_ignores_what_is_being_erased(db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "ERASE_BATCH", 10)
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(50))]).result()
    db.drop_collection("c")
    for _ in range(20):
        db._chores.erase_dropped()
        assert db.verify().ok
    assert db.statistics()["read_only"] is None
    assert stored(db, layout.ROWS) == 0


def test_a_drop_that_fails_leaves_the_collection_as_it_was(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(changes: object) -> None:
        raise UnavailableError("no")

    with monkeypatch.context() as patch:
        patch.setattr(db.catalog, "apply", fail)
        with pytest.raises(UnavailableError):
            db.drop_collection("c")
    db.write("c", [Put("a", ONE)]).result()
    assert db.view("c").count(ALL) == 1


def test_a_name_can_be_used_again_at_once(db: EmbeddedEngine) -> None:
    db.write("c", [Put("a", ONE)]).result()
    db.drop_collection("c")
    with pytest.raises(CollectionNotFoundError):
        db.view("c")
    db.create_collection(CollectionSpec("c", 2, Metric.L2))
    db.write("c", [Put("b", np.ones(2, np.float32))]).result()
    db._chores.erase_dropped()
    assert db.view("c").search(np.ones((1, 2), np.float32), 5, ALL)[0].ids() == ["b"]
    assert db.verify().ok


# The oplog


def test_the_oplog_is_cut_where_nothing_needs_it(db: EmbeddedEngine, clock: Any) -> None:
    for i in range(30):
        db.write("c", [Put(f"{i}", ONE)]).result()
    db._chores.purge()
    db._chores.trim()
    assert stored(db, layout.OPLOG) == 30
    clock.now += chores.RETAIN_SECONDS + 1
    db._chores.trim()
    assert stored(db, layout.OPLOG) == 0
    db.write("c", [Put("31", ONE), Delete("1")]).result()
    assert db.verify().ok


def test_the_oplog_is_kept_for_the_older_index_on_disk(db: EmbeddedEngine, clock: Any) -> None:
    for _ in range(2):
        db.write("c", [Put(f"{i}", ONE) for i in range(10)]).result()
        db.collection("c").seal(1)
        db.snapshot()
    clock.now += chores.RETAIN_SECONDS + 1
    db._chores.purge()
    db._chores.trim()
    assert next(iter(db._store.oplog(0))).sequence == 11


# The index


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
    db.reindex("h", index=index, storage="float32")
    db.wait_indexed(60.0)
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


# Compaction and close


def test_compacting_gives_space_back_while_readers_and_writers_go_on(db: EmbeddedEngine) -> None:
    vectors = rows(2_000)
    db.write("c", [Put(f"{i}", row, metadata={"t": "x" * 500}) for i, row in enumerate(vectors)]).result()
    db.write("c", [Delete(f"{i}") for i in range(1_900)]).result()
    stop = threading.Event()
    faults: list[BaseException] = []

    def work(job: Callable[[int], object]) -> None:
        turn = 0
        try:
            while not stop.is_set():
                turn += 1
                job(turn)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            faults.append(error)

    jobs: list[Callable[[int], object]] = [
        lambda turn: db.view("c").search(vectors[-1:], 20, ALL)[0].records(),
        lambda turn: db.write("c", [Put(f"new{turn % 10}", ONE)]).result(),
        lambda turn: db.fetch("c", ["1999"], 0.0),
    ]
    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        given_back = [db.compact() for _ in range(3)]
    finally:
        stop.set()
        for thread in threads:
            thread.join(60.0)
    assert faults == []
    assert sum(given_back) > 500_000
    assert db.verify().ok
    assert [record and record.id for record in db.fetch("c", ["1999", "3"], 0.0)] == ["1999", None]


def test_closing_abandons_a_build_and_the_next_start_takes_it_up(
    db: EmbeddedEngine, start: Callable[..., EmbeddedEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qstore_db.engines.embedded.engine.SEAL_ROWS", 8)
    vectors = rows(4_000, 3)
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(vectors)]).result()
    db.collection("c").seal(1)
    db._builder.wake()
    db.close()
    again = start()
    again.wait_indexed(60.0)
    assert any(part.graph is not None for part in again.view("c").parts)
    assert again.view("c").count(ALL) == 4_000


def test_closing_during_the_check_after_a_crash_leaves_it_to_the_next_start(
    db: EmbeddedEngine, start: Callable[..., EmbeddedEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(50))]).result()
    shutil.copytree(tmp_path / "db", tmp_path / "crashed", ignore=shutil.ignore_patterns("LOCK", "lock.mdb"))
    checking = threading.Event()
    breathe = "qstore_db.engines.embedded.soundness.Soundness._breathe"

    def wait(self: Any) -> None:
        checking.set()
        assert self._stop.wait(60.0)
        raise ClosedError("the database is closing")

    with monkeypatch.context() as patch:
        patch.setattr(breathe, wait)
        patch.setattr("qstore_db.engines.embedded.verify._BREATHE_EVERY", 10)
        again = start(tmp_path / "crashed")
        assert checking.wait(60.0)
        assert again.statistics()["verification"] == "running"
        again.close()
    once_more = start(tmp_path / "crashed")
    assert once_more.statistics()["verification"] in ("running", "passed")


def test_a_start_that_fails_gives_the_directory_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise UnavailableError("no")

    with monkeypatch.context() as patch:
        patch.setattr("qstore_db.engines.embedded.soundness.Soundness.begin", fail)
        with pytest.raises(UnavailableError):
            EmbeddedEngine(tmp_path)
    EmbeddedEngine(tmp_path).close()


# Checks


@pytest.mark.parametrize("table", [layout.IDS, layout.ROWS, layout.VECTORS, layout.TOTALS])
def test_a_check_finds_an_entry_that_is_gone(db: EmbeddedEngine, table: str) -> None:
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(20))]).result()
    with (
        db._environment.write() as transaction,
        transaction.cursor(db._environment.tables[table]) as cursor,
    ):
        cursor.first()
        cursor.delete()
    assert not db.verify().ok
    assert db.statistics()["read_only"]


def test_a_check_finds_a_damaged_index_file_and_takes_no_record_for_damaged(db: EmbeddedEngine) -> None:
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(20))]).result()
    db.collection("c").seal(1)
    db.snapshot()
    (path,) = db.index_files(db.collection("c")).directory.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    report = db.verify()
    assert report.problems == ()
    assert path.name in report.index_problems[0]
    assert db.statistics()["read_only"] is None
