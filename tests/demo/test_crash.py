"""The demonstration's kill: a real process, and a count that would notice a loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from qstore_db import QuantumDatabase
from qstore_db.demo import crash
from qstore_db.errors import UnavailableError


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash, "_ACKNOWLEDGEMENTS", (50, 100))


def test_nothing_that_a_killed_writer_acknowledged_is_lost(tmp_path: Path):
    kills = [crash.kill_a_writer(tmp_path / "database", round_) for round_ in range(2)]
    for kill in kills:
        assert kill.acknowledged >= 50
        assert kill.lost == 0
        assert kill.problems == ()


def test_a_lost_record_would_be_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    directory = tmp_path / "database"
    with QuantumDatabase.connect(directory) as database:
        database.create_collection(crash.COLLECTION, dimension=crash.DIMENSION, metric="l2")
        database.insert("1", crash.vector_of(1), metadata={"round": 0}, collection=crash.COLLECTION)
        database.insert("2", crash.vector_of(3), metadata={"round": 0}, collection=crash.COLLECTION)
    monkeypatch.setattr(crash, "_run_and_kill", lambda _directory, _round: [1, 2, 3])
    kill = crash.kill_a_writer(directory, 0)
    assert (kill.acknowledged, kill.kept, kill.lost) == (3, 1, 2)


def test_a_writer_that_ends_by_itself_is_an_error(tmp_path: Path):
    (tmp_path / "database").write_text("a file where the directory should be")
    with pytest.raises(UnavailableError, match="ended by itself"):
        crash.kill_a_writer(tmp_path / "database", 0)
