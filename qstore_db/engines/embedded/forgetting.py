"""How long receipts are kept: by the time that the process runs, since clocks of the day are set back and forth."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import lmdb
import numpy as np

from qstore_db.errors import ClosedError

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine

RECEIPT_SECONDS = 3600.0
"""A receipt is kept for this long at least, and for half as long again at most."""
MAX_RECEIPTS = 1_000_000
"""Beyond so many, the oldest are forgotten sooner: up to 100 MB of the data file."""
_BATCH = 1_000
_REST = 0.0005
"""Seconds between two reads of a scan: it takes less than half of the interpreter's time."""
_ROOM_SECONDS = 5.0
"""Between two scans for the oldest, even where they find no room: a full disk is no reason to scan all the time."""

Upkeep: TypeAlias = "Callable[[Callable[[lmdb.Transaction[bytes]], None]], None]"
"""Does some work in the writer's next transaction, and waits for it."""


class Forgetter:
    """Forgets receipts by the op sequences that were current some time ago.

    A receipt below a sequence that was noted `RECEIPT_SECONDS` ago is older than that. One at that sequence may
    be younger: a write that changed nothing, such as the delete of an absent record, is answered with the
    sequence of the last one that did. Notes are not stored, so that after a restart every receipt has its full
    time before it.
    """

    def __init__(
        self, engine: EmbeddedEngine, upkeep: Upkeep, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._upkeep = upkeep
        self._seconds = seconds
        self._noted_at = seconds()
        self._notes = (0, engine.sequence)
        self._next_room = self._noted_at

    def forget(self) -> None:
        """What is due."""
        now = self._seconds()
        if now - self._noted_at >= RECEIPT_SECONDS / 2:
            older, newer = self._notes
            # First, so that what fails is tried again with the next note, and not at every round.
            self._noted_at, self._notes = now, (newer, self._engine.sequence)
            self._remove(older)
        if now >= self._next_room and self._engine.receipts.count() > MAX_RECEIPTS:
            self._next_room = now + _ROOM_SECONDS
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        """Make room for a quarter more, or each further receipt would cost a scan."""
        scanned = (receipt.sequence for _, receipt in self._engine.receipts.scan(self._breathe))
        sequences = np.fromiter(scanned, np.int64)
        excess = len(sequences) - MAX_RECEIPTS * 3 // 4
        if excess <= 0:
            return
        last = int(np.partition(sequences, excess - 1)[excess - 1])
        older = int((sequences < last).sum())
        self._remove(last)
        self._remove(last + 1, excess - older)

    def _remove(self, below: int, limit: float = float("inf")) -> None:
        """Up to `limit` receipts with sequences below that one."""
        doomed: list[bytes] = []
        for key, receipt in self._engine.receipts.scan(self._breathe):
            if limit <= 0:
                break
            if receipt.sequence < below:
                doomed.append(key)
                limit -= 1
            if len(doomed) == _BATCH:
                self._upkeep(partial(self._drop, keys=doomed))
                doomed = []
        if doomed:
            self._upkeep(partial(self._drop, keys=doomed))

    def _drop(self, transaction: lmdb.Transaction[bytes], keys: list[bytes]) -> None:
        self._engine.receipts.remove(transaction, self._engine.current_group(), keys)

    def _breathe(self) -> None:
        time.sleep(_REST)
        if self._engine.closing:
            raise ClosedError("the database is closing")
