"""Following the changes of a collection, as they happen and afterwards."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.engines.base import (
    CollectionSpec,
    Delete,
    DeleteWhere,
    Engine,
    Feed,
    GroupingEngine,
    Patch,
    Put,
    Selection,
    WatchableEngine,
    Write,
)
from qstore_db.errors import ArgumentError, ClosedError, CollectionNotFoundError
from qstore_db.records import Change, Group, Metric, Record, parse_filter
from qstore_db.testing.engines.support import NOW, Reopen, each_example_afresh, put, vector

_PATIENCE = 60.0
"""Seconds; only a test that fails takes them."""
_WRITES = st.lists(
    st.tuples(st.sampled_from(["put", "patch", "delete", "few"]), st.sampled_from("abcd"), st.integers(0, 9)),
    min_size=1,
    max_size=5,
)
_STEPS = st.lists(_WRITES | st.integers(1, 7), max_size=25)
"""Batches of writes, and numbers of ops that the watcher reads."""


def able(engine: Engine) -> WatchableEngine:
    if not engine.capabilities.watch:
        pytest.skip("this engine cannot tell what changes")
    return cast("WatchableEngine", engine)


def feed_of(engine: Engine, since: int | None = None, collection: str = "c") -> Feed:
    """Of what is to come, where no sequence is given."""
    watchable = able(engine)
    return watchable.feed(collection, watchable.sequence if since is None else since)


def follow(feed: Feed, limit: int = 1_000) -> list[Change]:
    """Everything up to the present."""
    found: list[Change] = []
    while feed.due():
        found += feed.next(limit)
    return found


def fold(changes: list[Change], state: dict[str, Record]) -> None:
    """What a watcher knows after some more changes."""
    for change in changes:
        if change.record is None:
            state.pop(change.id, None)
        else:
            assert change.record.id == change.id
            state[change.id] = change.record


def stored(engine: Engine, collection: str = "c") -> dict[str, Record]:
    records, _ = engine.view(collection).scroll(Selection(now=NOW), 1_000_000, 0)
    return {record.id: record for record in records}


def rise(changes: list[Change]) -> bool:
    sequences = [change.sequence for change in changes]
    return sequences == sorted(set(sequences))


def in_a_thread(work: Callable[[], object]) -> Callable[[], list[object]]:
    """Begin `work`; what is returned waits for its end and gives what it returned, or raised, in a list."""
    ends: list[object] = []

    def run() -> None:
        try:
            ends.append(work())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            ends.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(0.05)  # so that it most likely waits by now, where that is what it is to do

    def end() -> list[object]:
        thread.join(_PATIENCE)
        assert not thread.is_alive()
        return ends

    return end


class Watching:
    """A watcher hears the latest state of every record, in order, and misses none."""

    def test_a_watcher_is_told_what_was_written_and_deleted_in_order(self, engine: Engine) -> None:
        feed = feed_of(engine)
        first = put(engine, "a", vector(1, 2, 3), metadata={"x": 1})
        second = engine.write("c", [Put("b", vector(1, 1, 1)), Delete("a")]).result().sequence
        third = put(engine, "a", vector(4, 5, 6))
        told = follow(feed)
        assert [(change.sequence, change.id) for change in told] == [(second - 1, "b"), (third, "a")]
        assert [change.record for change in told] == engine.fetch("c", ["b", "a"], NOW)
        assert feed.sequence == third > first
        last = engine.write("c", [Delete("a")]).result().sequence
        assert follow(feed) == [Change(last, "a", None)]
        assert follow(feed) == []

    def test_a_watcher_of_every_step_is_told_every_step(self, engine: Engine) -> None:
        feed, told = feed_of(engine), list[Change]()
        for n in range(3):
            put(engine, "a", vector(n, 0, 0), metadata={"n": n})
            told += follow(feed)
        assert [change.record and change.record.metadata["n"] for change in told] == [0, 1, 2]

    def test_a_watcher_goes_on_from_any_change_it_was_told(self, engine: Engine) -> None:
        start = feed_of(engine).sequence
        for id in "abcabd":
            put(engine, id, vector(1, 1, 1))
        told = follow(feed_of(engine, start))
        assert [change.id for change in told] == ["c", "a", "b", "d"]
        for i, change in enumerate(told):
            assert follow(feed_of(engine, change.sequence)) == told[i + 1 :]

    @pytest.mark.parametrize("limit", [1, 2, 7])
    def test_a_watcher_reads_no_more_ops_at_once_than_it_asks_for(self, engine: Engine, limit: int) -> None:
        engine.create_collection(CollectionSpec("d", 3, Metric.L2))
        feed = feed_of(engine)
        for i in range(6):
            engine.write("d", [Put(f"{i}", vector(i, 0, 0))]).result()
            put(engine, f"{i}", vector(i, 0, 0))
        told, start = list[Change](), feed.sequence
        while feed.due():
            before = feed.sequence
            told += feed.next(limit)
            assert 0 < feed.sequence - before <= limit
        assert [change.id for change in told] == [f"{i}" for i in range(6)]
        assert feed.sequence - start == 12

    def test_a_watcher_is_told_of_every_way_to_write(self, engine: Engine) -> None:
        put(engine, "a", vector(1, 1, 1), metadata={"n": 1})
        put(engine, "b", vector(2, 2, 2), metadata={"n": 2})
        if engine.capabilities.groups:
            cast("GroupingEngine", engine).create_group(Group("g", "c", ("a", "b"), 1.0, ("n",)))
        feed = feed_of(engine)
        engine.write("c", [Patch("a", metadata={"n": 5})]).result()
        told = {change.id: change.record and change.record.metadata["n"] for change in follow(feed)}
        assert told == ({"a": 5, "b": 6} if engine.capabilities.groups else {"a": 5})
        engine.write("c", [DeleteWhere(Selection(parse_filter({"n": {"$gt": 0}}), now=NOW))]).result()
        told = {change.id: change.record and change.record.metadata["n"] for change in follow(feed)}
        assert told == {"a": None, "b": None}

    def test_a_watcher_hears_nothing_of_writes_that_were_refused(self, engine: Engine) -> None:
        feed = feed_of(engine)
        with pytest.raises(LookupError):
            engine.write("c", [Put("a", vector(1, 1, 1)), Patch("absent")]).result()
        put(engine, "b", vector(1, 1, 1))
        assert [change.id for change in follow(feed)] == ["b"]

    def test_a_watcher_hears_of_an_expired_record_as_of_one_that_is_gone(self, engine: Engine) -> None:
        start = feed_of(engine).sequence
        put(engine, "a", vector(1, 1, 1))
        put(engine, "a", vector(2, 2, 2), expires_at=NOW - 1)
        state = dict[str, Record]()
        told = follow(feed_of(engine, start))
        fold(told, state)
        assert {change.id for change in told} == {"a"}
        assert state == {}

    def test_a_watcher_hears_of_its_own_collection_only(self, engine: Engine) -> None:
        engine.create_collection(CollectionSpec("d", 3, Metric.L2))
        feed = feed_of(engine)
        last = engine.write("d", [Put("a", vector(1, 1, 1)), Put("b", vector(1, 1, 1))]).result().sequence
        assert not feed.due()
        assert feed.sequence == last
        assert feed.next(10) == []
        engine.write("d", [Delete("a"), Delete("b")]).result()
        put(engine, "a", vector(1, 1, 1))
        assert [change.id for change in feed.next(10)] == ["a"]

    def test_a_watcher_of_a_collection_from_before_its_creation_hears_all_of_it(self, engine: Engine) -> None:
        start = feed_of(engine).sequence
        put(engine, "a", vector(1, 1, 1))
        engine.create_collection(CollectionSpec("late", 3, Metric.L2))
        engine.write("late", [Put("b", vector(1, 1, 1))]).result()
        assert [change.id for change in follow(feed_of(engine, start, "late"))] == ["b"]

    def test_a_watcher_follows_a_collection_through_renames(self, engine: Engine) -> None:
        feed = feed_of(engine)
        put(engine, "a", vector(1, 1, 1))
        engine.rename_collection("c", "d")
        engine.create_collection(CollectionSpec("c", 3, Metric.L2))
        put(engine, "other", vector(1, 1, 1))
        engine.write("d", [Put("b", vector(1, 1, 1))]).result()
        assert [change.id for change in follow(feed)] == ["a", "b"]
        engine.drop_collection("d")
        with pytest.raises(CollectionNotFoundError) as caught:
            feed.next(10)
        assert caught.value.subject == "d"

    def test_a_watcher_never_goes_on_with_another_collection_of_the_name(self, engine: Engine) -> None:
        feed = feed_of(engine)
        engine.drop_collection("c")
        engine.create_collection(CollectionSpec("c", 3, Metric.L2))
        put(engine, "a", vector(1, 1, 1))
        assert feed.due()
        for call in (lambda: feed.next(10), lambda: feed.wait(0.0)):
            with pytest.raises(CollectionNotFoundError) as caught:
                call()
            assert caught.value.subject == "c"
        assert [change.id for change in follow(feed_of(engine, feed.sequence))] == ["a"]

    def test_a_sequence_to_watch_from_is_one_that_was(self, engine: Engine) -> None:
        last = put(engine, "a", vector(1, 1, 1))
        assert follow(feed_of(engine, last)) == []
        for since in (last + 1, -1):
            with pytest.raises(ArgumentError) as caught:
                feed_of(engine, since)
            assert caught.value.subject == "since"
        with pytest.raises(CollectionNotFoundError):
            feed_of(engine, last, "nowhere")

    def test_a_watcher_that_waits_is_woken_by_its_own_collection(self, engine: Engine) -> None:
        engine.create_collection(CollectionSpec("d", 3, Metric.L2))
        feed = feed_of(engine)
        assert not feed.wait(0.0)
        woken = in_a_thread(feed.wait)
        engine.write("d", [Put("a", vector(1, 1, 1))]).result()
        put(engine, "b", vector(1, 1, 1))
        assert woken() == [True]
        assert feed.wait(0.0)
        assert [change.id for change in feed.next(10)] == ["b"]

    def test_a_watcher_that_waits_is_woken_by_a_drop(self, engine: Engine) -> None:
        feed = feed_of(engine)
        woken = in_a_thread(feed.wait)
        engine.drop_collection("c")
        (end,) = woken()
        assert isinstance(end, CollectionNotFoundError)

    def test_a_watcher_that_waits_is_woken_by_close(self, engine: Engine) -> None:
        feed = feed_of(engine)
        woken = in_a_thread(feed.wait)
        engine.close()
        (end,) = woken()
        assert isinstance(end, ClosedError)
        assert feed.due()
        for call in (lambda: feed.next(1), lambda: feed.wait(0.0), lambda: feed_of(engine, 0)):
            with pytest.raises(ClosedError):
                call()

    def test_a_subscriber_to_watch_for_changes_is_called_until_it_leaves(self, engine: Engine) -> None:
        calls: list[int] = []
        watchable = able(engine)

        def fail() -> None:
            raise RuntimeError("a subscriber's own mistake")

        watchable.subscribe(fail)
        leave = watchable.subscribe(lambda: calls.append(watchable.sequence))
        written = [put(engine, id, vector(1, 1, 1)) for id in "ab"]
        assert calls == written
        leave()
        leave()
        put(engine, "c", vector(1, 1, 1))
        engine.close()
        assert calls == written

    def test_a_watcher_resumes_after_reopening(self, engine: Engine, reopen: Reopen) -> None:
        feed, state = feed_of(engine), dict[str, Record]()
        engine.write("c", [Put(f"{i}", vector(i, 0, 0)) for i in range(20)]).result()
        fold(feed.next(10), state)
        engine.write("c", [Delete("3"), Put("4", vector(9, 9, 9))]).result()
        again = reopen()
        fold(follow(feed_of(again, feed.sequence)), state)
        assert state == stored(again)

    @each_example_afresh
    @given(_STEPS)
    def test_what_a_watcher_was_told_adds_up_to_the_collection(
        self, engine: Engine, steps: list[list[tuple[str, str, int]] | int]
    ) -> None:
        engine.write("c", [DeleteWhere(Selection(now=NOW))]).result()
        feed, told, state = feed_of(engine), list[Change](), dict[str, Record]()
        for step in steps:
            if isinstance(step, int):
                found = feed.next(step)
                told += found
                for change in found:  # the latest state by the time of reading
                    assert engine.fetch("c", [change.id], NOW) == [change.record]
            else:
                _write(engine, step)
        told += follow(feed)
        fold(told, state)
        assert rise(told)
        assert state == stored(engine)

    def test_a_watcher_beside_many_writers_misses_nothing(self, engine: Engine) -> None:
        feed, told = feed_of(engine), list[Change]()

        def write(writer: int) -> list[int]:
            rng, acknowledged = random.Random(writer), list[int]()
            for i in range(100):
                id = f"{writer}-{rng.randrange(20)}"
                writes: list[Write] = [Delete(id)] if i % 5 == 4 else [Put(id, vector(i, 0, 0))]
                acknowledged.append(engine.write("c", writes).result().sequence)
            return acknowledged

        def watch() -> None:
            while not told or told[-1].id != "the last":
                assert feed.wait()
                told.extend(feed.next(3))

        watcher = in_a_thread(watch)
        writers = [in_a_thread(partial(write, writer)) for writer in range(4)]
        assert all(isinstance(end, list) for writer in writers for end in writer())
        put(engine, "the last", vector(1, 1, 1))
        assert watcher() == [None]
        state = dict[str, Record]()
        fold(told, state)
        assert rise(told)
        assert state == stored(engine)


def _write(engine: Engine, batch: list[tuple[str, str, int]]) -> None:
    """Some writes at once; patches of what is not there are left out."""
    there = set(stored(engine))
    writes: list[Write] = []
    for kind, id, n in batch:
        if kind == "put":
            writes.append(Put(id, vector(n, 0, 0), metadata={"n": n}))
            there.add(id)
        elif kind == "delete":
            writes.append(Delete(id))
            there.discard(id)
        elif kind == "few":
            writes.append(DeleteWhere(Selection(parse_filter({"n": {"$lt": n}}), now=NOW)))
            break  # whatever it left, later patches need not know
        elif id in there:
            writes.append(Patch(id, metadata={"n": n}))
    engine.write("c", writes).result()
