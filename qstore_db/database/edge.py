"""How the two faces of a database wait: the sync one blocks, the async one hands over to its event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from qstore_db.config import DatabaseConfig
from qstore_db.database.core import Core
from qstore_db.engines.base import Pending, Written
from qstore_db.errors import QueueFullError

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a write waits for room in the queue before QueueFullError."""
_RETRY = 0.005


class SyncEdge:
    """Runs everything in the caller's thread."""

    def __init__(self, config: DatabaseConfig) -> None:
        self._core = Core(config)

    def _run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return work(*args, **kwargs)

    def _write(self, begin: Callable[[float], Pending]) -> Written:
        return begin(PATIENCE).result()

    def _shut(self) -> None:
        self._core.close()


class AsyncEdge:
    """Reads run in a few threads of its own; writes are begun on the loop and awaited without a thread."""

    def __init__(self, config: DatabaseConfig) -> None:
        self._core = Core(config)
        workers = min(8, (os.cpu_count() or 1) + 3)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="qstore-async")

    async def _run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))

    async def _write(self, begin: Callable[[float], Pending]) -> Written:
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
        done = loop.create_future()

        def finish() -> None:
            if not done.done():  # the waiting task may have been cancelled; the write itself goes on
                done.set_result(None)

        pending.add_done_callback(lambda: loop.call_soon_threadsafe(finish))
        await done
        return pending.result()

    async def _shut(self) -> None:
        await self._run(self._core.close)
        self._threads.shutdown(wait=False)
