"""Answers each line of Python on stdin with its value, or with the class of the error that it raised.

The database directory is the first argument; `open_database()` opens it as `db`.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

import qstore_db.errors
from qstore_db import QuantumDatabase
from qstore_db.database.backup import restore
from qstore_db.engines.embedded import chores, collection, engine, graph, janitor

DIRECTORY = Path(sys.argv[1])
OUT = os.dup(1)


def hurry(tail_rows: int = 64) -> None:
    """Seal, build and save at once."""
    for module, name, value in (
        (collection, "TAIL_ROWS", tail_rows),
        (engine, "SEAL_ROWS", 16),
        (graph, "_CHUNK", 16),
        (chores, "QUIET_SECONDS", 0.01),
        (chores, "SAVE_SECONDS", 0.01),
        (janitor, "PERIOD", 0.005),
    ):
        getattr(module, name)
        setattr(module, name, value)


def vector(i: int, dimension: int = 16) -> np.ndarray:
    return np.random.default_rng(i).standard_normal(dimension, np.float32)


def put_many(db: QuantumDatabase, start: int, stop: int, dimension: int = 16) -> int:
    """Records named by their numbers, whose vectors follow from them."""
    numbers = range(start, stop)
    vectors = np.stack([vector(i, dimension) for i in numbers])
    return db.upsert_many(
        ids=[str(i) for i in numbers], vectors=vectors, metadata=[{"number": i} for i in numbers]
    )


def holds(db: QuantumDatabase, start: int, stop: int, dimension: int = 16) -> bool:
    """Whether exactly these records are there, bit for bit, and found by a search for themselves."""
    numbers = list(range(start, stop))
    records = db.get([str(i) for i in numbers])
    whole = all(
        record is not None
        and record.metadata == {"number": i}
        and record.vector.tobytes() == vector(i, dimension).tobytes()
        for i, record in zip(numbers, records, strict=True)
    )
    found = db.query_batch(np.stack([vector(i, dimension) for i in numbers]), top_k=1)
    same = sum(result[0].id == str(i) for i, result in zip(numbers, found, strict=True))
    return whole and db.count() == len(numbers) and same >= 0.99 * len(numbers)


def until(condition: object, patience: float = 60.0) -> bool:
    """Wait for `condition()`; whether it came."""
    assert callable(condition)
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def answer(line: str, scope: dict[str, Any]) -> str:
    try:
        try:
            return repr(eval(line, scope))
        except SyntaxError:
            exec(line, scope)
            return ""
    except Exception as error:  # noqa: BLE001 - whatever it is, the test that asked hears of it
        if not isinstance(error, qstore_db.errors.QStoreError):
            traceback.print_exception(error)
        return type(error).__name__


def main() -> None:
    scope: dict[str, Any] = {**globals(), "restore": restore}
    scope["open_database"] = lambda: exec("db = QuantumDatabase.connect(DIRECTORY)", scope)
    for line in sys.stdin:
        os.write(OUT, answer(line, scope).encode() + b"\n")


main()
