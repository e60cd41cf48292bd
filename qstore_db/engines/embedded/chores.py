"""The janitor's chores for one engine: give space back, expire records, keep the index on disk fresh."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import lmdb

from qstore_db.engines.base import Written
from qstore_db.engines.embedded.builder import Builder, plan
from qstore_db.engines.embedded.collection import Collection
from qstore_db.engines.embedded.forgetting import Forgetter
from qstore_db.engines.embedded.requests import RemoveRows
from qstore_db.engines.embedded.segment import Segment, Tail
from qstore_db.engines.embedded.store import Store
from qstore_db.engines.embedded.writer import Ticket, Writer

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine

PURGE_BATCH = 2_000
ERASE_BATCH = 5_000
RETAIN_SECONDS = 24 * 3600.0
RETAIN_OPS = 10_000_000
QUIET_SECONDS = 1.0
"""A collection without a write for this long gets its tail indexed and its index saved."""
SAVE_SECONDS = 2.0
"""Under steady writes the index is saved this often, so that a restart has little to read again ..."""
SAVE_BYTES_PER_SECOND = 20e6
"""... unless what is to be saved is large: on average no more than this is written."""
SAVE_OPS = 50_000
"""Ops that a restart may have to replay before the index is saved again."""


class Chores:
    """Everything here is safe to lose or repeat: records and acknowledgements never depend on it."""

    def __init__(
        self,
        engine: EmbeddedEngine,
        store: Store,
        writer: Writer,
        builder: Builder,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._store = store
        self._writer = writer
        self._builder = builder
        self._clock = clock
        self.purged = store.meta("purged") or 0
        self._read = self.purged
        self._forgetter = Forgetter(engine, self._upkeep)
        self._saved = {
            collection.cid: (0.0, engine.recoveries[collection.spec.name].from_sequence)
            for collection in engine.roster.live()
        }

    def all(self) -> Sequence[Callable[[], object]]:
        return (
            self.expire,
            self.purge,
            self.trim,
            self._forgetter.forget,
            self.erase_dropped,
            self.index_quiet,
            self.save_due,
        )

    def indexed(self, collection: Collection) -> int:
        """Op sequence of the newest saved index."""
        return self._saved.get(collection.cid, (0.0, 0))[1]

    def expire(self) -> None:
        """Delete records whose time is over."""
        now = self._clock()
        for collection in self._engine.roster.live():
            snapshot = collection.current
            rows: list[tuple[int, str]] = []
            for part in snapshot.parts:
                positions, times = part.columns.expiry.upto(part.n)
                rows.extend(
                    (int(part.rows[position]), part.source.ids[position])
                    for position in positions[times <= now].tolist()
                    if not part.is_dead(position)
                )
            for start in range(0, len(rows), PURGE_BATCH):
                batch = rows[start : start + PURGE_BATCH]
                self._run(RemoveRows(self._store, collection, batch, self._engine.current_group, self._clock))

    def purge(self, *, everything: bool = False) -> None:
        """Forget superseded rows that no held snapshot can still read."""
        upto = self._engine.sequence  # before the horizons: what is written from now on may have none
        horizons = self._engine.roster.horizons(upto)
        while True:
            drops: list[tuple[int, int]] = []
            read = self._read
            blocked = False
            for op in self._store.oplog(self._read, 5 * PURGE_BATCH):
                if op.sequence > upto or (op.superseded and op.sequence > horizons.get(op.cid, upto)):
                    blocked = True
                    break
                if op.superseded:
                    drops.append((op.cid, op.superseded))
                read = op.sequence
                if len(drops) == PURGE_BATCH:
                    break
            if drops or (everything and read > self.purged):
                self._upkeep(partial(self._drop, rows=drops, upto=read))
                self.purged = read
            advanced = read > self._read
            self._read = read
            if blocked or not advanced:
                return

    def trim(self) -> None:
        """Cut the oplog where neither an index, nor the purge, nor its retention needs it."""
        needed = [self._read]  # nothing up to it is left to be purged
        for collection in self._engine.roster.live():
            manifests = self._engine.roster.index_files(collection.cid).manifests()
            if manifests:
                needed.append(manifests[-1].sequence)
        limit, young, first, last = min(needed), self._clock() - RETAIN_SECONDS, 0, 0
        for op in self._store.oplog(0, PURGE_BATCH):
            if op.sequence > limit or (op.time > young and op.sequence > self._engine.sequence - RETAIN_OPS):
                break
            first, last = first or op.sequence, op.sequence
        if last:
            self._upkeep(partial(self._store.unlog, first=first, last=last))

    def erase_dropped(self) -> None:
        """Give back the space of dropped collections, a bounded step at a time."""
        for cid in self._engine.roster.dropped():
            left: list[bool] = []

            def erase(transaction: lmdb.Transaction[bytes], cid: int = cid, left: list[bool] = left) -> None:
                left.append(self._store.erase(transaction, cid, ERASE_BATCH))

            self._upkeep(erase)
            if not left[0]:
                self._engine.roster.forget(cid)

    def index_quiet(self) -> None:
        """Give a quiet collection's tail its graph, so that single queries stay fast after a bulk load, and
        wake the builder where there is something to build."""
        from qstore_db.engines.embedded.engine import SEAL_ROWS

        for collection in self._engine.roster.live():
            quiet = time.monotonic() - collection.last_write > QUIET_SECONDS
            if quiet and collection.spec.index != "flat":
                covered = sum(p.n for p in collection.current.parts if p.graph is not None)
                collection.seal(max(SEAL_ROWS, covered // 50))
            # Deletes alone make work too. A build that failed is left to the builder's own patience.
            if self._builder.fault is None and self._builder.has_work(collection):
                self._builder.wake()

    def save_due(self) -> None:
        for collection in self._engine.roster.live():
            at, sequence = self._saved.get(collection.cid, (0.0, 0))
            parts = collection.current.parts
            unsaved = sum(p.source.matrix.nbytes for p in parts if self._is_unsaved(p.source))
            unsaved += collection.unsaved_links
            behind = collection.current.sequence - sequence > SAVE_OPS or (
                self._engine.sequence - sequence > RETAIN_OPS // 20
            )
            calm = plan(parts, collection.spec) is None
            rested = time.monotonic() - at > max(SAVE_SECONDS, unsaved / SAVE_BYTES_PER_SECOND)
            if (unsaved or (behind and (sequence or self._has_segments(collection)))) and (calm or rested):
                self.save_index(collection)

    def save_all(self) -> None:
        """At a clean stop: save what changed since the last time."""
        for collection in self._engine.roster.live():
            parts = collection.current.parts
            behind = self.indexed(collection) < collection.current.sequence
            # A graph is newer than the last save without any write in between.
            newer = collection.unsaved_links > 0 or any(self._is_unsaved(p.source) for p in parts)
            if newer or (behind and self._has_segments(collection)):
                self.save_index(collection)
        if self._read > self.purged:
            with self._store.environment.write() as transaction:
                self._store.put_meta(transaction, "purged", self._read)

    def save_index(self, collection: Collection) -> None:
        sequence = self._engine.sequence  # before the parts: they hold at least everything up to it
        snapshot = collection.current
        parts = [part for part in snapshot.parts if isinstance(part.source, Segment)]
        links = collection.links_to_save(snapshot)
        collection.saved_links = self._engine.roster.index_files(collection.cid).save(parts, sequence, links)
        self._saved[collection.cid] = (time.monotonic(), sequence)

    def _drop(self, transaction: lmdb.Transaction[bytes], rows: Sequence[tuple[int, int]], upto: int) -> None:
        for cid, row in rows:
            self._store.drop(transaction, cid, row)
        self._store.put_meta(transaction, "purged", upto)

    def _is_unsaved(self, source: Segment | Tail) -> bool:
        return isinstance(source, Segment) and source.file is None

    def _has_segments(self, collection: Collection) -> bool:
        return any(isinstance(part.source, Segment) for part in collection.current.parts)

    def _upkeep(self, work: Callable[[lmdb.Transaction[bytes]], None]) -> None:
        self._run(_Upkeep(work))

    def _run(self, request: _Upkeep | RemoveRows) -> None:
        self._writer.submit(request, 1.0).result()


class _Upkeep:
    """A write request of the janitor's own; it changes nothing that a snapshot shows."""

    nbytes = 0
    alone = False
    checks_first = False

    def __init__(self, work: Callable[[lmdb.Transaction[bytes]], None]) -> None:
        self.ticket = Ticket()
        self._work = work

    def apply(self, transaction: lmdb.Transaction[bytes]) -> Written:
        self._work(transaction)
        return Written(0, 0)

    def forget(self) -> None:
        pass
