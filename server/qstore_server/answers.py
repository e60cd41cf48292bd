"""The answers of one connection that go out in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from qstore_db.errors import QStoreError
from qstore_db.wire.frames import Bytes
from qstore_db.wire.streams import Outgoing
from qstore_server.config import ServerConfig
from qstore_server.pace import Pace
from qstore_server.requests import Request


class Answers:
    """Sends parts while their receiver has granted room for more, and takes what is sent."""

    def __init__(
        self,
        send: Callable[[list[Bytes]], None],
        done: Callable[[Request, QStoreError | None], None],
        config: ServerConfig,
    ) -> None:
        """done: is told what was sent to its end, or what error came in place of the next part."""
        self._send = send
        self._done = done
        self._seconds = config.frame_seconds
        self._rate = config.frame_rate
        self._under_way: dict[int, tuple[Request, Outgoing, Pace]] = {}
        self._choked_since: float | None = None

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def choked(self) -> bool:
        """Whether what was sent waits to be taken, and nothing is added to it."""
        return self._choked_since is not None

    def begin(self, request: Request, parts: Iterator[dict[str, Any]], window: int) -> None:
        """Nothing is sent before `go_on`. window: bytes that may be sent before more is granted."""
        self._under_way[request.id] = request, Outgoing(request.id, parts, window), Pace(self._rate)

    def go_on(self, id: int) -> None:
        """Send what may be sent now."""
        request, stream, _ = self._under_way[id]
        error = None
        try:
            if not self.choked:
                for frame in stream.ready():
                    self._send(frame)
                    if self.choked:
                        break
        except QStoreError as unfit:  # a value that fits no frame
            error = unfit
        if (error is not None or stream.complete) and self.drop(id):
            self._done(request, error)

    def grant(self, id: int, count: object) -> bool:
        """Send as many bytes more; whether there is such an answer.

        Raises ProtocolError for what is no number of bytes.
        """
        if id not in self._under_way:
            return False
        _, stream, pace = self._under_way[id]
        pace.did(stream.grant(count))
        self.go_on(id)
        return True

    def choke(self, now: float) -> None:
        """What was sent is not taken: stop."""
        self._choked_since = now

    def resume(self) -> None:
        """What was sent was taken."""
        self._choked_since = None
        for id in list(self._under_way):
            if id in self._under_way:  # what one of them brought about may have ended another
                self.go_on(id)

    def drop(self, id: int) -> bool:
        """Send no more of an answer; whether it was under way."""
        return self._under_way.pop(id, None) is not None

    def is_stuck(self, now: float, unsent: int) -> bool:
        """Whether what was sent has not been taken for too long; `unsent` bytes of it are left."""
        return self._choked_since is not None and now - self._choked_since > self._allowed(unsent)

    def give_up(self, now: float, *, waiting: bool) -> list[Request]:
        """Drop those for whose next parts nobody asks; to be called again and again.

        waiting: whether what the peer sends is read.
        """
        late: list[Request] = []
        for request, stream, pace in self._under_way.values():
            pace.look(now, waiting=stream.waiting and waiting)
            if pace.behind > self._allowed(stream.pending):
                late.append(request)
        for request in late:
            del self._under_way[request.id]
        return late

    def clear(self) -> list[Request]:
        """The connection is gone: those that were under way."""
        requests = [request for request, _, _ in self._under_way.values()]
        self._under_way.clear()
        return requests

    def _allowed(self, nbytes: int) -> float:
        return self._seconds + nbytes / self._rate
