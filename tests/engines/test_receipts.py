"""Receipts of the embedded engine: in one group, when they are forgotten, and when they are damaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from qstore_db.engines.base import Delete, DeleteWhere, Put, Selection, Write
from qstore_db.engines.embedded import forgetting, layout
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.engines.embedded.forgetting import RECEIPT_SECONDS, Forgetter
from qstore_db.engines.embedded.layout import Total
from qstore_db.engines.embedded.receipts import Receipts
from qstore_db.errors import ArgumentError, ClosedError, DuplicateIdError, ReadOnlyError

ONE = np.ones(3, np.float32)
KEY = b"0123456789abcdef"

pytestmark = pytest.mark.usefixtures("resting_janitor")


def insert(id: str) -> list[Write]:
    return [Put(id, ONE, exclusive=True)]


def keys(db: EmbeddedEngine) -> set[bytes]:
    return {key for key, _ in db.receipts.scan()}


@contextmanager
def one_group(db: EmbeddedEngine) -> Iterator[None]:
    """What the block writes is committed as one group, after it."""
    with db._environment.write():
        db.write("c", [Delete("nothing")])  # keeps the writer waiting for the transaction of this thread
        while db._writer.queued():
            pass
        yield


# In one group


def test_a_request_and_its_repetition_in_one_group_are_applied_once(db: EmbeddedEngine) -> None:
    for writes in (insert("a"), [*insert("b"), *insert("c")]):
        key, commits = os.urandom(16), db.statistics()["commits"]
        with one_group(db):
            tickets = [db.write("c", writes, key=key) for _ in range(3)]
        assert len({ticket.result().sequence for ticket in tickets}) == 1
        assert db.statistics()["commits"] == commits + 2
    assert db.view("c").count(Selection()) == 3
    assert db.verify().ok


def test_a_request_that_fails_leaves_no_receipt_and_nothing_of_its_group_is_lost(db: EmbeddedEngine) -> None:
    db.write("c", insert("a")).result()
    with one_group(db):
        before = db.write("c", insert("b"), key=b"b" * 16)
        failing = db.write("c", [*insert("c"), *insert("a")], key=b"a" * 16)
        other = db.write("c", [Put("x", ONE)], key=b"b" * 16)
        after = db.write("c", insert("d"), key=b"d" * 16)
    for ticket, error in ((failing, DuplicateIdError), (other, ArgumentError)):
        with pytest.raises(error):
            ticket.result()
    assert (before.result().sequence, after.result().sequence) == (2, 3)
    assert keys(db) == {b"b" * 16, b"d" * 16}
    assert db.verify().ok


def test_a_commit_that_fails_leaves_no_receipt(db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as patch:
        patch.setattr(db, "seal", fail)
        with pytest.raises(RuntimeError):
            db.write("c", insert("a"), key=KEY).result()
    assert keys(db) == set()
    assert db.write("c", insert("a"), key=KEY).result().count == 1
    assert db.verify().ok


def test_a_repeated_delete_where_leaves_what_came_later(db: EmbeddedEngine) -> None:
    db.write("c", insert("a")).result()
    everything = [DeleteWhere(Selection(now=0.0))]
    first = db.write("c", everything, key=KEY).result()
    with one_group(db):
        db.write("c", insert("b"))
        again = db.write("c", everything, key=KEY)
    assert again.result() == first
    assert db.view("c").count(Selection()) == 1


# How long they are kept


class Uptime:
    """Seconds that pass when they are told to, and the forgetting that goes by them."""

    def __init__(self, db: EmbeddedEngine) -> None:
        self.now = 0.0
        self.forgetter = Forgetter(db, db._chores._upkeep, lambda: self.now)

    def passes(self, seconds: float, step: float = 60.0) -> None:
        """As the janitor sees it, who looks again and again."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + step, end)
            self.forgetter.forget()


@pytest.mark.parametrize("age", [0.0, 100.0, 0.25 * RECEIPT_SECONDS, 0.49 * RECEIPT_SECONDS])
def test_a_receipt_is_kept_for_its_time_and_not_much_longer(db: EmbeddedEngine, age: float) -> None:
    uptime = Uptime(db)
    uptime.passes(5 * RECEIPT_SECONDS + age)
    first = db.write("c", insert("a"), key=KEY).result()
    db.write("c", insert("later")).result()
    uptime.passes(RECEIPT_SECONDS - 1)
    assert db.write("c", insert("a"), key=KEY).result() == first
    uptime.passes(RECEIPT_SECONDS / 2 + 120)
    assert keys(db) == set()
    with pytest.raises(DuplicateIdError):
        db.write("c", insert("a"), key=KEY).result()
    assert db.verify().ok


def test_a_restart_gives_every_receipt_its_full_time(
    db: EmbeddedEngine, start: Callable[..., EmbeddedEngine]
) -> None:
    uptime = Uptime(db)
    first = db.write("c", insert("a"), key=KEY).result()
    db.write("c", insert("later")).result()
    uptime.passes(1.4 * RECEIPT_SECONDS)
    db.close()
    again = start()
    uptime = Uptime(again)
    uptime.passes(RECEIPT_SECONDS - 1)
    assert again.write("c", insert("a"), key=KEY).result() == first
    uptime.passes(RECEIPT_SECONDS / 2 + 120)
    assert keys(again) == set()


