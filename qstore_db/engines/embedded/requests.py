"""What a write request does inside the writer's transaction, and what it leaves for the snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import lmdb

from qstore_db.engines.base import Delete, DeleteWhere, Patch, Put, Selection, Write, Written
from qstore_db.engines.embedded import layout
from qstore_db.engines.embedded.collection import Change, Collection
from qstore_db.engines.embedded.layout import Op, Total
from qstore_db.engines.embedded.moving import moved, moves_of
from qstore_db.engines.embedded.store import Encoded, Store
from qstore_db.engines.embedded.writer import Ticket
from qstore_db.errors import (
    CollectionNotFoundError,
    DuplicateIdError,
    RecordNotFoundError,
    VersionConflictError,
)
from qstore_db.records import Body, Vectors, check_matrix
from qstore_db.records.metadata import check_size


@dataclass(slots=True)
class Group:
    """What the requests of one group change, until it is committed and published. Owned by the writer thread."""

    sequence: int
    changes: list[tuple[Collection, Change]] = field(default_factory=list)
    totals: dict[int, Total] = field(default_factory=dict)

    def total(self, store: Store, transaction: lmdb.Transaction[bytes], cid: int) -> Total:
        """As of what the group did so far."""
        return self.totals[cid] if cid in self.totals else store.total(transaction, cid)

    def mark(self) -> Callable[[], None]:
        """How to return to the present state."""
        sequence, length, totals = self.sequence, len(self.changes), dict(self.totals)

        def rollback() -> None:
            self.sequence, self.totals = sequence, totals
            del self.changes[length:]

        return rollback


_WRITE_BYTES = 512
"""What a write takes in the queue besides its encoded record, so that deletes count as well."""


class WriteBatch:
    """Some writes to one collection, all or nothing. Records are encoded in the caller's thread."""

    __slots__ = (
        "_clock",
        "_collection",
        "_encoded",
        "_group",
        "_now",
        "_store",
        "_writes",
        "alone",
        "checks_first",
        "nbytes",
        "ticket",
    )

    def __init__(
        self,
        store: Store,
        collection: Collection,
        writes: Sequence[Write],
        group: Callable[[], Group],
        clock: Callable[[], float],
    ) -> None:
        self.ticket = Ticket()
        self._store = store
        self._collection = collection
        self._writes = writes
        self._group = group
        self._clock = clock
        self._now = clock()
        self._encoded = [self._encode(write) for write in writes]
        self.nbytes = _WRITE_BYTES * len(writes)
        self.nbytes += sum(len(e.body) + len(e.vector) for e in self._encoded if e is not None)
        record_bytes = _WRITE_BYTES + 4 * collection.spec.dimension
        for write in writes:
            if isinstance(write, Patch):
                self.nbytes += record_bytes * collection.groups.reach(write.id)
        self.checks_first = len(writes) == 1 and not isinstance(writes[0], DeleteWhere)
        self.alone = any(isinstance(write, DeleteWhere) for write in writes)

    def apply(self, transaction: lmdb.Transaction[bytes]) -> Written:
        self._check_there()
        group = self._group()
        count = 0
        for write, encoded in zip(self._writes, self._encoded, strict=True):
            if isinstance(write, Put):
                assert encoded is not None
                count += self._put(transaction, group, write, encoded)
            elif isinstance(write, Patch):
                count += self._patch(transaction, group, write)
            elif isinstance(write, Delete):
                count += self._delete(transaction, group, write.id)
            else:
                count += self._delete_where(transaction, group, write)
        return Written(group.sequence, count)

    def _check_there(self) -> None:
        if self._collection.dropped:
            name = self._collection.spec.name
            raise CollectionNotFoundError(f"collection {name!r} was dropped meanwhile", subject=name)

    def _encode(self, write: Write) -> Encoded | None:
        if isinstance(write, (Put, Patch)) and write.vector is not None:
            spec = self._collection.spec  # the collection may be another one than the caller looked at
            if len(write.vector) != spec.dimension:
                check_matrix(
                    write.vector,
                    dimension=spec.dimension,
                    metric=spec.metric,
                    collection=spec.name,
                    what=f"the vector of {write.id!r}",
                )
        if not isinstance(write, Put):
            return None
        body = Body(write.id, write.contexts, write.metadata, write.expires_at, self._now)
        return Encoded.of(body, write.vector)

    def _put(self, transaction: lmdb.Transaction[bytes], group: Group, put: Put, encoded: Encoded) -> int:
        old = self._store.row_of(transaction, self._collection.cid, put.id)
        if put.exclusive and old is not None and self._live(transaction, old) is not None:
            raise DuplicateIdError(
                f"record {put.id!r} already exists in collection {self._collection.spec.name!r}; "
                "use upsert to replace it",
                subject=put.id,
            )
        self._replace(transaction, group, old, encoded)
        group.changes.append(
            (
                self._collection,
                Change(
                    group.sequence,
                    old or 0,
                    put.id,
                    put.vector,
                    put.metadata,
                    put.contexts,
                    put.expires_at,
                    self._now,
                ),
            )
        )
        return 1

    def _patch(self, transaction: lmdb.Transaction[bytes], group: Group, patch: Patch) -> int:
        collection = self._collection
        row = self._store.row_of(transaction, collection.cid, patch.id)
        body = None if row is None else self._live(transaction, row)
        if row is None or body is None:
            raise RecordNotFoundError(
                f"record {patch.id!r} is not in collection {collection.spec.name!r}", subject=patch.id
            )
        if patch.if_version is not None and patch.if_version != row:
            raise VersionConflictError(
                f"record {patch.id!r} is at version {row}, not at the expected {patch.if_version}; "
                "read it again and retry",
                subject=patch.id,
            )
        vector = patch.vector
        if vector is None:
            vector = self._store.vector(transaction, collection.cid, row, patch.id)
        after = replace(
            body,
            contexts=body.contexts if patch.contexts is None else patch.contexts,
            metadata=body.metadata if patch.metadata is None else {**body.metadata, **patch.metadata},
            updated_at=self._clock(),
        )
        if patch.metadata is not None:
            check_size(after.metadata, patch.id)
        # Its own op comes last, so that the sequence which acknowledges the request is its version.
        return self._rewrite(
            transaction, group, [*self._moves(transaction, body, after), (row, after, vector)]
        )

    def _moves(
        self, transaction: lmdb.Transaction[bytes], before: Body, after: Body
    ) -> Iterator[tuple[int, Body, Vectors]]:
        """What the groups of a record move when it changes: row, new body and vector of each other member."""
        cid = self._collection.cid
        for id, moves in moves_of(self._collection.groups.of(after.id), before, after).items():
            row = self._store.row_of(transaction, cid, id)
            body = None if row is None else self._live(transaction, row)
            if row is None or body is None:
                continue
            there = moved(body, moves)
            if there is not body:
                there = replace(there, updated_at=after.updated_at)
                yield row, there, self._store.vector(transaction, cid, row, id)

    def _rewrite(
        self,
        transaction: lmdb.Transaction[bytes],
        group: Group,
        records: Sequence[tuple[int, Body, Vectors]],
    ) -> int:
        """Replace what stands at each row; how many. All are encoded before the first is written."""
        encoded = [Encoded.of(body, vector) for _, body, vector in records]
        for (row, body, vector), values in zip(records, encoded, strict=True):
            self._replace(transaction, group, row, values)
            change = Change.of(group.sequence, row, body, vector)
            group.changes.append((self._collection, change))
        return len(records)

    def _delete(self, transaction: lmdb.Transaction[bytes], group: Group, id: str) -> int:
        collection = self._collection
        row = self._store.row_of(transaction, collection.cid, id)
        if row is None:
            return 0
        seen = self._live(transaction, row) is not None
        self._remove(transaction, group, id, row)
        return int(seen)

    def _remove(self, transaction: lmdb.Transaction[bytes], group: Group, id: str, row: int) -> None:
        cid = self._collection.cid
        total = self._total(transaction, group).minus(self._store.checksum(transaction, cid, row))
        self._store.remove_id(transaction, cid, id)
        self._log(transaction, group, layout.DELETE, row, id, total)
        group.changes.append((self._collection, Change(0, row)))

    def _delete_where(self, transaction: lmdb.Transaction[bytes], group: Group, write: DeleteWhere) -> int:
        """What the published state admits, unless this batch replaced it, and what this batch wrote itself."""
        selection = write.selection
        found = self._collection.current.select(selection)
        doomed = list(zip(found.ids(), found.rows().tolist(), strict=True))
        doomed += [(change.id, change.row) for _, change in group.changes if _admits(selection, change)]
        count = 0
        for id, row in doomed:
            if self._store.row_of(transaction, self._collection.cid, id) == row:
                self._remove(transaction, group, id, row)
                count += 1
        return count

    def _replace(
        self, transaction: lmdb.Transaction[bytes], group: Group, old: int | None, encoded: Encoded
    ) -> None:
        cid = self._collection.cid
        total = self._total(transaction, group)
        if old is not None:
            total = total.minus(self._store.checksum(transaction, cid, old))
        self._store.put(transaction, cid, group.sequence + 1, encoded)
        self._log(transaction, group, layout.PUT, old or 0, encoded.id, total.plus(encoded.checksum))

    def _log(
        self,
        transaction: lmdb.Transaction[bytes],
        group: Group,
        kind: int,
        superseded: int,
        id: str,
        total: Total,
    ) -> None:
        group.sequence += 1
        group.totals[self._collection.cid] = total
        self._store.log(
            transaction, Op(group.sequence, kind, self._collection.cid, superseded, self._clock(), id)
        )

    def _total(self, transaction: lmdb.Transaction[bytes], group: Group) -> Total:
        return group.total(self._store, transaction, self._collection.cid)

    def _live(self, transaction: lmdb.Transaction[bytes], row: int) -> Body | None:
        body = self._store.body(transaction, self._collection.cid, row)
        return None if body.expires_at is not None and body.expires_at <= self._clock() else body


class RemoveRows(WriteBatch):
    """Delete records that are still at the given rows: what expired and was not written again meanwhile."""

    __slots__ = ("_doomed",)

    def __init__(
        self,
        store: Store,
        collection: Collection,
        rows: Sequence[tuple[int, str]],
        group: Callable[[], Group],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(store, collection, (), group, clock)
        self._doomed = rows

    def apply(self, transaction: lmdb.Transaction[bytes]) -> Written:
        self._check_there()
        group = self._group()
        count = 0
        for row, id in self._doomed:
            if self._store.row_of(transaction, self._collection.cid, id) == row:
                self._remove(transaction, group, id, row)
                count += 1
        return Written(group.sequence, count)


def _admits(selection: Selection, change: Change) -> bool:
    """What the selection would say of a record that no snapshot shows yet."""
    if change.vector is None or (change.expires_at is not None and change.expires_at <= selection.now):
        return False
    if selection.contexts and set(selection.contexts).isdisjoint(change.contexts.names):
        return False
    return selection.filter is None or selection.filter.matches(change.metadata or {})
