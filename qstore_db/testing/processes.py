"""Real server processes for tests: started, killed and started again on the same port and directory."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

PATIENCE = 120.0
"""Seconds that starting or stopping may take on a busy machine."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """`qstore serve` over a directory. Started by `start`, on one port for its whole life."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"qstore://127.0.0.1:{self.port}"

    def start(self) -> dict[str, object]:
        """Wait until it listens; what it says then."""
        command = [sys.executable, "-m", "qstore_db.cli", "serve", "--json", "--path", str(self.directory)]
        command += ["--port", str(self.port), "--http-port", "off", "--log-level", "error", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the server ended with {self._process.wait(PATIENCE)} before it listened"
        told: dict[str, object] = json.loads(line)
        return told

    def kill(self) -> None:
        """As power loss would end the process."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As an operator would; its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, signum: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signum)
        assert process.stdout is not None
        process.stdout.close()
        return process.wait(PATIENCE)

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.kill()
