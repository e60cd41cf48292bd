"""Single durable inserts: the database with threads and with asyncio tasks, and two stores without group commit.

Every contender stores the same records (128 float32, two metadata fields) and counts an insert once it is on disk.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import lmdb
import msgpack
import numpy as np

from qstore_db import AsyncQuantumDatabase, QuantumDatabase

DIMENSION = 128


class Store(Protocol):
    """Something that takes single durable inserts from several writers at once."""

    name: str

    def __init__(self, path: Path) -> None: ...

    def rate(self, writers: int, count: int) -> float:
        """Acknowledged inserts a second when `writers` share `count` inserts."""
        ...

    def close(self) -> None: ...


class Records:
    """An endless supply of records, no id twice."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._vectors = np.random.default_rng(128).standard_normal((1_024, DIMENSION)).astype(np.float32)

    def next(self) -> tuple[str, np.ndarray[Any, np.dtype[np.float32]], dict[str, Any]]:
        n = next(self._numbers)
        return f"record-{n}", self._vectors[n % len(self._vectors)], {"label": n % 10, "name": f"item {n}"}


class Threads:
    name = "qstore, threads"

    def __init__(self, path: Path) -> None:
        self._records = Records()
        self._db = QuantumDatabase.connect(path)
        self._db.create_collection("default", dimension=DIMENSION)

    def rate(self, writers: int, count: int) -> float:
        return _threaded(self._one, writers, count)

    def _one(self) -> None:
        id, vector, metadata = self._records.next()
        self._db.insert(id, vector, metadata=metadata)

    def close(self) -> None:
        self._db.close()


class Tasks:
    name = "qstore, asyncio tasks"

    def __init__(self, path: Path) -> None:
        self._records = Records()
        self._loop = asyncio.new_event_loop()
        self._db = self._loop.run_until_complete(self._open(path))

    async def _open(self, path: Path) -> AsyncQuantumDatabase:
        db = await AsyncQuantumDatabase.connect(path)
        await db.create_collection("default", dimension=DIMENSION)
        return db

    def rate(self, writers: int, count: int) -> float:
        return self._loop.run_until_complete(self._run(writers, count))

    async def _run(self, writers: int, count: int) -> float:
        started = time.perf_counter()
        await asyncio.gather(*(self._writer(count // writers) for _ in range(writers)))
        return count // writers * writers / (time.perf_counter() - started)

    async def _writer(self, count: int) -> None:
        for _ in range(count):
            id, vector, metadata = self._records.next()
            await self._db.insert(id, vector, metadata=metadata)

    def close(self) -> None:
        self._loop.run_until_complete(self._db.close())
        self._loop.close()


class OneCommit:
    """LMDB with one synced commit a record, what a store without group commit does. Writers take turns."""

    name = "LMDB, one commit a record"

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self._records = Records()
        self._environment = lmdb.open(str(path), map_size=1 << 32)

    def rate(self, writers: int, count: int) -> float:
        return _threaded(self._one, writers, count)

    def _one(self) -> None:
        id, vector, metadata = self._records.next()
        with self._environment.begin(write=True) as transaction:
            transaction.put(id.encode(), msgpack.packb([vector.tobytes(), metadata]))

    def close(self) -> None:
        self._environment.close()


class Sqlite:
    """SQLite with a write-ahead log and synchronous=FULL. One connection, which writers take in turns: separate
    ones would wait for each other in sleeps."""

    name = "SQLite, WAL, synchronous=FULL"

    def __init__(self, path: Path) -> None:
        self._records = Records()
        self._turn = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE records (id TEXT PRIMARY KEY, vector BLOB, metadata BLOB)")
        self._connection.commit()

    def rate(self, writers: int, count: int) -> float:
        return _threaded(self._one, writers, count)

    def _one(self) -> None:
        id, vector, metadata = self._records.next()
        with self._turn, self._connection:
            row = (id, vector.tobytes(), msgpack.packb(metadata))
            self._connection.execute("INSERT INTO records VALUES (?, ?, ?)", row)

    def close(self) -> None:
        self._connection.close()


STORES: tuple[type[Store], ...] = (Threads, Tasks, OneCommit, Sqlite)


def _threaded(one: Callable[[], None], writers: int, count: int) -> float:
    each = count // writers

    def work() -> None:
        for _ in range(each):
            one()

    threads = [threading.Thread(target=work) for _ in range(writers)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return each * writers / (time.perf_counter() - started)
