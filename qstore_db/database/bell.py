"""From other threads onto an event loop, many at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable


class Bell:
    """Runs functions on one event loop. Waking a loop is a system call that gives the interpreter's lock away, and
    for a whole group of writes one is enough."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._rung = False

    def ring(self, function: Callable[[], None]) -> None:
        """Have `function` called on the loop. Callable from any thread."""
        self._waiting.append(function)
        if not self._rung and self.loop is not None:
            self._rung = True
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                self.loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._rung = False  # before the queue is emptied: whoever comes after that rings again
        while self._waiting:
            self._waiting.popleft()()
