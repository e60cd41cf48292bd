"""The door in the database's own directory: a Unix socket for the commands of whoever owns it.

Nobody but the owner of the server process can open it, so that it needs neither token nor TLS.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from qstore_db.wire.greeting import DOOR


def listen_in(directory: Path) -> socket.socket:
    """A bound socket in a directory that this process has locked; an old one there is of a server that died."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        with contextlib.suppress(FileNotFoundError):
            (directory / DOOR).unlink()
        with _short(directory) as path:
            door.bind(path)
    except BaseException:
        door.close()
        raise
    finally:
        os.umask(mask)
    return door


def leave(directory: Path) -> None:
    """Take the door away, while the directory is still locked: afterwards it may be another server's."""
    (directory / DOOR).unlink(missing_ok=True)


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[str]:
    """A path to the door of no more than the 107 bytes that an address can hold."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{DOOR}"
    finally:
        os.close(descriptor)
