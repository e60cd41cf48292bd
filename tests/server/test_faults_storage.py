"""A disk that fails under a server: its clients are told, and nothing acknowledged is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import QStoreError, ReadOnlyError
from qstore_db.testing.faults import FaultShim
from qstore_db.testing.processes import ServerProcess

PATIENCE = 60.0
CLIENTS = 8


@dataclass
class Told:
    """What the clients were told."""

    stored: dict[str, int] = field(default_factory=dict)
    """Version by id."""
    refused: list[tuple[str, QStoreError]] = field(default_factory=list)


@pytest.fixture
def faults(require_tool: Callable[[str], str]) -> Iterator[FaultShim]:
    require_tool("cc")
    with FaultShim() as shim:
        yield shim


@pytest.fixture
def server(faults: FaultShim, tmp_path: Path) -> Iterator[ServerProcess]:
    """One whose files meet the shim's faults."""
    with ServerProcess(tmp_path / "db", environment=faults.environment(tmp_path)) as server:
        yield server


def settled(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def write_all_along(url: str, told: Told, over: threading.Event, during: Callable[[], None]) -> None:
    """Eight clients insert, one record or several at once, while `during` runs; then they stop."""

    def write(client: int) -> None:
        with QuantumDatabase.connect(url) as db:
            number = 0
            while not over.is_set():
                number += 1
                ids = [f"{client}/{number}/{i}" for i in range(1 if client % 2 else 5)]
                try:
                    if len(ids) == 1:
                        told.stored[ids[0]] = db.insert(ids[0], [1.0, 0.0])
                    else:
                        last = db.insert_many(ids=ids, vectors=np.ones((5, 2)))
                        told.stored.update(zip(ids, range(last - 4, last + 1), strict=True))
                except QStoreError as error:
                    told.refused += [(id, error) for id in ids]

    with ThreadPoolExecutor(CLIENTS) as threads:
        writing = [threads.submit(write, client) for client in range(CLIENTS)]
        try:
            during()
        finally:
            over.set()
        for each in writing:
            each.result()


def test_a_disk_that_fails_makes_the_server_read_only_until_it_is_restarted(
    server: ServerProcess, faults: FaultShim
) -> None:
    told, over = Told(), threading.Event()
    with QuantumDatabase.connect(server.url) as db:

        def break_the_disk() -> None:
            settled(lambda: len(told.stored) > 100)
            with faults.sync_fails():
                settled(lambda: len(told.refused) > 50)
            refused = len(told.refused)
            settled(
                lambda: len(told.refused) > refused + 50
            )  # by then, what was acknowledged before is noted
            stored = len(told.stored)
            settled(lambda: len(told.refused) > refused + 100)
            assert len(told.stored) == stored  # the disk works again, but what it holds is in doubt
            assert len(db.query([1.0, 0.0], top_k=5)) == 5

        write_all_along(server.url, told, over, break_the_disk)
        assert {type(error) for _, error in told.refused[-50:]} == {ReadOnlyError}
        server.kill()
        server.start()
        ids = list(told.stored)
        records = [record for at in range(0, len(ids), 1_000) for record in db.get(ids[at : at + 1_000])]
        assert {record.id: record.version for record in records if record is not None} == told.stored
        assert db.verify()["problems"] == ()
        assert db.insert("after", [1.0, 0.0]) > max(told.stored.values())
