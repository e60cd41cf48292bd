"""Recordings of databases that keep their promises are accepted, those of databases that break one are refused."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db import QuantumDatabase, Record
from qstore_db.errors import (
    DuplicateIdError,
    QueueFullError,
    RecordNotFoundError,
    VersionConflictError,
)
from qstore_db.testing.histories import Operation, Refusal, Seen, check, record


class AnswerLostError(ConnectionError):
    """The connection broke while a write was under way."""


class Register:
    """As much of a database as a recording needs. One lock makes it correct, whatever the delays around it."""

    def __init__(self, seed: int = 0, delay: float = 2e-4) -> None:
        self.records: dict[str, Record] = {}
        self.collections: list[str] = []
        self.sequence = 0
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        self.delay = delay
        self.calls = 0
        self.searches = 0

    def list_collections(self) -> list[str]:
        return self.collections

    def create_collection(self, name: str, *, dimension: int) -> None:
        assert dimension == 2
        self.collections.append(name)

    def insert(self, id: str, vector: list[float], *, metadata: Mapping[str, Any], collection: str) -> int:
        self.wait()
        with self.lock:
            if id in self.records:
                raise DuplicateIdError("there", subject=id)
            version = self.store(id, vector, metadata)
        self.wait()
        return version

    def upsert(self, id: str, vector: list[float], *, metadata: Mapping[str, Any], collection: str) -> int:
        self.wait()
        with self.lock:
            version = self.store(id, vector, metadata)
        self.wait()
        return version

    def update(
        self,
        id: str,
        *,
        vector: list[float],
        metadata: Mapping[str, Any],
        if_version: int | None,
        collection: str,
    ) -> int:
        self.wait()
        with self.lock:
            self.admit(id, if_version)
            version = self.store(id, vector, metadata)
        self.wait()
        return version

    def delete(self, id: str, *, collection: str) -> int:
        self.wait()
        with self.lock:
            count = self.remove(id)
        self.wait()
        return count

    def get(self, id: str, *, collection: str) -> Record | None:
        self.wait()
        with self.lock:
            found = self.records.get(id)
        self.wait()
        return found

    def scroll(self, *, filter: Mapping[str, Any], collection: str) -> list[Record]:
        self.searches += 1
        found = self.get(filter["key"], collection=collection)
        assert found is None or found.metadata["key"] == filter["key"]
        return [] if found is None else [found]

    def store(self, id: str, vector: list[float], metadata: Mapping[str, Any]) -> int:
        self.calls += 1
        self.sequence += 1
        stored = np.array(vector, np.float32)
        self.records[id] = Record(id, stored, metadata=metadata, version=self.sequence)
        return self.sequence

    def admit(self, id: str, if_version: int | None) -> None:
        found = self.records.get(id)
        if found is None:
            raise RecordNotFoundError("absent", subject=id)
        if if_version not in (None, found.version):
            raise VersionConflictError("changed", subject=id)

    def remove(self, id: str) -> int:
        self.calls += 1
        return int(self.records.pop(id, None) is not None)

    def wait(self) -> None:
        time.sleep(self.random.random() * self.delay)

    def every(self, n: int) -> bool:
        return self.calls % n == 0


class ReadsOldRecords(Register):
    """Now and then a read sees what a write has replaced."""

    old: Record | None = None

    def store(self, id: str, vector: list[float], metadata: Mapping[str, Any]) -> int:
        self.old = self.records.get(id) or self.old
        return super().store(id, vector, metadata)

    def get(self, id: str, *, collection: str) -> Record | None:
        found = super().get(id, collection=collection)
        return self.old if self.old is not None and self.every(10) else found


class LosesUpdates(Register):
    """`if_version` is compared before the lock is taken."""

    def update(self, id: str, *, if_version: int | None, **rest: Any) -> int:
        self.admit(id, if_version)
        return super().update(id, if_version=None, **rest)


class InsertsTwice(Register):
    """Whether an id is there is asked before the lock is taken."""

    def insert(self, id: str, vector: list[float], *, metadata: Mapping[str, Any], collection: str) -> int:
        if id in self.records:
            raise DuplicateIdError("there", subject=id)
        return super().upsert(id, vector, metadata=metadata, collection=collection)


class ForgetsWrites(Register):
    """Now and then what was acknowledged is not stored."""

    def store(self, id: str, vector: list[float], metadata: Mapping[str, Any]) -> int:
        before = self.records.get(id)
        version = super().store(id, vector, metadata)
        if before is not None and self.every(20):
            self.records[id] = before
        return version


class BringsBackTheDeleted(Register):
    def remove(self, id: str) -> int:
        before = self.records.get(id)
        count = super().remove(id)
        if before is not None and self.every(5):
            self.records[id] = before
        return count


class AppliesTwice(Register):
    """Now and then a write is applied again after another one, as a careless retry would."""

    pending: tuple[str, list[float], Mapping[str, Any]] | None = None

    def store(self, id: str, vector: list[float], metadata: Mapping[str, Any]) -> int:
        version = super().store(id, vector, metadata)
        if self.pending is not None:
            again, self.pending = self.pending, None
            super().store(*again)
        elif self.every(10):
            self.pending = (id, vector, metadata)
        return version


class MixesWrites(Register):
    """Now and then a read gives the vector of one write with the metadata of another."""

    def get(self, id: str, *, collection: str) -> Record | None:
        found = super().get(id, collection=collection)
        if found is None or not self.every(10):
            return found
        return Record(id, found.vector + 1, metadata=found.metadata, version=found.version)


class ReusesVersions(Register):
    def store(self, id: str, vector: list[float], metadata: Mapping[str, Any]) -> int:
        if self.sequence and self.calls % 50 == 49:
            self.sequence -= 1
        return super().store(id, vector, metadata)


class Breaks(Register):
    """Loses the answers of many writes: some never took effect, some did, and some will while others go on."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.late: list[Callable[[], object]] = []

    def insert(self, *args: Any, **options: Any) -> int:
        return self.send(super().insert, *args, **options)

    def upsert(self, *args: Any, **options: Any) -> int:
        return self.send(super().upsert, *args, **options)

    def update(self, *args: Any, **options: Any) -> int:
        return self.send(super().update, *args, **options)

    def delete(self, *args: Any, **options: Any) -> int:
        return self.send(super().delete, *args, **options)

    def send(self, write: Callable[..., int], *args: Any, **options: Any) -> int:
        lot = self.random.random()
        if self.late and lot < 0.3:
            self.apply(self.late.pop())
        if lot > 0.9:
            if lot > 0.96:
                self.apply(lambda: write(*args, **options))
            elif lot > 0.93:
                self.late.append(lambda: write(*args, **options))
            raise AnswerLostError("no answer")
        return write(*args, **options)

    def apply(self, write: Callable[[], object]) -> None:
        # Nobody is there to be told of a refusal.
        with suppress(DuplicateIdError, RecordNotFoundError, VersionConflictError):
            write()


