"""Killing a process that writes, and counting what it had promised.

The writer is a program of its own, run as `python -m qstore_db.demo.crash DIRECTORY ROUND`. It prints the number
of a record only once the database has acknowledged it; whatever was printed must be there after the kill.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.database import QuantumDatabase
from qstore_db.errors import UnavailableError

COLLECTION: Final = "journal"
DIMENSION: Final = 64
ROUNDS: Final = 3
_ACKNOWLEDGEMENTS: Final = (1_000, 2_500)
"""A round's writer is killed once it has acknowledged a number between these."""
_THREADS: Final = 4
_PER_THREAD: Final = 1_000_000
_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Kill:
    """One round: a writer killed, its directory reopened, every promise looked up."""

    acknowledged: int
    kept: int
    """Acknowledged records that were there, with every bit of their vectors."""
    unannounced: int
    """Records found that had not been acknowledged yet: written, but the kill came before the answer."""
    reopened_seconds: float
    problems: tuple[str, ...]
    """What a full check after reopening found."""

    @property
    def lost(self) -> int:
        return self.acknowledged - self.kept


def kill_a_writer(directory: Path, round_: int) -> Kill:
    """Run a writer on a closed database, kill it with SIGKILL amid its work, reopen and compare."""
    acknowledged = _run_and_kill(directory, round_)
    started = time.perf_counter()
    with QuantumDatabase.connect(directory) as database:
        present = database.count({"round": round_}, collection=COLLECTION)
        reopened = time.perf_counter() - started
        kept = _kept(database, acknowledged)
        report = database.verify()
    problems = (*report["problems"], *report["index_problems"])
    return Kill(len(acknowledged), kept, present - kept, reopened, problems)


def vector_of(number: int) -> NDArray[np.float32]:
    """The vector of a record, from its number alone: both sides can compute it."""
    return np.random.default_rng(number).standard_normal(DIMENSION, dtype=np.float32)


def _kept(database: QuantumDatabase, numbers: list[int]) -> int:
    records = database.get([str(number) for number in numbers], collection=COLLECTION)
    return sum(
        record is not None and record.vector.tobytes() == vector_of(number).tobytes()
        for number, record in zip(numbers, records, strict=True)
    )


def _run_and_kill(directory: Path, round_: int) -> list[int]:
    """Numbers that the writer acknowledged; lines still in the pipe at the kill count too."""
    enough = random.Random(round_).randint(*_ACKNOWLEDGEMENTS)
    command = [sys.executable, "-m", "qstore_db.demo.crash", str(directory), str(round_)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        # A writer that hangs must not hang the demonstration.
        watchdog = threading.Timer(_PATIENCE, writer.kill)
        watchdog.start()
        lines: list[str] = []
        for line in writer.stdout:
            lines.append(line)
            if len(lines) == enough:
                writer.send_signal(signal.SIGKILL)
        watchdog.cancel()
        trouble = writer.stderr.read()
    if writer.returncode != -signal.SIGKILL or len(lines) < enough:
        raise UnavailableError(
            f"the writing process ended by itself ({writer.returncode}): {trouble.strip()}", subject="writer"
        )
    return [int(line) for line in lines if line.endswith("\n")]


def write_forever(directory: Path, round_: int) -> None:
    """Insert from several threads until killed, printing each record's number once it is acknowledged."""
    with QuantumDatabase.connect(directory) as database:
        if COLLECTION not in database.list_collections():
            database.create_collection(COLLECTION, dimension=DIMENSION, metric="l2")
        threads = [
            threading.Thread(target=_insert_all, args=(database, round_, numbers))
            for numbers in _shares(round_)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _shares(round_: int) -> Iterator[range]:
    for thread in range(_THREADS):
        first = (round_ * _THREADS + thread) * _PER_THREAD
        yield range(first, first + _PER_THREAD)


def _insert_all(database: QuantumDatabase, round_: int, numbers: range) -> None:
    for number in numbers:
        database.insert(str(number), vector_of(number), metadata={"round": round_}, collection=COLLECTION)
        # One write call a line: lines of several threads do not mix, and none is held back in a buffer.
        os.write(1, b"%d\n" % number)


if __name__ == "__main__":
    write_forever(Path(sys.argv[1]), int(sys.argv[2]))
