"""What concurrent clients of a server see of a record has one order, and a server is a dict that survives kills."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from qstore_db import QuantumDatabase
from qstore_db.errors import (
    DiskFullError,
    DuplicateIdError,
    OutcomeUnknownError,
    RecordNotFoundError,
    UnreachableError,
    VersionConflictError,
)
from qstore_db.testing.histories import check, record
from qstore_db.testing.processes import ServerProcess
from qstore_db.testing.serving import ServerThread

IDS = st.sampled_from(["a", "b", "c", "d", "e"])


@pytest.mark.parametrize("keys", [8, 1])
def test_sixteen_clients_agree_on_one_order(tmp_path: Path, keys: int) -> None:
    names = [f"key-{i}" for i in range(keys)]
    with ServerThread(path=tmp_path / "db") as server:
        history = record(
            lambda: QuantumDatabase.connect(server.url), keys=names, operations=2_500, searches=True
        )
    assert len(history) > 2_000
    violation = check(history)
    assert violation is None, violation


def test_they_do_while_the_server_is_killed_under_them(tmp_path: Path) -> None:
    over = threading.Event()
    with ServerProcess(tmp_path / "db") as server:

        def kill() -> None:
            while not over.wait(random.uniform(0.3, 1.0)):
                server.kill()
                server.start()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            history = record(
                lambda: QuantumDatabase.connect(server.url, retries=40, timeout=None),
                operations=6_000,
                seconds=6.0,
                unknown=(OutcomeUnknownError, UnreachableError),
            )
        finally:
            over.set()
            killer.join()
    violation = check(history)
    assert violation is None, violation


class ServerMachine(RuleBasedStateMachine):
    """A database behind a server, beside a dict that does the same; crashed and started again at any time."""

    directory: Path

    def __init__(self) -> None:
        super().__init__()
        self.server = ServerProcess(self.directory / str(time.monotonic_ns()))
        self.server.start()
        self.db = QuantumDatabase.connect(self.server.url, retries=40)
        self.db.create_collection("c", dimension=2, metric="l2")
        self.model: dict[str, tuple[int, int]] = {}

    def teardown(self) -> None:
        self.db.close()
        self.server.kill()

    @rule(id=IDS, n=st.integers(0, 99))
    def insert(self, id: str, n: int) -> None:
        if id in self.model:
            with pytest.raises(DuplicateIdError):
                self.db.insert(id, [n, 0.0], metadata={"n": n}, collection="c")
        else:
            self.model[id] = (self.db.insert(id, [n, 0.0], metadata={"n": n}, collection="c"), n)

    @rule(id=IDS, n=st.integers(0, 99))
    def upsert(self, id: str, n: int) -> None:
        self.model[id] = (self.db.upsert(id, [n, 0.0], metadata={"n": n}, collection="c"), n)

    @rule(ids=st.lists(IDS, min_size=1, unique=True), n=st.integers(0, 99))
    def upsert_many(self, ids: list[str], n: int) -> None:
        last = self.db.upsert_many(
            ids=ids, vectors=[[n, 0.0]] * len(ids), metadata=[{"n": n}] * len(ids), collection="c"
        )
        for at, id in enumerate(reversed(ids)):
            self.model[id] = (last - at, n)

    @rule(id=IDS, n=st.integers(0, 99), right=st.booleans())
    def update(self, id: str, n: int, right: bool) -> None:
        version = self.model.get(id, (1, 0))[0]
        expected = None if id in self.model and right else RecordNotFoundError
        expected = VersionConflictError if id in self.model and not right else expected
        given = version if right else version + 1
        if expected is None:
            sequence = self.db.update(
                id, vector=[n, 0.0], metadata={"n": n}, if_version=given, collection="c"
            )
            self.model[id] = (sequence, n)
        else:
            with pytest.raises(expected):
                self.db.update(id, metadata={"n": n}, if_version=given, collection="c")

    @rule(id=IDS)
    def delete(self, id: str) -> None:
        assert self.db.delete(id, collection="c") == (self.model.pop(id, None) is not None)

    @rule(n=st.integers(0, 99))
    def delete_above(self, n: int) -> None:
        gone = {id for id, (_, value) in self.model.items() if value > n}
        assert self.db.delete(filter={"n": {"$gt": n}}, collection="c") == len(gone)
        for id in gone:
            del self.model[id]

    @rule()
    def crash(self) -> None:
        self.server.kill()
        self.server.start()

    @rule()
    def stop(self) -> None:
        assert self.server.stop() == 0
        self.server.start()

    @invariant()
    def holds_what_it_was_given(self) -> None:
        found = {
            record.id: (record.version, record.metadata["n"]) for record in self.db.scroll(collection="c")
        }
        assert found == self.model
        assert self.db.count(collection="c") == len(self.model)
        nearest = self.db.query([0.0, 0.0], top_k=9, collection="c")
        assert nearest.exact
        assert sorted(nearest.ids) == sorted(self.model)


def test_a_server_is_a_dict_that_survives_crashes(tmp_path: Path) -> None:
    machine = type("Machine", (ServerMachine,), {"directory": tmp_path})
    machine.TestCase.settings = settings(
        max_examples=2, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
    )
    machine.TestCase().runTest()


def test_a_full_disk_under_load_loses_nothing_and_passes(small_disk: Path) -> None:
    with ServerProcess(small_disk / "db") as server, QuantumDatabase.connect(server.url) as db:
        vectors = np.random.default_rng(0).normal(size=(100, 256)).astype(np.float32)
        acknowledged: list[str] = []
        with pytest.raises(DiskFullError):
            for n in range(10_000):
                ids = [f"{n}-{i}" for i in range(100)]
                db.insert_many(ids=ids, vectors=vectors)
                acknowledged += ids
        assert db.count() == len(acknowledged)
        assert len(db.query(vectors[0], top_k=5)) == 5
        (small_disk / "ballast").unlink()
        db.insert("more", vectors[0])
        assert db.count() == len(acknowledged) + 1
        assert db.verify()["problems"] == ()
        server.kill()
        server.start()
        assert db.count() == len(acknowledged) + 1
