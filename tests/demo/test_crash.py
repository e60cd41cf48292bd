"""The demonstration's kill: a real server, and a count that would notice a loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qstore_db import QuantumDatabase
from qstore_db.demo import crash
from qstore_db.demo.serving import ServerProcess
from qstore_db.errors import ClosedError, DuplicateIdError

pytestmark = pytest.mark.usefixtures("shorter")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "database", tmp_path / "server.log") as server:
        yield server


@pytest.fixture
def database(server: ServerProcess) -> Iterator[QuantumDatabase]:
    with QuantumDatabase.connect(
        server.url, token=server.token, tls=server.certificate, timeout=120, retries=100
    ) as database:
        yield database


def test_nothing_that_a_killed_server_acknowledged_is_lost(server: ServerProcess, database: QuantumDatabase):
    processes = {server.pid}
    for round_ in range(2):
        kill = crash.kill_the_server(server, database, round_)
        processes.add(server.pid)
        assert kill.before >= 50
        assert kill.acknowledged >= kill.before + 20
        assert (kill.lost, kill.problems) == (0, ())
        assert database.count({"round": round_}, collection=crash.COLLECTION) == kill.acknowledged
    assert len(processes) == 3


def test_a_lost_record_would_be_counted():
    with QuantumDatabase() as database:
        database.create_collection(crash.COLLECTION, dimension=crash.DIMENSION, metric="l2")
        database.insert("1", crash.vector_of(1), collection=crash.COLLECTION)
        database.insert("2", crash.vector_of(3), collection=crash.COLLECTION)
        assert crash._kept(database, [1, 2, 3]) == 1
    assert crash.Kill(3, 2, 1, 0.1, ()).lost == 2


def test_what_a_writer_s_call_raises_ends_the_round_and_the_client(
    server: ServerProcess, database: QuantumDatabase
):
    database.create_collection(crash.COLLECTION, dimension=crash.DIMENSION, metric="l2")
    database.insert("0", crash.vector_of(0), collection=crash.COLLECTION)
    with pytest.raises(DuplicateIdError):
        crash.kill_the_server(server, database, 0)
    with pytest.raises(ClosedError):
        database.count()
