"""kill -9 of a real writing process, again and again on one directory."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.engines.embedded.verify import check_directory
from qstore_db.testing.faults import KilledWriter, KillMoment
from qstore_db.testing.faults.ledger import Ledger

WRITER = Path(__file__).parent / "children" / "writer.py"


def kill_and_check(directory: Path, ledger: Ledger, run: int, rng: random.Random) -> set[str]:
    """One writing process, killed at a random moment, and all that a user may rely on afterwards.

    The kinds of index files that it left.
    """
    size = "small" if run % 4 else "usual"
    child = KilledWriter(
        [sys.executable, str(WRITER), str(directory), str(run), str(rng.randint(2, 6)), size]
    )
    if rng.random() < 0.15:
        moment = KillMoment(0, 0.2 + rng.random() * 0.6)  # while it opens and recovers
    else:
        moment = KillMoment.at_random(rng, max_acks=500)
    try:
        killed = child.run(moment)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"run {run}: {error.stderr}")
    assert killed.killed
    ledger.read(killed.acknowledged)
    kinds = {path.suffix for path in directory.glob("index/*/*")}
    if run > 1:  # the first one may be killed before there is anything to check
        assert check_directory(directory).problems == (), f"run {run}"
    with QuantumDatabase.connect(directory) as db:
        assert ledger.compare(db) == [], f"run {run}"
        report = db.verify()
        assert not report["problems"], f"run {run}"
        assert not report["index_problems"], f"run {run}"
        for name in db.list_collections():
            check_search(db, name, ledger)
    return kinds


def check_search(db: QuantumDatabase, collection: str, ledger: Ledger) -> None:
    """What searches find is what is stored: every record finds itself, and filters count the same."""
    vectors = ledger.records(collection)
    assert db.count(collection=collection) == len(vectors)
    assert db.count({"writer": {"$gte": 0}}, collection=collection) == len(vectors)
    if not vectors:
        return
    results = db.query_batch(np.stack(list(vectors.values())), top_k=1, collection=collection)
    found = [result[0].id for result in results]
    assert {*found} <= {*vectors}
    missed = [r.exact for r, one, id in zip(results, found, vectors, strict=True) if one != id]
    assert not any(missed)
    assert len(missed) <= 0.05 * len(vectors)  # a graph may miss some


def kill_often(directory: Path, kills: int, seed: int) -> Ledger:
    rng, ledger, kinds = random.Random(seed), Ledger(), set[str]()
    for run in range(1, kills + 1):
        kinds |= kill_and_check(directory, ledger, run, rng)
    assert kinds >= {".segment", ".graph"}, "no index was under way in any run"
    assert ledger.in_flight_stored > 0
    assert ledger.in_flight_lost > 0
    return ledger


def test_twelve_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    assert kill_often(tmp_path / "db", 12, seed=1).acknowledged > 500


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("seed", range(100, 110))
def test_a_hundred_kills_lose_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    """Ten times a hundred."""
    kill_often(tmp_path / "db", 100, seed)
