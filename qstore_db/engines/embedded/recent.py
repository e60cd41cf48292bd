"""Records that were read lately, as they are packed: a row never changes, so that what was read once stays true."""

from __future__ import annotations

import threading

KEPT_BYTES = 32 << 20
_EACH = 128
"""Bytes that an entry takes beside its record."""


class Recent:
    """Up to `limit` bytes of records by row; the oldest half goes when they are reached. Safe to use from many
    threads."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: dict[int, bytes] = {}
        self._nbytes = 0
        self.get = self._kept.get

    @property
    def nbytes(self) -> int:
        return self._nbytes

    def keep(self, row: int, packed: bytes) -> None:
        """One whose checksum was found right."""
        with self._lock:
            if row not in self._kept:
                self._kept[row] = packed
                self._nbytes += len(packed) + _EACH
            while self._nbytes > self._limit and self._kept:
                for old in list(self._kept)[: len(self._kept) // 2 + 1]:
                    self._nbytes -= len(self._kept.pop(old)) + _EACH
