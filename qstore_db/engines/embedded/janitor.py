"""Background upkeep: snapshots of the index, superseded rows, expired records, the oplog's end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from qstore_db.errors import QStoreError

PERIOD = 0.5
"""Seconds between rounds; a round that finds nothing to do costs microseconds."""


class Janitor:
    """A thread that goes round the chores. A chore that fails is tried again next round; its error is
    kept."""

    def __init__(self, chores: Sequence[Callable[[], object]]) -> None:
        self._chores = chores
        self._stop = threading.Event()
        self._round = threading.Lock()
        self.fault: str | None = None
        self._thread = threading.Thread(target=self._run, name="qstore-janitor", daemon=True)
        self._thread.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No chore runs while the block does."""
        with self._round:
            yield

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD):
            with self._round:
                started = time.monotonic()
                self._sweep()
                spent = time.monotonic() - started
            # Upkeep takes at most half of the time, however much there is to do.
            self._stop.wait(min(spent, 10.0))

    def _sweep(self) -> None:
        for chore in self._chores:
            if self._stop.is_set():
                return
            try:
                chore()
                self.fault = None
            except (QStoreError, OSError, RuntimeError) as error:
                self.fault = f"{type(error).__name__}: {error}"
