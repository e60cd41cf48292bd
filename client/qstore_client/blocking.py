"""The sync edge: each call has a connection to itself and waits on its socket, in the caller's thread."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, Self, TypeVar

from qstore_client.exchange import Call, Exchange, LostError, watch_call, write_call
from qstore_client.handshake import hello, not_connected, welcome
from qstore_client.retrying import Patience
from qstore_client.target import Target
from qstore_db.database.operations import Operation, WriteOperation
from qstore_db.engines.base import Written
from qstore_db.errors import (
    ClosedError,
    ForkedError,
    ProtocolError,
    QStoreError,
    UnreachableError,
    WaitTimeoutError,
)
from qstore_db.records import Change
from qstore_db.wire.faults import error_of
from qstore_db.wire.frames import Bytes, FrameReader
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, decode, encode

P = ParamSpec("P")
T = TypeVar("T")

_READ = 1 << 16
_FRESH_SECONDS = 0.5
_LEAST_SECONDS = 0.001


class Connection:
    """One connection, for one call at a time."""

    def __init__(self, target: Target, timeout: float | None) -> None:
        """Connect and greet. Raises UnreachableError, or what the server answers."""
        self._limits = Limits()
        self._reader = FrameReader(self._limits)
        self._last_id = 0
        self._timeout: float | None = -1.0
        self._used = time.monotonic()
        self._going_away = False
        self.usable = True
        try:
            self._socket = target.connect(timeout)
            try:
                if target.tls is not None:
                    self._socket = target.tls.wrap_socket(self._socket, server_hostname=target.host)
                self._set_timeout(timeout)
                self._send(hello(target))
                self.welcome = welcome(self._receive()[0][0])
            except BaseException:
                self._socket.close()
                raise
        except (OSError, LostError) as error:
            raise not_connected(target, error) from error

    def call(self, call: Call[T], timeout: float | None) -> T:
        """Raises UnreachableError where the server did not take the call, LostError where nobody knows."""
        self._last_id += 1
        exchange = Exchange(call, self._last_id, self.welcome, timeout)
        self.usable = False
        try:
            self._set_timeout(timeout)
            for frame in exchange.begin():
                self._send(frame)
            until = None if timeout is None else time.monotonic() + timeout
            while not exchange.done:
                for message, nbytes in self._receive(until):
                    for frame in self._take(exchange, message, nbytes):
                        self._send(frame)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            with contextlib.suppress(OSError):
                self._send(encode(Message(Kind.CANCEL, exchange.id)))
            raise TimeoutError from None
        except (OSError, ssl.SSLError) as error:
            raise LostError(str(error)) from error
        except ProtocolError as error:
            if call.is_harmless:
                raise
            raise LostError(error.message) from error
        self.usable, self._used = not self._going_away, time.monotonic()
        return exchange.result()

    def stream(self, call: Call[T]) -> Iterator[T]:
        """Each part of an answer that does not end, as it comes. Raises as `call` does."""
        self._last_id += 1
        exchange = Exchange(call, self._last_id, self.welcome, None)
        self.usable = False
        try:
            self._set_timeout(None)
            for frame in exchange.begin():
                self._send(frame)
            while not exchange.done:
                for message, nbytes in self._receive():
                    granted = list(self._take(exchange, message, nbytes))
                    if message.kind is Kind.CHUNK and message.id == exchange.id:
                        yield exchange.part()
                    for frame in granted:  # not before whoever asked came back for more
                        self._send(frame)
        except (OSError, ssl.SSLError) as error:
            raise LostError(str(error)) from error
        exchange.result()

    def interrupt(self) -> None:
        """Make whoever waits on the connection in another thread find it closed."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def is_alive(self) -> bool:
        """Whether the server has not said anything since the last call: it would be that it is going away.

        After a moment only: asking the system costs as much as sending a request, and what is lost is sent again.
        """
        if time.monotonic() - self._used < _FRESH_SECONDS:
            return True
        try:
            readable, _, _ = select.select([self._socket], [], [], 0)
        except (OSError, ValueError):
            return False
        return not readable

    def close(self) -> None:
        self.usable = False
        self._socket.close()

    def _set_timeout(self, timeout: float | None) -> None:
        """How long the system waits for the other side. Python's own timeouts would cost a call to it each time."""
        if (
            timeout is not None
            and self._timeout is not None
            and 0.9 * self._timeout <= timeout <= self._timeout
        ):
            return
        self._socket.settimeout(None)
        self._timeout = timeout
        seconds = 0.0 if timeout is None else max(timeout, _LEAST_SECONDS)
        value = struct.pack("@ll", int(seconds), int(seconds % 1.0 * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)

    def _take(self, exchange: Exchange[T], message: Message, nbytes: int) -> Iterator[list[Bytes]]:
        if message.kind is Kind.GOAWAY:
            self._going_away = True
            if message.id < exchange.id:
                raise UnreachableError("the server is going away", subject=exchange.call.name)
        elif message.kind is Kind.PING:
            yield encode(Message(Kind.PONG, message.id))
        elif message.kind is Kind.ERROR and message.id == 0:
            self._going_away = True
            if not exchange.done:  # else the answer came just before, as when a token revokes itself
                raise exchange.call.cut_off(error_of(message.body))
        elif message.id == exchange.id:
            yield from exchange.take(message, nbytes)
        elif message.kind is not Kind.WINDOW:  # which may still come for an upload that was refused
            raise ProtocolError(f"a message for {message.id}, which was not asked for")

    def _send(self, frame: list[Bytes]) -> None:
        self._socket.sendall(b"".join(frame))

    def _receive(self, until: float | None = None) -> list[tuple[Message, int]]:
        """The messages of the next bytes to come that complete any, with the lengths of their frames."""
        while True:
            if until is not None and time.monotonic() >= until:
                raise TimeoutError
            data = self._socket.recv(_READ)
            if not data:
                raise LostError("the server closed the connection")
            found = [(decode(frame, self._limits), len(frame)) for frame in self._reader.feed(data)]
            if found:
                return found


class RemoteEdge:
    """A database behind a server. Safe to use from many threads."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._idle: list[Connection] = []
        # Used like a semaphore, which is no code of Python's own: threads that wait for one another cost more time.
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(target.pool):
            self._room.put(None)
        self._closed = False
        self._watches: set[Connection] = set()
        self._process = os.getpid()

    @classmethod
    def open(cls, target: Target) -> Self:
        """Connect once, so that a wrong address or token shows here.

        Raises UnreachableError, AuthenticationError.
        """
        edge = cls(target)
        patience = Patience(target.timeout, target.retries)
        while True:
            try:
                edge._idle.append(Connection(target, patience.left))
                return edge
            except UnreachableError:
                pause = patience.pause()
                if pause is None:
                    raise
                time.sleep(pause)

    @property
    def where(self) -> str:
        return self._target.url

    def run(self, operation: Operation[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(Call.of(operation, *args, **kwargs))

    def write(self, operation: WriteOperation[P], /, *args: P.args, **kwargs: P.kwargs) -> Written:
        return self.send(write_call(operation, *args, **kwargs))

    def compute(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._check()
        return work(*args, **kwargs)

    def watch(self, collection: str, since: int | None) -> Iterator[Change]:
        patience = Patience(None, self._target.retries)
        while True:
            self._check()
            failure: QStoreError = UnreachableError("the server ended the stream", subject=self.where)
            try:
                with self._watching() as connection:
                    for changes, sequence in connection.stream(watch_call(collection, since)):
                        patience = Patience(None, self._target.retries)
                        yield from changes
                        since = sequence
            except UnreachableError as error:
                failure = error
            except LostError as error:
                failure = UnreachableError(f"the connection to {self.where} was lost ({error})")
            self._check()
            pause = patience.pause()
            if pause is None:
                raise failure
            time.sleep(pause)

    def close(self) -> None:
        self._closed = True
        for connection in list(self._watches):
            connection.interrupt()
        while self._idle:
            self._idle.pop().close()

    def send(self, call: Call[T]) -> T:
        """Send a call, again where that is safe, until its answer is there or its time is over."""
        patience = Patience(None if call.patient else self._target.timeout, self._target.retries)
        sent = False
        while True:
            self._check()
            try:
                connection = self._borrow(patience)
                try:
                    return connection.call(call, patience.left)
                finally:
                    self._give_back(connection)
            except UnreachableError as error:
                failure: QStoreError = call.lost(error.message) if sent else error
                cause = error if sent else error.__cause__
            except QStoreError as error:
                if sent and not call.settles(error):
                    raise call.lost(error.message) from error
                raise
            except TimeoutError:
                raise call.lost(f"no answer within {self._target.timeout} s") from None
            except LostError as error:
                sent = True
                failure = call.lost(f"the connection to {self.where} was lost ({error})")
                cause = error.__cause__
                if call.key is None and not call.repeatable:
                    raise failure from cause
            pause = patience.pause()
            if pause is None:
                raise failure from cause
            time.sleep(pause)

    def _check(self) -> None:
        if self._closed:
            raise ClosedError("the connection to the database was closed", subject=self.where)
        if os.getpid() != self._process:
            raise ForkedError(
                "this handle was opened before a fork; the child must connect itself", subject=self.where
            )

    @contextlib.contextmanager
    def _watching(self) -> Iterator[Connection]:
        """A connection of its own: a watcher would keep one of the pool for good."""
        connection = Connection(self._target, self._target.timeout)
        self._watches.add(connection)
        try:
            yield connection
        finally:
            self._watches.discard(connection)
            connection.close()

    def _borrow(self, patience: Patience) -> Connection:
        """A connection of the caller's own, until it is given back."""
        try:
            self._room.get(timeout=patience.left)
        except queue.Empty:
            raise WaitTimeoutError(
                f"all {self._target.pool} connections are in use; connect with a larger pool", subject="pool"
            ) from None
        try:
            return self._fresh(patience)
        except BaseException:
            self._room.put(None)
            raise

    def _give_back(self, connection: Connection) -> None:
        if connection.usable and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()
        self._room.put(None)

    def _fresh(self, patience: Patience) -> Connection:
        """An idle connection whose server is still there, or a new one."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return Connection(self._target, patience.left)
            if connection.is_alive():
                return connection
            connection.close()
