"""The Catalog protocol: a small transactional store of versioned entries.

Collections, their statistics and groups live in it, and later tokens, idempotency keys, the model registry and
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
    """One entry. `value` is plain data: None, bool, int (from -2**63 to 2**64 - 1), float, str, bytes, lists
    and string-keyed dicts of it."""

    key: str
    value: Any
    version: int
    """1 at its creation, one more with each put; a deleted and recreated entry starts at 1 again."""


@dataclass(frozen=True, slots=True)
class CatalogPut:
    """A put as part of `Catalog.apply`."""

    key: str
    value: Any
    if_version: int | None = None


@dataclass(frozen=True, slots=True)
class CatalogDelete:
    """A delete as part of `Catalog.apply`."""

    key: str
    if_version: int | None = None


class Catalog(Protocol):
    """Durable versioned entries under string keys of 1 to 400 bytes of UTF-8. Safe to use from many threads.

    A change that has returned is durable; one that raised was not made, in whole or in part. A value comes
    back equal and of the same types. Raises `ArgumentError` for a key of another length or kind, and for a
    value that is no plain data: tuples, subclasses, sets, larger ints and dicts with other keys are refused,
    never converted.
    """

    def get(self, key: str) -> Entry | None:
        """The entry, or None."""
        ...

    def scan(self, prefix: str) -> Iterator[Entry]:
        """Entries whose key starts with `prefix`, in byte order of their keys, as of one moment: the
        call's."""
        ...

    def put(self, key: str, value: Any, *, if_version: int | None = None) -> int:
        """Store and return the new version. Raises VersionConflictError if `if_version` does not hold."""
        ...

    def delete(self, key: str, *, if_version: int | None = None) -> bool:
        """Remove; False if there was nothing. Raises VersionConflictError if `if_version` does not hold."""
        ...

    def apply(self, changes: Sequence[CatalogPut | CatalogDelete]) -> None:
        """All changes or none, in order: each sees those before it."""
        ...

    def sequence(self, name: str) -> int:
        """The next number of a named sequence: 1, 2, 3 ... never given twice, also across restarts.

        Names follow the rules of keys, and are apart from them: an entry of the same name is another thing.
        """
        ...
