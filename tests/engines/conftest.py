"""Engines in temporary directories, and small segments so that sealing and merging happen soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qstore_db.engines.base import CollectionSpec
from qstore_db.engines.embedded import chores, collection, engine, graph
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.records import Metric


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., EmbeddedEngine]]:
    """Open an engine in a directory (the test's own by default); it is closed when the test ends."""
    opened: list[EmbeddedEngine] = []

    def start(directory: Path = tmp_path / "db") -> EmbeddedEngine:
        opened.append(EmbeddedEngine(directory, durable=False, clock=clock))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def db(start: Callable[..., EmbeddedEngine]) -> EmbeddedEngine:
    """An engine with an empty collection "c" of three dimensions under l2."""
    one = start()
    one.create_collection(CollectionSpec("c", 3, Metric.L2))
    return one


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tails of 32 rows, and graphs from 9 rows on."""
    monkeypatch.setattr(collection, "TAIL_ROWS", 32)
    monkeypatch.setattr(engine, "SEAL_ROWS", 8)
    monkeypatch.setattr(graph, "_CHUNK", 8)


@pytest.fixture
def resting_janitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """No upkeep happens by itself."""
    monkeypatch.setattr(chores.Chores, "all", lambda self: ())
