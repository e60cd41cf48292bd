"""Many transactions at a time, or none while the file itself is exchanged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Counts who is inside; `alone` waits until everyone has left and keeps newcomers out.

    A thread that is inside may enter again at any time: it would otherwise wait for someone who waits for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inside: dict[int, int] = {}  # how often each thread has entered
        self._alone = False

    def enter(self) -> int:
        """Wait while someone is alone; what to give to `leave`, in whichever thread."""
        me = threading.get_ident()
        with self._lock:
            if self._alone and me not in self._inside:
                self._changed.wait_for(lambda: not self._alone)
            self._inside[me] = self._inside.get(me, 0) + 1
        return me

    def leave(self, who: int) -> None:
        with self._lock:
            self._inside[who] -= 1
            if not self._inside[who]:
                del self._inside[who]
                if self._alone:
                    self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else is inside for the length of the block."""
        me = threading.get_ident()
        with self._lock:
            self._changed.wait_for(lambda: not self._alone)
            self._alone = True
            self._changed.wait_for(lambda: self._inside.keys() <= {me})
        try:
            yield
        finally:
            with self._lock:
                self._alone = False
                self._changed.notify_all()
