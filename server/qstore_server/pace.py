"""Whether a peer that is waited for keeps up the least rate."""

from __future__ import annotations


class Pace:
    """How far a peer is behind: each second of waiting for it adds one, what it does takes off the time due for it.

    What it did faster than it had to is not saved up: memory that is held for it cannot be held on that account.
    """

    __slots__ = ("_looked", "_rate", "behind")

    def __init__(self, rate: float) -> None:
        """rate: bytes a second."""
        self._rate = rate
        self._looked: float | None = None
        self.behind = 0.0
        """Seconds."""

    def look(self, now: float, *, waiting: bool) -> None:
        """To be called again and again; time counts from one look to the next where both found it waited for."""
        if waiting and self._looked is not None:
            self.behind += now - self._looked
        self._looked = now if waiting else None

    def did(self, nbytes: int) -> None:
        self.behind = max(self.behind - nbytes / self._rate, 0.0)
