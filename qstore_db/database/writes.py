"""The writes of a database: each is checked and begun here, and waited for by whoever asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from qstore_db.config import DatabaseConfig
from qstore_db.database.arguments import (
    check_contexts_enabled,
    check_count,
    check_expiry,
    check_ids,
    check_vectors,
)
from qstore_db.database.scales import Scales
from qstore_db.engines.base import CollectionSpec, Delete, DeleteWhere, Patch, Pending, Put, Selection, Write
from qstore_db.errors import ArgumentError, CollectionExistsError, CollectionNotFoundError, VectorError
from qstore_db.records import (
    Contexts,
    Record,
    Superposition,
    as_matrix,
    as_vector,
    check_id,
    check_metadata,
    parse_filter,
)
from qstore_db.records.tabular import rows_from
from qstore_db.records.vector import check_dimension

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from qstore_db.engines.embedded.engine import EmbeddedEngine

DEFAULT = "default"
"""The one collection that a first insert makes."""
ATOMIC_RECORDS = 10_000
"""insert_many and upsert_many are all or nothing up to this many records, and in pieces of it beyond."""


class Begin(Protocol):
    """Begins a checked write."""

    def __call__(self, patience: float, key: bytes | None = None) -> Pending:
        """Waits `patience` seconds for room in the queue before QueueFullError; `key` as in `Engine.write`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The arguments of `insert_many`, as given."""

    records: pa.Table | pd.DataFrame | Iterable[Record] | None
    ids: Sequence[str] | None
    vectors: ArrayLike | None
    contexts: Sequence[Contexts] | None
    metadata: Sequence[Mapping[str, Any] | None] | None
    expires_at: Sequence[float | datetime | None] | None


class Writes:
    """Safe to use from many threads; holds no state of its own."""

    def __init__(
        self, engine: EmbeddedEngine, scales: Scales, config: DatabaseConfig, clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._scales = scales
        self._config = config
        self._clock = clock

    def create(self, spec: CollectionSpec) -> None:
        if not self._engine.has_collection(spec.name):
            self._scales.drop(spec.name)  # a crash may have left that of an earlier collection
        self._engine.create_collection(spec)

    def put(
        self,
        id: str,
        vector: ArrayLike,
        contexts: Contexts,
        metadata: Mapping[str, Any] | None,
        expires_at: object,
        collection: str,
        *,
        exclusive: bool,
    ) -> Begin:
        name, array = check_id(id), as_vector(vector)
        state, values = self._superposition(contexts), check_metadata(metadata)
        spec = self._spec_for(collection, len(array))
        check_vectors(array, spec, "vector")
        put = Put(name, array, state, values, check_expiry(expires_at), exclusive)
        self._ensure(spec)
        return self.begin(collection, [put])

    def pieces(self, given: Columns, collection: str, *, exclusive: bool) -> list[list[Put]]:
        """Records in atomic pieces, every one of them checked; nothing is written yet."""
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
        spec = self._spec_for(collection, matrix.shape[1])
        check_vectors(matrix, spec, "vectors")
        puts = [
            Put(id, row, self._superposition(state), check_metadata(values), check_expiry(until), exclusive)
            for id, row, state, values, until in zip(ids, matrix, contexts, metadata, expires_at, strict=True)
        ]
        self._ensure(spec)
        return [puts[start : start + ATOMIC_RECORDS] for start in range(0, len(puts), ATOMIC_RECORDS)]

    def patch(
        self,
        id: str,
        vector: ArrayLike | None,
        contexts: Contexts,
        metadata: Mapping[str, Any] | None,
        if_version: int | None,
        collection: str,
    ) -> Begin:
        if vector is None and contexts is None and metadata is None:
            raise ArgumentError("update needs at least one of vector, contexts, metadata", subject="update")
        patch = Patch(
            check_id(id),
            None if vector is None else check_vectors(as_vector(vector), self._spec(collection), "vector"),
            None if contexts is None else self._superposition(contexts),
            None if metadata is None else check_metadata(metadata),
            None if if_version is None else check_count("if_version", if_version),
        )
        return self.begin(collection, [patch])

    def delete(
        self, id: str | Sequence[str] | None, filter: Mapping[str, Any] | None, collection: str
    ) -> Begin:
        if (id is None) == (filter is None):
            raise ArgumentError("delete needs either an id (or a list of ids) or a filter", subject="delete")
        writes: Sequence[Write]
        if id is None:
            writes = [DeleteWhere(Selection(parse_filter(filter), (), self._clock()))]
        else:
            writes = [Delete(name) for name in check_ids([id] if isinstance(id, str) else id)]
        return self.begin(collection, writes)

    def begin(self, collection: str, writes: Sequence[Write]) -> Begin:
        return lambda patience, key=None: self._engine.write(collection, writes, patience=patience, key=key)

    def _superposition(self, contexts: Contexts) -> Superposition:
        state = Superposition.parse(contexts)
        if state.names:
            check_contexts_enabled(self._config)
        return state

    def _spec(self, collection: str) -> CollectionSpec:
        return self._engine.view(collection).spec

    def _spec_for(self, collection: str, dimension: int) -> CollectionSpec:
        """The collection's spec; for "default" before its first record, the one that record will give it."""
        try:
            return self._spec(collection)
        except CollectionNotFoundError:
            if collection != DEFAULT:
                raise
        return CollectionSpec(DEFAULT, check_dimension(dimension))

    def _ensure(self, spec: CollectionSpec) -> None:
        """Make "default" once its first record has passed every check."""
        if spec.name == DEFAULT and not self._engine.has_collection(DEFAULT):
            with contextlib.suppress(CollectionExistsError):  # another thread was first
                self.create(spec)


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