class AppliesLostWritesTwice(Breaks):
    def apply(self, write: Callable[[], object]) -> None:
        super().apply(write)
        if len(self.late) < 30:
            self.late.append(write)


def using(register: Register) -> Callable[[], AbstractContextManager[QuantumDatabase]]:
    return lambda: nullcontext(cast("QuantumDatabase", register))


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    clients=st.integers(1, 12),
    keys=st.integers(1, 4),
    delay=st.sampled_from([0.0, 1e-4, 1e-3]),
)
def test_a_register_under_a_lock_is_accepted(seed: int, clients: int, keys: int, delay: float) -> None:
    names = [f"key-{i}" for i in range(keys)]
    history = record(using(Register(seed, delay)), clients=clients, keys=names, operations=200, seed=seed)
    assert len(history) == 200
    violation = check(history)
    assert violation is None, violation


def test_half_of_the_reads_may_be_searches() -> None:
    register = Register()
    history = record(using(register), operations=800, searches=True)
    assert 0.3 < register.searches / sum(o.kind == "get" for o in history) < 0.7
    assert check(history) is None


def test_searches_that_lag_behind_reads_by_id_are_refused() -> None:
    class Lags(Register):
        """Searches see what was last shown to them, and writes are shown one by one."""

        shown: Record | None = None

        def scroll(self, *, filter: Mapping[str, Any], collection: str) -> list[Record]:
            seen, self.shown = self.shown, self.records.get(filter["key"])
            return [] if seen is None else [seen]

    history = record(using(Lags()), keys=["key"], operations=800, searches=True)
    assert check([o for o in history if o.kind != "get"]) is None
    assert check(history) is not None


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_lost_answers_are_accepted_whatever_became_of_the_writes(seed: int) -> None:
    history = record(using(Breaks(seed)), clients=8, operations=400, seed=seed, unknown=(AnswerLostError,))
    assert any(operation.returned is None for operation in history)
    violation = check(history)
    assert violation is None, violation


