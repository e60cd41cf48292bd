"""One connection: bytes in, messages out, and the bounds on what a peer may take of the server."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from qstore_db.database import operations
from qstore_db.database.operations import Fields, Operation
from qstore_db.errors import (
    ArgumentError,
    AuthenticationError,
    CancelledError,
    ForbiddenError,
    ProtocolError,
    QStoreError,
    QueueFullError,
    UnreachableError,
    WaitTimeoutError,
)
from qstore_db.wire.faults import fault_body
from qstore_db.wire.frames import Bytes, Frame, FrameReader
from qstore_db.wire.greeting import VERSION, Hello
from qstore_db.wire.limits import UNAUTHENTICATED, Limits
from qstore_db.wire.messages import Kind, Message, decode, encode
from qstore_db.wire.streams import Outgoing
from qstore_server.access import Role, Token
from qstore_server.pace import Pace
from qstore_server.requests import Answer, Request
from qstore_server.tokens import SERVED
from qstore_server.uploads import Uploads

if TYPE_CHECKING:
    from qstore_server.server import Server
    from qstore_server.watching import Watch

_SMALL = 1 << 16
"""Frames that take no more are not counted while they are under way: `max_connections` of them are 256 MiB."""
_HIGH_WATER = 1 << 20
_log = logging.getLogger("qstore.server")


class Connection(asyncio.Protocol):
    """Speaks the protocol with one peer. Everything here runs on the event loop."""

    def __init__(self, server: Server, *, trusted: bool) -> None:
        """trusted: the peer needs no token, since only the owner of the directory can reach it."""
        self.number = server.next_number()
        self._server = server
        self._trusted = trusted
        self._loop = server.loop
        self._limits = UNAUTHENTICATED
        self._reader = FrameReader(UNAUTHENTICATED)
        self._transport: asyncio.Transport | None = None
        self.window = 0
        """Bytes of each stream that may be sent before the peer grants more."""
        self._last_id = 0
        self._charged = 0
        self._requests: dict[int, Request] = {}
        self._uploads = Uploads(self.send, server.config)
        self._streams: dict[int, tuple[Request, Outgoing, Pace]] = {}
        self._watches: dict[int, tuple[Request, Watch]] = {}
        self._deferred: deque[Request] = deque()
        self._going_away = False
        self._paused = False
        self._choked_since: float | None = None
        self._opened = self._active = self._loop.time()
        self._frame_since: float | None = None
        self.token: Token | None = None
        self.peer = ""

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        address = transport.get_extra_info("peername")
        self.peer = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "local"
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - either way it is gone
        self._transport = None
        for request in self._requests.values():
            request.cancelled = True
        for _, watch in self._watches.values():
            watch.close()
        left = [*self._uploads.clear(), *self._deferred]
        left += [request for request, _, _ in self._streams.values()]
        left += [request for request, _ in self._watches.values()]
        self._deferred.clear()
        self._streams.clear()
        self._watches.clear()
        for request in left:
            self._finish(request, _taken_back(request))
        self._server.hold(self, 0)
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        now = self._active = self._loop.time()
        self._server.statistics.counts.received_bytes += len(data)
        begun = self._frame_since if self._reader.under_way else None
        try:
            for frame in self._reader.feed(data):
                if begun is not None:
                    begun = None
                    self._server.hold(self, 0)  # what it says is charged instead
                self._take(decode(frame, self._limits), frame)
                if self._transport is None or self._transport.is_closing():
                    return
        except ProtocolError as error:
            self._server.statistics.counts.protocol_errors += 1
            self._break(error)
            return
        self._frame_since = (begun or now) if self._reader.under_way else None
        if self._reader.claimed > _SMALL:
            self._server.hold(self, self._reader.came)
            self._throttle()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._choked_since = self._loop.time()
        self._throttle()

    def resume_writing(self) -> None:
        self._choked_since = None
        for request, stream, _ in list(self._streams.values()):
            self._pump(request, stream)
        self._throttle()

    # What the server calls

    def sweep(self, now: float) -> None:
        """Close what takes too long: a greeting, a frame, an upload, reading an answer, or doing nothing."""
        config, transport = self._server.config, self._transport
        if transport is None:
            return
        if self.token is None and now - self._opened > config.frame_seconds:
            self._drop("no greeting came")
        elif (
            self._frame_since is not None
            and not self._paused
            and now - self._frame_since > config.frame_seconds + self._reader.came / config.frame_rate
        ):
            self._drop("a frame came too slowly")
        elif self._choked_since is not None and now - self._choked_since > (
            config.frame_seconds + transport.get_write_buffer_size() / config.frame_rate
        ):
            self._drop("answers are not read")
        elif self._uploads.is_stalled(now, self._reader.came, waiting=not self._paused):
            self._drop("an upload does not go on")
        elif not self._requests and not self._streams and now - self._active > config.idle_seconds:
            self.go_away()
        else:
            self._end_unwanted(now)

    def go_away(self) -> None:
        """Take no further requests, answer those that came, then close."""
        if self._transport is None or self._going_away:
            return
        self._going_away = True
        self.send(encode(Message(Kind.GOAWAY, self._last_id)))
        for request, _ in list(self._watches.values()):
            self.answer(request, UnreachableError("the server is going away", subject=request.operation.name))
        self._close_if_done()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def revoke(self) -> None:
        """The token is no longer valid."""
        self._break(AuthenticationError("the token was revoked", subject="token"))

    def grant(self) -> None:
        """The server has room again."""
        self._throttle()

    # What the service calls

    def watched(self, request: Request, watch: Watch) -> None:
        """The request goes on until the peer takes it back, or its answer is an error."""
        self._watches[request.id] = request, watch

    def answer(self, request: Request, answer: Answer | QStoreError) -> None:
        """Send an answer, or the error, and be done with the request; a stream goes on under its window."""
        if request.id in self._watches:
            self._watches.pop(request.id)[1].close()
        error = answer if isinstance(answer, QStoreError) else None
        if self._transport is not None and not self._transport.is_closing():
            if error is not None:
                self.send(encode(Message(Kind.ERROR, request.id, "", fault_body(error))))
            elif isinstance(answer, list):
                self.send(answer)
            elif request.cancelled:
                error = _taken_back(request)
                self.send(encode(Message(Kind.ERROR, request.id, "", fault_body(error))))
            else:
                assert not isinstance(answer, QStoreError)
                stream = Outgoing(request.id, answer, self.window)
                self._streams[request.id] = request, stream, Pace(self._server.config.frame_rate)
                self._throttle()
                self._pump(request, stream)
                return
        self._finish(request, error)

    def visible(self, operation: Operation[Any, Any], body: Fields) -> Fields:
        """Of an answer about all collections, what the token may see."""
        limits = None if self.token is None else self.token.collections
        if limits is None:
            return body
        if operation is operations.LIST_COLLECTIONS:
            return {"names": [name for name in body["names"] if name in limits]}
        if operation is operations.LIST_GROUPS:
            return {"groups": [group for group in body["groups"] if group["collection"] in limits]}
        return body

    # Messages

    def _take(self, message: Message, frame: Frame) -> None:
        if self.token is None:
            self._greet(message)
        elif message.kind is Kind.REQUEST:
            self._request(message)
        elif message.kind in (Kind.CHUNK, Kind.END):
            self._upload(message, frame)
        elif message.kind is Kind.CANCEL:
            self._cancel(message.id)
        elif message.kind is Kind.WINDOW:
            if message.id in self._streams:
                request, stream, pace = self._streams[message.id]
                pace.did(stream.grant(message.body))
                self._pump(request, stream)
            elif message.id in self._watches:
                self._watches[message.id][1].grant(message.body)
        elif message.kind is Kind.PING:
            self.send(encode(Message(Kind.PONG, message.id)))
        elif message.kind is not Kind.PONG:
            raise ProtocolError(f"a client sends no {message.kind.name} here")

    def _greet(self, message: Message) -> None:
        if message.kind is not Kind.HELLO:
            raise ProtocolError("a client begins with HELLO")
        hello = Hello.of(message.body)
        if hello.version != VERSION:
            raise ProtocolError(f"this server speaks version {VERSION} of the protocol, not {hello.version}")
        try:
            self.token = self._server.authenticate(hello.token, trusted=self._trusted)
        except AuthenticationError as error:
            self._server.statistics.counts.authentication_failures += 1
            _log.warning("authentication failed", extra={"peer": self.peer})
            self._break(error)
            return
        self._limits = self._reader.limits = Limits()
        self.window = hello.window
        self._server.admitted(self)
        self.send(encode(Message(Kind.HELLO, 0, "", self._server.welcome(self.token).body())))

    def _request(self, message: Message) -> None:
        if message.id <= self._last_id:
            raise ProtocolError(f"request {message.id} comes after {self._last_id}: ids must rise")
        if self._going_away:  # as GOAWAY said
            if isinstance(message.body, dict) and "$more" in message.body:
                self._uploads.refuse(message.id)
            return
        self._last_id = message.id
        operation = SERVED.get(message.op)
        if operation is None:
            self._refuse(message, ArgumentError(f"there is no operation {message.op!r:.80}", subject="op"))
            return
        if self._streams and len(self._requests) >= 2 * self._server.config.max_requests:
            # Reading cannot be paused while an answer waits for a window.
            error = QueueFullError(
                f"{len(self._requests)} requests are in flight; send fewer", subject="requests"
            )
            self._refuse(message, error)
            return
        try:
            request = Request(self, message.id, operation, message.body, message.nbytes, self._active)
            self._check_allowed(request)
            if request.more:
                self._uploads.begin(request)
        except QStoreError as error:
            self._refuse(message, error)
            return
        self._requests[message.id] = request
        self._server.begun()
        self._charge(request.charge)
        if not request.more:
            self._perform(request)

    def _perform(self, request: Request) -> None:
        """Begin at once, or once there is room for the answer: for one there always is."""
        if self._is_full and self._served > 1:
            self._deferred.append(request)
            return
        expected = self._server.service.answer_bytes(request)
        if expected:
            request.charge += expected
            self._charge(expected)
        self._server.service.perform(request)

    def _refuse(self, message: Message, error: QStoreError) -> None:
        self._server.statistics.answered(message.op, 0.0, error.code)
        if isinstance(message.body, dict) and "$more" in message.body:
            self._uploads.refuse(message.id)
        self.send(encode(Message(Kind.ERROR, message.id, "", fault_body(error))))

    def _check_allowed(self, request: Request) -> None:
        assert self.token is not None
        operation, needed = request.operation, Role(request.operation.role)
        self.token.require(needed)
        if self.token.collections is None:
            return
        for collection in request.collections():
            self.token.require(needed, collection)
        everything = not operation.scope and operation not in (
            operations.LIST_COLLECTIONS,
            operations.LIST_GROUPS,
            operations.WAIT_INDEXED,
        )
        if everything:
            raise ForbiddenError(
                f"{operation.name} is about all collections, and token {self.token.name!r} is limited to some",
                subject=operation.name,
            )

    def _upload(self, message: Message, frame: Frame) -> None:
        if message.kind is Kind.END:
            self._ended(message)
            self._throttle()
            return
        try:
            request = self._uploads.chunk(message, len(frame), full=self._is_full)
            if request is not None:
                self._check_room(request, message.nbytes)
        except (ArgumentError, QueueFullError) as error:
            self._uploads.refuse(message.id)
            self.answer(self._requests[message.id], error)
            return
        if request is not None:
            request.charge += message.nbytes
            self._charge(message.nbytes)

    def _ended(self, message: Message) -> None:
        try:
            request = self._uploads.end(message)
            if request is None:
                return
            self._check_allowed(request)  # a later part may have named what the first did not
        except (ArgumentError, ForbiddenError) as error:
            self.answer(self._requests[message.id], error)
        else:
            self._perform(request)

    def _check_room(self, request: Request, nbytes: int) -> None:
        """An upload goes on when the server is full, since it must be able to end; but not without bounds."""
        limit = self._server.config.server_bytes
        if request.charge + nbytes > limit:
            raise ArgumentError(
                f"a request that takes more than {limit:,} bytes of memory is not accepted; "
                "send fewer records at once",
                subject=request.operation.name,
            )
        if self._server.is_crowded:
            raise QueueFullError(
                "uploads take all the memory that the server may use; send it again later",
                subject=request.operation.name,
            )

    def _cancel(self, id: int) -> None:
        if id in self._requests:
            request = self._requests[id]
            request.cancelled = True
            self._server.statistics.counts.cancellations += 1
            coming = request.more and self._uploads.refuse(id)
            if coming or id in self._streams or id in self._watches:
                self._streams.pop(id, None)
                self.answer(request, _taken_back(request))

    # Time

    def _end_unwanted(self, now: float) -> None:
        """Give up answers for whose next parts nobody asks."""
        config = self._server.config
        for request, stream, pace in list(self._streams.values()):
            pace.look(now, waiting=stream.waiting and not self._paused)
            if pace.behind > config.frame_seconds + stream.pending / config.frame_rate:
                del self._streams[request.id]
                error = WaitTimeoutError("the answer was not taken in time", subject=request.operation.name)
                self.answer(request, error)

    # Flow

    def _pump(self, request: Request, stream: Outgoing) -> None:
        try:
            if self._choked_since is None:
                for frame in stream.ready():
                    self.send(frame)
                    if self._choked_since is not None:
                        break
        except QStoreError as error:  # a value that fits no frame
            del self._streams[request.id]
            self.answer(request, error)
            return
        if stream.complete and request.id in self._streams:
            del self._streams[request.id]
            self._finish(request, None)

    def _finish(self, request: Request, error: QStoreError | None) -> None:
        self._server.answered(request, error)
        if self._requests.pop(request.id, None) is not None:
            self._charge(-request.charge)
        if self._deferred and not self._served:
            self._perform(self._deferred.popleft())
        self._close_if_done()

    def _charge(self, nbytes: int) -> None:
        self._charged += nbytes
        self._server.charge(nbytes)
        self._throttle()

    def _throttle(self) -> None:
        """Read on only while what came is being answered, and answers are read."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._deferred and not self._is_full:
            self._perform(self._deferred.popleft())
        self._uploads.pay(full=self._is_full)
        full = len(self._requests) - len(self._uploads) >= self._server.config.max_requests
        if len(self._uploads):  # which must go on to end; what comes beside them is answered without them
            full |= self._charged - self._uploads.charged > self._server.config.connection_bytes
        else:
            full |= self._is_full and self._served > 0
        # Who waits for an answer's next parts must be heard when they are granted.
        wanted = (full and not self._streams) or self._choked_since is not None
        wanted |= self._server.must_wait(self)
        if wanted and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        elif self._paused and not wanted:
            self._paused = False
            if self._frame_since is not None:
                self._frame_since = self._loop.time()
            self._transport.resume_reading()

    @property
    def _served(self) -> int:
        """Requests that are being answered, and will soon make room for others."""
        return len(self._requests) - len(self._uploads) - len(self._watches) - len(self._deferred)

    @property
    def _is_full(self) -> bool:
        return (
            self._charged > self._server.config.connection_bytes
            or self._server.is_full
            or self._choked_since is not None
        )

    def send(self, frame: list[Bytes]) -> None:
        if self._transport is not None:
            self._server.statistics.counts.sent_bytes += sum(map(len, frame))
            self._transport.writelines(frame)

    def _close_if_done(self) -> None:
        if self._going_away and not self._requests and not self._streams and self._transport is not None:
            self._transport.close()

    def _break(self, error: QStoreError) -> None:
        """Say why, and close."""
        if self._transport is not None:
            self.send(encode(Message(Kind.ERROR, 0, "", fault_body(error))))
            self._transport.close()

    def _drop(self, reason: str) -> None:
        _log.info("connection dropped", extra={"peer": self.peer, "reason": reason})
        self._server.statistics.counts.connections_dropped += 1
        self.abort()


def _taken_back(request: Request) -> CancelledError:
    return CancelledError("the request was taken back", subject=request.operation.name)
