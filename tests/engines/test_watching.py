"""Following a collection where things happen behind the watcher's back: retention, upkeep, restarts, drops."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db.database.backup import backup, restore
from qstore_db.engines.base import CollectionSpec, Delete, Feed, Put, Selection
from qstore_db.engines.embedded import chores, layout
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.errors import ArgumentError, CollectionNotFoundError, ForkedError, SequenceExpired
from qstore_db.records import Change, Metric, Record

ONE = np.ones(3, np.float32)
PATIENCE = 60.0

pytestmark = pytest.mark.usefixtures("resting_janitor")


def put(db: EmbeddedEngine, *ids: str, collection: str = "c", **more: Any) -> int:
    return db.write(collection, [Put(id, ONE, **more) for id in ids]).result().sequence


def follow(feed: Feed, limit: int = 100) -> list[Change]:
    """Everything up to the present."""
    told: list[Change] = []
    while feed.due():
        told += feed.next(limit)
    return told


def fold(told: list[Change], state: dict[str, Record]) -> dict[str, Record]:
    for change in told:
        if change.record is None:
            state.pop(change.id, None)
        else:
            state[change.id] = change.record
    return state


def stored(db: EmbeddedEngine) -> dict[str, Record]:
    records, _ = db.view("c").scroll(Selection(now=db._clock()), 1_000_000, 0)
    return {record.id: record for record in records}


def forget(db: EmbeddedEngine, clock: Any) -> None:
    """Let so much time pass that nothing that was written by now is kept for watchers."""
    clock.now += chores.RETAIN_SECONDS + 1
    db._chores.purge()
    db._chores.trim()


# Retention


def test_what_is_no_longer_kept_is_refused_with_what_to_do(db: EmbeddedEngine, clock: Any) -> None:
    for i in range(10):
        put(db, f"{i}")
    forget(db, clock)
    for i in range(10, 13):
        put(db, f"{i}")
    with pytest.raises(SequenceExpired) as caught:
        db.feed("c", 9)
    assert caught.value.subject == "c"
    assert "since 9 " in caught.value.message
    assert "only those since 10;" in caught.value.message
    assert "scroll" in caught.value.message
    assert "since=13" in caught.value.message
    assert [change.id for change in follow(db.feed("c", 10))] == ["10", "11", "12"]


def test_where_nothing_is_kept_one_can_watch_from_the_present(
    db: EmbeddedEngine, clock: Any, start: Callable[..., EmbeddedEngine]
) -> None:
    last = put(db, *"abc")
    forget(db, clock)
    db.close()
    again = start()
    with pytest.raises(SequenceExpired, match=f"only those since {last};"):
        again.feed("c", last - 1)
    feed = again.feed("c", last)
    assert follow(feed) == []
    put(again, "d")
    assert [change.id for change in follow(feed)] == ["d"]


def test_a_watcher_that_falls_too_far_behind_is_told_at_its_next_step(db: EmbeddedEngine, clock: Any) -> None:
    feed = db.feed("c", 0)
    put(db, *"abc")
    assert [change.id for change in feed.next(1)] == ["a"]
    forget(db, clock)
    put(db, "d")
    for _ in range(2):
        with pytest.raises(SequenceExpired, match="since 1 are no longer kept, only those since 3;"):
            feed.next(10)
    assert feed.sequence == 1


def test_a_watcher_that_waits_outlives_what_others_wrote_meanwhile(db: EmbeddedEngine, clock: Any) -> None:
    db.create_collection(CollectionSpec("busy", 3, Metric.L2))
    feed, woken = db.feed("c", 0), list[bool]()
    thread = threading.Thread(target=lambda: woken.append(feed.wait()), daemon=True)
    thread.start()
    while not db._subscribers._callbacks:
        thread.join(0.001)
    for i in range(20):
        put(db, f"{i}", collection="busy")
    forget(db, clock)
    put(db, "a")
    thread.join(PATIENCE)
    assert woken == [True]
    assert [change.id for change in feed.next(10)] == ["a"]


def test_the_oplog_is_kept_for_the_time_and_the_number_of_ops_that_watchers_are_promised(
    db: EmbeddedEngine, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def oldest() -> int:
        db._chores.purge()
        db._chores.trim()
        return next(iter(db._store.oplog(0))).sequence

    put(db, *"abcde")
    clock.now += chores.RETAIN_SECONDS / 2
    put(db, *"fghij")
    clock.now += chores.RETAIN_SECONDS / 2 - 1
    assert oldest() == 1
    clock.now += 2
    assert oldest() == 6
    monkeypatch.setattr(chores, "RETAIN_OPS", 3)
    assert oldest() == 8
    assert [change.id for change in follow(db.feed("c", 7))] == ["h", "i", "j"]


# Upkeep


def test_a_watcher_far_behind_misses_nothing_that_upkeep_tidied_away(db: EmbeddedEngine, clock: Any) -> None:
    feed = db.feed("c", 0)
    for n in range(5):
        put(db, *"abc", metadata={"n": n})
    put(db, "soon", expires_at=2_000.0)
    db.write("c", [Delete("b")]).result()
    clock.now = 2_000.0
    db._chores.expire()
    db._chores.purge(everything=True)
    db.collection("c").seal(1)
    db.snapshot()
    db.compact()
    assert fold(follow(feed, 2), {}) == stored(db)
    assert set(stored(db)) == {"a", "c"}


def test_a_record_that_expires_is_told_as_gone_once_the_janitor_was_there(
    db: EmbeddedEngine, clock: Any
) -> None:
    feed = db.feed("c", 0)
    put(db, "a", expires_at=2_000.0)
    (told,) = follow(feed)
    assert told.record is not None
    assert told.record.expires_at == 2_000.0
    clock.now = 2_000.0
    db._chores.expire()
    assert follow(feed) == [Change(2, "a", None)]


def test_a_watcher_goes_on_while_the_file_is_rewritten(db: EmbeddedEngine) -> None:
    feed, told, stop = db.feed("c", 0), list[Change](), threading.Event()

    def watch() -> None:
        while not stop.is_set() or feed.due():
            feed.wait(0.01)
            told.extend(feed.next(7))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        for n in range(60):
            put(db, f"{n % 20}", f"x{n}", metadata={"n": n})
            if n % 20 == 0:
                db.compact()
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert fold(told, {}) == stored(db)


def test_what_searches_do_not_show_yet_is_not_told(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, early, due = db.feed("c", 0), list[Change](), list[bool]()
    publish, show = db.publish, db.collection("c").publish

    def publish_late() -> None:
        early.extend(feed.next(10))
        publish()

    def show_early(*change: Any) -> None:
        show(*change)
        due.append(feed.due())

    put(db, "a", metadata={"n": 1})
    monkeypatch.setattr(db, "publish", publish_late)
    monkeypatch.setattr(db.collection("c"), "publish", show_early)
    put(db, "a", metadata={"n": 2})
    assert early == []  # neither the new state, which nobody sees yet, nor the old one, which is superseded
    assert due == [False]
    assert [change.sequence for change in follow(feed)] == [2]


# Restarts


def test_a_watcher_resumes_after_a_crash(
    db: EmbeddedEngine, start: Callable[..., EmbeddedEngine], tmp_path: Path
) -> None:
    feed = db.feed("c", 0)
    put(db, *"abcdef")
    state = fold(feed.next(3), {})
    db.write("c", [Delete("a"), Put("b", 2 * ONE), Delete("e")]).result()
    shutil.copytree(tmp_path / "db", tmp_path / "crashed", ignore=shutil.ignore_patterns("LOCK", "lock.mdb"))
    again = start(tmp_path / "crashed")
    assert fold(follow(again.feed("c", feed.sequence)), state) == stored(again)
    assert set(state) == {"b", "c", "d", "f"}


def test_a_watcher_resumes_on_a_restored_backup_unless_it_knows_more(
    db: EmbeddedEngine, start: Callable[..., EmbeddedEngine], tmp_path: Path
) -> None:
    feed = db.feed("c", 0)
    put(db, *"abcdef")
    state = fold(feed.next(3), {})
    backup(db, tmp_path / "backup")
    later = put(db, "g")
    again = start(restore(tmp_path / "backup", tmp_path / "restored"))
    assert fold(follow(again.feed("c", feed.sequence)), state) == stored(again)
    with pytest.raises(ArgumentError, match="backup"):
        again.feed("c", later)


# Drops


def test_a_watcher_that_is_not_reading_does_not_keep_a_dropped_collection(db: EmbeddedEngine) -> None:
    feed = db.feed("c", 0)
    put(db, *"abc")
    follow(feed)
    db.drop_collection("c")
    db._chores.erase_dropped()
    with db._environment.read() as transaction:
        assert transaction.stat(db._environment.tables[layout.ROWS])["entries"] == 0
    with pytest.raises(CollectionNotFoundError):
        feed.next(10)


def test_a_drop_in_the_midst_of_reading_spoils_nothing(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = db.feed("c", 0)
    put(db, *(f"{i}" for i in range(30)))
    monkeypatch.setattr(chores, "ERASE_BATCH", 10)
    due = feed.due

    def late() -> bool:
        db.drop_collection("c")
        db._chores.erase_dropped()
        return due()

    with monkeypatch.context() as patch:
        patch.setattr(feed, "due", late)
        feed.next(100)
    with pytest.raises(CollectionNotFoundError):
        feed.next(100)
    assert db.statistics()["read_only"] is None


# Forks


def test_a_child_process_does_not_wait_for_what_only_its_parent_hears(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = db.feed("c", 0)
    calls: tuple[Callable[[], object], ...] = (
        lambda: feed.wait(PATIENCE),
        lambda: feed.next(1),
        lambda: db.feed("c", 0),
        lambda: db.subscribe(lambda: None),
    )
    with monkeypatch.context() as patch:
        patch.setattr("qstore_db.catalog.environment._generation", 99)
        for call in calls:
            with pytest.raises(ForkedError):
                call()
