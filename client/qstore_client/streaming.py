"""The async edge: one connection for all calls of an event loop, answered in any order."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Any, ParamSpec, Self, TypeVar, cast

from qstore_client.exchange import Call, Exchange, LostError, watch_call, write_call
from qstore_client.handshake import hello, not_connected, welcome
from qstore_client.retrying import Patience
from qstore_client.target import Target, prepare
from qstore_db.database.operations import Operation, WriteOperation
from qstore_db.engines.base import Written
from qstore_db.errors import ClosedError, ForkedError, ProtocolError, QStoreError, UnreachableError
from qstore_db.records import Change
from qstore_db.wire.faults import error_of
from qstore_db.wire.frames import Bytes, FrameReader
from qstore_db.wire.greeting import Welcome
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, decode, encode

P = ParamSpec("P")
T = TypeVar("T")


class Connection(asyncio.Protocol):
    """One connection with many calls in flight. To be used on one event loop."""

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._target = target
        self._limits = Limits()
        self._reader = FrameReader(self._limits)
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, tuple[Exchange[Any], asyncio.Future[None]]] = {}
        self._abandoned: set[int] = set()
        self._watches: dict[int, asyncio.Queue[Any]] = {}
        self._last_id = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self._greeted: asyncio.Future[Welcome] = loop.create_future()
        self._room = self._uploads = asyncio.Semaphore(1)
        self.usable = True

    async def call(self, call: Call[T]) -> T:
        """Raises UnreachableError where the server did not take the call, LostError where nobody knows.

        A call that is cancelled is taken back.
        """
        greeting = await self._greeted
        async with self._uploads if call.many else contextlib.nullcontext(), self._room:
            await self._writable.wait()
            if not self.usable or self._transport is None:
                raise UnreachableError("the server is going away", subject=call.name)
            self._last_id += 1
            exchange = Exchange(call, self._last_id, greeting, None)
            answered = self.loop.create_future()
            self._calls[exchange.id] = exchange, answered
            try:
                for frame in exchange.begin():
                    self._send(frame)
                await answered
            except asyncio.CancelledError:
                self._abandoned.add(exchange.id)
                self._send(encode(Message(Kind.CANCEL, exchange.id)))
                raise
            finally:
                self._calls.pop(exchange.id, None)
                self._close_if_done()
            return exchange.result()

    async def stream(self, call: Call[T]) -> AsyncIterator[T]:
        """Each part of an answer that does not end, as it comes. Raises as `call` does."""
        greeting = await self._greeted
        if not self.usable or self._transport is None:
            raise UnreachableError("the server is going away", subject=call.name)
        self._last_id += 1
        exchange = Exchange(call, self._last_id, greeting, None)
        parts: asyncio.Queue[tuple[T, list[list[Bytes]]]] = asyncio.Queue()
        answered = self.loop.create_future()
        self._calls[exchange.id] = exchange, answered
        self._watches[exchange.id] = parts
        try:
            for frame in exchange.begin():
                self._send(frame)
            while True:
                coming = asyncio.ensure_future(parts.get())
                await asyncio.wait((coming, answered), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    answered.result()
                    exchange.result()
                    return
                part, granted = coming.result()
                yield part
                for frame in granted:  # not before whoever asked came back for more
                    self._send(frame)
        finally:
            if not answered.done():
                self._abandoned.add(exchange.id)
                self._send(encode(Message(Kind.CANCEL, exchange.id)))
            self._watches.pop(exchange.id, None)
            self._calls.pop(exchange.id, None)
            self._close_if_done()

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    @property
    def greeted(self) -> asyncio.Future[Welcome]:
        """Done when the server has said who it is, or what speaks against it."""
        return self._greeted

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses
        self._send(hello(self._target))

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                self._take(decode(frame, self._limits), len(frame))
        except QStoreError as error:
            self._fail(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._transport = None
        self._writable.set()
        self._fail(LostError(str(exc) if exc else "the server closed the connection"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # Inside

    def _take(self, message: Message, nbytes: int) -> None:
        if not self._greeted.done():
            found = welcome(message)
            self._room = asyncio.Semaphore(found.requests)
            self._uploads = asyncio.Semaphore(found.uploads)
            self._greeted.set_result(found)
        elif message.kind is Kind.GOAWAY:
            self.usable = False
            for id, (exchange, answered) in self._calls.items():
                if id > message.id and not answered.done():
                    answered.set_exception(
                        UnreachableError("the server is going away", subject=exchange.call.name)
                    )
            self._close_if_done()
        elif message.kind is Kind.PING:
            self._send(encode(Message(Kind.PONG, message.id)))
        elif message.kind is Kind.ERROR and message.id == 0:
            raise error_of(message.body)
        elif message.id in self._calls:
            exchange, answered = self._calls[message.id]
            frames = list(exchange.take(message, nbytes))
            if message.kind is Kind.CHUNK and message.id in self._watches:
                self._watches[message.id].put_nowait((exchange.part(), frames))
                return
            for frame in frames:
                self._send(frame)
            if exchange.done and not answered.done():
                answered.set_result(None)
        elif message.id in self._abandoned:
            if message.kind in (Kind.RESPONSE, Kind.END, Kind.ERROR):
                self._abandoned.discard(message.id)
        elif message.kind is not Kind.WINDOW:  # which may still come for an upload that was refused
            raise ProtocolError(f"a message for {message.id}, which was not asked for")

    def _send(self, frame: list[Bytes]) -> None:
        if self._transport is not None:
            self._transport.writelines(frame)

    def _fail(self, error: Exception) -> None:
        if not self._greeted.done():
            self._greeted.set_exception(error)
            self._greeted.exception()  # whoever waits gets it; nobody has to
        for exchange, answered in self._calls.values():
            if not answered.done():
                told = exchange.call.cut_off(error) if isinstance(error, QStoreError) else error
                answered.set_exception(told)

    def _close_if_done(self) -> None:
        if not self.usable and not self._calls:
            self.close()


class AsyncRemoteEdge:
    """A database behind a server. Safe to use from many tasks, of one event loop at a time."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._closed = False
        self._process = os.getpid()

    @classmethod
    async def open(cls, target: Target) -> Self:
        """Connect once, so that a wrong address or token shows here.

        Raises UnreachableError, AuthenticationError.
        """
        edge = cls(target)
        patience = Patience(target.timeout, target.retries)
        while True:
            try:
                async with asyncio.timeout(patience.left):
                    await edge._connected()
                return edge
            except UnreachableError:
                pause = patience.pause()
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            except TimeoutError:
                raise UnreachableError(
                    f"{target.url} did not answer within {target.timeout} s", subject=target.url
                ) from None

    @property
    def where(self) -> str:
        return self._target.url

    async def run(self, operation: Operation[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(Call.of(operation, *args, **kwargs))

    async def write(self, operation: WriteOperation[P], /, *args: P.args, **kwargs: P.kwargs) -> Written:
        return await self.send(write_call(operation, *args, **kwargs))

    async def compute(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._check()
        return await asyncio.to_thread(work, *args, **kwargs)

    async def watch(self, collection: str, since: int | None) -> AsyncIterator[Change]:
        patience = Patience(None, self._target.retries)
        while True:
            self._check()
            failure: QStoreError = UnreachableError("the server ended the stream", subject=self.where)
            try:
                connection = await self._connected()
                async for changes, sequence in connection.stream(watch_call(collection, since)):
                    patience = Patience(None, self._target.retries)
                    for change in changes:
                        yield change
                    since = sequence
            except UnreachableError as error:
                failure = error
            except LostError as error:
                failure = UnreachableError(f"the connection to {self.where} was lost ({error})")
            self._check()
            pause = patience.pause()
            if pause is None:
                raise failure
            await asyncio.sleep(pause)

    async def close(self) -> None:
        self._closed = True
        if self._connection is not None:
            self._connection.close()

    async def send(self, call: Call[T]) -> T:
        """Send a call, again where that is safe, until its answer is there or its time is over."""
        patience = Patience(None if call.patient else self._target.timeout, self._target.retries)
        sent = False
        while True:
            self._check()
            try:
                async with asyncio.timeout(patience.left):
                    connection = await self._connected()
                    return await connection.call(call)
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
            await asyncio.sleep(pause)

    def _check(self) -> None:
        if self._closed:
            raise ClosedError("the connection to the database was closed", subject=self.where)
        if os.getpid() != self._process:
            raise ForkedError(
                "this handle was opened before a fork; the child must connect itself", subject=self.where
            )

    async def _connected(self) -> Connection:
        """The connection of the running loop; whoever comes while it is being made waits for the same one."""
        loop = asyncio.get_running_loop()
        connection = self._connection
        if connection is not None and connection.usable and connection.loop is loop:
            return connection
        task = self._connecting
        if task is None or task.done() or task.get_loop() is not loop:
            task = self._connecting = loop.create_task(self._connect(loop))
        return await asyncio.shield(task)

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        target = self._target
        connection = Connection(target, loop)
        try:
            if target.directory is not None:
                door = await asyncio.to_thread(target.connect, target.timeout)
                door.setblocking(False)
                await loop.create_unix_connection(lambda: connection, sock=door)
            else:
                transport, _ = await loop.create_connection(
                    lambda: connection,
                    target.host,
                    target.port,
                    ssl=target.tls,
                    server_hostname=None if target.tls is None else target.host,
                )
                plain = transport.get_extra_info("socket")
                if plain is not None:
                    with contextlib.suppress(OSError):
                        prepare(plain)
            await connection.greeted
        except (OSError, LostError) as error:
            raise not_connected(target, error) from error
        self._connection = connection
        return connection
