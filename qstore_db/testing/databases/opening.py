"""How the suite opens databases: one way to call them, and a clock that it sets."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from qstore_db.config import DatabaseConfig
from qstore_db.database import AsyncQuantumDatabase, QuantumDatabase
from qstore_db.database.core import Core
from qstore_db.database.local import AsyncLocalEdge, LocalEdge


class Clock:
    """Seconds since the epoch that pass only when told."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Opening(Protocol):
    """Opens a database: temporary without a path. All of them are closed when the test is over."""

    def __call__(
        self, path: Path | None = None, *, clock: Callable[[], float] | None = None, **config: Any
    ) -> QuantumDatabase: ...


class Databases:
    """The fixtures of every part of the suite."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def db(self, opening: Opening, clock: Clock) -> QuantumDatabase:
        """An empty temporary database, whose time stands still."""
        return opening(clock=clock)


@contextmanager
def sync_databases() -> Iterator[Opening]:
    """Opens the embedded database with its blocking face."""
    opened: list[QuantumDatabase] = []

    def opening(
        path: Path | None = None, *, clock: Callable[[], float] | None = None, **config: Any
    ) -> QuantumDatabase:
        settings = DatabaseConfig(path=path, **config)
        face = (
            QuantumDatabase(settings)
            if clock is None
            else QuantumDatabase._over(LocalEdge(Core(settings, clock)))
        )
        opened.append(face)
        return face

    try:
        yield opening
    finally:
        for face in opened:
            face.close()


@contextmanager
def async_databases() -> Iterator[Opening]:
    """Opens the embedded database with its async face; its event loop runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="async-databases")
    thread.start()
    opened: list[Awaited] = []

    def opening(
        path: Path | None = None, *, clock: Callable[[], float] | None = None, **config: Any
    ) -> QuantumDatabase:
        settings = DatabaseConfig(path=path, **config)
        face = (
            AsyncQuantumDatabase(settings)
            if clock is None
            else AsyncQuantumDatabase._over(AsyncLocalEdge(Core(settings, clock)))
        )
        opened.append(Awaited(face, loop))
        return cast("QuantumDatabase", opened[-1])

    try:
        yield opening
        for face in opened:
            face.close()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Awaited:
    """An async database whose calls block: each coroutine runs on `loop`, which runs in another thread."""

    def __init__(self, database: AsyncQuantumDatabase, loop: asyncio.AbstractEventLoop) -> None:
        self._database = database
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._database, name)
        if inspect.isasyncgenfunction(call):
            return lambda *args, **kwargs: self._steps(call(*args, **kwargs))
        if not inspect.iscoroutinefunction(call):
            return call

        def wait(*args: Any, **kwargs: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(call(*args, **kwargs), self._loop).result()

        return wait

    def _steps(self, steps: AsyncGenerator[Any]) -> Iterator[Any]:
        def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

        async def step() -> Any:
            return await anext(steps)

        try:
            while True:
                yield run(step())
        finally:
            run(steps.aclose())

    def __enter__(self) -> Awaited:
        self.__getattr__("__aenter__")()
        return self

    def __exit__(self, *raised: object) -> None:
        self.__getattr__("__aexit__")(*raised)
