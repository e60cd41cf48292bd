"""A server for tests, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from qstore_server.config import ServerConfig
from qstore_server.server import Server


class ServerThread:
    """Serves one database on a free port until `stop`. Raises what starting the server raises."""

    def __init__(self, *, clock: Callable[[], float] = time.time, **settings: Any) -> None:
        self.server = Server(ServerConfig(**{"port": 0, "http_port": None, **settings}), clock=clock)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-server")
        self._thread.start()
        self._stopped = False
        try:
            self.run(self.server.start())
        except BaseException:
            self._end()
            raise

    @property
    def url(self) -> str:
        return f"qstore://127.0.0.1:{self.server.port}"

    def run(self, coroutine: Any) -> Any:
        """Wait for a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def stop(self) -> None:
        """End as the process would upon SIGTERM. Calling it again does nothing."""
        if not self._stopped:
            self.run(self.server.stop())
            self._end()

    def _end(self) -> None:
        self._stopped = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> ServerThread:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()
