"""The process that `qstore serve` is: its event loop, its signals, and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from qstore_server.checking import REMEDY, missing_for_http
from qstore_server.config import ServerConfig
from qstore_server.logs import structured_logging
from qstore_server.server import Server

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SWITCH_SECONDS = 0.0005

_log = logging.getLogger("qstore.server")


@dataclass(frozen=True, slots=True)
class Listening:
    """What whoever started a server has to know of it."""

    host: str
    port: int
    """The one that it is, where any was asked for."""
    http_port: int | None
    certificate: Path | None
    """What a client is given as `tls`. None without TLS."""
    token: str | None
    """The first token, made because tokens are needed and there was none; it cannot be shown again."""

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"qstore://{host}:{self.port}"


def serve(config: ServerConfig, announce: Callable[[Listening], None]) -> None:
    """Serve a database until SIGTERM or SIGINT, then stop in order: what was accepted is finished.

    A second signal ends the process at once, as it does where nobody handles it; what was acknowledged is on disk
    then, too. `announce` is called once clients can connect. To be called in the main thread. Raises
    ConfigurationError where the server cannot start.
    """
    # A thread that decodes many records keeps the interpreter for as long as this before the event loop gets its
    # turn: with the default of 5 ms every request on the loop would wait that long.
    sys.setswitchinterval(_SWITCH_SECONDS)
    # Threads that spin until the next search take the processor from clients on this machine, and from the loop.
    # Read when FAISS is loaded, which is when the database is opened.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # It tells at length which of its builds it looks for.
    logging.getLogger("faiss").setLevel(logging.WARNING)
    with (
        structured_logging(config.log_level, config.log_format),
        asyncio.Runner(loop_factory=_loop_factory()) as runner,
    ):
        runner.run(_serve(config, announce))


async def _serve(config: ServerConfig, announce: Callable[[Listening], None]) -> None:
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in _SIGNALS:
        loop.add_signal_handler(each, partial(_stop, loop, asked_to_stop))
    server = Server(_without_missing_http(config), agent=f"qstore-db/{version('qstore-db')}")
    await server.start()
    try:
        token = await asyncio.to_thread(server.first_token)
        certificate = None if config.tls is None else config.tls[0]
        announce(
            Listening(
                server.host,
                server.port,
                server.http_port,
                certificate,
                token,
            )
        )
        await asked_to_stop.wait()
    finally:
        await server.stop()


def _stop(loop: asyncio.AbstractEventLoop, asked_to_stop: asyncio.Event) -> None:
    for each in _SIGNALS:
        loop.remove_signal_handler(each)
        signal.signal(each, signal.SIG_DFL)
    asked_to_stop.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # an extra, and not made for every platform
        return None
    return uvloop.new_event_loop


def _without_missing_http(config: ServerConfig) -> ServerConfig:
    missing = missing_for_http(config)
    if not missing:
        return config
    _log.warning("no health and metrics", extra={"missing": missing, "remedy": REMEDY})
    return config.replace(http_port=None)
