"""Following what happens to a collection: arguments checked, and refused where the engine cannot tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from qstore_db.database.arguments import check_able
from qstore_db.engines.base import Feed
from qstore_db.errors import ArgumentError

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine

BATCH = 1_000
"""Ops that a watcher reads at once: some ten milliseconds, and no more than their records in memory."""


class WatchCalls:
    """Safe to use from many threads; holds no state of its own."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine

    def start(self, collection: str, since: int | None = None) -> Feed:
        """What happens to a collection after op sequence `since`, by default from now on.

        A watcher that may have missed too much starts one from now on, reads everything with scroll, and then
        follows it. Raises CollectionNotFoundError, SequenceExpired, ArgumentError.
        """
        check_able(self._engine, "watch", "watch")
        return self._engine.feed(collection, self._engine.sequence if since is None else _sequence(since))

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call after each commit, drop and close, as `WatchableEngine.subscribe` says."""
        check_able(self._engine, "watch", "watch")
        return self._engine.subscribe(callback)


def _sequence(since: object) -> int:
    if isinstance(since, bool) or not isinstance(since, (int, np.integer)):
        raise ArgumentError(f"since={since!r} must be an op sequence, an integer", subject="since")
    return int(since)
