"""Killing the server while clients write, and counting what it had promised.

The writers are threads of this process that share one client. A record's number counts as acknowledged once its
`insert` returned, and whatever was acknowledged must be there afterwards. The client sends calls that the kill cut
off again, with their keys, so that no writer fails and nothing is stored twice.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.database import QuantumDatabase
from qstore_db.demo.serving import ServerProcess

COLLECTION: Final = "journal"
DIMENSION: Final = 64
ROUNDS: Final = 3
_ACKNOWLEDGEMENTS: Final = (1_000, 2_500)
"""In a round the server is killed once it has acknowledged a number between these."""
_AFTERWARDS: Final = 100
"""Acknowledgements of the next server that a round waits for."""
_THREADS: Final = 4
_PER_THREAD: Final = 1_000_000
_PAUSE: Final = 0.001


@dataclass(frozen=True, slots=True)
class Kill:
    """One round: a server killed and another started in its place, every promise of both looked up."""

    acknowledged: int
    before: int
    """Those of them whose answers had come when the server was dead."""
    kept: int
    """Acknowledged records that were there, with every bit of their vectors."""
    seconds: float
    """From the kill until the same client had an answer from the new server, its start included."""
    problems: tuple[str, ...]
    """What a full check afterwards found."""

    @property
    def lost(self) -> int:
        return self.acknowledged - self.kept


def kill_the_server(server: ServerProcess, database: QuantumDatabase, round_: int) -> Kill:
    """Write from several threads through a client, kill its server amid that, start it again, and compare.

    Raises what a writer's call raised, if one did. Where it raises, the client is closed.
    """
    if COLLECTION not in database.list_collections():
        database.create_collection(COLLECTION, dimension=DIMENSION, metric="l2")
    enough = random.Random(round_).randint(*_ACKNOWLEDGEMENTS)
    acknowledged: list[int] = []
    enough_written = threading.Event()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            writers = [
                pool.submit(_insert, database, round_, thread, acknowledged, enough_written)
                for thread in range(_THREADS)
            ]
            _wait_for(enough, acknowledged, writers)
            killed = time.perf_counter()
            server.kill()
            before = len(acknowledged)
            server.start_again()
            database.count(collection=COLLECTION)
            seconds = time.perf_counter() - killed
            _wait_for(before + _AFTERWARDS, acknowledged, writers)
            enough_written.set()
            for writer in writers:
                writer.result()
        except BaseException:
            enough_written.set()
            database.close()  # otherwise writers would go on trying to reach a server
            raise
    kept = _kept(database, acknowledged)
    report = database.verify()
    problems = (*report["problems"], *report["index_problems"])
    return Kill(len(acknowledged), before, kept, seconds, problems)


def vector_of(number: int) -> NDArray[np.float32]:
    """The vector of a record, from its number alone: it can be computed again."""
    return np.random.default_rng(number).standard_normal(DIMENSION, dtype=np.float32)


def _kept(database: QuantumDatabase, numbers: list[int]) -> int:
    records = database.get([str(number) for number in numbers], collection=COLLECTION)
    return sum(
        record is not None and record.vector.tobytes() == vector_of(number).tobytes()
        for number, record in zip(numbers, records, strict=True)
    )


def _insert(
    database: QuantumDatabase,
    round_: int,
    thread: int,
    acknowledged: list[int],
    enough: threading.Event,
) -> None:
    """Insert records until there are enough, noting each number once it is acknowledged."""
    first = (round_ * _THREADS + thread) * _PER_THREAD
    for number in range(first, first + _PER_THREAD):
        if enough.is_set():
            return
        database.insert(str(number), vector_of(number), metadata={"round": round_}, collection=COLLECTION)
        acknowledged.append(number)


def _wait_for(count: int, acknowledged: list[int], writers: Sequence[Future[None]]) -> None:
    """Return once so many are acknowledged. Raises what ended a writer before."""
    while len(acknowledged) < count:
        for writer in writers:
            if writer.done():
                writer.result()
        time.sleep(_PAUSE)
