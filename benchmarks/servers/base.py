"""What a server and a client of it have to offer, and starting a process that listens."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from benchmarks.data import Floats, Integers
from benchmarks.peers import Peer

HOST = "127.0.0.1"
_PATIENCE = 600.0
"""Seconds until a server must listen: the floor builds its graph first."""


class Client(Protocol):
    """One connection of its own, used by one thread."""

    def __init__(self, url: str, /) -> None: ...

    def search(self, query: Floats, /) -> Sequence[str]:
        """Ids, positions as text, of the 10 nearest; their distances have come with them."""
        ...

    def close(self) -> None: ...


class Writer(Protocol):
    """One connection of its own that writes."""

    def __init__(self, url: str, /) -> None: ...

    def insert(self, id: str, vector: Floats, metadata: dict[str, int], /) -> None:
        """Returns once the record is durable."""
        ...

    def close(self) -> None: ...


class Server(Peer, Protocol):
    """A process that serves a `VectorSet`. As a peer it is asked over one connection."""

    client: ClassVar[type[Client]]
    url: str

    @property
    def pid(self) -> int:
        """Of its process, the first of them if they are several."""
        ...


def positions(client: Client, queries: Floats) -> list[Integers]:
    """What a client finds, query by query."""
    return [np.array(client.search(query), np.int64) for query in queries]


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server((HOST, 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def started(
    argv: Sequence[str], port: int, log: Path, *, user: str | None = None, **environment: str
) -> subprocess.Popen[bytes]:
    """A process that accepts connections on `port`; it does not outlive this one, unless that is killed.

    Raises RuntimeError with its last words if it ends instead.
    user: who runs it; None: who runs this. environment: variables beside those of this process.
    """
    around = {**os.environ, **environment}
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, user=user, env=around
        )
    atexit.register(stopped, process)  # wherever the program is cut short
    give_up = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < give_up:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return process
    process.kill()
    raise RuntimeError(f"no server listens on port {port}: {log.read_text(errors='replace')[-2000:]}")


def processor_seconds(pid: int) -> float:
    """Time on the processors that a process and those that it has started have taken."""
    folder = Path(f"/proc/{pid}")
    try:
        fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        children = (folder / "task" / str(pid) / "children").read_text(encoding="utf-8").split()
    except FileNotFoundError:  # a child that has ended since it was listed
        return 0.0
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(processor_seconds(int(child)) for child in children)


def stopped(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and make it if it does not within a minute."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
