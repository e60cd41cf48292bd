"""A disk that fails or fills up under a server: its clients are told, and nothing acknowledged is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import DiskFullError, QStoreError, ReadOnlyError
from qstore_db.testing.faults import FaultShim
from qstore_db.testing.processes import ServerProcess
from qstore_db.testing.waiting import settled

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


def write_all_along(url: str, told: Told, during: Callable[[], None], dimension: int = 2) -> None:
    """Eight clients insert, one record or several at once, while `during` runs; then they stop."""
    over = threading.Event()

    def write(client: int) -> None:
        random = np.random.default_rng(client)
        with QuantumDatabase.connect(url) as db:
            number = 0
            while not over.is_set():
                number += 1
                vectors = random.normal(size=(5, dimension))
                ids = [f"{client}/{number}/{i}" for i in range(1 if client % 2 else 5)]
                try:
                    if len(ids) == 1:
                        told.stored[ids[0]] = db.insert(ids[0], vectors[0])
                    else:
                        last = db.insert_many(ids=ids, vectors=vectors)
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


def assert_stored(db: QuantumDatabase, told: Told) -> None:
    """Whatever was acknowledged is there, as it was acknowledged."""
    ids = list(told.stored)
    records = [record for at in range(0, len(ids), 1_000) for record in db.get(ids[at : at + 1_000])]
    assert {record.id: record.version for record in records if record is not None} == told.stored
    assert db.verify()["problems"] == ()


def test_a_disk_that_fails_makes_the_server_read_only_until_it_is_restarted(
    server: ServerProcess, faults: FaultShim
) -> None:
    told = Told()
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

        write_all_along(server.url, told, break_the_disk)
        assert {type(error) for _, error in told.refused[-50:]} == {ReadOnlyError}
        server.kill()
        server.start()
        assert_stored(db, told)
        assert db.insert("after", [1.0, 0.0]) > max(told.stored.values())


def test_a_full_disk_under_load_loses_nothing_and_passes(small_disk: Path) -> None:
    told = Told()
    with ServerProcess(small_disk / "db") as server, QuantumDatabase.connect(server.url) as db:

        def fill_the_disk() -> None:
            settled(lambda: len(told.refused) > 50)
            assert len(db.query(np.ones(1_024), top_k=5)) == 5
            (small_disk / "ballast").unlink()
            stored = len(told.stored)
            settled(lambda: len(told.stored) > stored + 50)  # without a restart

        write_all_along(server.url, told, fill_the_disk, dimension=1_024)
        assert {type(error) for _, error in told.refused} == {DiskFullError}
        assert_stored(db, told)
        server.kill()
        server.start()
        assert_stored(db, told)
        assert db.count() == len(told.stored)  # and of what was refused, nothing is there
