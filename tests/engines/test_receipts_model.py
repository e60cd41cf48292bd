"""Any interleaving of keyed writes, repetitions, upkeep, crashes and reopenings applies each key once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qstore_db.engines.base import CollectionSpec, Delete, DeleteWhere, Patch, Put, Selection, Write, Written
from qstore_db.engines.embedded import chores
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.engines.embedded.forgetting import RECEIPT_SECONDS, Forgetter
from qstore_db.errors import ArgumentError, DuplicateIdError, QStoreError, RecordNotFoundError
from qstore_db.records import Metric, parse_filter

ONE = np.ones(2, np.float32)
ids = st.sampled_from("abcde")
writes = st.one_of(
    st.builds(lambda name, n: Put(name, ONE, metadata={"n": n}), ids, st.integers(0, 9)),
    st.builds(lambda name, n: Put(name, ONE, metadata={"n": n}, exclusive=True), ids, st.integers(0, 9)),
    st.builds(lambda name, n: Patch(name, metadata={"n": n}), ids, st.integers(0, 9)),
    st.builds(Delete, ids),
    st.builds(lambda n: DeleteWhere(Selection(parse_filter({"n": n}))), st.integers(0, 9)),
)


@dataclass
class Model:
    """What is stored: the number of each record, and the op that wrote it last."""

    sequence: int = 0
    records: dict[str, tuple[int, int]] = field(default_factory=dict)

    def apply(self, batch: list[Write]) -> Written:
        """All of it, or nothing and an error."""
        after, count = Model(self.sequence, dict(self.records)), 0
        for write in batch:
            count += after._apply(write)
        self.sequence, self.records = after.sequence, after.records
        return Written(self.sequence, count)

    def _apply(self, write: Write) -> int:
        if isinstance(write, DeleteWhere):
            assert write.selection.filter is not None
            doomed = [id for id, (n, _) in self.records.items() if write.selection.filter.matches({"n": n})]
            return sum(self._apply(Delete(id)) for id in doomed)
        if isinstance(write, Delete):
            if write.id not in self.records:
                return 0
            self.sequence += 1
            del self.records[write.id]
            return 1
        if isinstance(write, Patch) and write.id not in self.records:
            raise RecordNotFoundError(write.id)
        if isinstance(write, Put) and write.exclusive and write.id in self.records:
            raise DuplicateIdError(write.id)
        self.sequence += 1
        number = (write.metadata or {})["n"]
        assert isinstance(number, int)
        self.records[write.id] = number, self.sequence
        return 1


@dataclass(frozen=True)
class Sent:
    """A request, and how it was answered; None once its receipt may be forgotten, or if it failed."""

    batch: list[Write]
    answer: Written | None


class ReceiptMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(chores.Chores, "all", lambda chores: ())
        self.root = Path(tempfile.mkdtemp())
        self.starts = 0
        self.now = 0.0
        self.model = Model()
        self.sent: dict[bytes, Sent] = {}
        self.noted: list[set[bytes]] = [set(), set()]
        self.open(self.root / "0")
        self.db.create_collection(CollectionSpec("c", 2, Metric.L2))

    def open(self, directory: Path) -> None:
        self.db = EmbeddedEngine(directory, durable=False, clock=lambda: 1_000.0)
        self.forgetter = Forgetter(self.db, self.db._chores._upkeep, lambda: self.now)
        self.noted = [set(), {*self.sent}]

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
            shutil.rmtree(self.root)
            self.patches.undo()

    def expect(self, key: bytes | None, batch: list[Write]) -> Written | type[QStoreError]:
        """What the model answers."""
        if key in self.sent and self.sent[key].answer is not None:
            return self.sent[key].answer or Written(0, 0)
        try:
            answer = self.model.apply(batch)
        except QStoreError as error:
            return type(error)
        if key is not None:
            self.sent[key] = Sent(batch, answer)
        return answer

    def outcome(self, ticket: Any) -> Written | type[QStoreError]:
        try:
            written = ticket.result()
            assert isinstance(written, Written)
            return written
        except QStoreError as error:
            return type(error)

    @rule(batch=st.lists(writes, min_size=1, max_size=4), keyed=st.booleans())
    def write(self, batch: list[Write], keyed: bool) -> None:
        key = b"%016d" % len(self.sent) if keyed else None
        ticket = self.db.write("c", batch, key=key)
        assert self.outcome(ticket) == self.expect(key, batch)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), more=st.lists(writes, min_size=1, max_size=3))
    def send_again(self, data: st.DataObject, more: list[Write]) -> None:
        """Some requests, and new ones among them, on their way at once."""
        keys = data.draw(st.lists(st.sampled_from(sorted(self.sent)), min_size=1, max_size=4))
        going: list[tuple[bytes | None, list[Write]]] = [(key, self.sent[key].batch) for key in keys]
        going.insert(data.draw(st.integers(0, len(keys))), (None, more))
        tickets = [self.db.write("c", batch, key=key) for key, batch in going]
        for ticket, (key, batch) in zip(tickets, going, strict=True):
            assert self.outcome(ticket) == self.expect(key, batch)

    @precondition(lambda self: any(sent.answer for sent in self.sent.values()))
    @rule(data=st.data())
    def use_a_key_for_another_request(self, data: st.DataObject) -> None:
        answered = sorted(key for key, sent in self.sent.items() if sent.answer)
        key = data.draw(st.sampled_from(answered))
        batch = [*self.sent[key].batch, Delete("other")]
        assert self.outcome(self.db.write("c", batch, key=key)) is ArgumentError

    @rule()
    def half_a_lifetime_passes(self) -> None:
        """What was answered before the note of two ticks ago may be forgotten, and nothing else."""
        self.now += RECEIPT_SECONDS / 2
        self.forgetter.forget()
        stored = {key for key, _ in self.db.receipts.scan()}
        old, recent = self.noted
        answered = {key for key, sent in self.sent.items() if sent.answer}
        assert answered - old <= stored
        for key in answered - stored:
            self.sent[key] = replace(self.sent[key], answer=None)
        self.noted = [recent, {key for key, sent in self.sent.items() if sent.answer}]

    @rule()
    def compact(self) -> None:
        self.db.compact()

    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.open(self.db.directory)

    @rule()
    def crash(self) -> None:
        """The process dies: what it left in its directory is all there is."""
        self.starts += 1
        left = self.root / f"{self.starts}"
        shutil.copytree(self.db.directory, left, ignore=shutil.ignore_patterns("LOCK", "lock.mdb"))
        self.db.close()
        self.open(left)

    @invariant()
    def every_record_is_as_its_last_write_left_it(self) -> None:
        if hasattr(self, "db"):
            records, _ = self.db.view("c").scroll(Selection(), 100, 0)
            found: Mapping[str, object] = {r.id: (r.metadata["n"], r.version) for r in records}
            assert found == self.model.records

    @rule()
    def verify(self) -> None:
        assert self.db.verify().ok


TestReceipts = ReceiptMachine.TestCase
TestReceipts.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


@pytest.mark.long
class TestReceiptsLong(ReceiptMachine.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=600, stateful_step_count=60, deadline=None)
