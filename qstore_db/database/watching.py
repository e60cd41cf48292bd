"""Following what happens to a collection: arguments checked, and refused where the engine cannot tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qstore_db.database.arguments import check_able, check_since
from qstore_db.engines.base import Feed

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine


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
        return self._engine.feed(collection, self._engine.sequence if since is None else check_since(since))

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call after each commit, drop and close, as `WatchableEngine.subscribe` says."""
        check_able(self._engine, "watch", "watch")
        return self._engine.subscribe(callback)
