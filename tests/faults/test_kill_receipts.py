"""kill -9 of a process that writes under keys: what it was not told can be sent again, by another process."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from qstore_db.engines.base import Selection, Written
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.engines.embedded.verify import check_directory
from qstore_db.testing.faults import KilledWriter, KillMoment
from qstore_db.testing.faults.keyed import Request

CHILD = Path(__file__).parent / "children" / "keyed.py"
WRITERS = 6
ROUND = 1_000_000
"""Each process begins that much higher than the one before, so that it takes none of its numbers."""


def kill(directory: Path, first: int, moment: KillMoment) -> dict[Request, Written | None]:
    """The requests that a killed process made, in order, and what it was answered."""
    child = KilledWriter([sys.executable, str(CHILD), str(directory), str(first), str(WRITERS)])
    try:
        killed = child.run(moment)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error.stderr}")
    assert killed.killed
    made: dict[Request, Written | None] = {}
    for line in killed.acknowledged:
        writer, number, *answer = map(int, line.split())
        made[Request(writer, number)] = Written(*answer) if answer else None
    return made


def kill_often(directory: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    ever: dict[Request, Written] = {}
    left: set[str] = set()
    stored = lost = 0
    for turn in range(kills):
        made = kill(directory, turn * ROUND, KillMoment.at_random(rng, max_acks=600))
        assert check_directory(directory).problems == ()
        engine = EmbeddedEngine(directory)
        try:
            before = engine.sequence
            for request, answer in made.items():
                again = engine.write("c", request.writes, key=request.key).result()
                assert again.count == request.count
                assert answer in (None, again), f"{request} was answered with {answer}, now with {again}"
                if answer is None:
                    stored += again.sequence <= before
                    lost += again.sequence > before
                ever[request] = again
            last = {request.writer: request for request in made}  # those that come later replace earlier ones
            for request, answer in rng.sample(sorted(ever.items(), key=str), min(200, len(ever))):
                assert engine.write("c", request.writes, key=request.key).result() == answer
            records, _ = engine.view("c").scroll(Selection(), 10_000, 0)
            left |= set().union(*(request.left() for request in last.values()))
            assert {record.id for record in records} == left
            assert engine.verify().ok
        finally:
            engine.close()
    assert len(ever) > 50 * kills
    assert stored > 0, "no kill came between a commit and its acknowledgement"
    assert lost > 0, "no kill came before a commit"


def test_requests_of_eight_killed_processes_are_applied_once(tmp_path: Path) -> None:
    kill_often(tmp_path / "db", 8, seed=1)


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("seed", range(100, 105))
def test_requests_of_a_hundred_killed_processes_are_applied_once(tmp_path: Path, seed: int) -> None:
    kill_often(tmp_path / "db", 100, seed)
