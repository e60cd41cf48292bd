"""A watcher of a collection on its connection: changes are read in a lane and sent under the client's window."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qstore_db.database.bell import Bell
from qstore_db.database.operations import WATCH
from qstore_db.database.operations.watching import WATCH_OPS
from qstore_db.errors import ArgumentError
from qstore_db.wire.frames import Bytes
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, encode, fits
from qstore_server.lanes import Lane
from qstore_server.requests import Request

if TYPE_CHECKING:
    from qstore_db.database.core import Core
    from qstore_db.engines.base import Feed

_CHUNK_BYTES = 4 << 20


class Watch:
    """Goes on until `close`. To be used on one event loop."""

    def __init__(
        self,
        core: Core,
        lane: Lane,
        bell: Bell,
        request: Request,
        window: int,
        failed: Callable[[Request, Exception], None],
    ) -> None:
        """Raises what `EmbeddedEngine.feed` does."""
        collection, since = WATCH.unpack(request.fields)
        self._feed: Feed = core.watches.start(collection, since)
        dimension = core.engine.view(collection).spec.dimension
        self._ops = max(1, min(WATCH_OPS, _CHUNK_BYTES // (4 * dimension)))
        self._lane = lane
        self._request = request
        self._window = window
        self._failed = failed
        self._busy = self._closed = False
        self._first = True
        self._unsubscribe = core.watches.subscribe(
            lambda: bell.ring(self._look) if self._feed.due() else None
        )

    def begin(self) -> None:
        self._look()

    def grant(self, count: int) -> None:
        self._window += count
        self._look()

    def close(self) -> None:
        self._closed = True
        self._unsubscribe()

    def _look(self) -> None:
        if self._closed or self._busy or self._window <= 0:
            return
        if self._first or self._feed.due():
            self._busy = True
            self._lane.submit(self._request.connection, self._read, self._deliver)

    def _read(self) -> list[Bytes]:
        changes = [] if self._first else self._feed.next(self._ops)
        body = WATCH.answer(changes, self._feed.sequence)
        frame = encode(Message(Kind.CHUNK, self._request.id, "", body))
        if not fits(frame, Limits()):
            raise ArgumentError(
                f"changes up to {self._feed.sequence} take more than one frame holds", subject="watch"
            )
        return frame

    def _deliver(self, frame: Any, error: Exception | None) -> None:
        self._busy = self._first = False
        if self._closed:
            return
        if error is not None:
            self._failed(self._request, error)
            return
        self._window -= sum(map(len, frame))
        self._request.connection.send(frame)
        self._look()
