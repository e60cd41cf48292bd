"""The catalog of one process, in a table of its LMDB environment.

An entry lies under the UTF-8 of its key. 0xff begins no UTF-8, so keys that start with it are the catalog's
own: 0xff and a name holds the last number of a sequence, 0xff alone the tally of all others (their count and
the sum of their checksums). A value is u32 crc32c, u64 version, msgpack, little endian; the checksum covers
the rest of the value and then the key.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, cast

import google_crc32c
import lmdb
import msgpack

from qstore_db.catalog.base import ABSENT, CatalogDelete, CatalogPut, Entry
from qstore_db.catalog.environment import CATALOG_TABLE, Environment
from qstore_db.errors import ArgumentError, CorruptionError, VersionConflictError

MAX_KEY_BYTES = 400
_OWN = b"\xff"
_TALLY = _OWN
_CHECKSUM = struct.Struct("<I")
_VERSION = struct.Struct("<Q")
_PLAIN = (type(None), bool, int, float, str, bytes)


class LmdbCatalog:
    """A `Catalog` that checks every entry it reads: `CorruptionError` names a damaged one.

    Each change is one synced transaction, together with the tally by which `verify` finds entries that are
    missing as a whole.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    @property
    def _table(self) -> lmdb._Database:
        return self._environment.tables[CATALOG_TABLE]  # another one after each `compact`

    def get(self, key: str) -> Entry | None:
        raw = _key(key)
        with self._environment.read() as transaction:
            stored = transaction.get(raw, None, self._table)
        return None if stored is None else _decode(raw, stored)

    def scan(self, prefix: str) -> Iterator[Entry]:
        start = _utf8(prefix, "prefix")
        entries: list[Entry] = []
        with self._environment.read() as transaction, transaction.cursor(self._table) as cursor:
            if cursor.set_range(start):
                for raw, stored in cursor:
                    if not raw.startswith(start) or raw.startswith(_OWN):
                        break
                    entries.append(_decode(raw, stored))
        return iter(entries)

    def put(self, key: str, value: Any, *, if_version: int | None = None) -> int:
        raw, payload = _key(key), _encode(key, value)
        with self._environment.write() as transaction:
            return self._replace(transaction, raw, payload, if_version) + 1

    def delete(self, key: str, *, if_version: int | None = None) -> bool:
        raw = _key(key)
        with self._environment.write() as transaction:
            return self._replace(transaction, raw, None, if_version) != ABSENT

    def apply(self, changes: Sequence[CatalogPut | CatalogDelete]) -> None:
        prepared = [
            (
                _key(change.key),
                _encode(change.key, change.value) if isinstance(change, CatalogPut) else None,
                change.if_version,
            )
            for change in changes
        ]
        with self._environment.write() as transaction:
            for raw, payload, if_version in prepared:
                self._replace(transaction, raw, payload, if_version)

    def sequence(self, name: str) -> int:
        raw = _OWN + _key(name, "name")
        with self._environment.write() as transaction:
            stored = transaction.get(raw, None, self._table)
            number = 1 if stored is None else int(_decode(raw, stored).value) + 1
            self._replace(transaction, raw, _encode(name, number), None)
            return number

    def verify(self) -> int:
        """Check every entry and sequence, and that none is missing; their number.

        Raises `CorruptionError` naming the entry, or the table if an entry is gone or doubled.
        """
        found, tallied = (0, 0), (0, 0)
        with self._environment.read() as transaction, transaction.cursor(self._table) as cursor:
            for raw, stored in cursor:
                if raw == _TALLY:
                    tallied = tuple(_decode(raw, stored).value)
                else:
                    _decode(raw, stored)
                    found = _sum(found, None, stored)
        if found != tallied:
            raise CorruptionError(
                f"the catalog holds {found[0]} entries, not the {tallied[0]} that were written, or others",
                subject=CATALOG_TABLE,
            )
        return found[0]

    def _replace(
        self, transaction: lmdb.Transaction[bytes], raw: bytes, payload: bytes | None, if_version: int | None
    ) -> int:
        """Store `payload` as the next version, or remove the entry (None); the version that was there."""
        before = transaction.get(raw, None, self._table)
        version = ABSENT if before is None else _open(raw, before)[0]
        if if_version is not None and version != if_version:
            raise _conflict(raw, version, if_version)
        if payload is not None:
            after = _seal(raw, version + 1, payload)
            transaction.put(raw, after, db=self._table)
            self._count(transaction, before, after)
        elif before is not None:
            transaction.delete(raw, db=self._table)
            self._count(transaction, before, None)
        return version

    def _count(self, transaction: lmdb.Transaction[bytes], before: bytes | None, after: bytes | None) -> None:
        stored = transaction.get(_TALLY, None, self._table)
        tally = Entry("", [0, 0], ABSENT) if stored is None else _decode(_TALLY, stored)
        payload = _pack(_sum(tally.value, before, after))
        transaction.put(_TALLY, _seal(_TALLY, tally.version + 1, payload), db=self._table)


