"""Clients that work on a few records of a database at once, and write down what they saw."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeAlias

from qstore_db import QuantumDatabase, Record
from qstore_db.errors import (
    DuplicateIdError,
    RecordNotFoundError,
    UnavailableError,
    VersionConflictError,
)
from qstore_db.testing.histories.operation import Kind, Operation, Refusal, Seen

Database: TypeAlias = "Callable[[], AbstractContextManager[QuantumDatabase]]"

KEYS = tuple(f"key-{i}" for i in range(8))
_MIX: dict[Kind, int] = {"get": 8, "update": 6, "upsert": 4, "insert": 4, "delete": 2}
_STAY = 0.6
"""How likely a client goes on with the record it has just seen: else its `if_version` would seldom hold."""


def record(
    database: Database,
    *,
    clients: int = 16,
    keys: Sequence[str] = KEYS,
    operations: int = 2_000,
    seconds: float = math.inf,
    seed: int = 0,
    collection: str = "default",
    searches: bool = False,
    unknown: tuple[type[Exception], ...] = (),
) -> list[Operation]:
    """What `clients` threads saw of the records `keys`: at most so many operations together, for so long.

    database: gives each client the database that it uses; the same to all, or to each a connection of its own.
    keys: must not be there at first, unless an earlier history of them, by another seed, goes before this one.
    collection: is made if absent, of two dimensions.
    searches: half of the reads find their record by a filter, as searches do, instead of by `get`.
    unknown: errors after which nobody knows whether a write took effect, such as that of a lost connection. The
    client then takes another database. One that says that nothing was written leaves no trace in the history, so
    that the write must not show later either. Any other error ends the recording and is raised.

    What each client asks follows from the seed and the answers that it got. No value is written twice.
    """
    deadline = time.perf_counter() + seconds
    with database() as db:
        if collection not in db.list_collections():
            db.create_collection(collection, dimension=2)
    share = [operations // clients + (i < operations % clients) for i in range(clients)]
    workers = [
        _Client(number, database, keys, share[number], deadline, seed, collection, searches, unknown)
        for number in range(clients)
    ]
    with ThreadPoolExecutor(clients) as threads:
        started = [threads.submit(worker.run) for worker in workers]
        return [operation for future in started for operation in future.result()]


class _Client:
    def __init__(
        self,
        number: int,
        database: Database,
        keys: Sequence[str],
        operations: int,
        deadline: float,
        seed: int,
        collection: str,
        searches: bool,
        unknown: tuple[type[Exception], ...],
    ) -> None:
        self._number = number
        self._database = database
        self._keys = keys
        self._left = operations
        self._deadline = deadline
        self._seed = seed
        self._collection = collection
        self._searches = searches
        self._unknown = unknown
        self._random = random.Random(f"{seed}/{number}")
        self._key = self._random.choice(keys)
        self._written = 0
        self._versions: dict[str, int] = {}
        self._history: list[Operation] = []

    def run(self) -> list[Operation]:
        while self._goes_on():
            with self._database() as db:
                while self._goes_on() and self._step(db):
                    pass
        return self._history

    def _goes_on(self) -> bool:
        return self._left > 0 and time.perf_counter() < self._deadline

    def _step(self, db: QuantumDatabase) -> bool:
        """One operation; whether its outcome is known."""
        self._left -= 1
        if self._random.random() > _STAY:
            self._key = self._random.choice(self._keys)
        (kind,) = self._random.choices(list(_MIX), list(_MIX.values()))
        argument, if_version = None, None
        if kind not in ("get", "delete"):
            self._written += 1
            argument = f"{self._seed}.{self._number}.{self._written}"
        if kind == "update" and self._random.random() < 0.8:
            if_version = self._versions.get(self._key)
        result: int | Refusal | Seen | None = None
        returned: float | None = None
        invoked = time.perf_counter()
        try:
            result = self._ask(db, kind, argument, if_version)
            returned = time.perf_counter()
        except (DuplicateIdError, RecordNotFoundError, VersionConflictError) as error:
            result, returned = Refusal(error.code), time.perf_counter()
        except self._unknown:
            pass
        except UnavailableError:
            return True
        self._history.append(
            Operation(self._number, self._key, kind, argument, result, invoked, returned, if_version)
        )
        self._note(kind, result)
        return returned is not None

    def _ask(
        self, db: QuantumDatabase, kind: Kind, argument: str | None, if_version: int | None
    ) -> int | Seen | None:
        key, collection = self._key, self._collection
        if kind == "get":
            found = self._found(db)
            return None if found is None else Seen(_value_of(found), found.version)
        if kind == "delete":
            return db.delete(key, collection=collection)
        vector = [self._number + 1.0, float(self._written)]
        metadata = {"key": key, "value": argument}
        if kind == "update":
            return db.update(
                key, vector=vector, metadata=metadata, if_version=if_version, collection=collection
            )
        put = db.insert if kind == "insert" else db.upsert
        return put(key, vector, metadata=metadata, collection=collection)

    def _found(self, db: QuantumDatabase) -> Record | None:
        if self._searches and self._random.random() < 0.5:
            page = db.scroll(filter={"key": self._key}, collection=self._collection)
            return page[0] if len(page) else None
        return db.get(self._key, collection=self._collection)

    def _note(self, kind: Kind, result: int | Refusal | Seen | None) -> None:
        """Remember the version that the record was last seen at, for `if_version`."""
        if isinstance(result, Seen):
            self._versions[self._key] = result.version
        elif isinstance(result, int) and kind != "delete":
            self._versions[self._key] = result


def _value_of(found: Record) -> str:
    """The value that a record holds. One put together from two writes is a value that nobody wrote."""
    value = str(found.metadata.get("value"))
    vector = found.vector.tolist()
    _, _, origin = value.partition(".")
    if origin == ".".join(f"{number:.0f}" for number in (vector[0] - 1, *vector[1:])):
        return value
    return f"{value} with the vector {vector}"
