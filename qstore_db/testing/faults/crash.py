"""Kills: a real child process that writes, ended by SIGKILL at a moment the test chooses."""

from __future__ import annotations

import os
import random
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from qstore_db.errors import WaitTimeoutError


@dataclass(frozen=True, slots=True)
class KillMoment:
    """When to kill: `delay` seconds after the parent has read `acks` acknowledgements.

    `acks=0` counts the delay from the start of the child. The delay is what makes a kill land inside a
    write, not only between two.
    """

    acks: int
    delay: float = 0.0

    @classmethod
    def at_random(cls, rng: random.Random, *, max_acks: int, max_delay: float = 0.01) -> Self:
        """A moment uniform in [1, max_acks] acknowledgements and [0, max_delay) seconds."""
        return cls(rng.randint(1, max_acks), rng.random() * max_delay)


@dataclass(frozen=True, slots=True)
class KilledRun:
    """How one run of a `KilledWriter` ended."""

    acknowledged: tuple[str, ...]
    """The complete lines that the child printed, in order, without their newline. A line cut off by
    the kill is left out: nobody could have read it as an acknowledgement."""
    killed: bool
    """False if the child ended by itself, with status 0, before its moment came."""


class KilledWriter:
    """Runs a program that prints one line per acknowledged write, and kills it with SIGKILL.

    The program must flush each line, and only after its write is acknowledged: then every line here is
    a promise that the store must have kept. Lines that lay in the pipe at the kill count.
    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.argv = tuple(argv)
        self.env = env
        self.cwd = cwd

    def run(self, moment: KillMoment, *, patience: float = 120.0) -> KilledRun:
        """Start the program, kill it at `moment`, wait for its end, and return what it acknowledged.

        Raises `subprocess.CalledProcessError`, with what the program wrote to stderr, if it fails by
        itself before the kill, and `WaitTimeoutError` if the moment has not come within `patience`
        seconds. The program is ended in every case; processes that it started are not, and must not
        hold its stdout.
        """
        with (
            tempfile.TemporaryFile("w+", errors="replace") as stderr,
            subprocess.Popen(
                self.argv,
                env=self.env,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
            ) as child,
        ):
            assert child.stdout is not None
            try:
                output = _read_until(child.stdout, moment, patience)
            finally:
                child.kill()
            output += child.stdout.read()
            status = child.wait()
            if status not in (0, -signal.SIGKILL):
                stderr.seek(0)
                raise subprocess.CalledProcessError(status, self.argv, output, stderr.read())
        *complete, _ = output.split(b"\n")
        return KilledRun(tuple(line.decode() for line in complete), killed=status == -signal.SIGKILL)


def _read_until(pipe: IO[bytes], moment: KillMoment, patience: float) -> bytes:
    """All that came out of the pipe until the moment, or until the program closed it."""
    output = bytearray()
    start = time.monotonic()
    kill_at = None if moment.acks else start + moment.delay
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            wait = (start + patience if kill_at is None else kill_at) - time.monotonic()
            if wait <= 0:
                break
            if not selector.select(wait):
                continue
            chunk = os.read(pipe.fileno(), 65536)
            if not chunk:
                return bytes(output)
            output += chunk
            if kill_at is None and output.count(b"\n") >= moment.acks:
                kill_at = time.monotonic() + moment.delay
    if kill_at is None:
        acks = output.count(b"\n")
        raise WaitTimeoutError(
            f"{acks} of {moment.acks} acknowledgements came within {patience} s", subject="patience"
        )
    return bytes(output)
