"""How the two faces of a database wait: the sync one blocks, the async one hands over to its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Self, TypeVar

from qstore_db.config import DatabaseConfig
from qstore_db.database.core import Core
from qstore_db.database.writes import Begin
from qstore_db.engines.base import Written
from qstore_db.errors import QueueFullError

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a write waits for room in the queue before QueueFullError."""
_RETRY = 0.005


class SyncEdge:
    """Runs everything in the caller's thread."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @classmethod
    def _over(cls, core: Core) -> Self:
        """A face over a core that was made elsewhere, for instance with another clock."""
        face = cls.__new__(cls)
        SyncEdge.__init__(face, core)
        return face

    @classmethod
    def _open(cls, config: DatabaseConfig) -> Self:
        return cls._over(Core(config))

    def _run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return work(*args, **kwargs)

    def _write(self, begin: Begin) -> Written:
        return begin(PATIENCE).result()

    def _write_long(self, begin: Begin) -> Written:
        return begin(PATIENCE).result()

    def _shut(self) -> None:
        self._core.close()


class _Bell:
    """Wakes the futures of one event loop, many at once: waking a loop is a system call that gives the GIL away,
    and for a whole group of writes one is enough."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self._done: deque[asyncio.Future[None]] = deque()
        self._rung = False

    def ring(self, future: asyncio.Future[None]) -> None:
        """Resolve `future` on its loop. Callable from any thread."""
        self._done.append(future)
        if not self._rung and self.loop is not None:
            self._rung = True
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                self.loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._rung = False  # before the queue is emptied: whoever comes after that rings again
        while self._done:
            future = self._done.popleft()
            if not future.done():  # the waiting task may have been cancelled; the write itself goes on
                future.set_result(None)


class AsyncEdge:
    """Reads run in a few threads of its own; writes are begun on the loop and awaited without a thread."""

    def __init__(self, core: Core) -> None:
        self._core = core
        workers = min(8, (os.cpu_count() or 1) + 3)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="qstore-async")
        self._closed = False
        self._bell = _Bell(None)

    @classmethod
    def _over(cls, core: Core) -> Self:
        """A face over a core that was made elsewhere, for instance with another clock."""
        face = cls.__new__(cls)
        AsyncEdge.__init__(face, core)
        return face

    @classmethod
    async def _open(cls, config: DatabaseConfig) -> Self:
        return cls._over(await asyncio.to_thread(Core, config))

    async def _run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self._closed:  # fails at once, and the threads are gone
            return work(*args, **kwargs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))

    async def _write(self, begin: Begin) -> Written:
        """For a few records, which take less time to encode than a thread to wake."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            try:
                pending = begin(0.0)
                break
            except QueueFullError:
                if loop.time() > deadline:
                    raise
                await asyncio.sleep(_RETRY)
        if self._bell.loop is not loop:
            self._bell = _Bell(loop)
        bell, done = self._bell, loop.create_future()
        pending.add_done_callback(lambda: bell.ring(done))
        await done
        return pending.result()

    async def _write_long(self, begin: Begin) -> Written:
        """For many records, whose encoding would hold up the loop."""
        return await self._run(lambda: begin(PATIENCE).result())

    async def _shut(self) -> None:
        if not self._closed:
            await self._run(self._core.close)
            self._closed = True
            self._threads.shutdown(wait=False)
