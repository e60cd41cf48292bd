"""Many records on their way in: read from whatever they were given as, checked, cut into atomic pieces.

Nothing here needs an open database, so that a client checks everything before it sends anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from qstore_db.database.arguments import check_expiry, check_ids, check_vectors
from qstore_db.engines.base import CollectionSpec, Put
from qstore_db.errors import ArgumentError, VectorError
from qstore_db.records import Contexts, Record, Superposition, Vectors, as_matrix, check_metadata
from qstore_db.records.tabular import rows_from

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ATOMIC_RECORDS = 10_000
"""insert_many and upsert_many are all or nothing up to this many records, and in pieces of it beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The arguments of `insert_many`, as given."""

    records: pa.Table | pd.DataFrame | Iterable[Record] | None = None
    ids: Sequence[str] | None
    vectors: ArrayLike | None
    contexts: Sequence[Contexts] | None
    metadata: Sequence[Mapping[str, Any] | None] | None
    expires_at: Sequence[float | datetime | None] | None


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Records that are stored all or nothing."""

    puts: Sequence[Put]
    vectors: Vectors
    """(n, d), of which those of `puts` are rows."""

    def __len__(self) -> int:
        return len(self.puts)


def pieces_of(given: Columns, spec: CollectionSpec | None, *, exclusive: bool) -> list[Piece]:
    """Every record checked, against its collection too where that is known."""
    named, vectors, *others = _columns(given)
    ids = check_ids(named)
    contexts, metadata, expires_at = (
        _beside(ids, parameter, column)
        for parameter, column in zip(("contexts", "metadata", "expires_at"), others, strict=True)
    )
    given_none = len(ids) == 0 and np.size(vectors) == 0  # such as [], which has no second axis
    matrix = np.empty((0, 1), np.float32) if given_none else as_matrix(vectors)
    if len(matrix) != len(ids):
        raise VectorError(f"{len(ids)} ids come with {len(matrix)} vectors", subject="vectors")
    if not ids:
        return []
    if spec is not None:
        check_vectors(matrix, spec, "vectors")
    puts = [
        Put(id, row, Superposition.parse(state), check_metadata(values, id), check_expiry(until), exclusive)
        for id, row, state, values, until in zip(ids, matrix, contexts, metadata, expires_at, strict=True)
    ]
    return [
        Piece(puts[start : start + ATOMIC_RECORDS], matrix[start : start + ATOMIC_RECORDS])
        for start in range(0, len(puts), ATOMIC_RECORDS)
    ]


def _beside(ids: Sequence[str], parameter: str, column: Sequence[Any] | None) -> Sequence[Any]:
    """The entries of an optional column, one for each id."""
    if column is None:
        return [None] * len(ids)
    if isinstance(column, str) or not isinstance(column, Iterable):
        raise ArgumentError(f"{parameter} must be a sequence with an entry for each id", subject=parameter)
    entries = list(column)
    if len(entries) != len(ids):
        raise ArgumentError(
            f"{len(ids)} ids come with {len(entries)} entries of {parameter}", subject=parameter
        )
    return entries


def _columns(given: Columns) -> tuple[Iterable[object], ArrayLike, *tuple[Any, ...]]:
    """The same arguments as columns, whether they came so or as a table or records."""
    if given.records is not None:
        for name in ("ids", "vectors", "contexts", "metadata", "expires_at"):
            if getattr(given, name) is not None:
                raise ArgumentError(f"{name} is given beside records, which have their own", subject=name)
        rows = rows_from(given.records)
        return rows.ids, rows.vectors, rows.contexts, rows.metadata, rows.expires_at
    if given.ids is None or given.vectors is None:
        missing = "ids" if given.ids is None else "vectors"
        raise ArgumentError(f"{missing} is missing: give ids and vectors, or records", subject=missing)
    return given.ids, given.vectors, given.contexts, given.metadata, given.expires_at
