"""The server: one database, its listeners, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from qstore_db.database.core import Core
from qstore_db.database.operations import WATCH, Operation
from qstore_db.engines.embedded.directory import check_new
from qstore_db.errors import AuthenticationError, ConfigurationError, QStoreError
from qstore_db.wire.greeting import Welcome
from qstore_db.wire.limits import Limits
from qstore_server.access import LOCAL, Token, Tokens
from qstore_server.audit import AuditLog
from qstore_server.binding import bind, close
from qstore_server.certificates import development_certificate, server_context
from qstore_server.config import ServerConfig
from qstore_server.connection import Connection
from qstore_server.doorway import leave, listen_in
from qstore_server.http import Health, HttpServer
from qstore_server.memory import Memory
from qstore_server.requests import Request
from qstore_server.service import Service
from qstore_server.statistics import Statistics
from qstore_server.tokens import SERVED
from qstore_server.uploads import MAX_UPLOADS

_SWEEP_SECONDS = 0.5
_BACKLOG = 1024
_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - not bound, but left out of a certificate
_log = logging.getLogger("qstore.server")


class Server:
    """Serves one database. `start`, `stop` and everything else run on one event loop."""

    def __init__(
        self, config: ServerConfig, *, agent: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        """agent: name and version, as clients are told. clock: seconds since the epoch."""
        self.config = config
        self.statistics = Statistics(SERVED)
        self.host, self.port, self.http_port = config.host, config.port, config.http_port
        self._agent = agent
        self._clock = clock
        self._connections: set[Connection] = set()
        self._unauthenticated: set[Connection] = set()
        self.memory = Memory(config.server_bytes, self._connections)
        self._numbers = itertools.count(1)
        self._in_flight = 0
        self._draining = False
        self._listeners: list[asyncio.Server] = []

    async def start(self) -> None:
        """Open the database and listen. Raises ConfigurationError where either cannot be; a taken port leaves
        nothing behind."""
        self.loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as undo:
            check_new(self.config.directory)
            bound = bind(self.config.host, self.config.port, "port")
            undo.callback(close, bound)
            for_http = self._bind_http()
            undo.callback(close, for_http)
            tls = await asyncio.to_thread(self._tls)
            self.core = await asyncio.to_thread(Core, self.config.to_open, self._clock)
            undo.push_async_callback(asyncio.to_thread, self.core.close)
            self.service = Service(self.core, self.loop, self.statistics, self.auditing, self.revoked)
            undo.callback(self.service.close)
            self.tokens = Tokens(self.core.engine.catalog, self._clock)
            self._audit = AuditLog(self.core.directory, self._clock)
            self._http = HttpServer(self.statistics, self.health, self.core.stats)
            undo.push_async_callback(self._close_listeners)
            await self._listen(bound, tls)
            self.http_port = await self._http.start(for_http) if for_http else None
            self._sweeper = self.loop.create_task(self._sweep())
            self.statistics.gauge("connections", lambda: len(self._connections))
            self.statistics.gauge("requests_in_flight", lambda: self._in_flight)
            self.statistics.gauge("bytes_in_flight", lambda: self.memory.charged)
            undo.pop_all()
        _log.info("listening", extra={"host": self.host, "port": self.port, "tls": tls is not None})

    async def stop(self) -> None:
        """Take no more connections and requests, answer what was accepted (for `drain_seconds` at most), close."""
        self._draining = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.go_away()
        until = self.loop.time() + self.config.drain_seconds
        while self._in_flight and self.loop.time() < until:
            await asyncio.sleep(0.01)
        if self._in_flight:
            _log.warning("requests were given up", extra={"requests": self._in_flight})
        self._sweeper.cancel()
        await self._http.stop()
        await self._close_listeners()
        await asyncio.to_thread(self.service.close)
        await asyncio.sleep(0)  # what the lanes still had to deliver
        for connection in list(self._connections):
            connection.abort()
        await asyncio.to_thread(self.core.close)
        _log.info("stopped")

    def first_token(self) -> str | None:
        """The text of a new token for an administrator, where tokens are needed and there is none yet."""
        if not self.config.needs_token or self.tokens.all():
            return None
        arguments = {"name": "first", "role": "admin"}
        with self._audit.act(LOCAL, "local", "tokens.create", arguments):
            return self.tokens.create(**arguments)[1]

    def health(self) -> Health:
        if self._draining:
            return Health("draining", "the server is stopping")
        fault = self.core.engine.fault
        return Health() if fault is None else Health("read_only", fault)

    # What connections call

    def opened(self, connection: Connection) -> None:
        reason = None
        if len(self._connections) >= self.config.max_connections:
            reason = "full"
        elif len(self._unauthenticated) >= self.config.max_unauthenticated:
            reason = "unauthenticated"
        if reason is not None:
            self.statistics.refused(reason)
            connection.abort()
            return
        self.statistics.counts.connections_opened += 1
        self._connections.add(connection)
        self._unauthenticated.add(connection)

    def next_number(self) -> int:
        """Of a connection, for logs."""
        return next(self._numbers)

    def admitted(self, connection: Connection) -> None:
        self._unauthenticated.discard(connection)

    def closed(self, connection: Connection) -> None:
        self._unauthenticated.discard(connection)
        if connection in self._connections:
            self._connections.discard(connection)
            self.statistics.counts.connections_closed += 1

    def authenticate(self, text: str | None, *, trusted: bool) -> Token:
        """Raises AuthenticationError."""
        if text is not None:
            return self.tokens.authenticate(text)
        if trusted or not self.config.needs_token:
            return LOCAL
        raise AuthenticationError(
            "this server wants a token: give token=, or QSTORE_TOKEN to `qstore`; `qstore token create` makes one",
            subject="token",
        )

    def welcome(self, token: Token) -> Welcome:
        limits = Limits()
        return Welcome(
            agent=self._agent,
            head=limits.head,
            attachments=limits.attachments,
            requests=self.config.max_requests,
            window=self.config.window,
            streamed=self.config.request_bytes,
            uploads=MAX_UPLOADS,
            role=token.role,
        )

    def begun(self) -> None:
        self._in_flight += 1

    def answered(self, request: Request, error: QStoreError | None) -> None:
        self._in_flight -= 1
        if request.operation is WATCH:
            return  # which lasts as long as somebody watches
        seconds = time.perf_counter() - request.begun
        name, code = request.operation.name, None if error is None else error.code
        self.statistics.answered(name, seconds, code)
        if code == "timeout":
            self.statistics.counts.deadlines_missed += 1
        patient = isinstance(request.operation, Operation) and request.operation.patient
        if seconds * 1000 >= self.config.slow_query_ms and not patient:
            _log.warning(
                "slow request",
                extra={
                    "op": name,
                    "request": request.name,
                    "ms": round(seconds * 1000, 1),
                    "code": code,
                    "collections": list(request.collections()),
                },
            )

    def auditing(self, request: Request) -> contextlib.AbstractContextManager[None]:
        """Around an administrative act, in the thread that performs it."""
        connection = request.connection
        assert connection.token is not None
        return self._audit.act(connection.token, connection.peer, request.operation.name, request.fields)

    def revoked(self, token: Token) -> None:
        """Close the connections that came with a token which is no longer valid. Callable from any thread."""
        self.loop.call_soon_threadsafe(self._revoke, token)

    # Inside

    def _revoke(self, token: Token) -> None:
        for connection in list(self._connections):
            if connection.token is not None and connection.token.id == token.id:
                connection.revoke()

    def _bind_http(self) -> list[socket.socket]:
        """None where there is to be no HTTP, or where the port is taken that nobody asked for."""
        if self.config.http_port is None:
            return []
        try:
            return bind(self.config.http_host, self.config.http_port, "http_port")
        except ConfigurationError as error:
            if not self.config.is_http_port_default:
                raise
            remedy = "give another by --http-port, or off"
            _log.warning("no health and metrics", extra={"reason": error.message, "remedy": remedy})
            return []

    def _tls(self) -> ssl.SSLContext | None:
        """Raises ConfigurationError."""
        if self.config.dev_certificate:
            names = [] if self.config.host in _ANY_ADDRESS else [self.config.host]
            development_certificate(self.config.development_folder, names)
        return None if self.config.tls is None else server_context(*self.config.tls)

    async def _listen(self, bound: list[socket.socket], tls: ssl.SSLContext | None) -> None:
        self.port = int(bound[0].getsockname()[1])
        for each in bound:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for its connections, too
            listener = await self.loop.create_server(
                partial(Connection, self, trusted=False),
                sock=each,
                ssl=tls,
                backlog=_BACKLOG,
                ssl_handshake_timeout=None if tls is None else self.config.frame_seconds,
            )
            self._listeners.append(listener)
        door = listen_in(Path(self.core.directory))
        self._listeners.append(
            await self.loop.create_unix_server(
                partial(Connection, self, trusted=True), sock=door, backlog=_BACKLOG
            )
        )

    async def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        leave(Path(self.core.directory))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = self.loop.time()
            for connection in list(self._connections):
                connection.sweep(now)
