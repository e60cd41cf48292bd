"""Edges of a database that is open in this process: one works in its caller's thread, the async one in its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, Self, TypeVar

from qstore_db.config import DatabaseConfig
from qstore_db.database.bell import Bell
from qstore_db.database.core import Core
from qstore_db.database.operations import Operation, WriteOperation
from qstore_db.database.operations.watching import WATCH_OPS
from qstore_db.database.writes import Draft
from qstore_db.engines.base import Written
from qstore_db.errors import QueueFullError
from qstore_db.records import Change

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a write waits for room in the queue before QueueFullError."""
_RETRY = 0.005


class LocalEdge:
    """Does everything in the caller's thread."""

    def __init__(self, core: Core) -> None:
        self.core = core

    @classmethod
    def open(cls, config: DatabaseConfig) -> Self:
        return cls(Core(config))

    @property
    def where(self) -> str:
        return str(self.core.directory)

    def run(self, operation: Operation[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return operation.perform(self.core, *args, **kwargs)

    def write(self, operation: WriteOperation[P], /, *args: P.args, **kwargs: P.kwargs) -> Written:
        draft = operation.draft(self.core, *args, **kwargs)
        written = draft.begin(PATIENCE).result()
        if self.core.scales.is_due(draft.collection, draft.puts):
            self.core.scales.measure(draft.collection)
        return written

    def compute(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return work(*args, **kwargs)

    def watch(self, collection: str, since: int | None) -> Iterator[Change]:
        feed = self.core.watches.start(collection, since)
        while True:
            yield from feed.next(WATCH_OPS)
            feed.wait()

    def close(self) -> None:
        self.core.close()


class AsyncLocalEdge:
    """Reads run in a few threads of its own; writes are begun on the loop and awaited without a thread."""

    def __init__(self, core: Core) -> None:
        self.core = core
        workers = min(8, (os.cpu_count() or 1) + 3)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="qstore-async")
        self._closed = False
        self._bell = Bell(None)

    @classmethod
    async def open(cls, config: DatabaseConfig) -> Self:
        return cls(await asyncio.to_thread(Core, config))

    @property
    def where(self) -> str:
        return str(self.core.directory)

    async def run(self, operation: Operation[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.compute(lambda: operation.perform(self.core, *args, **kwargs))

    async def write(self, operation: WriteOperation[P], /, *args: P.args, **kwargs: P.kwargs) -> Written:
        # A few records take less time to encode than a thread to wake; the encoding of many would hold up the loop.
        draft = operation.draft(self.core, *args, **kwargs)
        if operation.many:
            written = await self.compute(lambda: draft.begin(PATIENCE).result())
        else:
            written = await self._acknowledged(draft)
        if self.core.scales.is_due(draft.collection, draft.puts):
            await self.compute(self.core.scales.measure, draft.collection)
        return written

    async def compute(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self._closed:  # fails at once, and the threads are gone
            return work(*args, **kwargs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))

    async def watch(self, collection: str, since: int | None) -> AsyncIterator[Change]:
        feed = await self.compute(self.core.watches.start, collection, since)
        changed, bell = asyncio.Event(), Bell(asyncio.get_running_loop())
        # Kept while waiting: looking is what moves a quiet collection's feed along with the others.
        unsubscribe = self.core.watches.subscribe(lambda: bell.ring(changed.set) if feed.due() else None)
        try:
            while True:
                changed.clear()
                for change in await self.compute(feed.next, WATCH_OPS):
                    yield change
                if not feed.due():
                    await changed.wait()
        finally:
            unsubscribe()

    async def close(self) -> None:
        if not self._closed:
            await self.compute(self.core.close)
            self._closed = True
            self._threads.shutdown(wait=False)

    async def _acknowledged(self, draft: Draft) -> Written:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            try:
                pending = draft.begin(0.0)
                break
            except QueueFullError:
                if loop.time() > deadline:
                    raise
                await asyncio.sleep(_RETRY)
        if self._bell.loop is not loop:
            self._bell = Bell(loop)
        bell, done = self._bell, loop.create_future()
        pending.add_done_callback(lambda: bell.ring(partial(_resolve, done)))
        await done
        return pending.result()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():  # the waiting task may have been cancelled; the write itself goes on
        future.set_result(None)
