"""The system of record: records in LMDB tables, written only inside the writer's transactions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import cast

import lmdb
import numpy as np
from numpy.typing import NDArray

from qstore_db.catalog.environment import Environment
from qstore_db.engines.embedded import layout
from qstore_db.engines.embedded.layout import Op, Total
from qstore_db.engines.embedded.recent import Recent
from qstore_db.errors import CorruptionError
from qstore_db.records import Body, Metadata, Record, Vectors

_NO_VECTOR = np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record ready to be written: its two stored values, and the sum of their checksums."""

    id: str
    body: bytes
    vector: bytes

    @classmethod
    def of(cls, body: Body, vector: Vectors) -> Encoded:
        return cls(body.id, layout.encode_body(body), layout.encode_vector(body.id, vector.tobytes()))

    @property
    def checksum(self) -> int:
        return layout.body_crc(self.body) + layout.body_crc(self.vector)


class Store:
    """Reads check every checksum they pass; a mismatch makes the whole store read-only and is never
    served."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._tables = environment.tables
        self._recent = Recent()

    # Reading

    def row_of(self, transaction: lmdb.Transaction[bytes], cid: int, id: str) -> int | None:
        value = transaction.get(layout.id_key(cid, id), db=self._tables[layout.IDS])
        try:
            return None if value is None else layout.unpack_row(value)
        except CorruptionError as error:
            raise self._corrupt(error) from None

    def body(self, transaction: lmdb.Transaction[bytes], cid: int, row: int) -> Body:
        return Body.unpacked(self._packed(transaction, cid, row))

    def vector(self, transaction: lmdb.Transaction[bytes], cid: int, row: int, id: str) -> Vectors:
        with transaction.cursor(self._tables[layout.VECTORS]) as cursor:
            return self._vector(cursor, cid, row, id)

    def vectors(self, transaction: lmdb.Transaction[bytes]) -> lmdb.Cursor[bytes]:
        """A cursor for the vectors of many records, one after the other."""
        return transaction.cursor(self._tables[layout.VECTORS])

    def fetch(self, cid: int, ids: Iterable[str], now: float) -> tuple[list[Record | None], int]:
        """The newest committed records by id, as of one moment; None for absent and expired ones.

        The number is the op sequence of that moment.
        """
        out: list[Record | None] = []
        with (
            self.environment.read() as transaction,
            transaction.cursor(self._tables[layout.VECTORS]) as cursor,
        ):
            for id in ids:
                row = self.row_of(transaction, cid, id)
                out.append(None if row is None else self.at(transaction, cursor, cid, row, id, now))
            return out, self._meta(transaction, "sequence") or 0

    def at(
        self,
        transaction: lmdb.Transaction[bytes],
        vectors: lmdb.Cursor[bytes],
        cid: int,
        row: int,
        id: str,
        now: float,
    ) -> Record | None:
        """The record of an id, which leads to `row`; None where it expired. `vectors` is a cursor over theirs."""
        body = self.body(transaction, cid, row)
        if body.expires_at is not None and body.expires_at <= now:
            return None
        self._check_id(body, id, row)
        return body.record(row, self._vector(vectors, cid, row, id))

    def records(self, cid: int, rows: NDArray[np.int64], *, vectors: bool = True) -> list[Record]:
        """Records by row, their `vector` empty without `vectors`.

        Rows of a snapshot stay stored for as long as the snapshot is held.
        """
        with (
            self.environment.read() as transaction,
            transaction.cursor(self._tables[layout.VECTORS]) as cursor,
        ):
            out: list[Record] = []
            for row in rows.tolist():
                body = self.body(transaction, cid, row)
                vector = self._vector(cursor, cid, row, body.id) if vectors else _NO_VECTOR
                out.append(body.record(row, vector))
            return out

    def bodies(self, cid: int, rows: NDArray[np.int64]) -> list[bytes]:
        """The same records without their vectors, as they are packed."""
        wanted = rows.tolist()
        out = [self._recent.get(row) for row in wanted]
        if None in out:
            with self.environment.read() as transaction:
                for at, row in enumerate(wanted):
                    if out[at] is None:
                        out[at] = packed = self._packed(transaction, cid, row)
                        self._recent.keep(row, packed)
        else:
            self.environment.check()  # a closed database is closed for what is remembered too
        return cast("list[bytes]", out)

    def metadata(self, cid: int, rows: NDArray[np.int64]) -> list[Metadata]:
        with self.environment.read() as transaction:
            return [self.body(transaction, cid, row).metadata for row in rows.tolist()]

    def live(self, cid: int, after: int = 0) -> Iterator[tuple[int, Body, Vectors]]:
        """Every current record written after op sequence `after`, oldest first, as of one moment."""
        with (
            self.environment.read() as transaction,
            transaction.cursor(self._tables[layout.VECTORS]) as vectors,
            transaction.cursor(self._tables[layout.ROWS]) as cursor,
        ):
            found = cursor.set_range(layout.row_key(cid, after + 1))
            while found:
                key, value = cursor.item()
                try:
                    owner, row = layout.split_row_key(key)
                    if owner != cid:
                        return
                    body = layout.decode_body(value, row)
                except CorruptionError as error:
                    raise self._corrupt(error) from None
                if self.row_of(transaction, cid, body.id) == row:
                    yield row, body, self._vector(vectors, cid, row, body.id)
                found = cursor.next()

    def total(self, transaction: lmdb.Transaction[bytes], cid: int) -> Total:
        return layout.decode_total(
            cid, transaction.get(layout.collection_key(cid), db=self._tables[layout.TOTALS])
        )

    def oplog(self, after: int, limit: int | None = None) -> Iterator[Op]:
        """Entries with sequences above `after`, in order, as of one moment."""
        with self.environment.read() as transaction:
            yield from islice(self.ops(transaction, after), limit)

    def ops(self, transaction: lmdb.Transaction[bytes], after: int) -> Iterator[Op]:
        """The same within a read of the caller's."""
        with transaction.cursor(self._tables[layout.OPLOG]) as cursor:
            found = cursor.set_range(layout.pack_row(after + 1))
            while found:
                yield layout.decode_op(*cursor.item())
                found = cursor.next()

    def meta(self, name: str) -> int | None:
        """A stored number, or None. Raises CorruptionError where its checksum does not hold."""
        with self.environment.read() as transaction:
            return self._meta(transaction, name)

    def _meta(self, transaction: lmdb.Transaction[bytes], name: str) -> int | None:
        value = transaction.get(name.encode(), db=self._tables[layout.META])
        return None if value is None else layout.decode_meta(name, value)

    def every_id(self, transaction: lmdb.Transaction[bytes]) -> Iterator[tuple[int, str, int]]:
        """(collection, id, row) of every current record."""
        with transaction.cursor(self._tables[layout.IDS]) as cursor:
            for key, value in cursor:
                yield *layout.split_id_key(key), layout.unpack_row(value)

    def check_record(self, transaction: lmdb.Transaction[bytes], cid: int, id: str, row: int) -> int:
        """The sum of a record's checksums once all of it is verified. Raises CorruptionError."""
        self._check_id(self.body(transaction, cid, row), id, row)
        self.vector(transaction, cid, row, id)
        return self.checksum(transaction, cid, row)

    def check_sequence(self) -> int:
        """The last op sequence, once the oplog agrees with it. Raises CorruptionError."""
        with (
            self.environment.read() as transaction,
            transaction.cursor(self._tables[layout.OPLOG]) as cursor,
        ):
            sequence = self._meta(transaction, "sequence") or 0
            if cursor.last() and layout.unpack_row(cursor.key()) != sequence:
                last = layout.unpack_row(cursor.key())
                raise CorruptionError(
                    f"the oplog ends at {last}, not at the last sequence {sequence}", subject="oplog"
                )
        return sequence

    def numbers(self, transaction: lmdb.Transaction[bytes]) -> set[str]:
        """The names of the stored numbers."""
        with transaction.cursor(self._tables[layout.META]) as cursor:
            return {key.decode(errors="replace") for key in cursor.iternext(values=False)}

    # Writing, inside the caller's transaction

    def put(self, transaction: lmdb.Transaction[bytes], cid: int, row: int, record: Encoded) -> None:
        """Make `row` the record of its id. What it supersedes stays stored until `drop`."""
        transaction.put(layout.id_key(cid, record.id), layout.pack_row(row), db=self._tables[layout.IDS])
        transaction.put(layout.row_key(cid, row), record.body, db=self._tables[layout.ROWS])
        bounds = layout.piece_bounds(len(record.vector))
        for key, (start, stop) in zip(layout.vector_keys(cid, row, len(bounds)), bounds, strict=True):
            transaction.put(key, record.vector[start:stop], db=self._tables[layout.VECTORS])

    def remove_id(self, transaction: lmdb.Transaction[bytes], cid: int, id: str) -> None:
        transaction.delete(layout.id_key(cid, id), db=self._tables[layout.IDS])

    def drop(self, transaction: lmdb.Transaction[bytes], cid: int, row: int) -> None:
        """Forget a superseded row for good."""
        transaction.delete(layout.row_key(cid, row), db=self._tables[layout.ROWS])
        with transaction.cursor(self._tables[layout.VECTORS]) as cursor:
            prefix = layout.row_key(cid, row)
            found = cursor.set_range(prefix)
            while found and bytes(cursor.key()[: len(prefix)]) == prefix:
                found = cursor.delete()

    def checksum(self, transaction: lmdb.Transaction[bytes], cid: int, row: int) -> int:
        """The sum of the two checksums of a stored record."""
        body = transaction.get(layout.row_key(cid, row), db=self._tables[layout.ROWS])
        first = transaction.get(layout.vector_keys(cid, row, 1)[0], db=self._tables[layout.VECTORS])
        if body is None or first is None:
            raise self._corrupt(
                CorruptionError(f"row {row} of collection {cid} is missing", subject=f"row {row}")
            )
        return layout.body_crc(body) + layout.body_crc(first)

    def log(self, transaction: lmdb.Transaction[bytes], op: Op) -> None:
        transaction.put(
            layout.pack_row(op.sequence), layout.encode_op(op), db=self._tables[layout.OPLOG], append=True
        )

    def unlog(self, transaction: lmdb.Transaction[bytes], first: int, last: int) -> None:
        """Remove oplog entries `first` to `last`."""
        with transaction.cursor(self._tables[layout.OPLOG]) as cursor:
            found = cursor.set_range(layout.pack_row(first))
            while found and cursor.key() and layout.unpack_row(cursor.key()) <= last:
                found = cursor.delete()

    def put_total(self, transaction: lmdb.Transaction[bytes], cid: int, total: Total) -> None:
        transaction.put(
            layout.collection_key(cid), layout.encode_total(cid, total), db=self._tables[layout.TOTALS]
        )

    def put_meta(self, transaction: lmdb.Transaction[bytes], name: str, number: int) -> None:
        transaction.put(name.encode(), layout.encode_meta(name, number), db=self._tables[layout.META])

    def drop_meta(self, transaction: lmdb.Transaction[bytes], name: str) -> None:
        transaction.delete(name.encode(), db=self._tables[layout.META])

    def erase(self, transaction: lmdb.Transaction[bytes], cid: int, limit: int) -> bool:
        """Remove up to `limit` entries of a dropped collection from each table; whether any are left."""
        prefix = layout.collection_key(cid)
        left = False
        for table in (
            self._tables[layout.IDS],
            self._tables[layout.ROWS],
            self._tables[layout.VECTORS],
            self._tables[layout.TOTALS],
        ):
            with transaction.cursor(table) as cursor:
                found = cursor.set_range(prefix)
                for _ in range(limit):
                    if not found or bytes(cursor.key()[:4]) != prefix:
                        found = False
                        break
                    found = cursor.delete()
                left |= found and bytes(cursor.key()[:4]) == prefix
        return left

    def _packed(self, transaction: lmdb.Transaction[bytes], cid: int, row: int) -> bytes:
        value = transaction.get(layout.row_key(cid, row), db=self._tables[layout.ROWS])
        if value is None:
            raise self._corrupt(
                CorruptionError(f"row {row} of collection {cid} is missing", subject=f"row {row}")
            )
        try:
            return layout.packed_body(value, row)
        except CorruptionError as error:
            raise self._corrupt(error) from None

    def _vector(self, cursor: lmdb.Cursor[bytes], cid: int, row: int, id: str) -> Vectors:
        prefix = layout.row_key(cid, row)
        found = cursor.set_range(prefix)
        pieces: list[bytes] = []
        while found:
            key, value = cursor.item()
            if key[: len(prefix)] != prefix:
                break
            pieces.append(value)
            found = cursor.next()
        try:
            vector = layout.decode_vector(id, pieces[0] if len(pieces) == 1 else b"".join(pieces))
        except CorruptionError as error:
            raise self._corrupt(error) from None
        return np.frombuffer(vector, np.float32)

    def _check_id(self, body: Body, id: str, row: int) -> None:
        if body.id != id:
            raise self._corrupt(
                CorruptionError(f"id {id!r} leads to row {row}, which holds {body.id!r}", subject=id)
            )

    def _corrupt(self, error: CorruptionError) -> CorruptionError:
        self.environment.condemn(str(error))
        return error
