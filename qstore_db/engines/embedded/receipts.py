"""Receipts: the answer to a write, kept under a key of the client's, so that sending it again does not write again.

A client that lost the answer cannot know whether its write was applied. So the receipt is stored in the very
transaction of the write: whatever happens, both are there or neither is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import lmdb

from qstore_db.engines.base import Delete, Patch, Put, Write, Written
from qstore_db.engines.embedded import layout
from qstore_db.engines.embedded.collection import Collection
from qstore_db.engines.embedded.layout import RECEIPTS, RECEIPTS_CID, Receipt
from qstore_db.engines.embedded.requests import Group, WriteBatch
from qstore_db.engines.embedded.store import Store
from qstore_db.errors import ArgumentError, CorruptionError

KEY_BYTES = 16
_RECEIPT_BYTES = 64
"""What a receipt takes in its table, about."""
_BATCH = 100
"""Receipts that a scan reads at a time, in a fifth of a millisecond. A writer may have to wait for that many
times over: it needs the interpreter again after each of its calls of LMDB."""
_UPSERT, _INSERT, _PATCH, _DELETE, _DELETE_WHERE = 1, 2, 3, 4, 5


class Receipts:
    """The table of receipts. Its total stands beside those of the collections, as if it were one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._environment = store.environment

    def find(self, transaction: lmdb.Transaction[bytes], key: bytes) -> Receipt | None:
        value = transaction.get(key, db=self._environment.tables[RECEIPTS])
        return None if value is None else self._decode(key, value)

    def count(self) -> int:
        with self._environment.read() as transaction:
            return self._entries(transaction)

    def scan(self, breathe: Callable[[], None] = lambda: None) -> Iterator[tuple[bytes, Receipt]]:
        """All receipts, in the order of their keys: in many short reads, so that some of those that come or go
        meanwhile may be left out.

        `breathe` is called after each read; it may sleep, and what it raises ends the scan.
        """
        batch = self._after(b"")
        while batch:
            yield from batch
            breathe()
            batch = self._after(batch[-1][0] + b"\0")

    def checksums(self, transaction: lmdb.Transaction[bytes]) -> Iterator[int]:
        """Of every receipt, once it is verified."""
        if RECEIPTS in self._environment.tables:  # an older directory, opened for reading, has none
            with transaction.cursor(self._environment.tables[RECEIPTS]) as cursor:
                for key, value in cursor:
                    self._decode(key, value)
                    yield layout.body_crc(value)

    def check_count(self) -> None:
        """Raises CorruptionError where the total says that there are more or fewer: writes that were applied
        could be applied again."""
        with self._environment.read() as transaction:
            found, expected = self._entries(transaction), self._store.total(transaction, RECEIPTS_CID).count
        if found != expected:
            raise CorruptionError(f"there should be {expected} receipts, {found} are there", subject=RECEIPTS)

    # Inside the writer's transactions

    def add(self, transaction: lmdb.Transaction[bytes], group: Group, key: bytes, receipt: Receipt) -> None:
        value = layout.encode_receipt(key, receipt)
        total = group.total(self._store, transaction, RECEIPTS_CID)
        transaction.put(key, value, db=self._environment.tables[RECEIPTS])
        group.totals[RECEIPTS_CID] = total.plus(layout.body_crc(value))

    def remove(self, transaction: lmdb.Transaction[bytes], group: Group, keys: Sequence[bytes]) -> None:
        total = group.total(self._store, transaction, RECEIPTS_CID)
        for key in keys:
            value = transaction.pop(key, db=self._environment.tables[RECEIPTS])
            if value is not None:
                total = total.minus(layout.body_crc(value))
        group.totals[RECEIPTS_CID] = total

    # Inside

    def _after(self, start: bytes) -> list[tuple[bytes, Receipt]]:
        """Some receipts from key `start` on."""
        batch: list[tuple[bytes, Receipt]] = []
        with (
            self._environment.read() as transaction,
            transaction.cursor(self._environment.tables[RECEIPTS]) as cursor,
        ):
            found = cursor.set_range(start)
            while found and len(batch) < _BATCH:
                key, value = cursor.item()
                batch.append((key, self._decode(key, value)))
                found = cursor.next()
        return batch

    def _entries(self, transaction: lmdb.Transaction[bytes]) -> int:
        return int(transaction.stat(self._environment.tables[RECEIPTS])["entries"])

    def _decode(self, key: bytes, value: bytes) -> Receipt:
        try:
            return layout.decode_receipt(key, value)
        except CorruptionError as error:
            self._environment.condemn(str(error))
            raise


class KeyedBatch(WriteBatch):
    """Some writes that are applied once for their key, however often they come."""

    __slots__ = ("_fingerprint", "_key", "_receipts")

    def __init__(
        self,
        store: Store,
        collection: Collection,
        writes: Sequence[Write],
        group: Callable[[], Group],
        clock: Callable[[], float],
        key: bytes,
        receipts: Receipts,
    ) -> None:
        if not isinstance(key, bytes) or len(key) != KEY_BYTES:
            raise ArgumentError(
                f"key must be {KEY_BYTES} bytes of this request alone, not {key!r}", subject="key"
            )
        super().__init__(store, collection, writes, group, clock)
        self.nbytes += _RECEIPT_BYTES
        self._key = key
        self._receipts = receipts
        self._fingerprint = layout.fingerprint(collection.cid, [_about(write) for write in writes])

    def apply(self, transaction: lmdb.Transaction[bytes]) -> Written:
        """What `checks_first` says still holds: the receipt is looked for first and stored last."""
        receipt = self._receipts.find(transaction, self._key)
        if receipt is None:
            written = super().apply(transaction)
            receipt = Receipt(self._fingerprint, written.sequence, written.count)
            self._receipts.add(transaction, self._group(), self._key, receipt)
            return written
        if receipt.fingerprint != self._fingerprint:
            raise ArgumentError(
                f"key {self._key.hex()} was used for another request; draw a new one for each", subject="key"
            )
        return Written(receipt.sequence, receipt.count)


def _about(write: Write) -> tuple[int, str]:
    """What tells a write from others: what it does, and to which records."""
    if isinstance(write, Put):
        return _INSERT if write.exclusive else _UPSERT, write.id
    if isinstance(write, Patch):
        return _PATCH, write.id
    if isinstance(write, Delete):
        return _DELETE, write.id
    filter = write.selection.filter  # but not `now`, which is another one whenever it is sent
    return _DELETE_WHERE, "" if filter is None else filter.key
