"""The embedded engine: one directory, one process, any number of threads."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lmdb

from qstore_db.catalog.base import ABSENT, CatalogDelete, CatalogPut
from qstore_db.catalog.environment import Environment
from qstore_db.catalog.lmdb import LmdbCatalog
from qstore_db.engines.base import Capabilities, CollectionSpec, IndexKind, StorageKind, Write
from qstore_db.engines.embedded import files, layout, verify
from qstore_db.engines.embedded.builder import MAX_UNBUILT, Builder, unbuilt_segments
from qstore_db.engines.embedded.chores import Chores
from qstore_db.engines.embedded.collection import Change, Collection
from qstore_db.engines.embedded.format import check_format, check_records
from qstore_db.engines.embedded.janitor import Janitor
from qstore_db.engines.embedded.ownership import DirectoryLock
from qstore_db.engines.embedded.persist import IndexFiles
from qstore_db.engines.embedded.recovery import Recovery, recover
from qstore_db.engines.embedded.requests import Group, WriteBatch
from qstore_db.engines.embedded.segment import Tail
from qstore_db.engines.embedded.statistics import CollectionStatistics, EngineStatistics
from qstore_db.engines.embedded.store import Store
from qstore_db.engines.embedded.view import Snapshot
from qstore_db.engines.embedded.writer import Ticket, Writer
from qstore_db.errors import (
    ClosedError,
    CollectionExistsError,
    CollectionNotFoundError,
    CorruptionError,
    DiskFullError,
    QStoreError,
    VersionConflictError,
    WaitTimeoutError,
)
from qstore_db.records import Metric, Record

RECORDS_FOLDER = "records"
INDEX_FOLDER = "index"
SEAL_ROWS = 2_048
"""A quiet tail of at least this many rows gets its graph early; fewer are cheap to search exactly."""
_QUEUE_PATIENCE = 30.0
_COLLECTION_PREFIX = "collection/"
_DROPPED_PREFIX = "dropped/"


class EmbeddedEngine:
    """LMDB is the truth; snapshots, graphs and columns are derived from it and rebuilt when lost.

    A write is acknowledged once it is on disk and visible. With `durable=False` (temporary databases) it may
    skip the disk sync.
    """

    capabilities = Capabilities(
        snapshot_isolation=True, insert_if_absent=True, compare_and_set=True, scan=True, vectors="exact"
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
        with contextlib.ExitStack() as undo:
            with files.room_in(directory):
                for folder in (directory, directory / RECORDS_FOLDER, directory / INDEX_FOLDER):
                    folder.mkdir(parents=True, exist_ok=True)
                self._lock = DirectoryLock(directory)
            undo.callback(self._lock.release)
            check_records(directory, directory / RECORDS_FOLDER)
            self._environment = Environment(directory / RECORDS_FOLDER, tables=layout.TABLES, durable=durable)
            undo.callback(self._environment.close)
            self._store = Store(self._environment)
            self.catalog = LmdbCatalog(self._environment)
            check_format(directory, self._store)
            self._sequence = self._store.meta("sequence") or 0
            self._collections: dict[str, Collection] = {}
            self._changing = threading.Lock()
            self.recoveries: dict[str, Recovery] = {}
            self._load_collections()
            self._group = Group(self._sequence)
            self._verification = self._begin_session()
            self._writer = Writer(self._environment, self, self._backlog_delay)
            undo.callback(self._writer.close)
            self._builder = Builder(
                lambda: list(self._collections.values()),
                self.index_files,
                build_threads or max(1, (os.cpu_count() or 1) // 2),
            )
            undo.callback(self._builder.close)
            self._chores = Chores(self, self._store, self._writer, self._builder, clock)
            undo.pop_all()
        self._janitor = Janitor(self._chores.all())
        self._builder.wake()
        if self._verification == "running":
            threading.Thread(target=self._verify_after_crash, name="qstore-verify", daemon=True).start()

    # Collections

    def create_collection(self, spec: CollectionSpec) -> None:
        self._environment.check()
        with self._changing:
            if spec.name in self._collections:
                raise CollectionExistsError(f"collection {spec.name!r} already exists", subject=spec.name)
            cid = self.catalog.sequence("collection")
            self.catalog.put(_COLLECTION_PREFIX + spec.name, _spec_data(cid, spec), if_version=ABSENT)
            self._collections[spec.name] = Collection(self._store, cid, spec, self._sequence)

    def rename_collection(self, old: str, new: str) -> None:
        with self._changing:
            collection = self.collection(old)
            spec = replace(collection.spec, name=new)
            try:
                self.catalog.apply(
                    [
                        CatalogDelete(_COLLECTION_PREFIX + old),
                        CatalogPut(
                            _COLLECTION_PREFIX + new, _spec_data(collection.cid, spec), if_version=ABSENT
                        ),
                    ]
                )
            except VersionConflictError:
                raise CollectionExistsError(f"collection {new!r} already exists", subject=new) from None
            collection.respecify(spec)
            del self._collections[old]
            self._collections[new] = collection

    def drop_collection(self, name: str) -> None:
        """The collection is gone at once; its space is given back in the background, also across a
        restart."""
        with self._changing:
            collection = self.collection(name)
            collection.dropped = True
            self.catalog.apply(
                [
                    CatalogDelete(_COLLECTION_PREFIX + name),
                    CatalogPut(f"{_DROPPED_PREFIX}{collection.cid}", collection.cid),
                ]
            )
            del self._collections[name]

    def reindex(self, name: str, *, index: IndexKind, storage: StorageKind) -> None:
        """Change how a collection is searched; the work runs in the background and queries go on."""
        with self._changing:
            collection = self.collection(name)
            spec = replace(collection.spec, index=index, storage=storage)
            self.catalog.put(_COLLECTION_PREFIX + name, _spec_data(collection.cid, spec))
            collection.respecify(spec)
        self._builder.wake()

    def collections(self) -> list[CollectionSpec]:
        self._environment.check()
        return [self._collections[name].spec for name in sorted(self._collections)]

    def has_collection(self, name: str) -> bool:
        return name in self._collections

    def collection(self, name: str) -> Collection:
        self._environment.check()
        try:
            return self._collections[name]
        except KeyError:
            known = ", ".join(repr(n) for n in sorted(self._collections)) or "none yet"
            raise CollectionNotFoundError(
                f"collection {name!r} does not exist (there are: {known}); create it with create_collection",
                subject=name,
            ) from None

    # Records

    def write(self, collection: str, writes: Sequence[Write], *, patience: float = _QUEUE_PATIENCE) -> Ticket:
        """Raises QueueFullError if the queue has no room within `patience` seconds."""
        batch = WriteBatch(self._store, self.collection(collection), writes, self.current_group, self._clock)
        return self._writer.submit(batch, patience)

    def fetch(self, collection: str, ids: Sequence[str], now: float) -> list[Record | None]:
        return self._store.fetch(self.collection(collection).cid, ids, now)

    def view(self, collection: str) -> Snapshot:
        return self.collection(collection).current

    # Upkeep

    def wait_indexed(self, timeout: float | None = None) -> None:
        """Block until every full segment, and every tail worth it, has its graph. Raises WaitTimeoutError."""
        self._environment.check()
        for collection in list(self._collections.values()):
            if collection.spec.index != "flat":
                collection.seal(SEAL_ROWS)
        if not self._builder.wait(timeout):
            raise WaitTimeoutError(
                f"the index was not complete after {timeout} s; it goes on in the background"
            )

    def snapshot(self) -> int:
        """Write the index to disk now; the op sequence it covers. Happens by itself in the background too."""
        self._environment.check()
        with self._janitor.paused():
            for collection in list(self._collections.values()):
                self._chores.save_index(collection)
        return self._sequence

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

    def index_files(self, collection: Collection) -> IndexFiles:
        return IndexFiles(self.directory / INDEX_FOLDER, self.catalog, collection.cid)

    def live_collections(self) -> list[Collection]:
        return list(self._collections.values())

    def dropped(self) -> list[int]:
        """Collections whose space is still to be given back."""
        return [entry.value for entry in self.catalog.scan(_DROPPED_PREFIX)]

    def forget_dropped(self, cid: int) -> None:
        IndexFiles(self.directory / INDEX_FOLDER, self.catalog, cid).forget()
        self.catalog.delete(f"{_DROPPED_PREFIX}{cid}")

    @property
    def sequence(self) -> int:
        """The last op that is committed and visible."""
        return self._sequence

    def verify(self) -> verify.Report:
        """Check every record, entry and index file against its checksum; writes go on meanwhile."""
        with self._janitor.paused():
            return verify.check_engine(self._store, self.catalog, self._index_folders())

    def statistics(self) -> dict[str, Any]:
        return asdict(
            EngineStatistics(
                sequence=self._sequence,
                write_requests=self._writer.requests,
                commits=self._writer.groups,
                queued_requests=self._writer.queued(),
                slowed_seconds=self._writer.slowed_seconds,
                purged_sequence=self._chores.purged,
                disk_bytes=sum(f.stat().st_blocks * 512 for f in self.directory.rglob("*") if f.is_file()),
                read_only=self._environment.fault,
                builder_fault=self._builder.fault,
                janitor_fault=self._janitor.fault,
                verification=self._verification,
                collections={name: self._describe(c) for name, c in sorted(self._collections.items())},
            )
        )

    def close(self) -> None:
        """Finish queued writes, save the index, mark a clean stop. Calling it again does nothing."""
        if self._closed:
            return
        self._environment.check_owner()
        self._closed = True
        self._writer.close()
        self._builder.close()
        self._janitor.close()
        # The index is derived and the clean mark only saves a check: failing to write them loses nothing.
        with contextlib.suppress(QStoreError, OSError):
            self._chores.save_all()
            with self._environment.write() as transaction:
                self._store.put_meta(transaction, "clean", self._sequence)
        self._environment.close()
        self._lock.release()

    # What the writer's requests and the writer call (see `Commits`)

    def current_group(self) -> Group:
        return self._group

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

    def abandon(self) -> None:
        self._group = Group(self._sequence)

    # Inside

    def _backlog_delay(self) -> float:
        backlog = max(
            (unbuilt_segments(c.current.parts) for c in self._collections.values() if c.spec.index != "flat"),
            default=0,
        )
        return 0.05 * (backlog - MAX_UNBUILT) if backlog > MAX_UNBUILT else 0.0

    def _load_collections(self) -> None:
        for entry in self.catalog.scan(_COLLECTION_PREFIX):
            spec = _spec_of(entry.key.removeprefix(_COLLECTION_PREFIX), entry.value)
            collection = Collection(self._store, entry.value["cid"], spec, self._sequence)
            self.recoveries[spec.name] = recover(
                self._store, collection, self.index_files(collection), self._sequence
            )
            self._collections[spec.name] = collection

    def _begin_session(self) -> str:
        """Take the clean mark away, so that a crash is noticed next time; whether one happened before."""
        clean = self._store.meta("clean")
        if clean is not None:
            # Reading needs no room on the disk. A mark that stays is only believed until the next record.
            with contextlib.suppress(DiskFullError), self._environment.write() as transaction:
                self._store.drop_meta(transaction, "clean")
        return "not needed" if self._sequence in (clean, 0) else "running"

    def _verify_after_crash(self) -> None:
        try:
            report = verify.check_engine(self._store, self.catalog, self._index_folders(), pace=True)
        except ClosedError:
            return
        except QStoreError as error:
            self._verification = str(error)
            return
        if report.problems:
            self._verification = "; ".join(report.problems[:3])
            self._environment.condemn(f"the check after an unclean stop failed: {self._verification}")
        else:
            self._verification = "passed"

    def _index_folders(self) -> list[IndexFiles]:
        return [self.index_files(collection) for collection in self.live_collections()]

    def _describe(self, collection: Collection) -> CollectionStatistics:
        snapshot = collection.current
        parts = snapshot.parts
        graphs = [part.graph for part in parts if part.graph is not None]
        tail = sum(part.n for part in parts if isinstance(part.source, Tail))
        wants_graph = collection.spec.index != "flat"
        lag = sum(p.n for p in parts if p.graph is None and not getattr(p.source, "settled", False))
        return CollectionStatistics(
            records=sum(part.alive_count for part in parts),
            dead_rows=sum(part.dead_count for part in parts),
            tail_rows=tail,
            segments=sum(not isinstance(part.source, Tail) for part in parts),
            unbuilt_segments=unbuilt_segments(parts) if wants_graph else 0,
            index_lag_rows=lag if wants_graph else 0,
            graph_recall=min((graph.width.recall for graph in graphs), default=None),
            graph_width=max((graph.width.ten for graph in graphs), default=None),
            memory_bytes=sum(part.source.memory() for part in parts),
            held_snapshots=collection.held(),
            indexed_sequence=self._chores.indexed(collection),
        )


def _spec_data(cid: int, spec: CollectionSpec) -> dict[str, Any]:
    return {
        "cid": cid,
        "dimension": spec.dimension,
        "metric": spec.metric.value,
        "index": spec.index,
        "storage": spec.storage,
        "target_recall": spec.target_recall,
    }


def _spec_of(name: str, data: dict[str, Any]) -> CollectionSpec:
    try:
        return CollectionSpec(
            name,
            data["dimension"],
            Metric(data["metric"]),
            data["index"],
            data["storage"],
            data["target_recall"],
        )
    except (KeyError, ValueError) as error:
        raise CorruptionError(
            f"the catalog entry of collection {name!r} is unreadable: {error}", subject=name
        ) from None
