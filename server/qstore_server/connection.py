"""One connection: bytes in, messages out, and the bounds on what a peer may take of the server."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from qstore_db.errors import (
    ArgumentError,
    AuthenticationError,
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
from qstore_server.access import Token
from qstore_server.answers import Answers
from qstore_server.flight import InFlight
from qstore_server.permission import check_allowed
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
        self._uploads = Uploads(self.send, server.config)
        self._answers = Answers(self.send, self._sent, server.config)
        self._watches: dict[int, tuple[Request, Watch]] = {}
        self._flight = InFlight(server.memory, server.config, self._uploads, self._answers, self._watches)
        self._going_away = False
        self._paused = False
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
        for request in self._flight.requests.values():
            request.cancelled = True
        for _, watch in self._watches.values():
            watch.close()
        left = [*self._uploads.clear(), *self._flight.deferred, *self._answers.clear()]
        left += [request for request, _ in self._watches.values()]
        self._flight.deferred.clear()
        self._watches.clear()
        for request in left:
            self._finish(request, request.taken_back())
        self._server.memory.hold(self, 0)
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        now = self._active = self._loop.time()
        self._server.statistics.counts.received_bytes += len(data)
        begun = self._frame_since if self._reader.under_way else None
        try:
            for frame in self._reader.feed(data):
                if begun is not None:
                    begun = None
                    self._server.memory.hold(self, 0)  # what it says is charged instead
                self._take(decode(frame, self._limits), frame)
                if self._transport is None or self._transport.is_closing():
                    return
        except ProtocolError as error:
            self._server.statistics.counts.protocol_errors += 1
            self._break(error)
            return
        self._frame_since = (begun or now) if self._reader.under_way else None
        if self._reader.claimed > _SMALL:
            self._server.memory.hold(self, self._reader.came)
            self._throttle()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._answers.choke(self._loop.time())
        self._throttle()

    def resume_writing(self) -> None:
        self._answers.resume()
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
        elif self._answers.is_stuck(now, transport.get_write_buffer_size()):
            self._drop("answers are not read")
        elif self._uploads.is_stalled(now, self._reader.came, waiting=not self._paused):
            self._drop("an upload does not go on")
        elif not self._flight.requests and now - self._active > config.idle_seconds:
            self.go_away()
        else:
            for request in self._answers.give_up(now, waiting=not self._paused):
                error = WaitTimeoutError("the answer was not taken in time", subject=request.operation.name)
                self.answer(request, error)

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
                error = request.taken_back()
                self.send(encode(Message(Kind.ERROR, request.id, "", fault_body(error))))
            else:
                assert not isinstance(answer, QStoreError)
                self._answers.begin(request, answer, self.window)
                self._throttle()
                self._answers.go_on(request.id)
                return
        self._finish(request, error)

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
            if not self._answers.grant(message.id, message.body) and message.id in self._watches:
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
        if self._flight.is_too_much:
            error = QueueFullError(
                f"{len(self._flight.requests)} requests are in flight; send fewer", subject="requests"
            )
            self._refuse(message, error)
            return
        assert self.token is not None
        try:
            request = Request(self, message.id, operation, message.body, message.nbytes, self._active)
            check_allowed(self.token, request)
            if request.more:
                self._uploads.begin(request)
        except QStoreError as error:
            self._refuse(message, error)
            return
        self._server.begun()
        self._flight.add(request)
        self._throttle()
        if not request.more:
            self._perform(request)

    def _perform(self, request: Request) -> None:
        """Begin at once, or once there is room for the answer: for one there always is."""
        if self._flight.is_full and self._flight.served > 1:
            self._flight.deferred.append(request)
            return
        expected = self._server.service.answer_bytes(request)
        if expected:
            self._flight.charge(request, expected)
            self._throttle()
        self._server.service.perform(request)

    def _refuse(self, message: Message, error: QStoreError) -> None:
        self._server.statistics.answered(message.op, 0.0, error.code)
        if isinstance(message.body, dict) and "$more" in message.body:
            self._uploads.refuse(message.id)
        self.send(encode(Message(Kind.ERROR, message.id, "", fault_body(error))))

    def _upload(self, message: Message, frame: Frame) -> None:
        if message.kind is Kind.END:
            self._ended(message)
            self._throttle()
            return
        try:
            request = self._uploads.chunk(message, len(frame), full=self._flight.is_full)
            if request is not None:
                self._server.memory.check_room(request, message.nbytes)
        except (ArgumentError, QueueFullError) as error:
            self._uploads.refuse(message.id)
            self.answer(self._flight.requests[message.id], error)
            return
        if request is not None:
            self._flight.charge(request, message.nbytes)
            self._throttle()

    def _ended(self, message: Message) -> None:
        try:
            request = self._uploads.end(message)
            if request is None:
                return
            assert self.token is not None
            check_allowed(self.token, request)  # a later part may have named what the first did not
        except (ArgumentError, ForbiddenError) as error:
            self.answer(self._flight.requests[message.id], error)
        else:
            self._perform(request)

    def _cancel(self, id: int) -> None:
        request = self._flight.requests.get(id)
        if request is not None:
            request.cancelled = True
            self._server.statistics.counts.cancellations += 1
            coming = request.more and self._uploads.refuse(id)
            if coming or self._answers.drop(id) or id in self._watches:
                self.answer(request, request.taken_back())

    # Flow

    def _sent(self, request: Request, error: QStoreError | None) -> None:
        """An answer in parts is complete, or was broken off."""
        if error is None:
            self._finish(request, None)
        else:
            self.answer(request, error)

    def _finish(self, request: Request, error: QStoreError | None) -> None:
        self._server.answered(request, error)
        self._flight.remove(request)
        self._throttle()
        if self._flight.deferred and not self._flight.served:
            self._perform(self._flight.deferred.popleft())
        self._close_if_done()

    def _throttle(self) -> None:
        """Read on only while what came is being answered, and answers are read."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._flight.deferred and not self._flight.is_full:
            self._perform(self._flight.deferred.popleft())
        self._uploads.pay(full=self._flight.is_full)
        wanted = self._flight.is_enough or self._server.memory.must_wait(self)
        if wanted and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        elif self._paused and not wanted:
            self._paused = False
            if self._frame_since is not None:
                self._frame_since = self._loop.time()
            self._transport.resume_reading()

    def send(self, frame: list[Bytes]) -> None:
        if self._transport is not None:
            self._server.statistics.counts.sent_bytes += sum(map(len, frame))
            self._transport.writelines(frame)

    def _close_if_done(self) -> None:
        if self._going_away and not self._flight.requests and self._transport is not None:
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