def _key(key: str, parameter: str = "key") -> bytes:
    raw = _utf8(key, parameter)
    if not 1 <= len(raw) <= MAX_KEY_BYTES:
        raise ArgumentError(
            f"catalog {parameter} {key[:40]!r} takes {len(raw)} bytes, 1 to {MAX_KEY_BYTES} fit",
            subject=parameter,
        )
    return raw


def _utf8(text: str, parameter: str) -> bytes:
    if not isinstance(text, str):
        raise ArgumentError(
            f"a catalog {parameter} is a string, not {type(text).__name__}", subject=parameter
        )
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(
            f"catalog {parameter} {text[:40]!r} is no valid Unicode", subject=parameter
        ) from error


def _encode(key: str, value: Any) -> bytes:
    """msgpack of `value`. What would come back as something else (a tuple, a map with numbers for names) is
    refused rather than changed."""
    try:
        payload = _pack(value)  # fails on cycles and great depth before the walk below meets them
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(
            f"the value of catalog entry {key!r} cannot be stored: {error}", subject="value"
        ) from error
    parts = [value]
    while parts:
        part = parts.pop()
        if type(part) is list:
            parts += part
        elif type(part) is dict and all(type(name) is str for name in part):
            parts += part.values()
        elif type(part) not in _PLAIN:
            raise ArgumentError(
                f"the value of catalog entry {key!r} cannot be stored: {part!r:.60} is none of None, bool, "
                "int, float, str, bytes, list and string-keyed dict",
                subject="value",
            )
    return payload


def _pack(value: Any) -> bytes:
    return cast("bytes", msgpack.packb(value))


def _seal(key: bytes, version: int, payload: bytes) -> bytes:
    body = _VERSION.pack(version) + payload
    return _CHECKSUM.pack(google_crc32c.value(body + key)) + body


def _open(key: bytes, stored: bytes) -> tuple[int, bytes]:
    """Version and payload of a stored value, once its checksum holds."""
    body = stored[_CHECKSUM.size :]
    if len(body) <= _VERSION.size or _checksum(stored) != google_crc32c.value(body + key):
        name = _name(key)
        raise CorruptionError(f"catalog entry {name!r} fails its checksum", subject=name)
    (version,) = _VERSION.unpack_from(body)
    return version, body[_VERSION.size :]


def _decode(key: bytes, stored: bytes) -> Entry:
    version, payload = _open(key, stored)
    return Entry(_name(key), msgpack.unpackb(payload), version)


def _checksum(stored: bytes) -> int:
    return int.from_bytes(stored[: _CHECKSUM.size], "little")


def _name(key: bytes) -> str:
    return key.decode(errors="replace")


def _conflict(key: bytes, version: int, expected: int) -> VersionConflictError:
    name = _name(key)
    state = f"is at version {version}" if version else "does not exist"
    wanted = f"not at version {expected}" if expected else "though it should not exist yet"
    return VersionConflictError(f"catalog entry {name!r} {state}, {wanted}", subject=name)


def _sum(tally: Sequence[int], before: bytes | None, after: bytes | None) -> tuple[int, int]:
    """The tally (count, sum of checksums modulo 2**64) after one stored value took the place of another."""
    count, total = tally
    if before is not None:
        count, total = count - 1, total - _checksum(before)
    if after is not None:
        count, total = count + 1, total + _checksum(after)
    return count, total % (1 << 64)
