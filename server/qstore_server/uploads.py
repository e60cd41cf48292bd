"""The requests of one connection that come in parts."""

from __future__ import annotations

from collections.abc import Callable

from qstore_db.errors import ArgumentError, ProtocolError, QueueFullError
from qstore_db.wire.frames import Bytes
from qstore_db.wire.messages import Kind, Message, encode
from qstore_db.wire.parts import joined
from qstore_db.wire.streams import Incoming
from qstore_server.config import ServerConfig
from qstore_server.pace import Pace
from qstore_server.requests import Request

MAX_UPLOADS = 8
"""At once on a connection: each may have a window's bytes on the way that nobody has room for yet."""
STALLED_SECONDS = 60.0
"""So far may all of a connection together be behind the least rate."""
_MAX_REFUSED = 1_024


class Uploads:
    """Keeps the parts until the last one is there.

    While there is no room, only the oldest upload is granted more: it must be able to end, or what it holds would
    never be answered.
    """

    def __init__(self, send: Callable[[list[Bytes]], None], config: ServerConfig) -> None:
        self._send = send
        self._window = config.window
        self._limit = config.request_bytes
        self._rate = config.frame_rate
        self._pace = Pace(self._rate)
        self._coming: dict[int, tuple[Request, Incoming]] = {}
        self._owed: dict[int, int] = {}
        self._refused: set[int] = set()

    def __len__(self) -> int:
        return len(self._coming)

    @property
    def charged(self) -> int:
        """Bytes of memory that all of them take."""
        return sum(request.charge for request, _ in self._coming.values())

    def begin(self, request: Request) -> None:
        """Raises QueueFullError where too many have begun."""
        if len(self._coming) >= MAX_UPLOADS:
            raise QueueFullError(
                f"{MAX_UPLOADS} uploads are under way on this connection; send fewer at once",
                subject=request.operation.name,
            )
        self._coming[request.id] = request, Incoming(self._window, self._limit)

    def chunk(self, message: Message, nbytes: int, *, full: bool) -> Request | None:
        """Keep a part, which took `nbytes`; the request that it is of. None where that was refused before.

        Raises ArgumentError where the request has become too large, ProtocolError where there is none.
        """
        id = message.id
        self._pace.did(nbytes)
        if id in self._refused:
            self._grant(id, nbytes)
            return None
        request, incoming = self._of(message)
        if not incoming.take(message.body, nbytes):
            self.refuse(id)
            self._grant(id, nbytes)
            raise ArgumentError(
                f"a request of more than {self._limit:,} bytes is not accepted; send fewer records at once",
                subject=request.operation.name,
            )
        self._owed[id] = self._owed.get(id, 0) + nbytes
        self.pay(full=full)
        return request

    def end(self, message: Message) -> Request | None:
        """The request with all its parts; None where it was refused.

        Raises ArgumentError for parts that do not fit together, ProtocolError where there are none.
        """
        if message.id in self._refused:
            self._refused.discard(message.id)
            return None
        request, incoming = self._of(message)
        self._forget(message.id)
        try:
            whole = joined([request.fields, *incoming.parts])
        except ProtocolError as error:
            raise ArgumentError(error.message, subject=request.operation.name) from None
        request.complete(whole)
        return request

    def refuse(self, id: int) -> bool:
        """Take no notice of what still comes of an upload, up to its END; whether it was under way."""
        self._refused.add(id)
        if len(self._refused) > _MAX_REFUSED:
            raise ProtocolError(f"{_MAX_REFUSED} refused uploads were never ended")
        return self._forget(id)

    def pay(self, *, full: bool) -> None:
        """Grant what came, to the oldest upload always, to the others where there is room."""
        for id in list(self._coming)[:1] if full else list(self._coming):
            owed = self._owed.pop(id, 0)
            if owed:
                self._coming[id][1].granted(owed)
                self._grant(id, owed)

    def is_stalled(self, now: float, came: int, *, waiting: bool) -> bool:
        """Whether they have kept what they hold for too long; to be asked again and again.

        came: bytes of the frame under way, perhaps one of theirs; waiting: whether what the peer sends is read.
        """
        if not self._coming:
            self._pace = Pace(self._rate)
        self._pace.look(now, waiting=waiting and bool(self._coming))
        return self._pace.behind - came / self._rate > STALLED_SECONDS

    def clear(self) -> list[Request]:
        """The connection is gone: those that were under way."""
        requests = [request for request, _ in self._coming.values()]
        self._coming.clear()
        return requests

    def _of(self, message: Message) -> tuple[Request, Incoming]:
        try:
            return self._coming[message.id]
        except KeyError:
            raise ProtocolError(f"{message.kind.name} of {message.id} belongs to no stream") from None

    def _forget(self, id: int) -> bool:
        self._owed.pop(id, None)
        return self._coming.pop(id, None) is not None

    def _grant(self, id: int, nbytes: int) -> None:
        self._send(encode(Message(Kind.WINDOW, id, "", nbytes)))
