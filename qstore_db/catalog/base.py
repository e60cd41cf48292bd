"""The Catalog protocol: a small transactional store of versioned entries.

Collections and their statistics live in it, and later groups, tokens, idempotency keys, the model registry and
job states. LMDB serves one process. `qstore_db.testing.catalogs` holds the conformance suite.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

ABSENT = 0
"""As `if_version`: the entry must not exist yet."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `value` is plain data (None, bool, int, float, str, bytes, lists, string-keyed maps)."""

    key: str
    value: Any
    version: int
    """1 at its creation, one more with each put; a deleted and recreated entry starts at 1 again."""


@dataclass(frozen=True, slots=True)
class CatalogPut:
    key: str
    value: Any
    if_version: int | None = None


@dataclass(frozen=True, slots=True)
class CatalogDelete:
    key: str
    if_version: int | None = None


class Catalog(Protocol):
    """Durable versioned entries under string keys of 1 to 400 bytes of UTF-8. Safe to use from many threads."""

    def get(self, key: str) -> Entry | None: ...

    def scan(self, prefix: str) -> Iterator[Entry]:
        """Entries whose key starts with `prefix`, in byte order of their keys, as of one moment."""
        ...

    def put(self, key: str, value: Any, *, if_version: int | None = None) -> int:
        """Store and return the new version. Raises VersionConflictError if `if_version` does not hold."""
        ...

    def delete(self, key: str, *, if_version: int | None = None) -> bool:
        """Remove; False if there was nothing. Raises VersionConflictError if `if_version` does not hold."""
        ...

    def apply(self, changes: Sequence[CatalogPut | CatalogDelete]) -> None:
        """All changes or none, in order."""
        ...

    def sequence(self, name: str) -> int:
        """The next number of a named sequence: 1, 2, 3 ... never given twice, also across restarts."""
        ...
