"""What many threads see of a few records of the embedded database has one order, across restarts too."""

from __future__ import annotations

import random
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import OutcomeUnknownError
from qstore_db.testing.databases import Opening, async_databases, sync_databases
from qstore_db.testing.databases.serving import remote_databases
from qstore_db.testing.histories import Operation, check, record
from qstore_db.testing.serving import ServerThread


@pytest.fixture(autouse=True)
def threads_that_meet() -> Iterator[None]:
    """Let threads give way to each other a thousand times as often as they would."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(params=["sync", "async", "remote"])
def opening(request: pytest.FixtureRequest) -> Iterator[Opening]:
    ways = {"sync": sync_databases, "async": async_databases, "remote": remote_databases}
    with ways[request.param]() as opening:
        yield opening


def assert_linearizable(history: list[Operation]) -> None:
    violation = check(history)
    assert violation is None, violation


@pytest.mark.parametrize("keys", [8, 1])
def test_sixteen_threads_agree_on_one_order(opening: Opening, keys: int) -> None:
    db = opening()
    names = [f"key-{i}" for i in range(keys)]
    history = record(lambda: nullcontext(db), clients=16, keys=names, operations=3_000, searches=True)
    done = Counter(o.kind for o in history if isinstance(o.result, int))
    assert min(done[kind] for kind in ("insert", "upsert", "update", "delete")) > 20
    assert_linearizable(history)


def test_the_order_goes_on_where_a_restart_left_it(opening: Opening, tmp_path: Path) -> None:
    history: list[Operation] = []
    for seed in range(3):
        db = opening(tmp_path / "db")
        history += record(lambda db=db: nullcontext(db), clients=8, operations=600, seed=seed)
        db.close()
    assert_linearizable(history)


def test_upkeep_is_not_seen(opening: Opening, tmp_path: Path) -> None:
    """Records move between files while clients work on them."""
    db = opening(tmp_path / "db")
    with ThreadPoolExecutor(1) as other:
        recording = other.submit(record, lambda: nullcontext(db), clients=8, operations=2_000)
        rounds = 0
        while not recording.done():
            if "default" in db.list_collections():
                db.reindex("default", index="flat" if rounds % 2 else "hnsw")
            db.snapshot()
            db.compact()
            rounds += 1
    assert rounds > 1
    assert_linearizable(recording.result())


class Cuts:
    """Stands between clients and a server, and cuts connections while they are used, in either direction."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.cut = 0

    @property
    def url(self) -> str:
        return f"qstore://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                pair = self._listener.accept()[0], socket.create_connection(("127.0.0.1", self._port))
                for source, target in (pair, pair[::-1]):
                    self._threads.append(threading.Thread(target=self._carry, args=(source, target)))
                    self._threads[-1].start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # cut by the other direction
            while data := source.recv(65_536):
                if self._random.random() < 0.01:
                    self.cut += 1
                    target.sendall(data[: len(data) // 2])
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.mark.parametrize("seed", range(3))
def test_connections_that_break_lose_no_write_and_apply_none_twice(seed: int, tmp_path: Path) -> None:
    with ServerThread(path=tmp_path) as server:
        cuts = Cuts(server.server.port, seed)
        try:
            history = record(
                lambda: QuantumDatabase.connect(cuts.url),
                operations=2_000,
                seed=seed,
                unknown=(OutcomeUnknownError,),
            )
        finally:
            cuts.close()
    assert cuts.cut > 5
    assert_linearizable(history)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_many_operations_agree_on_one_order(opening: Opening, seed: int) -> None:
    db = opening()
    assert_linearizable(record(lambda: nullcontext(db), clients=16, operations=20_000, seed=seed))
