"""Lanes: threads for one kind of work, shared fairly between connections."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qstore_db.database.bell import Bell

Work = Callable[[], Any]
Deliver = Callable[[Any, Exception | None], None]


class Lane:
    """Runs work in a few threads; connections with work waiting take turns. To be used on one event loop."""

    def __init__(self, name: str, threads: int, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"qstore-{name}")
        self._free = threads
        self._bell = Bell(loop)
        self._waiting: dict[object, deque[tuple[Work, Deliver]]] = {}
        self._turns: deque[object] = deque()

    def __len__(self) -> int:
        """How much work is waiting."""
        return sum(map(len, self._waiting.values()))

    def submit(self, owner: object, work: Work, deliver: Deliver) -> None:
        """Run `work` in a thread, then `deliver` its result or its error on the loop."""
        queue = self._waiting.get(owner)
        if queue is None:
            queue = self._waiting[owner] = deque()
            self._turns.append(owner)
        queue.append((work, deliver))
        self._start()

    def close(self) -> None:
        self._threads.shutdown(wait=True)

    def _start(self) -> None:
        while self._free and self._turns:
            owner = self._turns.popleft()
            queue = self._waiting[owner]
            work, deliver = queue.popleft()
            if queue:
                self._turns.append(owner)
            else:
                del self._waiting[owner]
            self._free -= 1
            try:
                self._threads.submit(self._run, work, deliver)
            except RuntimeError:  # closed: whoever still waits has been given up
                return

    def _run(self, work: Work, deliver: Deliver) -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told
            failure = error
        self._bell.ring(lambda: self._done(deliver, result, failure))

    def _done(self, deliver: Deliver, result: Any, failure: Exception | None) -> None:
        self._free += 1
        self._start()
        deliver(result, failure)
