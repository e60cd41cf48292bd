"""A watcher of a collection on its connection: changes are read in a lane and sent under the client's window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from qstore_db.database.bell import Bell
from qstore_db.database.operations import WATCH
from qstore_db.database.operations.watching import WATCH_OPS
from qstore_db.errors import ArgumentError
from qstore_db.records import Change
from qstore_db.wire.frames import Bytes
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, encode, fits
from qstore_db.wire.streams import check_grant
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
        self._ready: deque[list[Bytes]] = deque()
        self._first = True
        self._unsubscribe = core.watches.subscribe(
            lambda: bell.ring(self._look) if self._feed.due() else None
        )

    def begin(self) -> None:
        self._look()

    def grant(self, count: object) -> None:
        """Raises ProtocolError for what is no number of bytes."""
        self._window += check_grant(count, self._window)
        self._look()

    def close(self) -> None:
        self._closed = True
        self._unsubscribe()

    def _look(self) -> None:
        while self._ready and self._window > 0 and not self._closed:
            frame = self._ready.popleft()
            self._window -= sum(map(len, frame))
            self._request.connection.send(frame)
        if self._closed or self._busy or self._ready or self._window <= 0:
            return
        if self._first or self._feed.due():
            self._busy = True
            self._lane.submit(self._request.connection, self._read, self._deliver)

    def _read(self) -> list[list[Bytes]]:
        changes = [] if self._first else self._feed.next(self._ops)
        return list(self._frames(changes, self._feed.sequence))

    def _frames(self, changes: list[Change], sequence: int) -> Iterator[list[Bytes]]:
        """In as many frames as they need. Raises ArgumentError for one that no frame holds."""
        frame = encode(Message(Kind.CHUNK, self._request.id, "", WATCH.answer(changes, sequence)))
        if fits(frame, Limits()):
            yield frame
        elif len(changes) > 1:
            half = len(changes) // 2
            yield from self._frames(changes[:half], changes[half - 1].sequence)
            yield from self._frames(changes[half:], sequence)
        else:
            raise ArgumentError(
                f"the change {sequence} takes more than one frame holds; watch on from it", subject="watch"
            )

    def _deliver(self, frames: Any, error: Exception | None) -> None:
        self._busy = self._first = False
        if self._closed:
            return
        if error is not None:
            self._failed(self._request, error)
            return
        self._ready.extend(frames)
        self._look()
