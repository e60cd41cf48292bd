"""The audit log: who did what to the server, in lines that are on disk before the act is done."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qstore_db.catalog.copying import sync
from qstore_db.catalog.faults import is_full
from qstore_db.errors import DiskFullError, QStoreError, UnavailableError
from qstore_server.access import LOCAL, Token, hide_tokens

AUDIT_FILE = "audit.log"
OLDER_FILE = "audit.log.1"
_MAX_BYTES = 64 << 20
_MAX_TEXT = 500
_MAX_NAMES = 100


class AuditLog:
    """Append-only JSON lines in the file `audit.log` of a database directory. Safe to use from many threads.

    An administrative act is two lines with the same `act`: one with the outcome "begun", synced before the act
    starts, and one with "done" or the code of its error. So an act that a crash, a kill or a full disk cuts off is
    there all the same, and none is done that is not. At 64 MiB the file becomes `audit.log.1`, in place of the
    one before it.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = directory / AUDIT_FILE
        self._clock = clock
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def act(self, token: Token, peer: str, op: str, arguments: Mapping[str, object]) -> Iterator[None]:
        """The act is the block; its errors pass through. It waits for the disk: not for an event loop.

        `arguments`: of each, a name, number, flag or list of names is kept; of anything else only its type, so
        that neither vectors nor records get here. Raises DiskFullError (UnavailableError for another fault of the
        disk) before the block, which then must not run, and does not.
        """
        line = {
            "act": secrets.token_hex(6),
            "principal": "local" if token == LOCAL else {"id": token.id, "name": token.name},
            "peer": peer,
            "op": _shown(op),
            "arguments": {name: _shown(value) for name, value in arguments.items()},
        }
        self._append({**line, "outcome": "begun"})
        outcome = "cut off"
        try:
            yield
            outcome = "done"
        except QStoreError as error:
            outcome = error.code
            raise
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            # What was done is done, and has its first line: a disk that is full by now changes neither.
            with contextlib.suppress(UnavailableError):
                self._append({**line, "outcome": outcome})

    def _append(self, line: Mapping[str, Any]) -> None:
        moment = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
        stamped = {"time": moment.isoformat(timespec="microseconds"), **line}
        text = hide_tokens(json.dumps(stamped, ensure_ascii=False)) + "\n"
        with self._lock:
            try:
                self._write(text.encode(errors="backslashreplace"))
            except OSError as error:
                kind = DiskFullError if is_full(error) else UnavailableError
                raise kind(
                    f"cannot write to {self._path}: {error.strerror}; an act that cannot be recorded is refused",
                    subject=str(self._path),
                ) from None

    def _write(self, line: bytes) -> None:
        new = not self._path.exists()
        if not new and self._path.stat().st_size + len(line) > _MAX_BYTES:
            self._path.replace(self._path.with_name(OLDER_FILE))
            new = True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a line that a crash cut off
                line = b"\n" + line
            try:
                _write_through(descriptor, line)
            except OSError:
                os.ftruncate(descriptor, size)  # of an act that is refused nothing stays
                raise
        finally:
            os.close(descriptor)
        if new:
            sync(self._path.parent)


def _write_through(descriptor: int, line: bytes) -> None:
    if os.write(descriptor, line) < len(line):  # how a disk shows that it fills up within a write
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(descriptor)


def _shown(value: object) -> object:
    """What of an argument is kept."""
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, str):
        return value[:_MAX_TEXT]
    if isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
        return [each[:_MAX_TEXT] for each in value[:_MAX_NAMES]]
    return f"<{type(value).__name__}>"
