"""watch: the changes of a collection as they happen."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from itertools import islice

import pytest

from qstore_db.database import QuantumDatabase
from qstore_db.errors import ArgumentError, ClosedError, CollectionNotFoundError, QStoreError
from qstore_db.records import Change
from qstore_db.testing.databases.opening import Clock, Databases

PATIENCE = 60.0
"""Seconds after which what should have come is missing."""


class Watcher:
    """Watches in a thread of its own, and hands over what it is told."""

    def __init__(self, changes: Iterator[Change]) -> None:
        self._told: queue.Queue[Change | QStoreError] = queue.Queue()
        self._changes = changes
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def next(self) -> Change | QStoreError:
        return self._told.get(timeout=PATIENCE)

    def _run(self) -> None:
        try:
            for change in self._changes:
                self._told.put(change)
        except QStoreError as error:
            self._told.put(error)


class WatchingContract(Databases):
    def test_a_watcher_is_told_what_there_was_and_then_what_comes(self, db: QuantumDatabase) -> None:
        first = db.insert("a", [1.0, 0.0], metadata={"n": 1})
        watcher = Watcher(db.watch(since=0))
        told = watcher.next()
        assert isinstance(told, Change)
        assert (told.sequence, told.id) == (first, "a")
        assert told.record == db.get("a")
        second = db.upsert("b", [0.0, 1.0], contexts=[("c", 1.0)], metadata={"n": 2})
        told = watcher.next()
        assert isinstance(told, Change)
        assert (told.sequence, told.record) == (second, db.get("b"))
        db.delete("a")
        told = watcher.next()
        assert isinstance(told, Change)
        assert (told.id, told.record) == ("a", None)
        assert told.sequence > second

    def test_only_the_latest_state_of_each_id_is_told_in_the_order_of_writes(
        self, db: QuantumDatabase
    ) -> None:
        for n in range(3):
            for id in ("a", "b", "c"):
                db.upsert(id, [1.0, float(n)], metadata={"n": n})
        db.delete("b")
        told = list(islice(db.watch(since=0), 3))
        assert [(change.id, change.record is None) for change in told] == [
            ("a", False),
            ("c", False),
            ("b", True),
        ]
        assert [change.sequence for change in told] == sorted(change.sequence for change in told)
        assert told[0].record is not None
        assert told[0].record.metadata == {"n": 2}

    def test_a_watcher_goes_on_after_the_last_change_it_was_told(self, db: QuantumDatabase) -> None:
        for n in range(50):
            db.insert(f"r{n}", [1.0, float(n)])
        seen: list[str] = []
        since = 0
        while len(seen) < 50:
            for change in islice(db.watch(since=since), 10):
                seen.append(change.id)
                since = change.sequence
        assert seen == [f"r{n}" for n in range(50)]

    def test_many_changes_come_whole_and_in_order(self, db: QuantumDatabase) -> None:
        db.create_collection("c", dimension=64)
        ids = [f"r{n}" for n in range(5_000)]
        db.insert_many(ids=ids, vectors=[[1.0, *([0.0] * 63)]] * 5_000, collection="c")
        db.create_collection("other", dimension=1)
        db.insert("x", [1.0], collection="other")
        told = list(islice(db.watch("c", since=0), 5_000))
        assert [change.id for change in told] == ids

    def test_a_collection_hears_nothing_of_others(self, db: QuantumDatabase) -> None:
        db.create_collection("c", dimension=1)
        db.create_collection("d", dimension=1)
        db.insert("mine", [1.0], collection="c")
        watcher = Watcher(db.watch("c", since=0))
        assert isinstance(watcher.next(), Change)
        db.insert("theirs", [1.0], collection="d")
        db.insert("mine too", [1.0], collection="c")
        told = watcher.next()
        assert isinstance(told, Change)
        assert told.id == "mine too"

    def test_an_expired_record_is_told_as_deleted(self, db: QuantumDatabase, clock: Clock) -> None:
        db.insert("a", [1.0], expires_at=clock.now + 10)
        clock.now += 20
        told = next(iter(db.watch(since=0)))
        assert (told.id, told.record) == ("a", None)

    @pytest.mark.parametrize("since", [-1, 1.5, "1", True, 1 << 70])
    def test_a_since_that_is_none_is_refused(self, db: QuantumDatabase, since: object) -> None:
        db.insert("a", [1.0])
        with pytest.raises(ArgumentError) as caught:
            next(iter(db.watch(since=since)))  # type: ignore[arg-type]
        assert caught.value.subject == "since"

    def test_a_since_that_no_op_has_had_is_refused(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0])
        with pytest.raises(ArgumentError):
            next(iter(db.watch(since=2)))

    def test_an_unknown_collection_is_refused(self, db: QuantumDatabase) -> None:
        with pytest.raises(CollectionNotFoundError):
            next(iter(db.watch("nowhere", since=0)))

    def test_who_watches_a_dropped_collection_is_told_so(self, db: QuantumDatabase) -> None:
        db.create_collection("c", dimension=1)
        db.insert("a", [1.0], collection="c")
        watcher = Watcher(db.watch("c", since=0))
        assert isinstance(watcher.next(), Change)
        db.drop_collection("c")
        assert isinstance(watcher.next(), CollectionNotFoundError)

    def test_closing_ends_who_watches(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0])
        watcher = Watcher(db.watch(since=0))
        assert isinstance(watcher.next(), Change)
        db.close()
        assert isinstance(watcher.next(), ClosedError)
