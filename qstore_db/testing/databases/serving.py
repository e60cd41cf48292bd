"""How the suite opens databases behind a server: each is a server on a free port, and a client of it."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from qstore_db.config import DatabaseConfig
from qstore_db.database import AsyncQuantumDatabase, QuantumDatabase
from qstore_db.testing.databases.opening import Awaited, Opening
from qstore_db.testing.serving import ServerThread


class Served:
    """A client's database whose `close` also stops the server: to the suite, the two are one."""

    def __init__(self, face: Any, stop: Callable[[], None]) -> None:
        self._face = face
        self._stop = stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._face, name)

    def close(self) -> None:
        self._face.close()
        self._stop()

    def __enter__(self) -> Served:
        self._face.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._face.__exit__(*raised)
        self._stop()


@contextmanager
def remote_databases() -> Iterator[Opening]:
    """Opens the blocking client."""
    with ExitStack() as stack:
        yield _opening(stack, lambda url: QuantumDatabase.connect(url))


@contextmanager
def remote_async_databases() -> Iterator[Opening]:
    """Opens the async client; its event loop runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="remote-async-databases")
    thread.start()

    def connect(url: str) -> Awaited:
        connecting = AsyncQuantumDatabase.connect(url)
        return Awaited(asyncio.run_coroutine_threadsafe(connecting, loop).result(), loop)

    try:
        with ExitStack() as stack:
            yield _opening(stack, connect)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _opening(stack: ExitStack, connect: Callable[[str], Any]) -> Opening:
    def opening(
        path: Path | None = None, *, clock: Callable[[], float] | None = None, **config: Any
    ) -> QuantumDatabase:
        own = ExitStack()
        stack.push(own)
        if path is None:
            path = Path(own.enter_context(tempfile.TemporaryDirectory(prefix="qstore-served-")))
        server = ServerThread(
            clock=clock or time.time,
            path=path,
            database=DatabaseConfig(**config),
            slow_query_ms=600_000,
        )
        own.callback(server.stop)
        served = Served(connect(server.url), own.close)
        own.callback(served._face.close)
        return cast("QuantumDatabase", served)

    return opening
