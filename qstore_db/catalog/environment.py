"""One LMDB environment: opening it safely, its tables and its transactions.

Durability is LMDB's default (data pages synced, then the meta page): `writemap` and `metasync=False` are
never used, `sync=False` only where nothing is promised past close. The map is 1 TiB from the start, so that
it never has to grow under live readers; the file itself stays as small as its data. py-lmdb opens with
MDB_NOTLS: a reader slot belongs to its transaction, not to a thread.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import lmdb

from qstore_db.catalog import faults
from qstore_db.catalog.copying import compacted_copy, sync
from qstore_db.catalog.gate import Gate
from qstore_db.catalog.pages import check_metas
from qstore_db.errors import (
    ClosedError,
    CorruptionError,
    ForkedError,
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

_generation = 0


def _enter_child() -> None:
    global _generation
    _generation += 1


# A handle remembers the generation that opened it, so a fork voids them all. os.getpid costs a read 0.3 us.
os.register_at_fork(after_in_child=_enter_child)


class Environment:
    """An open LMDB environment. Reads may run in any thread; a write stays in the one that began it.

    A failed sync leaves it unknown what reached the disk, so the environment becomes read-only until it is
    opened again; if it was the meta page that failed, LMDB refuses reads as well (`ReadOnlyError`). A full
    disk aborts the transaction and nothing else: later writes simply try again. An `lmdb.Error` that escapes
    is a mistake in the call (a key too long, a write within a write of the same thread), not a fault.

    Opening raises `DatabaseLockedError` where this process has the directory open already, `FormatError` for
    a data file of another format, `CorruptionError` for a damaged one or one that lacks a table,
    `DiskFullError`, and `ConfigurationError` for anything else that keeps it shut. A missing or empty data
    file is a new, empty one. Tables that an older file may lack are named in `added`: they are made where they
    are missing, or left out where the file is opened for reading only.
    """

    def __init__(
        self,
        directory: Path,
        *,
        tables: Sequence[str] = (),
        added: Sequence[str] = (),
        durable: bool = True,
        read_only: bool = False,
    ) -> None:
        self.directory = directory
        self._names = (CATALOG_TABLE, *tables)
        self._added = tuple(added)
        self._durable = durable
        self._read_only = read_only
        self._fault: str | None = None
        self._closed = False
        self._generation = _generation
        self._gate = Gate()
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
    def read(self) -> Iterator[lmdb.Transaction[bytes]]:
        """One consistent read. No cursor may leave the block; keys and values are copies and may.

        Raises `CorruptionError` for a damaged page, `UnavailableError` while 512 other reads are open.
        """
        who = self._enter()
        try:
            transaction = self._env.begin()
            try:
                yield transaction
            finally:
                # A child that was forked in the block would give back its parent's reader slot.
                if not self._forked:
                    transaction.abort()
        except lmdb.Error as error:
            fault = self._fault_of(error)
            if fault is None:
                raise
            raise fault from error
        finally:
            self._leave(who)

    @contextmanager
    def write(self, size: int = 0) -> Iterator[lmdb.Transaction[bytes]]:
        """One durable transaction: committed when the block ends, aborted when it raises.

        Waits for a write of another thread. If the block is left without an error, the write is on disk.
        `size` in bytes is about what it will write; it helps to tell a full disk from a broken one. Raises
        `DiskFullError` (nothing was stored, try again), `ReadOnlyError` (whether it was stored is unknown,
        the environment takes no more writes), `CorruptionError`, and `ClosedError` or `ForkedError` if the
        block closed the environment or forked (nothing was stored).
        """
        who = self._enter()
        try:
            self.check_writable()
            with self._transaction(None, size) as transaction:
                yield transaction
        finally:
            self._leave(who)

    @contextmanager
    def nested(self, parent: lmdb.Transaction[bytes]) -> Iterator[lmdb.Transaction[bytes]]:
        """A part of `parent` that can fail alone: when the block raises, only what it wrote is undone.

        `parent` must not be used before the block ends. Raises what `write` raises.
        """
        self.check_owner()
        with self._transaction(parent, 0) as transaction:
            yield transaction

    def check_owner(self) -> None:
        """Raises ForkedError in a child process that inherited this handle."""
        if self._forked:
            raise ForkedError(
                "this database handle was opened before a fork; open the database in the child itself, "
                "or start workers by spawn",
                subject=str(self.directory),
            )

    def check(self) -> None:
        """Raises ForkedError or ClosedError where the handle is of no use."""
        self.check_owner()
        if self._closed:
            raise self._closed_error()

    def check_writable(self) -> None:
        """Raises ReadOnlyError after a fault, and where the environment was opened for reading."""
        if self._read_only:
            raise ReadOnlyError(
                f"the database {self.directory} was opened for reading only", subject=str(self.directory)
            )
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
        """A compacting, consistent, synced copy of the data file in the folder `destination`; its path.

        Raises `ArgumentError` if there is no such folder or it holds a data file already, `DiskFullError` if
        the copy does not fit, `ConfigurationError` if it cannot be written for another reason, and
        `CorruptionError`. After an error nothing is left there; unless the source is damaged, the environment
        goes on.
        """
        who = self._enter()
        try:
            return self._copy(destination)
        finally:
            self._leave(who)

    def compact(self) -> None:
        """Rewrite the data file without its free pages. Every other transaction waits until it is done.

        Raises what `copy` raises, and then all is as before.
        """
        self.check()
        self.check_writable()
        with self._gate.alone():
            self.check()
            aside = self.directory / "compacting"
            try:
                aside.mkdir(exist_ok=True)
                (aside / DATA_FILE).unlink(missing_ok=True)
            except OSError as error:
                raise faults.copying_error(self.directory, aside, error) from error
            try:
                # The copy is durable before it takes the old file's name, and renaming is atomic.
                self._exchange(self._copy(aside))
            finally:
                # What cannot be removed is of no harm: the next one begins by removing it.
                shutil.rmtree(aside, ignore_errors=True)

    def close(self) -> None:
        """Let the running transactions of other threads end, and close; again is harmless.

        A write that the calling thread itself is in fails with `ClosedError`. In a forked child nothing
        happens: the file is the parent's.
        """
        if self._closed or self._forked:
            return
        self._closed = True
        with self._gate.alone():
            self._env.close()

    def _open(self) -> None:
        path = self.directory / DATA_FILE
        fresh = not path.exists()
        try:
            if not fresh:
                check_metas(path)
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
            try:
                self._env.reader_check()  # slots of readers that were killed would hold their pages for ever
                self._open_tables()
            except BaseException:
                self._env.close()
                raise
        except (lmdb.Error, OSError) as error:
            if fresh and not self._read_only and path.exists():
                path.unlink()  # a half-made file would refuse to open for ever after
            raise faults.opening_error(self.directory, error) from error

    def _open_tables(self) -> None:
        """All at once and here: py-lmdb opens a table in a write transaction of its own, for which it would
        wait with the GIL held, and so for ever, while a thread of this process writes."""
        if self._read_only:
            for name in self._names:
                self._open_table(name, None, create=False)
            for name in self._added:
                with suppress(lmdb.NotFoundError):
                    self.tables[name] = self._env.open_db(name.encode(), create=False)
            return
        with self._env.begin(write=True) as transaction:
            self._restore_length()
            fresh = not self._env.stat()["entries"]
            for name in self._names:
                self._open_table(name, transaction, create=fresh)
            for name in self._added:
                self._open_table(name, transaction, create=True)

    def _open_table(self, name: str, transaction: lmdb.Transaction[bytes] | None, *, create: bool) -> None:
        try:
            self.tables[name] = self._env.open_db(name.encode(), txn=transaction, create=create)
        except lmdb.NotFoundError as error:
            raise CorruptionError(
                f"the database {self.directory} has lost its table {name!r}", subject=str(self.directory)
            ) from error

    def _restore_length(self) -> None:
        """Fill up a data file that is shorter than its meta page says.

        A read beyond the end of a file that was cut would end the process by SIGBUS; zeros are found to be
        damage instead. A short file alone proves none: LMDB leaves out pages that it freed again at once.
        The write transaction around this keeps others from making the file longer meanwhile.
        """
        path = self.directory / DATA_FILE
        length = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        if path.stat().st_size < length:
            os.truncate(path, length)

    def _enter(self) -> int:
        self.check()
        return self._gate.enter()

    def _leave(self, who: int) -> None:
        if not self._forked:  # in a child the gate's lock may be held by a thread that is not there
            self._gate.leave(who)

    @contextmanager
    def _transaction(
        self, parent: lmdb.Transaction[bytes] | None, size: int
    ) -> Iterator[lmdb.Transaction[bytes]]:
        committing = False
        try:
            transaction = self._env.begin(write=True, parent=parent)
            try:
                yield transaction
                # py-lmdb's own `with` would commit in a forked child too, and end in silence, with nothing
                # stored, if this thread closed the environment: `commit` says so.
                self.check_owner()
            except BaseException:
                if not self._forked:
                    transaction.abort()
                raise
            committing = parent is None
            transaction.commit()
        except lmdb.Error as error:
            fault = self._fault_of(error, committing=committing, size=size)
            if fault is None:
                raise
            raise fault from error

    @property
    def _forked(self) -> bool:
        return self._generation != _generation

    def _copy(self, destination: Path) -> Path:
        try:
            return compacted_copy(self._env, self.directory / DATA_FILE, destination)
        except CorruptionError as error:
            self.condemn(str(error))
            raise

    def _exchange(self, copy: Path) -> None:
        """Close the file, put `copy` in its place and open that; if that fails, the old one again."""
        self._env.close()
        try:
            copy.replace(self.directory / DATA_FILE)
            sync(self.directory)
        except OSError as error:
            raise faults.copying_error(self.directory, self.directory, error) from error
        finally:
            try:
                self._open()
            except BaseException:
                self._closed = True
                raise

    def _fault_of(self, error: lmdb.Error, *, committing: bool = False, size: int = 0) -> QStoreError | None:
        """What to raise for `error`, having refused later writes if need be; None for a mistaken call."""
        if self._closed and not faults.code_of(error):
            return self._closed_error()
        if isinstance(error, lmdb.ReadersFullError):
            return faults.too_many_readers(self.directory)
        # After a failure inside it a transaction calls itself bad at every turn, and a failed commit does not
        # say whether LMDB gave up: a fresh look tells.
        look = self._probe() if committing or isinstance(error, lmdb.BadTxnError) else None
        damage = error if isinstance(error, faults.DAMAGE) else look
        if isinstance(damage, (*faults.DAMAGE, lmdb.BadTxnError)):
            self.condemn(str(damage))
            return faults.damaged(self.directory, damage)
        panics = isinstance(error, lmdb.PanicError) or isinstance(look, lmdb.PanicError)
        fatal = panics or faults.is_fatal(error, committing=committing)
        if not panics and (faults.is_full(error) or (fatal and faults.no_room(self.directory, size))):
            return faults.full(self.directory, error)
        if fatal:
            self.condemn(str(error))
            return faults.became_read_only(self.directory, error)
        return None

    def _probe(self) -> lmdb.Error | None:
        """What a fresh read of every table meets. LMDB refuses it with `PanicError` after its meta page could
        not be written (a copy-on-write file system needs space even for that)."""
        try:
            with self._env.begin() as transaction:
                for table in self.tables.values():
                    transaction.get(b"\x00", None, table)
        except lmdb.Error as error:
            return error
        return None

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"the database {self.directory} is closed", subject=str(self.directory))
