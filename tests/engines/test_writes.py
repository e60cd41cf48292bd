"""Groups of requests: each whole or not at all, totals that equal a scan, and writes against a changing world."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qstore_db.engines.base import CollectionSpec, Delete, DeleteWhere, Patch, Put, Selection, Write, Written
from qstore_db.engines.embedded import writer as writer_module
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.engines.embedded.writer import Ticket
from qstore_db.errors import (
    CollectionNotFoundError,
    DimensionError,
    DuplicateIdError,
    QStoreError,
    QueueFullError,
    ReadOnlyError,
)
from qstore_db.records import Metric, Superposition, parse_filter

ONE = np.ones(3, np.float32)


class Held:
    """A write request that keeps the writer thread busy until it is let go, so that what follows is one group."""

    nbytes = 0
    alone = False
    checks_first = False

    def __init__(self, engine: EmbeddedEngine) -> None:
        self.ticket = Ticket()
        self._begun, self._go = threading.Event(), threading.Event()
        engine._writer.submit(self, 10.0)
        assert self._begun.wait(60.0)

    def apply(self, transaction: lmdb.Transaction[bytes]) -> Written:
        self._begun.set()
        assert self._go.wait(60.0)
        return Written(0, 0)

    def let_go(self) -> None:
        self._go.set()
        self.ticket.result()


def group(engine: EmbeddedEngine, *batches: tuple[str, list[Write]]) -> list[Written | QStoreError]:
    """Write the batches in one group; what came of each."""
    held = Held(engine)
    tickets = [engine.write(collection, writes) for collection, writes in batches]
    held.let_go()
    outcomes: list[Written | QStoreError] = []
    for ticket in tickets:
        try:
            outcomes.append(ticket.result())
        except QStoreError as error:
            outcomes.append(error)
    return outcomes


def ids(engine: EmbeddedEngine, now: float = 0.0) -> set[str]:
    return set(engine.view("c").select(Selection(now=now)).ids())


def test_one_bad_record_rejects_its_batch_and_no_other_of_the_group(db: EmbeddedEngine) -> None:
    outcomes = group(
        db,
        ("c", [Put("a", ONE), Put("b", ONE)]),
        ("c", [Put("x", ONE), Put("y", ONE), Put("a", ONE, exclusive=True)]),
        ("c", [Put("c", ONE), Delete("b")]),
    )
    assert [type(outcome) for outcome in outcomes] == [Written, DuplicateIdError, Written]
    assert ids(db) == {"a", "c"}
    assert db.verify().ok


def test_an_id_inserted_twice_in_a_batch_is_refused(db: EmbeddedEngine) -> None:
    with pytest.raises(DuplicateIdError):
        db.write("c", [Put("a", ONE, exclusive=True), Put("a", ONE, exclusive=True)]).result()
    assert ids(db) == set()


def test_a_write_to_a_collection_dropped_meanwhile_fails_alone(db: EmbeddedEngine) -> None:
    db.write("c", [Put("before", ONE)]).result()
    db.create_collection(CollectionSpec("gone", 3, Metric.L2))
    held = Held(db)
    tickets = [
        db.write("c", [Put("a", ONE)]),
        db.write("gone", [Put("b", ONE)]),
        db.write("c", [Put("c", ONE)]),
    ]
    dropping = threading.Thread(target=db.drop_collection, args=("gone",))
    dropping.start()
    while not db.roster._leaving:
        threading.Event().wait(0.001)
    held.let_go()
    dropping.join(60.0)
    assert tickets[0].result().sequence == 2
    assert tickets[2].result().sequence == 3
    with pytest.raises(CollectionNotFoundError) as caught:
        tickets[1].result()
    assert caught.value.subject == "gone"
    assert ids(db) == {"before", "a", "c"}
    assert db.verify().ok


def test_a_vector_of_another_length_is_refused_before_it_is_queued(db: EmbeddedEngine) -> None:
    db.write("c", [Put("a", ONE)]).result()
    for write in (Put("b", np.ones(4, np.float32)), Patch("a", np.ones(2, np.float32))):
        with pytest.raises(DimensionError):
            db.write("c", [write])
    assert ids(db) == {"a"}


def test_delete_where_sees_what_its_own_batch_wrote(db: EmbeddedEngine) -> None:
    db.write("c", [Put("old", ONE, metadata={"k": 1}), Put("moved", ONE, metadata={"k": 1})]).result()
    batch: list[Write] = [
        Put("moved", ONE, metadata={"k": 2}),
        Put("new", ONE, metadata={"k": 1}),
        Put("expired", ONE, metadata={"k": 1}, expires_at=5.0),
        Put("elsewhere", ONE, metadata={"k": 1}),
        Patch("elsewhere", metadata={"k": 3}),
        DeleteWhere(Selection(parse_filter({"k": 1}), now=10.0)),
    ]
    assert db.write("c", batch).result().count == 5 + 2
    assert ids(db) == {"moved", "elsewhere", "expired"}
    assert db.verify().ok


def test_delete_where_by_context_sees_what_its_own_batch_wrote(db: EmbeddedEngine) -> None:
    context = Superposition.parse([("x", 1.0)])
    batch: list[Write] = [Put("in", ONE, context), Put("out", ONE), DeleteWhere(Selection(contexts=("x",)))]
    assert db.write("c", batch).result().count == 3
    assert ids(db) == {"out"}


def test_delete_where_sees_everything_that_was_queued_before_it(db: EmbeddedEngine) -> None:
    everything = Selection(now=0.0)
    outcomes = group(db, ("c", [Put("a", ONE)]), ("c", [DeleteWhere(everything)]), ("c", [Put("b", ONE)]))
    assert [isinstance(outcome, Written) and outcome.count for outcome in outcomes] == [1, 1, 1]
    assert ids(db) == {"b"}


def test_delete_where_leaves_nothing_of_its_selection_while_others_write(db: EmbeddedEngine) -> None:
    stop = threading.Event()

    def write(name: str) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            db.write("c", [Put(f"{name}{turn % 20}", ONE, metadata={"t": turn % 2})]).result()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    try:
        odd = Selection(parse_filter({"t": 1}))
        for _ in range(40):
            sequence = db.write("c", [DeleteWhere(odd)]).result().sequence
            left = [row for row in db.view("c").select(odd).rows().tolist() if row <= sequence]
            assert left == []
    finally:
        stop.set()
        for thread in threads:
            thread.join(60.0)
    assert db.verify().ok


operations = st.lists(
    st.lists(
        st.one_of(
            st.builds(Put, st.sampled_from("abcdef"), st.just(ONE), exclusive=st.booleans()),
            st.builds(Put, st.sampled_from("abc"), st.just(ONE), expires_at=st.sampled_from([1.0, 2_000.0])),
            st.builds(Patch, st.sampled_from("abcdef"), metadata=st.just({"x": 1})),
            st.builds(Delete, st.sampled_from("abcdef")),
            st.just(DeleteWhere(Selection(now=0.0))),
        ),
        min_size=1,
        max_size=4,
    ),
    max_size=12,
)


@given(operations)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_totals_equal_a_scan_whatever_was_written(db: EmbeddedEngine, batches: list[list[Write]]) -> None:
    group(db, *(("c", batch) for batch in batches))
    report = db.verify()
    assert report.problems == ()
    assert report.records == len(db.view("c").select(Selection(now=-np.inf)).ids())


def test_verify_finds_no_damage_while_others_write(db: EmbeddedEngine) -> None:
    stop = threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            db.write("c", [Put(f"{turn % 50}", ONE)]).result()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(30):
            assert db.verify().ok
    finally:
        stop.set()
        thread.join(60.0)


def test_a_full_queue_refuses_once_patience_ends(db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_QUEUED_BYTES", 2_000)
    held = Held(db)
    tickets = []
    with pytest.raises(QueueFullError):
        for i in range(100):
            tickets.append(db.write("c", [Delete(f"{i}")], patience=0.01))
    held.let_go()
    for ticket in tickets:
        ticket.result()
    db.write("c", [Put("a", ONE)], patience=0.01).result()


def test_a_writer_that_waits_for_room_goes_on_once_there_is_some(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MAX_QUEUED_BYTES", 1_000)
    held = Held(db)
    for i in range(2):
        db.write("c", [Put(f"{i}", ONE)], patience=0.01)
    done: list[Written] = []
    waiting = threading.Thread(target=lambda: done.append(db.write("c", [Put("x", ONE)]).result()))
    waiting.start()
    held.let_go()
    waiting.join(60.0)
    assert len(done) == 1
    assert ids(db) == {"0", "1", "x"}


def test_a_failing_callback_does_not_stop_the_writer(
    db: EmbeddedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("Event loop is closed")

    held = Held(db)
    ticket = db.write("c", [Put("a", ONE)])
    ticket.add_done_callback(fail)
    held.let_go()
    ticket.result()
    db.write("c", [Put("b", ONE)]).result()
    assert ids(db) == {"a", "b"}
    assert "callback" in caplog.text


def test_every_callback_is_called_once_however_it_races_with_the_acknowledgement(db: EmbeddedEngine) -> None:
    calls: list[int] = []
    tickets = []
    for i in range(300):
        ticket = db.write("c", [Put(f"{i}", ONE)])
        ticket.add_done_callback(lambda i=i: calls.append(i))  # type: ignore[misc]
        ticket.add_done_callback(lambda i=i: calls.append(i))  # type: ignore[misc]
        tickets.append(ticket)
    for ticket in tickets:
        ticket.result()
    db.close()
    assert sorted(calls) == sorted([*range(300), *range(300)])


def test_a_commit_that_cannot_be_shown_fails_its_callers_and_hangs_nobody(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch, start: Callable[..., EmbeddedEngine]
) -> None:
    def fail(*arguments: Any) -> None:
        raise MemoryError

    collection = db.collection("c")
    with monkeypatch.context() as patch:
        patch.setattr(type(collection), "publish", fail)
        with pytest.raises(ReadOnlyError):
            db.write("c", [Put("a", ONE)]).result()
    with pytest.raises(ReadOnlyError):
        db.write("c", [Put("b", ONE)])
    db.close()
    assert ids(start()) == {"a"}
