"""Flat collections to search, many in one database."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from qstore_db import DatabaseConfig, QuantumDatabase
from qstore_db.database.core import Core
from qstore_db.database.local import LocalEdge
from qstore_db.testing.databases import Clock

Fill = Callable[..., str]


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def db(clock: Clock) -> Iterator[QuantumDatabase]:
    with QuantumDatabase._over(LocalEdge(Core(DatabaseConfig(), clock))) as database:
        yield database


@pytest.fixture(scope="module")
def fill(db: QuantumDatabase, clock: Clock) -> Fill:
    """`fill(vectors, metric=, contexts=, ids=, metadata=, ages=)` makes a Flat collection; its name.

    `ages` are seconds since each record was written, by the database's clock; none by default.
    """
    numbers = itertools.count()

    def make(
        vectors: Any,
        *,
        metric: str = "l2",
        contexts: Sequence[Any] | None = None,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Any] | None = None,
        ages: Sequence[float] | None = None,
    ) -> str:
        vectors = np.asarray(vectors, np.float32)
        name = f"c{next(numbers)}"
        db.create_collection(name, dimension=vectors.shape[1], metric=metric, index="flat")
        ids = [f"r{i:05}" for i in range(len(vectors))] if ids is None else ids
        aged = np.zeros(len(vectors)) if ages is None else np.asarray(ages, np.float64)
        now = clock.now
        for age in np.unique(aged):
            rows = np.flatnonzero(aged == age).tolist()
            clock.now = now - float(age)
            db.insert_many(
                ids=[ids[i] for i in rows],
                vectors=vectors[rows],
                contexts=None if contexts is None else [contexts[i] for i in rows],
                metadata=None if metadata is None else [metadata[i] for i in rows],
                collection=name,
            )
        clock.now = now
        return name

    return make
