"""The embedded engine: one directory, one process, any number of threads."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lmdb

from qstore_db.catalog.environment import Environment
from qstore_db.catalog.lmdb import LmdbCatalog
from qstore_db.engines.base import Capabilities, CollectionSpec, IndexKind, StorageKind, Write, not_indexed
from qstore_db.engines.embedded import files, layout
from qstore_db.engines.embedded.builder import MAX_UNBUILT, Builder, unbuilt_segments
from qstore_db.engines.embedded.chores import Chores
from qstore_db.engines.embedded.collection import Change, Collection
from qstore_db.engines.embedded.feed import Feed, Subscribers
from qstore_db.engines.embedded.format import check_format, check_records
from qstore_db.engines.embedded.janitor import Janitor
from qstore_db.engines.embedded.layout import INDEX_FOLDER, RECORDS_FOLDER
from qstore_db.engines.embedded.ownership import DirectoryLock
from qstore_db.engines.embedded.receipts import KeyedBatch, Receipts
from qstore_db.engines.embedded.requests import Group, WriteBatch
from qstore_db.engines.embedded.roster import Roster
from qstore_db.engines.embedded.soundness import Soundness
from qstore_db.engines.embedded.statistics import EngineStatistics, describe, disk_bytes
from qstore_db.engines.embedded.store import Store
from qstore_db.engines.embedded.verify import Report
from qstore_db.engines.embedded.view import Snapshot
from qstore_db.engines.embedded.writer import Ticket, Writer
from qstore_db.errors import QStoreError, UnavailableError
from qstore_db.records import Group as RecordGroup
from qstore_db.records import Record

SEAL_ROWS = 2_048
"""A quiet tail of at least this many rows gets its graph early; fewer are cheap to search exactly."""
_QUEUE_PATIENCE = 30.0
_PUBLISHING = 50e-6
"""Seconds between two looks at whether a commit has been published."""
_LONGEST_DELAY = 1.0
"""Seconds that a group commit is held back at most, so that writes go on even where no graph gets built."""


class EmbeddedEngine:
    """LMDB is the truth; snapshots, graphs and columns are derived from it and rebuilt when lost.

    A write is acknowledged once it is on disk and visible. With `durable=False` (temporary databases) it may
    skip the disk sync.
    """

    capabilities = Capabilities(
        snapshot_isolation=True,
        insert_if_absent=True,
        compare_and_set=True,
        links=True,
        scan=True,
        vectors="exact",
        groups=True,
        receipts=True,
        watch=True,
    )

    def __init__(
        self,
        directory: Path,
        *,
        durable: bool = True,
        build_threads: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self._clock = clock
        self._closed = False
        self._subscribers = Subscribers()
        with contextlib.ExitStack() as undo:
            with files.room_in(directory):
                for folder in (directory, directory / RECORDS_FOLDER, directory / INDEX_FOLDER):
                    folder.mkdir(parents=True, exist_ok=True)
                self._lock = DirectoryLock(directory)
            undo.callback(self._lock.release)
            check_records(directory, directory / RECORDS_FOLDER)
            self._environment = Environment(
                directory / RECORDS_FOLDER, tables=layout.TABLES, added=layout.ADDED_TABLES, durable=durable
            )
            undo.callback(self._environment.close)
            self._store = Store(self._environment)
            self.catalog = LmdbCatalog(self._environment)
            check_format(directory, self._store)
            self._sequence = self._store.check_sequence()
            self.receipts = Receipts(self._store)
            self.receipts.check_count()
            self._group = Group(self._sequence)
            self.roster = Roster(self._store, self.catalog, directory / INDEX_FOLDER)
            self.recoveries = self.roster.load(self._sequence)
            self._writer = Writer(self._environment, self, self._backlog_delay)
            undo.callback(self._writer.close)
            self._builder = Builder(self.roster.live, build_threads or max(1, (os.cpu_count() or 1) // 2))
            undo.callback(self._builder.close)
            self._chores = Chores(self, self._store, self._writer, self._builder, clock)
            self._janitor = Janitor(self._chores.all())
            undo.callback(self._janitor.close)
            self._soundness = Soundness(self._store, self.catalog)
            self._soundness.begin(self._sequence)
            undo.pop_all()
        self._builder.wake()

    # Collections and groups

    def create_collection(self, spec: CollectionSpec) -> None:
        self._environment.check()
        self.roster.create(spec, self._sequence)

    def rename_collection(self, old: str, new: str) -> None:
        self._environment.check()
        self.roster.rename(old, new)

    def drop_collection(self, name: str) -> None:
        """The collection is gone at once; its space is given back in the background, also across a restart,
        once the views and results that were taken before are gone too."""
        self._environment.check()
        self.roster.drop(name)
        self._subscribers.call()

    def reindex(self, name: str, *, index: IndexKind, storage: StorageKind) -> None:
        """Change how a collection is searched; the work runs in the background and queries go on."""
        self._environment.check()
        self.roster.respecify(name, index=index, storage=storage)
        self._builder.wake()

    def collections(self) -> list[CollectionSpec]:
        self._environment.check()
        return [collection.spec for collection in self.roster.live()]

    def has_collection(self, name: str) -> bool:
        return name in self.roster

    def collection(self, name: str) -> Collection:
        self._environment.check()
        return self.roster[name]

    def create_group(self, group: RecordGroup) -> None:
        self._environment.check()
        self.roster.create_group(group, self._clock())

    def groups(self) -> list[RecordGroup]:
        self._environment.check()
        return self.roster.groups()

    def drop_group(self, name: str) -> None:
        self._environment.check()
        self.roster.drop_group(name)

    # Records

    def write(
        self,
        collection: str,
        writes: Sequence[Write],
        *,
        patience: float = _QUEUE_PATIENCE,
        key: bytes | None = None,
    ) -> Ticket:
        """Raises QueueFullError if the queue has no room within `patience` seconds."""
        parts = (self._store, self.collection(collection), writes, self.current_group, self._clock)
        batch = WriteBatch(*parts) if key is None else KeyedBatch(*parts, key, self.receipts)
        return self._writer.submit(batch, patience)

    def fetch(self, collection: str, ids: Sequence[str], now: float) -> list[Record | None]:
        reader = self.collection(collection)  # held, so that a drop meanwhile erases nothing yet
        records, sequence = self._store.fetch(reader.cid, ids, now)
        # What is committed is published a moment later. Nobody may see it before searches show it.
        while self._sequence < sequence and self._environment.fault is None and not self._closed:
            time.sleep(_PUBLISHING)
        return records

    def view(self, collection: str) -> Snapshot:
        return self.collection(collection).current

    # Changes

    def feed(self, collection: str, since: int) -> Feed:
        there = self.collection(collection)
        return Feed(self._store, there, since, lambda: self._sequence, self._clock, self._subscribers)

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._environment.check()
        return self._subscribers.add(callback)

    # Upkeep

    def wait_indexed(self, timeout: float | None = None) -> None:
        """Block until every full segment, and every tail worth it, has its graph.

        Raises WaitTimeoutError, UnavailableError if building failed, ClosedError if the engine is closed meanwhile.
        """
        self._environment.check()
        for collection in self.roster.live():
            if collection.spec.index != "flat":
                collection.seal(SEAL_ROWS)
        if not self._builder.wait(timeout):
            raise not_indexed(timeout)
        self._environment.check()
        if self._builder.fault is not None:
            raise UnavailableError(
                f"the index could not be built ({self._builder.fault}); searches stay exact meanwhile"
            )

    def snapshot(self) -> int:
        """Write the index to disk now; the op sequence it covers. Happens by itself in the background too."""
        self._environment.check()
        with self._janitor.paused():
            sequence = self._sequence
            for collection in self.roster.live():
                self._chores.save_index(collection)
        return sequence

    def compact(self) -> int:
        """Give free space back to the file system; the bytes given back. Reads and writes wait meanwhile."""
        with self._janitor.paused():
            self._chores.purge(everything=True)
            before = self._environment.file_size()
            self._environment.compact()
            return before - self._environment.file_size()

    def paused_upkeep(self) -> contextlib.AbstractContextManager[None]:
        """Keep index files as they are while the block runs (for backups)."""
        return self._janitor.paused()

    def copy_records(self, destination: Path) -> None:
        """A consistent compacted copy of the system of record into an empty folder."""
        self._environment.copy(destination)

    @property
    def fault(self) -> str | None:
        """Why the store is read-only; None while it is not."""
        return self._environment.fault

    @property
    def sequence(self) -> int:
        """The last op that is committed and visible."""
        return self._sequence

    @property
    def closing(self) -> bool:
        """Whether upkeep should come to an end."""
        return self._closed

    def verify(self) -> Report:
        """Check every record, entry and index file against its checksum; writes go on meanwhile."""
        with self._janitor.paused():
            indexes = [self.roster.index_files(collection.cid) for collection in self.roster.live()]
            return self._soundness.check(indexes)

    def statistics(self) -> dict[str, Any]:
        return asdict(
            EngineStatistics(
                sequence=self._sequence,
                write_requests=self._writer.requests,
                commits=self._writer.groups,
                queued_requests=self._writer.queued(),
                slowed_seconds=self._writer.slowed_seconds,
                purged_sequence=self._chores.purged,
                disk_bytes=disk_bytes(self.directory),
                read_only=self._environment.fault,
                builder_fault=self._builder.fault,
                janitor_fault=self._janitor.fault,
                verification=self._soundness.verdict,
                collections={c.spec.name: describe(c, self._chores.indexed(c)) for c in self.roster.live()},
            )
        )

    def close(self) -> None:
        """Finish queued writes, save the index, mark a clean stop. Calling it again does nothing."""
        if self._closed:
            return
        self._environment.check_owner()
        self._closed = True
        self._soundness.stop()
        self._writer.close()
        self._builder.close()
        self._janitor.close()
        # The index is derived and the clean mark only saves a check: failing to write them loses nothing.
        with contextlib.suppress(QStoreError, OSError):
            self._chores.save_all()
            self._soundness.end(self._sequence)
        self._environment.close()
        self._subscribers.close()
        self._lock.release()

    # What the writer's requests and the writer call (see `Commits`)

    def current_group(self) -> Group:
        return self._group

    def mark(self) -> Callable[[], None]:
        return self._group.mark()

    def seal(self, transaction: lmdb.Transaction[bytes]) -> None:
        for cid, total in self._group.totals.items():
            self._store.put_total(transaction, cid, total)
        self._store.put_meta(transaction, "sequence", self._group.sequence)

    def publish(self) -> None:
        group = self._group
        by_collection: dict[int, tuple[Collection, list[Change]]] = {}
        for collection, change in group.changes:
            by_collection.setdefault(collection.cid, (collection, []))[1].append(change)
        for collection, changes in by_collection.values():
            sealed = len(collection.current.parts)
            collection.publish(changes, group.sequence)
            collection.last_write = time.monotonic()
            if len(collection.current.parts) != sealed:
                self._builder.wake()
        self._sequence = group.sequence
        self._group = Group(self._sequence)
        if by_collection:
            self._subscribers.call()

    def abandon(self) -> None:
        self._group = Group(self._sequence)

    # Inside

    def _backlog_delay(self) -> float:
        backlog = max(
            (unbuilt_segments(c.current.parts, c.spec) for c in self.roster.live()),
            default=0,
        )
        return min(0.05 * max(backlog - MAX_UNBUILT, 0), _LONGEST_DELAY)