@pytest.mark.parametrize(
    "broken",
    [
        ReadsOldRecords,
        LosesUpdates,
        InsertsTwice,
        ForgetsWrites,
        BringsBackTheDeleted,
        AppliesTwice,
        MixesWrites,
        ReusesVersions,
        AppliesLostWritesTwice,
    ],
)
def test_a_database_that_breaks_its_promise_is_refused(broken: type[Register]) -> None:
    for seed in range(20):  # threads meet as they like: the first try is nearly always enough
        keys = [f"key-{i}" for i in range(3)]
        if (
            check(
                record(using(broken(seed)), keys=keys, operations=800, seed=seed, unknown=(AnswerLostError,))
            )
            is not None
        ):
            return
    pytest.fail("nobody noticed")


def test_a_recording_holds_every_kind_of_answer_and_operations_that_overlap() -> None:
    history = record(using(Register()), clients=16, operations=2_000)
    answers = Counter(
        (o.kind, o.result if isinstance(o.result, Refusal) else type(o.result)) for o in history
    )
    assert set(answers) == {
        ("insert", int),
        ("insert", Refusal.DUPLICATE),
        ("upsert", int),
        ("update", int),
        ("update", Refusal.ABSENT),
        ("update", Refusal.CONFLICT),
        ("delete", int),
        ("get", Seen),
        ("get", type(None)),
    }
    assert min(answers.values()) > 20
    held = [o for o in history if o.if_version is not None and isinstance(o.result, int)]
    assert len(held) > 20
    values = [o.argument for o in history if o.argument is not None]
    assert len(values) == len(set(values))
    assert {o.client for o in history} == set(range(16))
    ordered = sorted(history, key=lambda o: o.invoked)
    assert any((a.returned or 0) > b.invoked for a, b in pairwise(ordered))


def test_one_client_asks_the_same_of_the_same_answers() -> None:
    def asked(seed: int) -> list[Any]:
        history = record(using(Register()), clients=1, operations=200, seed=seed)
        return [(o.key, o.kind, o.argument, o.if_version, o.result) for o in history]

    assert asked(1) == asked(1) != asked(2)


def test_recordings_of_the_same_records_can_follow_each_other() -> None:
    register = Register()
    first = record(using(register), operations=300, seed=1)
    second = record(using(register), operations=300, seed=2)
    assert check([*first, *second]) is None
    assert check(second) is not None


def test_a_recording_ends_in_time() -> None:
    history: list[Operation] = record(using(Register()), clients=4, operations=10**9, seconds=0.2)
    assert 0 < len(history) < 10**6


def test_a_client_that_lost_its_database_takes_another_and_no_write_is_forgotten() -> None:
    opened: list[int] = []

    @contextmanager
    def database() -> Iterator[QuantumDatabase]:
        opened.append(1)
        yield cast("QuantumDatabase", breaking)

    breaking = Breaks(5)
    history = record(database, clients=4, operations=400, unknown=(AnswerLostError,))
    lost = sum(o.returned is None for o in history)
    assert lost > 0
    assert len(opened) - 1 - 4 in range(
        lost - 4, lost + 1
    )  # one to begin with; a client's last loss needs none
    assert len(history) == 400


def test_what_was_surely_not_written_leaves_no_trace() -> None:
    class Full(Register):
        def store(self, id: str, vector: list[float], metadata: Mapping[str, Any]) -> int:
            if self.random.random() < 0.3:
                raise QueueFullError("full")
            return super().store(id, vector, metadata)

    history = record(using(Full()), operations=400)
    assert len(history) < 400
    assert check(history) is None


def test_any_other_error_ends_the_recording() -> None:
    with pytest.raises(AnswerLostError):
        record(using(Breaks(1)), operations=400)
