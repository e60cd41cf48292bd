"""The server of the demonstration: a process of its own, which is started, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Final, Self

from qstore_db.errors import UnavailableError
from qstore_db.wire.faults import error_of

_PATIENCE: Final = 60.0


class ServerProcess:
    """`qstore serve` over a directory, on a free port, with TLS and tokens.

    A process that takes the place of a killed one has its port, certificate and tokens, so that clients go on. It
    is ended on every way out of the `with` block, by its id, and no other is. A Ctrl-C in the terminal does not
    reach it: who started it stops it in order.
    """

    def __init__(self, directory: Path, log: Path) -> None:
        """Start one. directory: of the database; log: file for what the server has to say.

        Raises ConfigurationError where it cannot start, for instance without `cryptography`.
        """
        self._directory = directory
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        self._process, told = self._started(0)
        self.url: str = told["listening"]
        self.certificate: str = told["certificate"]
        """File that a client is given as `tls`."""
        self.token: str = told["token"]
        """Of an administrator: the database is new, and the server made its first."""
        self._port: int = told["port"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        _ended(self._process)

    @property
    def pid(self) -> int:
        """Of the process that serves now."""
        return self._process.pid

    def kill(self) -> None:
        """End it with SIGKILL, which no program can catch, and wait until it is gone."""
        self._process.kill()
        _ended(self._process)

    def start_again(self) -> None:
        """Start another process in place of a killed one. Returns when it listens."""
        self._process, _ = self._started(self._port)

    def wait(self) -> None:
        """Wait for its end, which nobody asked for. Raises UnavailableError then."""
        self._process.wait()
        raise self._gone(self._process)

    def _started(self, port: int) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        """A process that listens, and what it says of itself."""
        command = [sys.executable, "-m", "qstore_db.cli", "serve", "--path", str(self._directory)]
        command += ["--port", str(port), "--http-port", "off", "--dev-certificate", "--require-token"]
        command += ["--log-format", "text", "--log-level", "warning", "--json"]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,
                # The user's own server may have settings there.
                env={name: value for name, value in os.environ.items() if not name.startswith("QSTORE_")},
            )
        # One that hangs must not hang the demonstration.
        watchdog = threading.Timer(_PATIENCE, process.kill)
        watchdog.start()
        told: dict[str, Any] = {}
        try:
            with suppress(ValueError):  # no whole line: it ended
                told = json.loads(_output(process).readline())
        finally:
            watchdog.cancel()
            if "listening" not in told:
                process.kill()
                _ended(process)
        if "error" in told:
            raise error_of(told["error"])
        if "listening" not in told:
            raise self._gone(process)
        return process, told

    def _gone(self, process: subprocess.Popen[str]) -> UnavailableError:
        return UnavailableError(
            f"the server ended by itself ({process.returncode}); {self._log} says why", subject="server"
        )


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise KeyboardInterrupt as SIGINT does, so that nothing started is left behind.

    For the main thread, which alone may handle signals.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _ended(process: subprocess.Popen[str]) -> None:
    """Wait for a process that was told to end, and make it where it does not, or where nobody wants to wait."""
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
    finally:
        process.kill()
        process.wait()
        _output(process).close()


def _output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout
