"""kill -9 of a process that writes and watches, again and again: what its watchers were told adds up."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from qstore_db.engines.base import CollectionSpec, Selection
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.records import Metric
from qstore_db.testing.faults import KilledWriter, KillMoment

WATCHER = Path(__file__).parent / "children" / "watcher.py"


def kill(directory: Path, since: int, run: int, rng: random.Random) -> list[tuple[int, str, int | None]]:
    """What a watcher from `since` was told before it was killed."""
    child = KilledWriter([sys.executable, str(WATCHER), str(directory), str(since), str(run)])
    try:
        killed = child.run(KillMoment.at_random(rng, max_acks=400))
    except subprocess.CalledProcessError as error:
        pytest.fail(f"run {run}: {error.stderr}")
    return [tuple(json.loads(line)) for line in killed.acknowledged]


def watch_and_kill(directory: Path, kills: int, seed: int) -> int:
    """How many changes were told by the watchers that were killed."""
    with closing(EmbeddedEngine(directory)) as db:
        db.create_collection(CollectionSpec("c", 2, Metric.L2))
    rng, state, since, told = random.Random(seed), dict[str, int](), 0, 0
    for run in range(kills):
        lines = kill(directory, since, run, rng)
        for sequence, id, n in lines:
            assert sequence > since, f"run {run}"
            since = sequence
            if n is None:
                state.pop(id, None)
            else:
                state[id] = n
        told += len(lines)
        if run % 3 == 2:  # otherwise the next one that is to be killed takes up the rest
            since = compare(directory, since, state, f"run {run}")
    return told


def compare(directory: Path, since: int, state: dict[str, int], run: str) -> int:
    """Take up the rest and compare with what is stored; where to go on."""
    with closing(EmbeddedEngine(directory)) as db:
        feed = db.feed("c", since)
        deadline = time.monotonic() + 60.0
        while feed.due() or db.view("c").count(Selection()) != len(state):  # until the brief ones are deleted
            assert time.monotonic() < deadline, run
            feed.wait(0.05)
            for change in feed.next(50):
                if change.record is None:
                    state.pop(change.id, None)
                else:
                    state[change.id] = int(change.record.metadata["n"])  # type: ignore[arg-type]
        records, _ = db.view("c").scroll(Selection(), 10_000, 0)
        assert state == {record.id: record.metadata["n"] for record in records}, run
        return feed.sequence


def test_a_watcher_resumes_after_kills_and_hears_of_everything(tmp_path: Path) -> None:
    assert watch_and_kill(tmp_path / "db", 8, seed=1) > 300


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(100, 105))
def test_a_watcher_resumes_after_many_kills(tmp_path: Path, seed: int) -> None:
    watch_and_kill(tmp_path / "db", 99, seed)
