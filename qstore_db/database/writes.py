"""The writes of a database: each is checked here, and begun and waited for by whoever asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from qstore_db.config import DatabaseConfig
from qstore_db.database.arguments import (
    check_contexts_enabled,
    check_count,
    check_expiry,
    check_ids,
    check_vectors,
)
from qstore_db.database.pieces import Piece
from qstore_db.database.scales import Scales
from qstore_db.engines.base import CollectionSpec, Delete, DeleteWhere, Patch, Pending, Put, Selection, Write
from qstore_db.errors import ArgumentError, CollectionExistsError, CollectionNotFoundError
from qstore_db.records import Contexts, Superposition, as_vector, check_id, check_metadata, parse_filter
from qstore_db.records.vector import check_dimension

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine

DEFAULT = "default"
"""The one collection that a first insert makes."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A write that passed every check and is not begun."""

    engine: EmbeddedEngine
    collection: str
    writes: Sequence[Write]

    @property
    def puts(self) -> int:
        """Records that it stores."""
        return sum(isinstance(write, Put) for write in self.writes)

    def begin(self, patience: float, key: bytes | None = None) -> Pending:
        """Raises QueueFullError where the queue has no room within `patience` seconds.

        key: 16 random bytes. A write that was begun with the same key is not applied again: its result comes back.
        """
        return self.engine.write(self.collection, self.writes, patience=patience, key=key)


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
    ) -> Draft:
        name, array = check_id(id), as_vector(vector)
        state, values = self._superposition(contexts), check_metadata(metadata, name)
        spec = self._spec_for(collection, len(array))
        check_vectors(array, spec, "vector")
        put = Put(name, array, state, values, check_expiry(expires_at), exclusive)
        self._ensure(spec)
        return self._draft(collection, [put])

    def put_many(self, piece: Piece, collection: str) -> Draft:
        if any(put.contexts.names for put in piece.puts):
            check_contexts_enabled(self._config)
        spec = self._spec_for(collection, piece.vectors.shape[1])
        check_vectors(piece.vectors, spec, "vectors")
        self._ensure(spec)
        return self._draft(collection, piece.puts)

    def patch(
        self,
        id: str,
        vector: ArrayLike | None,
        contexts: Contexts,
        metadata: Mapping[str, Any] | None,
        if_version: int | None,
        collection: str,
    ) -> Draft:
        if vector is None and contexts is None and metadata is None:
            raise ArgumentError("update needs at least one of vector, contexts, metadata", subject="update")
        new = None
        if vector is not None:
            new = check_vectors(as_vector(vector), self._engine.view(collection).spec, "vector")
        name = check_id(id)
        patch = Patch(
            name,
            new,
            None if contexts is None else self._superposition(contexts),
            None if metadata is None else check_metadata(metadata, name),
            None if if_version is None else check_count("if_version", if_version),
        )
        return self._draft(collection, [patch])

    def delete(
        self, id: str | Sequence[str] | None, filter: Mapping[str, Any] | None, collection: str
    ) -> Draft:
        if (id is None) == (filter is None):
            raise ArgumentError("delete needs either an id (or a list of ids) or a filter", subject="delete")
        writes: Sequence[Write]
        if id is None:
            writes = [DeleteWhere(Selection(parse_filter(filter), (), self._clock()))]
        else:
            writes = [Delete(name) for name in check_ids([id] if isinstance(id, str) else id)]
        return self._draft(collection, writes)

    def spec_of(self, collection: str) -> CollectionSpec | None:
        """None for a "default" that nothing was inserted into yet. Raises CollectionNotFoundError."""
        try:
            return self._engine.view(collection).spec
        except CollectionNotFoundError:
            if collection == DEFAULT:
                return None
            raise

    # Inside

    def _draft(self, collection: str, writes: Sequence[Write]) -> Draft:
        return Draft(self._engine, collection, writes)

    def _superposition(self, contexts: Contexts) -> Superposition:
        state = Superposition.parse(contexts)
        if state.names:
            check_contexts_enabled(self._config)
        return state

    def _spec_for(self, collection: str, dimension: int) -> CollectionSpec:
        """The collection's spec; for "default" before its first record, the one that record will give it."""
        return self.spec_of(collection) or CollectionSpec(DEFAULT, check_dimension(dimension))

    def _ensure(self, spec: CollectionSpec) -> None:
        """Make "default" once its first record has passed every check."""
        if spec.name == DEFAULT and not self._engine.has_collection(DEFAULT):
            with contextlib.suppress(CollectionExistsError):  # another thread was first
                self.create(spec)