def test_the_receipt_of_a_write_that_changed_nothing_is_kept_as_long(db: EmbeddedEngine) -> None:
    """Its sequence is that of an earlier write, however long ago that was."""
    db.write("c", insert("old")).result()
    uptime = Uptime(db)
    uptime.passes(5 * RECEIPT_SECONDS)
    db.write("c", [Delete("a")], key=KEY).result()
    uptime.passes(1.0)
    db.write("c", insert("a")).result()
    uptime.passes(RECEIPT_SECONDS - 2)
    db.write("c", [Delete("a")], key=KEY).result()
    assert db.view("c").count(Selection()) == 2
    uptime.passes(RECEIPT_SECONDS / 2 + 120)
    assert keys(db) == set()


def test_a_janitor_that_was_held_up_forgets_nothing_too_early(db: EmbeddedEngine) -> None:
    uptime = Uptime(db)
    uptime.passes(3 * RECEIPT_SECONDS, step=3 * RECEIPT_SECONDS)
    db.write("c", insert("a"), key=KEY).result()
    db.write("c", insert("later")).result()
    uptime.passes(60.0)
    assert keys(db) == {KEY}


def test_many_are_forgotten_in_short_transactions(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "_BATCH", 10)
    monkeypatch.setattr("qstore_db.engines.embedded.receipts._BATCH", 7)
    uptime = Uptime(db)
    tickets = [db.write("c", insert(f"{i}"), key=os.urandom(16)) for i in range(95)]
    assert tickets[-1].result().count == 1
    db.write("c", insert("a")).result()
    before = db.statistics()["write_requests"]
    uptime.passes(1.5 * RECEIPT_SECONDS + 60)
    assert keys(db) == set()
    assert db.statistics()["write_requests"] == before + 10
    assert db.verify().ok


def test_beyond_the_limit_the_oldest_are_forgotten_first(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "MAX_RECEIPTS", 40)
    uptime = Uptime(db)
    sent = [os.urandom(16) for _ in range(41)]
    for i, key in enumerate(sent[:40]):
        db.write("c", insert(f"{i}"), key=key).result()
    uptime.passes(60.0)
    assert keys(db) == {*sent[:40]}
    db.write("c", insert("one more"), key=sent[40]).result()
    uptime.passes(60.0)
    assert keys(db) == {*sent[11:]}
    assert db.verify().ok


def test_beyond_the_limit_room_is_made_among_receipts_of_one_sequence_too(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "MAX_RECEIPTS", 40)
    uptime = Uptime(db)
    older, same = ([os.urandom(16) for _ in range(n)] for n in (5, 40))
    for i, key in enumerate(older):
        db.write("c", insert(f"{i}"), key=key).result()
    db.write("c", insert("between")).result()
    for key in same:
        db.write("c", [Delete("absent")], key=key).result()
    newest = db.write("c", insert("newest"), key=KEY).result()
    uptime.passes(60.0)
    left = keys(db)
    assert len(left) == 30
    assert left < {*same, KEY}
    assert db.write("c", insert("newest"), key=KEY).result() == newest


def test_making_room_that_fails_is_not_tried_again_at_once(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "MAX_RECEIPTS", 2)
    scans: list[int] = []
    scan = Receipts.scan
    monkeypatch.setattr(Receipts, "scan", lambda *args: scans.append(1) or scan(*args))
    uptime = Uptime(db)
    for i in range(3):
        db.write("c", insert(f"{i}"), key=os.urandom(16)).result()
    db._environment.condemn("a test")
    with pytest.raises(ReadOnlyError):
        uptime.passes(0.5)
    begun = len(scans)
    uptime.passes(4.0, step=0.5)
    assert len(scans) == begun


def test_a_scan_ends_when_the_database_is_being_closed(
    db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qstore_db.engines.embedded.receipts._BATCH", 1)
    for i in range(9):
        db.write("c", insert(f"{i}"), key=os.urandom(16)).result()
    db.write("c", insert("later")).result()
    after, reads = Receipts._after, list[bytes]()

    def read(self: Receipts, start: bytes) -> list[tuple[bytes, layout.Receipt]]:
        reads.append(start)
        monkeypatch.setattr(db, "_closed", len(reads) == 3)
        return after(self, start)

    monkeypatch.setattr(Receipts, "_after", read)
    with pytest.raises(ClosedError):
        Uptime(db).passes(2 * RECEIPT_SECONDS)
    assert len(reads) == 3
    monkeypatch.undo()


def test_the_janitor_forgets(db: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # of `resting_janitor`
    names = {chore.__qualname__ for chore in db._chores.all()}  # type: ignore[attr-defined]
    assert "Forgetter.forget" in names


def test_the_total_of_the_receipts_is_what_is_there(db: EmbeddedEngine) -> None:
    def total() -> Total:
        with db._environment.read() as transaction:
            return db._store.total(transaction, layout.RECEIPTS_CID)

    def there() -> Sequence[int]:
        with db._environment.read() as transaction:
            return list(db.receipts.checksums(transaction))

    assert total() == Total()
    for i in range(5):
        db.write("c", insert(f"{i}"), key=b"%016d" % i).result()
        db.write("c", insert(f"{i}"), key=b"%016d" % i).result()
    assert total() == Total(5, sum(there()))
    db.write("c", insert("later")).result()
    Uptime(db).passes(2 * RECEIPT_SECONDS)
    assert total() == Total()
