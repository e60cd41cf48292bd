"""The HTTP port: aiohttp's low-level server, kept on a short leash. Needs aiohttp, so it is imported when wanted.

A peer sends one small request and gets one answer. However slowly it sends or reads, it is gone after LIFETIME
seconds.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from qstore_db.errors import ConfigurationError
from qstore_server.http import Answer

CONNECTIONS: Final = 32
"""At a time; more are closed at once."""
LIFETIME: Final = 30.0
"""Seconds from a connection's beginning to its end at the latest."""
_LINE: Final = 1024
"""Bytes of the request line, and of each header field."""
_FIELDS: Final = 64
_GRACE: Final = 2.0
"""Seconds that answers in the making have when the port closes."""


class HttpListener:
    """One port. `answer` gets a method and a path, without the query, and what it returns is sent."""

    def __init__(self, answer: Callable[[str, str], Awaitable[Answer]]) -> None:
        self._answer = answer
        self._runner: web.ServerRunner | None = None

    async def open(self, bound: Sequence[socket.socket]) -> int:
        """Listen; the port. Raises ConfigurationError where somebody else has begun to."""
        runner = web.ServerRunner(_Server(self._serve), shutdown_timeout=_GRACE)
        await runner.setup()
        try:
            for each in bound:
                await web.SockSite(runner, each).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigurationError(
                f"/health and /metrics cannot listen: {error}; choose another http_port", subject="http_port"
            ) from error
        self._runner = runner
        port: int = runner.addresses[0][1]
        return port

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        return _response(await self._answer(request.method, request.path))


class _Server(web.Server):
    """Bounds how many connections there are and how long each lasts."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(handler, handler_cancellation=True)  # who went away is not worked for any longer
        self._ends: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            max_line_size=_LINE,
            max_field_size=_LINE,
            max_headers=_FIELDS,
            lingering_time=1.0,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own way of saying "none"
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        else:
            self._ends[handler] = asyncio.get_running_loop().call_later(LIFETIME, transport.abort)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if handler in self._ends:
            self._ends.pop(handler).cancel()


class _Connection(web.RequestHandler):
    """Answers what aiohttp answers by itself, as requests that are no HTTP, in our words."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # it quotes what the peer sent
    ) -> web.StreamResponse:
        if status >= 500:
            self.log_exception("no answer to %s %s", request.method, request.path, exc_info=exc)
            return _response(Answer(status, b"a fault of the server's; its log has more\n"))
        # Anyone can send garbage: it is not worth a line in the log.
        return _response(Answer(status, b"no such request is understood here\n"))


def _response(answer: Answer) -> web.Response:
    headers = {"Content-Type": answer.type, "Cache-Control": "no-store", "Server": "qstore", **answer.headers}
    response = web.Response(status=answer.status, body=answer.body, headers=headers)
    response.force_close()
    return response
