"""One LMDB environment: opening it safely, its tables, and its faults in our own words.

Durability is LMDB's default (data pages synced, then the meta page): `writemap`, `sync=False` and
`metasync=False` are never used on a durable database. The map is 1 TiB from the start, so that it never has to
grow under live readers; the file itself stays as small as its data.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lmdb

from qstore_db.errors import (
    ClosedError,
    CorruptionError,
    DiskFullError,
    ForkedError,
    FormatError,
    QStoreError,
    ReadOnlyError,
)

MAP_SIZE = 1 << 40
LIB_VERSION = 0
"""Which of LMDB's two bundled engines is used; their files are mutually unreadable, so it never changes."""
DATA_FILE = "data.mdb"
CATALOG_TABLE = "catalog"
_MAX_TABLES = 16
_MAX_READERS = 512
_PROBE_BYTES = 1 << 20


class Environment:
    """An open LMDB environment. Reads may run in any thread; a write transaction stays in the one that began it.

    A failed sync leaves it unknown what reached the disk, so the environment becomes read-only until it is
    opened again. A full disk aborts the transaction and nothing else: later writes simply try again.
    """

    def __init__(
        self, directory: Path, *, tables: Sequence[str] = (), durable: bool = True, read_only: bool = False
    ) -> None:
        self.directory = directory
        self._names = (CATALOG_TABLE, *tables)
        self._durable = durable
        self._read_only = read_only
        self._fault: str | None = None
        self._closed = False
        self._pid = os.getpid()
        self._gate = threading.Condition()
        self._active = 0
        self._exclusive = False
        self.tables: dict[str, lmdb._Database] = {}
        """Table handles by name; replaced in place when `compact` reopens the file."""
        self._open()

    @property
    def fault(self) -> str | None:
        """Why the environment is read-only, or None."""
        return self._fault

    def condemn(self, reason: str) -> None:
        """Refuse every later write: what is on disk can no longer be trusted to be what was acknowledged."""
        if self._fault is None:
            self._fault = reason

    @contextmanager
    def read(self) -> Iterator[lmdb.Transaction]:
        """One consistent read. Nothing that the transaction hands out may leave the block."""
        self._enter()
        try:
            with self._env.begin() as transaction:
                yield transaction
        except lmdb.Error as error:
            raise self._unreadable(error) from error
        finally:
            self._leave()

    @contextmanager
    def write(self, size: int = 0) -> Iterator[lmdb.Transaction]:
        """One durable transaction: committed when the block ends, aborted when it raises.

        `size` in bytes is about what it will write; it helps to tell a full disk from a broken one.
        """
        self.check_writable()
        self._enter()
        try:
            with self._env.begin(write=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise self._unwritten(error, size) from error
        finally:
            self._leave()

    @contextmanager
    def nested(self, parent: lmdb.Transaction) -> Iterator[lmdb.Transaction]:
        """A part of `parent` that can fail alone."""
        with self._env.begin(write=True, parent=parent) as transaction:
            yield transaction

    def check_owner(self) -> None:
        """Raises ForkedError in a child process that inherited this handle."""
        if self._pid != os.getpid():
            raise ForkedError(
                "this database handle was opened before a fork; open the database in the child itself, "
                "or start workers by spawn"
            )

    def check(self) -> None:
        """Raises ForkedError or ClosedError where the handle is of no use."""
        self.check_owner()
        if self._closed:
            raise ClosedError(f"the database {self.directory} is closed", subject=str(self.directory))

    def check_writable(self) -> None:
        """Raises ReadOnlyError after a fault."""
        if self._fault is not None:
            raise ReadOnlyError(
                f"the database {self.directory} is read-only since a fault: {self._fault}; "
                "close and reopen it once the cause is gone",
                subject=str(self.directory),
            )

    def file_size(self) -> int:
        """Bytes that the data file takes on disk."""
        return (self.directory / DATA_FILE).stat().st_blocks * 512

    def copy(self, destination: Path) -> Path:
        """A compacting, consistent copy of the data file in an existing empty folder, synced; its path."""
        self._enter()
        try:
            return self._copy(destination)
        finally:
            self._leave()

    def compact(self) -> None:
        """Rewrite the data file without its free pages. Every other transaction waits until it is done."""
        self.check_writable()
        with self._gate:
            self.check()
            self._gate.wait_for(lambda: not self._exclusive)
            self._exclusive = True
            self._gate.wait_for(lambda: self._active == 0)
        try:
            aside = self.directory / "compacting"
            _remove_copy(aside)
            aside.mkdir()
            copy = self._copy(aside)
            self._env.close()
            # The copy is durable before it takes the old file's name, and renaming is atomic.
            copy.replace(self.directory / DATA_FILE)
            _sync(self.directory)
            self._open()
        finally:
            _remove_copy(self.directory / "compacting")
            with self._gate:
                self._exclusive = False
                self._gate.notify_all()

    def close(self) -> None:
        """Wait for running transactions and close. In a forked child it does nothing: the file is the parent's."""
        if self._closed or self._pid != os.getpid():
            return
        with self._gate:
            self._closed = True
            self._gate.wait_for(lambda: self._active == 0 and not self._exclusive)
        self._env.close()

    def _open(self) -> None:
        fresh = not (self.directory / DATA_FILE).exists()
        try:
            self._env = lmdb.open(
                str(self.directory),
                map_size=MAP_SIZE,
                max_dbs=_MAX_TABLES,
                max_readers=_MAX_READERS,
                lib_version=LIB_VERSION,
                sync=self._durable,
                readonly=self._read_only,
                create=not self._read_only,
            )
            self._env.reader_check()  # slots of readers that were killed would hold their pages for ever
            # All at once: opening a table is a transaction of its own, which a write in progress would block.
            for name in self._names:
                self.tables[name] = self._env.open_db(name.encode(), create=not self._read_only)
        except lmdb.Error as error:
            if fresh and not self._read_only:  # a half-made file would refuse to open for ever after
                (self.directory / DATA_FILE).unlink(missing_ok=True)
            raise _unopened(self.directory, error) from error

    def _enter(self) -> None:
        self.check()
        with self._gate:
            if self._exclusive:
                self._gate.wait_for(lambda: not self._exclusive)
            if self._closed:
                self.check()
            self._active += 1

    def _leave(self) -> None:
        with self._gate:
            self._active -= 1
            if not self._active and (self._exclusive or self._closed):
                self._gate.notify_all()

    def _copy(self, destination: Path) -> Path:
        try:
            self._env.copy(str(destination), compact=True)
        except lmdb.Error as error:
            if _is_full(error):
                raise self._full() from error
            raise self._unreadable(error) from error
        copy = destination / DATA_FILE
        _sync(copy)  # LMDB itself never syncs a copy
        _sync(destination)
        return copy

    def _unreadable(self, error: lmdb.Error) -> QStoreError:
        if isinstance(error, lmdb.PanicError):
            return self._panicked()
        if isinstance(error, lmdb.ReadersFullError):
            return ClosedError(f"{_MAX_READERS} reads are running at once on {self.directory}")
        self.condemn(str(error))
        return CorruptionError(
            f"the database file of {self.directory} is damaged: {error}", subject=str(self.directory)
        )

    def _unwritten(self, error: lmdb.Error, size: int) -> QStoreError:
        if isinstance(error, lmdb.PanicError) or self._has_panicked():
            return self._panicked()
        if isinstance(error, (lmdb.CorruptedError, lmdb.PageNotFoundError)):
            return self._unreadable(error)
        # LMDB reports a short write, which is how a full disk usually shows, and a failed sync in the same words.
        if isinstance(error, lmdb.MapFullError) or _is_full(error) or self._no_room(size):
            return self._full()
        self.condemn(str(error))
        return ReadOnlyError(
            f"the database {self.directory} became read-only: {error}; whether this write reached the disk is "
            "unknown, it is not acknowledged",
            subject=str(self.directory),
        )

    def _full(self) -> DiskFullError:
        return DiskFullError(
            f"no space left for {self.directory}: nothing of this write was stored; free some space and "
            "send it again",
            subject=str(self.directory),
        )

    def _no_room(self, size: int) -> bool:
        """Whether the file system cannot hold what a failed transaction was about to write."""
        probe = self.directory / "space.probe"
        try:
            descriptor = os.open(probe, os.O_CREAT | os.O_WRONLY, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size + _PROBE_BYTES)
            finally:
                os.close(descriptor)
        except OSError as error:
            return error.errno in (errno.ENOSPC, errno.EDQUOT)
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()
        return False

    def _has_panicked(self) -> bool:
        try:
            with self._env.begin():
                return False
        except lmdb.PanicError:
            return True

    def _panicked(self) -> ReadOnlyError:
        """LMDB gave up after a failed write of its meta page: only reopening tells what is on disk."""
        self.condemn("writing the meta page failed")
        return ReadOnlyError(
            f"the database {self.directory} must be closed and reopened: writing its meta page failed, and whether "
            "the last write reached the disk is unknown; it is not acknowledged",
            subject=str(self.directory),
        )


def _is_full(error: lmdb.Error) -> bool:
    text = str(error)
    return any(os.strerror(code) in text for code in (errno.ENOSPC, errno.EDQUOT))


def _unopened(directory: Path, error: lmdb.Error) -> QStoreError:
    if _is_full(error):
        return DiskFullError(f"no space left to open {directory}", subject=str(directory))
    return FormatError(
        f"{directory / DATA_FILE} is no database file that this release can open: {error}", subject=str(directory)
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_copy(folder: Path) -> None:
    (folder / DATA_FILE).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
