"""The on-disk format: tables, keys and values of the system of record. `docs/format.md` describes every byte.

All integers in keys are big-endian, so that byte order is numeric order. A row is the op sequence of the write
that made it: 64 bits, never reused, and a version for compare-and-set.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c

from qstore_db.errors import CorruptionError
from qstore_db.records import Body
from qstore_db.records.packing import pack

FORMAT = 1
"""Of the directory. A directory of a newer format is refused; each released format keeps a golden directory."""

RECORDS_FOLDER = "records"
INDEX_FOLDER = "index"
COLLECTION_PREFIX = "collection/"
"""Of the catalog entry that describes a collection; its name follows."""

IDS = "ids"  # collection, id -> row
ROWS = "rows"  # collection, row -> body: id, contexts, metadata, times
VECTORS = "vectors"  # collection, row, piece -> float32 values
OPLOG = "oplog"  # row -> what was written
TOTALS = "totals"  # collection -> count and sum of checksums
META = "meta"  # format, sequence, clean stop
TABLES = (IDS, ROWS, VECTORS, OPLOG, TOTALS, META)
RECEIPTS = "receipts"  # key -> what the write under that key was answered
ADDED_TABLES = (RECEIPTS,)
"""The first directories of this format lack them; they get them when they are opened."""

RECEIPTS_CID = 0
"""Under which `totals` counts the receipts. Collections count from 1."""

_COLLECTION = struct.Struct(">I")
_ROW = struct.Struct(">IQ")
_PIECE = struct.Struct(">IQB")
_SEQUENCE = struct.Struct(">Q")
_CRC = struct.Struct("<I")
_TOTAL = struct.Struct("<QQI")
_OP = struct.Struct("<IBIQd")  # crc, kind, collection, superseded row, time
_RECEIPT = struct.Struct("<IIQQ")  # crc, fingerprint, sequence, count

PUT, DELETE = 1, 2
_PAGE = 4_096
_PIECE_BYTES = 1_320
"""Three such values share a page. LMDB gives a value above half a page whole pages of its own."""


def id_key(cid: int, id: str) -> bytes:
    return _COLLECTION.pack(cid) + id.encode()


def row_key(cid: int, row: int) -> bytes:
    return _ROW.pack(cid, row)


def vector_keys(cid: int, row: int, pieces: int) -> list[bytes]:
    return [_PIECE.pack(cid, row, i) for i in range(pieces)]


def collection_key(cid: int) -> bytes:
    return _COLLECTION.pack(cid)


def pack_row(row: int) -> bytes:
    return _SEQUENCE.pack(row)


def unpack_row(value: bytes) -> int:
    """Raises CorruptionError where the length is wrong: LMDB pads values to even sizes, where a byte may hide."""
    if len(value) != _SEQUENCE.size:
        raise CorruptionError(f"a row takes {len(value)} bytes, not {_SEQUENCE.size}", subject=value.hex())
    return int(_SEQUENCE.unpack(value)[0])


def split_row_key(key: bytes) -> tuple[int, int]:
    """Raises CorruptionError where the length is wrong."""
    if len(key) != _ROW.size:
        raise CorruptionError(f"a row's key takes {len(key)} bytes, not {_ROW.size}", subject=key.hex())
    cid, row = _ROW.unpack(key)
    return cid, row


def split_id_key(key: bytes) -> tuple[int, str]:
    """Damaged bytes of an id are replaced: such an id leads to no record of that id, and is found out. Raises
    CorruptionError where there is no id."""
    if len(key) <= _COLLECTION.size:
        raise CorruptionError(f"an id's key takes only {len(key)} bytes", subject=key.hex())
    return int(_COLLECTION.unpack_from(key)[0]), key[4:].decode(errors="replace")


def encode_meta(name: str, number: int) -> bytes:
    value = pack_row(number)
    return _CRC.pack(google_crc32c.value(name.encode() + value)) + value


def decode_meta(name: str, value: bytes) -> int:
    number = value[4:]
    if len(value) != 12 or _CRC.unpack_from(value)[0] != google_crc32c.value(name.encode() + number):
        raise CorruptionError(f"the stored {name} fails its checksum", subject=name)
    return unpack_row(number)


def piece_count(nbytes: int) -> int:
    """How many values a vector is stored in: one, unless that would waste more than half of what it needs."""
    whole = -(-(nbytes + 16) // _PAGE) * _PAGE if nbytes > _PAGE // 2 - 40 else nbytes
    return 1 if whole <= 1.5 * nbytes else -(-nbytes // _PIECE_BYTES)


def piece_bounds(nbytes: int) -> list[tuple[int, int]]:
    """Byte ranges of the pieces, equal but for rounding to whole floats."""
    pieces = piece_count(nbytes)
    step = -(-nbytes // (4 * pieces)) * 4
    return [(start, min(start + step, nbytes)) for start in range(0, nbytes, step)]


def encode_body(body: Body) -> bytes:
    packed = body.packed()
    return _CRC.pack(google_crc32c.value(packed)) + packed


def packed_body(value: bytes, row: int) -> bytes:
    """Raises CorruptionError naming the row where the checksum does not hold."""
    packed = value[4:]
    if len(value) < 5 or _CRC.unpack_from(value)[0] != google_crc32c.value(packed):
        raise CorruptionError(f"the record stored as row {row} fails its checksum", subject=f"row {row}")
    return packed


def decode_body(value: bytes, row: int) -> Body:
    """Raises as `packed_body` does."""
    return Body.unpacked(packed_body(value, row))


def body_crc(value: bytes) -> int:
    return int(_CRC.unpack_from(value)[0])


def vector_crc(id: str, vector: bytes) -> int:
    """Covers the id too, so that a vector under a wrong record is noticed."""
    return int(google_crc32c.extend(google_crc32c.value(id.encode()), vector))


def encode_vector(id: str, vector: bytes) -> bytes:
    return _CRC.pack(vector_crc(id, vector)) + vector


def decode_vector(id: str, value: bytes) -> bytes:
    vector = value[4:]
    if len(value) < 8 or _CRC.unpack_from(value)[0] != vector_crc(id, vector):
        raise CorruptionError(f"the vector of record {id!r} fails its checksum", subject=id)
    return vector


@dataclass(frozen=True, slots=True)
class Op:
    """One entry of the oplog: row `sequence` of `cid` was written or deleted, taking the place of `superseded`."""

    sequence: int
    kind: int
    cid: int
    superseded: int
    """0 where there was nothing before."""
    time: float
    id: str


def encode_op(op: Op) -> bytes:
    tail = _OP.pack(0, op.kind, op.cid, op.superseded, op.time)[4:] + op.id.encode()
    return _CRC.pack(google_crc32c.extend(google_crc32c.value(pack_row(op.sequence)), tail)) + tail


def decode_op(key: bytes, value: bytes) -> Op:
    sequence = unpack_row(key)
    if len(value) < _OP.size or _CRC.unpack_from(value)[0] != google_crc32c.extend(
        google_crc32c.value(key), value[4:]
    ):
        raise CorruptionError(f"oplog entry {sequence} fails its checksum", subject=f"oplog {sequence}")
    _, kind, cid, superseded, time = _OP.unpack_from(value)
    return Op(sequence, kind, cid, superseded, time, value[_OP.size :].decode())


@dataclass(frozen=True, slots=True)
class Total:
    """What a full scan of a collection must find: how many records, and the sum of their checksums mod 2**64."""

    count: int = 0
    checksum: int = 0

    def plus(self, checksum: int) -> Total:
        return Total(self.count + 1, (self.checksum + checksum) % (1 << 64))

    def minus(self, checksum: int) -> Total:
        return Total(self.count - 1, (self.checksum - checksum) % (1 << 64))


def encode_total(cid: int, total: Total) -> bytes:
    head = struct.pack("<QQ", total.count, total.checksum)
    return head + _CRC.pack(google_crc32c.value(collection_key(cid) + head))


def decode_total(cid: int, value: bytes | None) -> Total:
    if value is None:
        return Total()
    if len(value) != _TOTAL.size or _CRC.unpack_from(value, 16)[0] != google_crc32c.value(
        collection_key(cid) + value[:16]
    ):
        raise CorruptionError(
            f"the totals of collection {cid} fail their checksum", subject=f"collection {cid}"
        )
    count, checksum, _ = _TOTAL.unpack(value)
    return Total(count, checksum)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a write was answered, and what it was about."""

    fingerprint: int
    sequence: int
    count: int


def fingerprint(cid: int, writes: Sequence[tuple[int, str]]) -> int:
    """Of the collection, and of the kind and the id of each write."""
    return int(google_crc32c.value(pack([cid, writes])))


def encode_receipt(key: bytes, receipt: Receipt) -> bytes:
    tail = _RECEIPT.pack(0, receipt.fingerprint, receipt.sequence, receipt.count)[4:]
    return _CRC.pack(google_crc32c.extend(google_crc32c.value(key), tail)) + tail


def decode_receipt(key: bytes, value: bytes) -> Receipt:
    if len(value) != _RECEIPT.size or _CRC.unpack_from(value)[0] != google_crc32c.extend(
        google_crc32c.value(key), value[4:]
    ):
        raise CorruptionError(
            f"the receipt of key {key.hex()} fails its checksum", subject=f"receipt {key.hex()}"
        )
    return Receipt(*_RECEIPT.unpack(value)[1:])
