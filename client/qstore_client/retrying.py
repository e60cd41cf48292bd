"""How long a call goes on trying: until its deadline, with pauses that grow and differ between clients."""

from __future__ import annotations

import random
import time

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0


class Patience:
    """The time that one call has, and its attempts."""

    def __init__(self, timeout: float | None, retries: int) -> None:
        self.timeout = timeout
        self._until = None if timeout is None else time.monotonic() + timeout
        self._left = retries
        self._pause = FIRST_PAUSE

    @property
    def left(self) -> float | None:
        """Seconds until the deadline, 0 at least; None where there is none."""
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)

    @property
    def over(self) -> bool:
        return self.left == 0.0

    def pause(self) -> float | None:
        """Seconds to wait before the next attempt; None where there is to be none."""
        if self._left == 0:
            return None
        self._left -= 1
        pause, self._pause = self._pause * random.uniform(0.5, 1.5), min(2 * self._pause, LONGEST_PAUSE)
        left = self.left
        return None if left is not None and pause >= left else pause
