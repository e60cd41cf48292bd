"""The catalog of one process, in a table of its LMDB environment."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import google_crc32c
import lmdb
import msgpack

from qstore_db.catalog.base import ABSENT, CatalogDelete, CatalogPut, Entry
from qstore_db.catalog.environment import CATALOG_TABLE, Environment
from qstore_db.errors import ArgumentError, CorruptionError, VersionConflictError

MAX_KEY_BYTES = 400
_SEQUENCE_PREFIX = "sequence/"
_HEADER = struct.Struct("<IQ")  # crc32c of everything after it and of the key, version


class LmdbCatalog:
    """Entries as msgpack, each with its version and a checksum that covers key, version and value."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def get(self, key: str) -> Entry | None:
        with self._environment.read() as transaction:
            return self._get(transaction, key)

    def scan(self, prefix: str) -> Iterator[Entry]:
        start = prefix.encode()
        entries: list[Entry] = []
        with self._environment.read() as transaction, transaction.cursor(self._environment.tables[CATALOG_TABLE]) as cursor:
            if cursor.set_range(start):
                for key, value in cursor:
                    if not bytes(key).startswith(start):
                        break
                    entries.append(_decode(bytes(key), bytes(value)))
        return iter(entries)

    def put(self, key: str, value: Any, *, if_version: int | None = None) -> int:
        with self._environment.write() as transaction:
            return self._put(transaction, key, value, if_version)

    def delete(self, key: str, *, if_version: int | None = None) -> bool:
        with self._environment.write() as transaction:
            return self._delete(transaction, key, if_version)

    def apply(self, changes: Sequence[CatalogPut | CatalogDelete]) -> None:
        with self._environment.write() as transaction:
            for change in changes:
                if isinstance(change, CatalogPut):
                    self._put(transaction, change.key, change.value, change.if_version)
                else:
                    self._delete(transaction, change.key, change.if_version)

    def sequence(self, name: str) -> int:
        with self._environment.write() as transaction:
            entry = self._get(transaction, _SEQUENCE_PREFIX + name)
            number = 1 if entry is None else int(entry.value) + 1
            self._put(transaction, _SEQUENCE_PREFIX + name, number, None)
            return number

    def verify(self) -> int:
        """Decode and check every entry; the number of entries. Raises CorruptionError naming the entry."""
        return sum(1 for _ in self.scan(""))

    def _get(self, transaction: lmdb.Transaction, key: str) -> Entry | None:
        raw = _key(key)
        value = transaction.get(raw, db=self._environment.tables[CATALOG_TABLE])
        return None if value is None else _decode(raw, bytes(value))

    def _put(self, transaction: lmdb.Transaction, key: str, value: Any, if_version: int | None) -> int:
        version = self._expect(transaction, key, if_version) + 1
        payload = msgpack.packb(value, use_bin_type=True)
        raw = _key(key)
        transaction.put(raw, _HEADER.pack(_checksum(raw, version, payload), version) + payload, db=self._environment.tables[CATALOG_TABLE])
        return version

    def _delete(self, transaction: lmdb.Transaction, key: str, if_version: int | None) -> bool:
        self._expect(transaction, key, if_version)
        return bool(transaction.delete(_key(key), db=self._environment.tables[CATALOG_TABLE]))

    def _expect(self, transaction: lmdb.Transaction, key: str, if_version: int | None) -> int:
        entry = self._get(transaction, key)
        version = ABSENT if entry is None else entry.version
        if if_version is not None and version != if_version:
            state = f"is at version {version}" if version else "does not exist"
            raise VersionConflictError(
                f"catalog entry {key!r} {state}, not at the expected {if_version}", subject=key
            )
        return version


def _key(key: str) -> bytes:
    raw = key.encode()
    if not 1 <= len(raw) <= MAX_KEY_BYTES:
        raise ArgumentError(f"catalog key {key[:40]!r} takes {len(raw)} bytes, 1 to {MAX_KEY_BYTES} fit", subject="key")
    return raw


def _checksum(key: bytes, version: int, payload: bytes) -> int:
    return int(google_crc32c.value(b"%b\0%d\0%b" % (key, version, payload)))


def _decode(key: bytes, value: bytes) -> Entry:
    name = key.decode(errors="replace")
    if len(value) < _HEADER.size:
        raise CorruptionError(f"catalog entry {name!r} is cut short", subject=name)
    crc, version = _HEADER.unpack_from(value)
    payload = value[_HEADER.size :]
    if crc != _checksum(key, version, payload):
        raise CorruptionError(f"catalog entry {name!r} fails its checksum", subject=name)
    return Entry(name, msgpack.unpackb(payload, raw=False), version)
