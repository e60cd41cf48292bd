"""A small database, and the command line run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.cli import main


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its stdout, which must be exactly one JSON value on one line."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("stats", "--json")` runs a command as `qstore` would, without its variables."""
    for name in ("QSTORE_PATH", "QSTORE_DATA", "QSTORE_TOKEN", "QSTORE_TLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")

    def run_command(*arguments: object) -> Ended:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Ended(code, *capsys.readouterr())

    return run_command


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed database: 40 records of 4 numbers in "default", 3 in "notes"."""
    directory = tmp_path / "database"
    vectors = np.random.default_rng(1).standard_normal((40, 4))
    with QuantumDatabase.connect(directory) as database:
        database.insert_many(
            ids=[f"r{i}" for i in range(40)],
            vectors=vectors,
            contexts=[{"sales": 0.7, "it": 0.3} if i % 2 else {"sales": 1.0} for i in range(40)],
            metadata=[{"year": 2000 + i, "tag": "[odd]" if i % 2 else "even"} for i in range(40)],
        )
        database.create_collection("notes", dimension=2, metric="l2")
        database.insert_many(ids=["a", "b", "c"], vectors=np.eye(3, 2) + 1, collection="notes")
    return directory
