"""A server that is killed at random under sixteen clients: what was acknowledged is there, and no write was applied
twice, although every lost answer made its client send the write again."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import OutcomeUnknownError
from qstore_db.testing.processes import ServerProcess

CLIENTS = 16


@dataclass
class Account:
    """What one client was told."""

    inserted: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    counted: int = 0
    errors: list[Exception] = field(default_factory=list)


def work(url: str, client: int, account: Account, over: threading.Event) -> None:
    """Insert new records, and count up one of its own, until told to stop."""
    own = f"counter-{client}"
    try:
        with QuantumDatabase.connect(url, timeout=None, retries=40) as db:
            version = db.insert(own, [1.0, float(client)], metadata={"n": 0})
            while not over.is_set():
                id = f"{client}-{len(account.inserted) + len(account.unknown)}"
                try:
                    db.insert(id, [1.0, float(client)], metadata={"client": client})
                    account.inserted.append(id)
                except OutcomeUnknownError:
                    account.unknown.append(id)
                # A second application would find another version, and fail.
                version = db.update(own, metadata={"n": account.counted + 1}, if_version=version)
                account.counted += 1
    except Exception as error:  # noqa: BLE001 - shown by the test
        account.errors.append(error)


def shake(directory: Path, kills: int, seed: int) -> None:
    random.seed(seed)
    over = threading.Event()
    accounts = [Account() for _ in range(CLIENTS)]
    with ServerProcess(directory) as server:
        threads = [
            threading.Thread(target=work, args=(server.url, client, account, over))
            for client, account in enumerate(accounts)
        ]
        for thread in threads:
            thread.start()
        for _ in range(kills):
            time.sleep(random.uniform(0.1, 1.0))
            server.kill()
            server.start()
        time.sleep(0.5)
        over.set()
        for thread in threads:
            thread.join(300)
            assert not thread.is_alive()
        assert [error for account in accounts for error in account.errors] == []
        acknowledged = [id for account in accounts for id in account.inserted]
        assert len(acknowledged) > 10 * kills
        with QuantumDatabase.connect(server.url) as db:
            assert db.verify()["problems"] == ()
            missing = [
                id
                for start in range(0, len(acknowledged), 1_000)
                for id, record in zip(
                    acknowledged[start : start + 1_000],
                    db.get(acknowledged[start : start + 1_000]),
                    strict=True,
                )
                if record is None
            ]
            assert missing == []
            unknown = sum(len(account.unknown) for account in accounts)
            assert len(acknowledged) + CLIENTS <= db.count() <= len(acknowledged) + CLIENTS + unknown
            for client, account in enumerate(accounts):
                record = db.get(f"counter-{client}")
                assert record is not None
                assert record.metadata["n"] == account.counted
        assert server.stop() == 0


def test_nothing_acknowledged_is_lost_and_nothing_is_applied_twice(tmp_path: Path) -> None:
    shake(tmp_path / "db", kills=4, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_the_same_over_many_kills(tmp_path: Path, seed: int) -> None:
    shake(tmp_path / "db", kills=20, seed=100 + seed)
