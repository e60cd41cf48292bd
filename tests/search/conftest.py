"""Flat collections to search, many in one database."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from qstore_db import QuantumDatabase

Fill = Callable[..., str]


@pytest.fixture(scope="module")
def db() -> Iterator[QuantumDatabase]:
    with QuantumDatabase() as database:
        yield database


@pytest.fixture(scope="module")
def fill(db: QuantumDatabase) -> Fill:
    """`fill(vectors, metric=, contexts=, ids=, metadata=)` makes a Flat collection; its name."""
    numbers = itertools.count()

    def make(
        vectors: Any,
        *,
        metric: str = "l2",
        contexts: Sequence[Any] | None = None,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Any] | None = None,
    ) -> str:
        vectors = np.asarray(vectors, np.float32)
        name = f"c{next(numbers)}"
        db.create_collection(name, dimension=vectors.shape[1], metric=metric, index="flat")
        db.insert_many(
            ids=[f"r{i:05}" for i in range(len(vectors))] if ids is None else ids,
            vectors=vectors,
            contexts=contexts,
            metadata=metadata,
            collection=name,
        )
        return name

    return make
