"""What happens behind the readers' backs: purging, erasing, trimming."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from qstore_db.engines.base import CollectionSpec, Delete, Put, Selection
from qstore_db.engines.embedded import chores, columns, layout
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.engines.embedded.roster import Roster
from qstore_db.errors import CollectionNotFoundError, UnavailableError
from qstore_db.records import Metric, parse_filter
from qstore_db.testing.waiting import settled

ONE = np.ones(3, np.float32)
ALL = Selection()

pytestmark = pytest.mark.usefixtures("resting_janitor")


def rows(n: int, dimension: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dimension)).astype(np.float32)


def stored(db: EmbeddedEngine, table: str) -> int:
    """How many entries a table has."""
    with db._environment.read() as transaction:
        return int(transaction.stat(db._environment.tables[table])["entries"])


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
    before = db.roster._collections
    db.rename_collection("c", "d")
    assert list(before) == ["c"]  # replaced as a whole: the purge must not overlook its readers for a moment
    db.rename_collection("d", "d")
    assert [c.spec.name for c in db.roster.live()] == ["d"]


def test_the_purge_waits_for_readers_of_a_collection_made_meanwhile(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    views: list[Any] = []
    horizons = Roster.horizons

    def late(self: Roster, sequence: int) -> dict[int, int]:
        found = horizons(self, sequence)
        if not views:
            db.create_collection(CollectionSpec("late", 3, Metric.L2))
            db.write("late", [Put("a", ONE, metadata={"v": 1})]).result()
            views.append(db.view("late"))
            db.write("late", [Put("a", ONE, metadata={"v": 2})]).result()
        return found

    monkeypatch.setattr(Roster, "horizons", late)
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
    folder = db.roster.index_files(db.collection("c").cid).directory
    assert folder.is_dir()
    db.drop_collection("c")

    def erased() -> bool:
        """Not while the builder, in its own thread, still reads it."""
        db._chores.erase_dropped()
        return db.roster.dropped() == [] and not folder.exists()

    settled(erased)
    assert (stored(db, layout.IDS), stored(db, layout.ROWS), stored(db, layout.VECTORS)) == (1, 1, 1)
    assert not folder.exists()
    assert db.roster.dropped() == []
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
