"""One process per directory: a lock file that names its owner, and handles that die in a forked child."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
import time
import weakref
from pathlib import Path

from qstore_db.errors import ConfigurationError, DatabaseLockedError

LOCK_FILE = "LOCK"
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs"})


class DirectoryLock:
    """An exclusive advisory lock on a database directory, held until `release` or the end of the process."""

    def __init__(self, directory: Path) -> None:
        _refuse_network(directory)
        self._descriptor: int | None = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = owner_of(directory)
            os.close(self._descriptor)
            self._descriptor = None
            raise DatabaseLockedError(
                f"{directory} is already open in {owner}; a directory belongs to one process at a time",
                subject=str(directory),
            ) from None
        self._name_owner()
        _held.add(self)

    def _name_owner(self) -> None:
        assert self._descriptor is not None
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": " ".join(sys.argv)[:200],
            "since": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        }
        os.ftruncate(self._descriptor, 0)
        # A full disk must not keep anyone from reading their data: the name is a courtesy, the lock is held.
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, json.dumps(owner).encode(), 0)

    def release(self) -> None:
        self.drop()

    def drop(self) -> None:
        """Close this process's descriptor. In a forked child that leaves the parent's lock in place."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def owner_of(directory: Path) -> str:
    """Who a lock file names, for messages."""
    try:
        owner = json.loads((directory / LOCK_FILE).read_text())
        return f"process {owner['pid']} on {owner['host']} ({owner['command']}, since {owner['since']})"
    except (OSError, ValueError, KeyError):
        return "another process"


_held: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


def _forget_in_child() -> None:
    # An inherited descriptor would keep the directory locked for as long as the child lives.
    for lock in list(_held):
        lock.drop()


os.register_at_fork(after_in_child=_forget_in_child)


def _refuse_network(directory: Path) -> None:
    kind = file_system(directory)
    if kind in NETWORK_FILE_SYSTEMS:
        raise ConfigurationError(
            f"{directory} is on a network file system ({kind}), whose locks and syncs cannot be relied on; "
            "use a local disk",
            subject=str(directory),
        )


def file_system(directory: Path) -> str:
    """The type of the file system that holds a directory, "" where it cannot be told."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    real = str(directory.resolve())
    best, kind = "", ""
    for line in lines:
        _, mount, name, *_ = line.split(" ")
        mount = mount.encode().decode("unicode_escape")
        inside = real == mount or real.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, name
    return kind
