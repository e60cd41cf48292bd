"""Background upkeep: snapshots of the index, superseded rows, expired records, the oplog's end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from qstore_db.errors import QStoreError

PERIOD = 0.5
"""Seconds between rounds; a round that finds nothing to do costs microseconds."""
_log = logging.getLogger(__name__)


class Janitor:
    """A thread that goes round the chores. A chore that fails is tried again next round, and keeps no other from
    its turn; its error is kept until it succeeds."""

    def __init__(self, chores: Sequence[Callable[[], object]]) -> None:
        self._chores = chores
        self._stop = threading.Event()
        self._round = threading.Lock()
        self._faults: dict[int, str] = {}
        self._thread = threading.Thread(target=self._run, name="qstore-janitor", daemon=True)
        self._thread.start()

    @property
    def fault(self) -> str | None:
        """What the chores that failed last time failed of."""
        return "; ".join(dict.fromkeys(self._faults.copy().values())) or None

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
        for number, chore in enumerate(self._chores):
            if self._stop.is_set():
                return
            try:
                chore()
                self._faults.pop(number, None)
            except (QStoreError, OSError, RuntimeError) as error:
                self._faults[number] = _told(error)
            except Exception as error:  # noqa: BLE001 - a mistake in one chore must not end all upkeep
                if self._faults.get(number) != _told(error):  # else it would be logged twice a second
                    _log.error("a chore failed", exc_info=error)
                self._faults[number] = _told(error)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
