"""`/health` and `/metrics` on a port of their own, for what watches the server: nothing here needs a token.

What is answered is decided here; `http_edge` moves the bytes, and is imported when a port is opened.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from qstore_db.errors import ConfigurationError, QStoreError
from qstore_server.statistics import Reading, Statistics

if TYPE_CHECKING:
    from qstore_server.http_edge import HttpListener

_METHODS: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Health:
    """Whether requests may be sent here."""

    status: str = "ok"
    """`ok`, or why not, in a word: `draining`, `read_only`."""
    reason: str | None = None
    """For a person."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to a peer."""

    status: int
    body: bytes
    type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpServer:
    """Answers GET and HEAD of the two paths, and 404 to all others.

    `health` is called on the event loop, so it must not wait. `database` returns the database's `stats()`, which
    reads the disk: it is called in a thread of its own, once a scrape and never twice at a time.
    """

    def __init__(
        self,
        statistics: Statistics,
        health: Callable[[], Health],
        database: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._statistics = statistics
        self._health = health
        self._database = database
        self._listener: HttpListener | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def start(self, bound: Sequence[socket.socket]) -> int:
        """Listen on bound sockets; their port. Afterwards they are closed by `stop`.

        Raises ConfigurationError where the extra `server` is not installed, or somebody else listens there.
        """
        assert self._listener is None, "started already"
        listener = _edge()(self._answer)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="qstore-scrape")  # starts when first used
        port = await listener.open(bound)
        self._listener = listener
        return port

    async def stop(self) -> None:
        """Stop listening. Afterwards neither `health` nor `database` is called, nor still running."""
        if self._listener is None or self._thread is None:
            return
        listener, thread = self._listener, self._thread
        self._listener = self._thread = None
        await listener.close()
        await asyncio.to_thread(thread.shutdown, cancel_futures=True)

    async def _answer(self, method: str, path: str) -> Answer:
        if path not in ("/health", "/metrics"):
            return Answer(404, b"there are /health and /metrics\n")
        if method not in _METHODS:
            return Answer(405, b"only GET and HEAD\n", headers={"Allow": ", ".join(_METHODS)})
        return self._told() if path == "/health" else await self._scraped()

    def _told(self) -> Answer:
        health = self._health()
        told = {"status": health.status} | ({} if health.reason is None else {"reason": health.reason})
        status = 200 if health.status == "ok" else 503
        return Answer(status, json.dumps(told).encode() + b"\n", "application/json")

    async def _scraped(self) -> Answer:
        loop = asyncio.get_running_loop()
        text = await loop.run_in_executor(self._thread, self._scrape, self._statistics.gauges())
        return Answer(200, text, "text/plain; version=0.0.4; charset=utf-8")

    def _scrape(self, gauges: Mapping[str, Reading]) -> bytes:
        from qstore_server.metrics import exposition

        database: Mapping[str, Any] | None
        try:
            database = self._database()
        except (QStoreError, OSError):
            # It is closing, or its disk fails: `qstore_database_up` says so, and the server's own numbers are
            # wanted all the more.
            database = None
        return exposition(self._statistics, gauges, database)


def _edge() -> type[HttpListener]:
    try:
        import qstore_server.metrics  # noqa: F401
        from qstore_server.http_edge import HttpListener
    except ImportError as error:
        raise ConfigurationError(
            '/health and /metrics need aiohttp and prometheus-client: pip install "qstore-db[server]"',
            subject=error.name,
        ) from error
    return HttpListener
