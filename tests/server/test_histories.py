"""What concurrent clients see of a server has one order, also while it is killed under them, and nothing is seen in
part."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from qstore_db import Change, QuantumDatabase
from qstore_db.errors import OutcomeUnknownError, UnreachableError, WaitTimeoutError
from qstore_db.testing.histories import Operation, check, record
from qstore_db.testing.processes import ServerProcess
from qstore_db.testing.serving import ServerThread
from qstore_db.testing.waiting import settled

T = TypeVar("T")

PATIENCE = 120.0
RETRIES = 1_000
BULK = 600
"""Records of one request, with 2 KB of metadata each: more than a frame holds, so that it is a stream."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "db") as server:
        yield server


def killing(server: ServerProcess, kills: int, seed: int, work: Callable[[], T]) -> T:
    """What `work` returns, during which the server is killed so often at most, and started again."""
    moments = random.Random(seed)
    with ThreadPoolExecutor(1) as other:
        working: Future[T] = other.submit(work)
        killed = 0
        while killed < kills and not working.done():
            time.sleep(moments.uniform(0.05, 0.6))
            server.kill()
            killed += not working.done()
            server.start()
        assert killed > 0
        return working.result()


def assert_linearizable(history: list[Operation]) -> None:
    violation = check(history)
    assert violation is None, violation


@pytest.mark.parametrize("keys", [8, 1])
def test_sixteen_clients_agree_on_one_order(tmp_path: Path, keys: int) -> None:
    """Each has a connection of its own, unlike in the tests of all databases."""
    names = [f"key-{i}" for i in range(keys)]
    with ServerThread(path=tmp_path / "db") as server:
        history = record(
            lambda: QuantumDatabase.connect(server.url), keys=names, operations=2_500, searches=True
        )
    assert len(history) > 2_000
    assert_linearizable(history)


def test_they_do_while_the_server_is_killed_under_them(server: ServerProcess) -> None:
    """Every write is sent again until its outcome is known."""
    history = killing(
        server,
        3,
        1,
        lambda: record(
            lambda: QuantumDatabase.connect(server.url, timeout=None, retries=RETRIES),
            operations=10_000_000,
            seconds=5.0,
            unknown=(OutcomeUnknownError,),
        ),
    )
    assert_linearizable(history)


def test_who_gives_up_at_once_is_told_the_truth(server: ServerProcess) -> None:
    """Without a retry some outcomes stay unknown; those that are said to be none must be none."""

    @contextmanager
    def hasty() -> Iterator[QuantumDatabase]:
        while True:
            try:
                db = QuantumDatabase.connect(server.url, retries=0)
                break
            except UnreachableError:
                time.sleep(0.02)
        with db:
            yield db

    def work() -> list[Operation]:
        return record(
            hasty,
            operations=10_000_000,
            seconds=5.0,
            unknown=(OutcomeUnknownError, WaitTimeoutError, UnreachableError),
        )

    history = killing(server, 3, 2, work)
    assert any(o.returned is None and o.kind != "get" for o in history)
    history += record(hasty, operations=400, seed=1)
    assert_linearizable(history)


def test_what_is_stored_together_is_there_together_or_not_at_all(server: ServerProcess) -> None:
    """Uploads of megabytes under kills: a reader never sees a part of one, and what is acknowledged is whole."""
    stored: list[str] = []
    seen: list[int] = []
    over = threading.Event()
    vectors = np.ones((BULK, 2), np.float32)

    def connected() -> QuantumDatabase:
        return QuantumDatabase.connect(server.url, timeout=None, retries=RETRIES)

    def store(client: int) -> None:
        with connected() as db:
            for number in range(3):
                name = f"{client}/{number}"
                ids = [f"{name}/{i}" for i in range(BULK)]
                metadata = [{"of": name, "text": "x" * 2_000}] * BULK
                assert db.insert_many(ids=ids, vectors=vectors, metadata=metadata) > 0
                stored.append(name)
                looked()
                if number == 1:
                    assert db.delete(filter={"of": name}) == BULK
                    stored.remove(name)
                    looked()

    def looked() -> None:
        """Wait until the reader has seen what is there now, however busy the machine is."""
        enough = len(seen) + 2  # one may be under way
        settled(lambda: len(seen) >= enough, PATIENCE)

    def read() -> None:
        with connected() as db:
            while not over.is_set():
                seen.append(db.count())
                time.sleep(0.01)

    def work() -> None:
        with ThreadPoolExecutor(5) as threads:
            reading = threads.submit(read)
            try:
                for storing in [threads.submit(store, client) for client in range(4)]:
                    storing.result()
            finally:
                over.set()
            reading.result()

    with connected() as db:
        db.create_collection("default", dimension=2)
        killing(server, 2, 3, work)
        assert {count % BULK for count in seen} == {0}
        assert len(set(seen)) > 4
        assert len(stored) == 8
        assert db.count() == 8 * BULK
        assert all(db.count(filter={"of": name}) == BULK for name in stored)
        assert db.verify()["problems"] == ()


def test_a_watcher_hears_of_every_acknowledged_write_across_kills_and_a_stop(server: ServerProcess) -> None:
    heard: list[Change] = []
    acknowledged: dict[str, int] = {}
    latest: dict[str, int] = {}

    def watch() -> None:
        with QuantumDatabase.connect(server.url, timeout=None, retries=RETRIES) as db:
            for change in db.watch(since=0):
                heard.append(change)
                if change.id == "last":
                    return

    def write(client: int) -> None:
        with QuantumDatabase.connect(server.url, timeout=None, retries=RETRIES) as db:
            until = time.monotonic() + 3.0
            number = 0
            while time.monotonic() < until:
                id = f"{client}/{number}"
                acknowledged[id] = db.insert(id, [1.0])
                latest[f"own/{client}"] = db.upsert(f"own/{client}", [number + 1.0])
                number += 1

    def work() -> None:
        with ThreadPoolExecutor(4) as threads:
            for writing in [threads.submit(write, client) for client in range(4)]:
                writing.result()

    with QuantumDatabase.connect(server.url, timeout=None, retries=RETRIES) as db:
        db.create_collection("default", dimension=1)
        watcher = threading.Thread(target=watch)
        watcher.start()
        killing(server, 2, 4, work)
        assert server.stop() == 0  # in order, which ends a watch otherwise than a kill
        server.start()
        db.insert("last", [1.0])
        watcher.join(PATIENCE)
        assert not watcher.is_alive()
    sequences = [change.sequence for change in heard]
    assert sequences == sorted(set(sequences))
    told = {change.id: change.sequence for change in heard if change.id != "last"}
    assert told == {**acknowledged, **latest}
