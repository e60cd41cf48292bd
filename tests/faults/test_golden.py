"""Directories that each released format left behind: they open, and hold what was written."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.engines.base import Selection
from qstore_db.engines.embedded import layout
from qstore_db.engines.embedded.verify import check_directory

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
FORMATS = sorted(path.stem for path in GOLDEN.glob("*.json"))


@pytest.fixture(params=FORMATS)
def golden(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def copy(golden: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / golden, tmp_path / "db"))


@pytest.fixture
def expected(golden: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"{golden}.json").read_text())
    return found


@pytest.fixture(scope="module")
def content() -> Callable[[QuantumDatabase], dict[str, Any]]:
    """The function that wrote down what the directories hold."""
    tool: dict[str, Callable[[QuantumDatabase], dict[str, Any]]]
    tool = runpy.run_path(str(ROOT / "tools" / "make_golden.py"))
    return tool["content"]


def test_the_current_format_has_its_golden_directory() -> None:
    assert f"format-{layout.FORMAT}" in FORMATS


def test_a_golden_directory_holds_what_was_written(
    copy: Path, expected: dict[str, Any], content: Callable[[QuantumDatabase], dict[str, Any]]
) -> None:
    with QuantumDatabase.connect(copy) as db:
        assert content(db) == expected
        assert not db.verify()["problems"]


def test_a_golden_directory_comes_up_from_its_own_index(copy: Path) -> None:
    with QuantumDatabase.connect(copy) as db:
        recoveries = {name: c["recovery"] for name, c in db.stats()["collections"].items()}
    assert {name: recovery["skipped"] for name, recovery in recoveries.items()} == dict.fromkeys(
        recoveries, ()
    )
    assert recoveries["plain"]["from_sequence"] > 0
    assert recoveries["plain"]["rows_read"] == 1


def test_every_record_of_a_golden_directory_is_found_by_its_vector(
    copy: Path, expected: dict[str, Any]
) -> None:
    with QuantumDatabase.connect(copy) as db:
        for name, collection in expected.items():
            for id, record in collection["records"].items():
                vector = np.frombuffer(bytes.fromhex(record["vector"]), "<f4")
                if collection["spec"]["metric"] != "dot":
                    near = db.query(vector, top_k=3, collection=name)
                    assert id in [match.id for match in near]


def test_the_index_of_a_golden_directory_knows_when_its_records_were_written(
    copy: Path, expected: dict[str, Any]
) -> None:
    with QuantumDatabase.connect(copy) as db:
        for name, collection in expected.items():
            hits = db._edge.core.engine.view(name).select(Selection(now=-np.inf))
            times = {id: time for id, time in zip(hits.ids(), hits.updated(), strict=True) if id != "expired"}
            assert times == {id: record["updated_at"] for id, record in collection["records"].items()}


def test_a_golden_directory_passes_the_offline_check(copy: Path) -> None:
    assert check_directory(copy).ok


def test_a_golden_directory_takes_new_writes(copy: Path, expected: dict[str, Any]) -> None:
    count = len(expected["plain"]["records"])
    with QuantumDatabase.connect(copy) as db:
        db.insert("new", np.ones(8), collection="plain")
        db.delete("record 0", collection="plain")
        db.snapshot()
    assert check_directory(copy).ok
    with QuantumDatabase.connect(copy) as db:
        assert db.count(collection="plain") == count
        assert db.get("record 0", collection="plain") is None
