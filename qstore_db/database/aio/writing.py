"""The calls that write records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from qstore_db.database import operations
from qstore_db.database.edge import AsyncEdge
from qstore_db.database.pieces import Columns, pieces_of
from qstore_db.database.progress import Progress, progress_for
from qstore_db.records import Contexts, Record

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class AsyncWriting:
    """A call returns once its write is durable and visible; one that raises has changed nothing."""

    _edge: AsyncEdge

    async def insert(
        self,
        id: str,
        vector: ArrayLike,
        contexts: Contexts = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        collection: str = "default",
        expires_at: float | datetime | None = None,
    ) -> int:
        """Store a new record; its op sequence. Returns once it is durable and visible.

        id: 1 to 128 bytes of UTF-8. vector: (d,) finite real numbers (NumPy, a list or tuple, a torch tensor of
        any device), kept as float32. contexts: (name, weight) pairs or a mapping; weights finite and >= 0,
        normalised to sum 1. metadata: str, int (64 bits), float, bool, None, lists and nested mappings.
        expires_at: seconds since the epoch, or a datetime, from which on no read sees the record.
        The first insert makes the collection "default", by cosine and of the vector's dimension; every other
        collection must have been created.

        Raises DuplicateIdError if the id exists; CollectionNotFoundError; DimensionError; IdError, VectorError,
        ContextError, MetadataError or ArgumentError for what they name; UnavailableError when nothing was
        written but the same call may succeed later.
        """
        return (
            await self._edge.write(
                operations.PUT, id, vector, contexts, metadata, expires_at, collection, True
            )
        ).sequence

    async def upsert(
        self,
        id: str,
        vector: ArrayLike,
        contexts: Contexts = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        collection: str = "default",
        expires_at: float | datetime | None = None,
    ) -> int:
        """Store a record, replacing the whole of one with the same id; its op sequence. Else as `insert`."""
        return (
            await self._edge.write(
                operations.PUT, id, vector, contexts, metadata, expires_at, collection, False
            )
        ).sequence

    async def insert_many(
        self,
        records: pa.Table | pd.DataFrame | Iterable[Record] | None = None,
        *,
        ids: Sequence[str] | None = None,
        vectors: ArrayLike | None = None,
        contexts: Sequence[Contexts] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        expires_at: Sequence[float | datetime | None] | None = None,
        collection: str = "default",
        progress: Progress = None,
    ) -> int:
        """Store new records; the last op sequence (0 for none).

        Give `ids` (n strings) and `vectors` (n, d) with optional columns of n entries beside them, or one Arrow
        table, pandas frame or iterable of Record (columns: `qstore_db.records.tabular`). All of it is checked
        before anything is written. Up to 10,000 records are stored all or nothing; more are stored in such
        pieces, in order, and a failing piece leaves the earlier ones stored.
        progress: None shows a bar for long work on a terminal, True for any work there, False never; or a
        callable, called with (done, total) after each piece.

        Raises as `insert` does; a refusal names the row.
        """
        given = Columns(
            records=records,
            ids=ids,
            vectors=vectors,
            contexts=contexts,
            metadata=metadata,
            expires_at=expires_at,
        )
        return await self._put_many(given, collection, progress, exclusive=True)

    async def upsert_many(
        self,
        records: pa.Table | pd.DataFrame | Iterable[Record] | None = None,
        *,
        ids: Sequence[str] | None = None,
        vectors: ArrayLike | None = None,
        contexts: Sequence[Contexts] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        expires_at: Sequence[float | datetime | None] | None = None,
        collection: str = "default",
        progress: Progress = None,
    ) -> int:
        """As `insert_many`, replacing records that exist."""
        given = Columns(
            records=records,
            ids=ids,
            vectors=vectors,
            contexts=contexts,
            metadata=metadata,
            expires_at=expires_at,
        )
        return await self._put_many(given, collection, progress, exclusive=False)

    async def update(
        self,
        id: str,
        *,
        vector: ArrayLike | None = None,
        contexts: Contexts = None,
        metadata: Mapping[str, Any] | None = None,
        if_version: int | None = None,
        collection: str = "default",
    ) -> int:
        """Change parts of a record, and move the other members of its groups; its new op sequence.

        metadata: replaces the named top-level fields, others stay. contexts: replaces all of them; an empty list
        removes them. if_version: refuse unless the record is still at that version (`Record.version`).
        What is None stays as it is, `expires_at` always. What it moves elsewhere: `create_group`.

        Raises RecordNotFoundError, VersionConflictError, and as `insert` does.
        """
        return (
            await self._edge.write(operations.UPDATE, id, vector, contexts, metadata, if_version, collection)
        ).sequence

    async def delete(
        self,
        id: str | Sequence[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        collection: str = "default",
    ) -> int:
        """Remove records by id, ids or filter, all or nothing; how many there were.

        Ids that are not there are no error. Raises CollectionNotFoundError, FilterError; ArgumentError unless
        either `id` or `filter` is given.
        """
        return (await self._edge.write(operations.DELETE, id, filter, collection)).count

    # Inside

    async def _put_many(self, given: Columns, collection: str, progress: Progress, *, exclusive: bool) -> int:
        spec = await self._edge.run(operations.COLLECTION, collection)
        pieces = await self._edge.compute(pieces_of, given, spec, exclusive=exclusive)
        sequence = 0
        with progress_for(progress, sum(map(len, pieces)), "storing") as advance:
            for piece in pieces:
                sequence = (await self._edge.write(operations.PUT_MANY, piece, collection)).sequence
                advance(len(piece))
        return sequence
