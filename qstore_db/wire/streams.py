"""Streams under windows: who sends waits for the receiver to grant more bytes.

A stream is CHUNK messages and an END, all with the id of the request that they belong to. Each CHUNK's frame takes
its length from the window; a frame may be sent while any of the window is left, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qstore_db.errors import ProtocolError
from qstore_db.wire.frames import Bytes
from qstore_db.wire.limits import MAX_WINDOW
from qstore_db.wire.messages import Kind, Message, encode


def check_grant(count: object, window: int = 0) -> int:
    """How many bytes a WINDOW grants on top of `window`. Raises ProtocolError for what is no such number."""
    if type(count) is not int or not 0 < count <= MAX_WINDOW - window:
        raise ProtocolError(f"a window cannot grow by {count!r:.40}")
    return count


class Outgoing:
    """The parts of one body on their way out."""

    def __init__(self, id: int, parts: Iterator[Mapping[str, Any]], window: int) -> None:
        self.id = id
        self._parts = parts
        self._window = window
        self.complete = False
        self.pending = 0
        """Bytes that were sent, and for which nothing has been granted yet."""

    @property
    def waiting(self) -> bool:
        """Whether nothing more may be sent before the receiver grants it."""
        return self._window <= 0 and not self.complete

    def grant(self, count: object) -> int:
        """So many bytes more may be sent. Raises ProtocolError for what is no number of bytes."""
        granted = check_grant(count, self._window)
        self._window += granted
        self.pending = max(self.pending - granted, 0)
        return granted

    def ready(self) -> Iterator[list[Bytes]]:
        """The frames that may be sent now; after the END, `complete` is true."""
        while self._window > 0 and not self.complete:
            part = next(self._parts, None)
            if part is None:
                self.complete = True
                yield encode(Message(Kind.END, self.id))
                return
            frame = encode(Message(Kind.CHUNK, self.id, "", part))
            nbytes = sum(map(len, frame))
            self._window -= nbytes
            self.pending += nbytes
            yield frame


class Incoming:
    """The parts of one body as they come in."""

    def __init__(self, window: int, limit: int) -> None:
        """window: bytes that the sender may have on the way; limit: bytes of the whole."""
        self._window = window
        self._limit = limit
        self.parts: list[Any] = []
        self.nbytes = 0

    def take(self, part: Any, nbytes: int) -> bool:
        """Keep a part whose frame took `nbytes`; whether the whole is still within its limit.

        Raises ProtocolError where the sender had no window left.
        """
        if self._window <= 0:
            raise ProtocolError("a stream went on without a window")
        self._window -= nbytes
        self.nbytes += nbytes
        if self.nbytes > self._limit:
            return False
        self.parts.append(part)
        return True

    def granted(self, nbytes: int) -> None:
        """The sender was told that it may send so many bytes more."""
        self._window += nbytes
