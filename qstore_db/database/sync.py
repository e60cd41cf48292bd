"""`QuantumDatabase`. Generated from `aio.py` by `tools/make_sync.py`: edit there, then run it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from numpy.typing import ArrayLike

from qstore_db.config import DatabaseConfig
from qstore_db.database.backup import backup
from qstore_db.database.edge import SyncEdge
from qstore_db.database.location import config_for
from qstore_db.database.progress import Progress, progress_for
from qstore_db.engines.base import IndexKind, StorageKind
from qstore_db.errors import ArgumentError
from qstore_db.records import ContextLike, Contexts, Page, QueryResult, Record, TunnelResult
from qstore_db.records.tabular import rows_from
from qstore_db.search.tunnel import BarrierScale

if TYPE_CHECKING:
    from types import TracebackType

    import pandas as pd
    import pyarrow as pa


class QuantumDatabase(SyncEdge):
    """A database of records in superposition contexts.

    Opening a directory makes it if absent and locks it for this process. Every acknowledged write is on disk;
    every read sees one commit, and all writes acknowledged before it began. Safe to use from many threads.
    Errors are those of `qstore_db.errors`; a refused request changes nothing.
    """

    def __init__(self, config: DatabaseConfig | None = None) -> None:
        """Open what `config` describes; without a path a temporary database, gone at close.

        Raises DatabaseLockedError where another process has the directory open.
        """
        super().__init__(config or DatabaseConfig())

    @classmethod
    def connect(
        cls, where: str | Path, *, token: str | None = None, tls: Any = None, **config: Any
    ) -> QuantumDatabase:
        """Open ":memory:" (temporary) or a directory; `config` are further fields of `DatabaseConfig`."""
        return cls(config_for(where, token, tls, config))

    def __enter__(self) -> QuantumDatabase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._core.directory)!r})"

    # Collections

    def create_collection(
        self,
        name: str,
        *,
        dimension: int,
        metric: str = "cosine",
        index: IndexKind = "auto",
        storage: StorageKind = "float32",
        target_recall: float = 0.99,
    ) -> None:
        """Create a collection; all but "default" need it.

        metric: "cosine", "l2" or "dot". index: "auto" builds graphs that reach `target_recall` (share of the true
        ten nearest) and searches exactly where none does; "hnsw" takes the graph all the same; "flat" is always
        exact. storage: precision of the graph's vectors, "float32" or "float16"; records keep float32.
        Raises CollectionExistsError, ArgumentError.
        """
        self._run(self._core.create_collection, name, dimension, metric, index, storage, target_recall)

    def list_collections(self) -> list[str]:
        """Names, sorted."""
        return [spec.name for spec in self._run(self._core.engine.collections)]

    def rename_collection(self, old: str, new: str) -> None:
        """Raises CollectionNotFoundError, CollectionExistsError."""
        self._run(self._core.rename_collection, old, new)

    def drop_collection(self, name: str) -> None:
        """Remove a collection with all its records; its space comes back in the background."""
        self._run(self._core.drop_collection, name)

    def reindex(
        self, name: str, *, index: IndexKind | None = None, storage: StorageKind | None = None
    ) -> None:
        """Change how a collection is searched. Rebuilding runs in the background, queries go on meanwhile."""
        self._run(self._core.reindex, name, index, storage)

    # Writing

    def insert(
        self,
        id: str,
        vector: ArrayLike,
        contexts: Contexts = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        collection: str = "default",
        expires_at: float | None = None,
    ) -> int:
        """Store a new record; its op sequence. Returns once it is durable and visible.

        vector: (d,) numbers of any kind, kept as float32. contexts: (name, weight) pairs or a mapping; weights
        >= 0, normalised to 1. expires_at: seconds since the epoch, or a datetime.
        Raises DuplicateIdError if the id exists, and the RequestErrors of each argument.
        """
        written = self._write(
            lambda patience: self._core.begin_put(
                id, vector, contexts, metadata, collection, expires_at, True, patience
            )
        )
        self._measure(collection)
        return written.sequence

    def upsert(
        self,
        id: str,
        vector: ArrayLike,
        contexts: Contexts = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        collection: str = "default",
        expires_at: float | None = None,
    ) -> int:
        """Store a record, replacing the whole of one with the same id; its op sequence."""
        written = self._write(
            lambda patience: self._core.begin_put(
                id, vector, contexts, metadata, collection, expires_at, False, patience
            )
        )
        self._measure(collection)
        return written.sequence

    def insert_many(
        self,
        records: pa.Table | pd.DataFrame | Iterable[Record] | None = None,
        *,
        ids: Sequence[str] | None = None,
        vectors: ArrayLike | None = None,
        contexts: Sequence[Contexts] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        expires_at: Sequence[float | None] | None = None,
        collection: str = "default",
        progress: Progress = None,
    ) -> int:
        """Store new records; the last op sequence (0 for none).

        Give `ids` and `vectors` (n, d) with optional columns beside them, or one Arrow table, pandas frame or
        iterable of Record. All of it is checked before anything is written. Up to 10,000 records are stored all
        or nothing; more are stored in such pieces, in order, and a failing piece leaves the earlier ones stored.
        progress: None shows a bar for long work on a terminal, False never, or a callable taking (done, total).
        """
        return self._put_many(
            records, ids, vectors, contexts, metadata, expires_at, collection, progress, True
        )

    def upsert_many(
        self,
        records: pa.Table | pd.DataFrame | Iterable[Record] | None = None,
        *,
        ids: Sequence[str] | None = None,
        vectors: ArrayLike | None = None,
        contexts: Sequence[Contexts] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        expires_at: Sequence[float | None] | None = None,
        collection: str = "default",
        progress: Progress = None,
    ) -> int:
        """As `insert_many`, replacing records that exist."""
        return self._put_many(
            records, ids, vectors, contexts, metadata, expires_at, collection, progress, False
        )

    def update(
        self,
        id: str,
        *,
        vector: ArrayLike | None = None,
        contexts: Contexts = None,
        metadata: Mapping[str, Any] | None = None,
        if_version: int | None = None,
        collection: str = "default",
    ) -> int:
        """Change parts of a record; its new op sequence.

        metadata: replaces the named top-level fields, others stay. contexts: replaces all of them; an empty list
        removes them. if_version: refuse unless the record is still at that version (`Record.version`).
        Raises RecordNotFoundError, VersionConflictError.
        """
        written = self._write(
            lambda patience: self._core.begin_update(
                id, vector, contexts, metadata, if_version, collection, patience
            )
        )
        return written.sequence

    def delete(
        self,
        id: str | Sequence[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        collection: str = "default",
    ) -> int:
        """Remove records by id, ids or filter, all or nothing; how many there were."""
        written = self._write(lambda patience: self._core.begin_delete(id, filter, collection, patience))
        return written.count

    # Reading

    @overload
    def get(self, id: str, *, collection: str = "default") -> Record | None: ...
    @overload
    def get(self, id: Sequence[str], *, collection: str = "default") -> list[Record | None]: ...
    def get(
        self, id: str | Sequence[str], *, collection: str = "default"
    ) -> list[Record | None] | Record | None:
        """The record of an id, or one for each of several ids; None where there is none."""
        if isinstance(id, str):
            return self._run(self._core.get, [id], collection)[0]
        return self._run(self._core.get, id, collection)

    def query(
        self,
        vector: ArrayLike,
        *,
        top_k: int = 10,
        context: ContextLike = None,
        filter: Mapping[str, Any] | None = None,
        soft: bool = False,
        context_strength: float = 0.5,
        scale: float | None = None,
        include_vectors: bool = False,
        collection: str = "default",
    ) -> QueryResult:
        """The nearest records, best first; fewer than `top_k` where there are fewer.

        Without a context the order is by distance. In a context, or a superposition of several
        (`{"a": .5, "b": .5}`, with phases `{"a": (.5, 0), "b": (.5, pi)}`), it is by
        -d^2/u + context_strength * log p with p the Born probability of the context; records outside it are left
        out unless `soft`. u is the collection's stored distance scale; `scale` pins another value.
        filter: Mongo-style, see `qstore_db.records.filter`. An unknown context gives a warning, not an error.
        """
        found = self._run(
            self._core.query,
            vector,
            True,
            top_k,
            context,
            filter,
            soft,
            context_strength,
            scale,
            include_vectors,
            collection,
        )
        return found[0]

    def query_batch(
        self,
        vectors: ArrayLike,
        *,
        top_k: int = 10,
        context: ContextLike = None,
        filter: Mapping[str, Any] | None = None,
        soft: bool = False,
        context_strength: float = 0.5,
        scale: float | None = None,
        include_vectors: bool = False,
        collection: str = "default",
    ) -> list[QueryResult]:
        """One result for each row of (n, d), all from the same snapshot. Arguments as in `query`."""
        return self._run(
            self._core.query,
            vectors,
            False,
            top_k,
            context,
            filter,
            soft,
            context_strength,
            scale,
            include_vectors,
            collection,
        )

    def tunnel_search(
        self,
        query: ArrayLike,
        *,
        barrier_threshold: float | None = None,
        tunneling_strength: float = 1.0,
        top_k: int = 10,
        barrier_scale: BarrierScale = "rank",
        beyond_only: bool = True,
        candidates: int = 2000,
        context: ContextLike = None,
        context_strength: float = 0.5,
        soft: bool = False,
        filter: Mapping[str, Any] | None = None,
        include_vectors: bool = False,
        collection: str = "default",
    ) -> TunnelResult:
        """Items of the same kind beyond the query's dense neighbourhood, and that neighbourhood beside them.

        The result iterates over what lies beyond the barrier; `result.inside` holds the well in plain order.
        barrier_threshold: b in [0, 1], the well holds the n^(1-b) nearest of n eligible records; None: the
        `top_k` nearest. barrier_scale "similarity" or "distance" takes b in those units instead.
        tunneling_strength: s in [0, 1], score = -(1-s) d^2/d20^2 + s log p with p from diffusing over the kNN
        graph of the `candidates` nearest; 0 is exact distance order. beyond_only=False ranks the well's records
        too, each match flagged `tunneled` or not.
        """
        found = self._run(
            self._core.tunnel,
            query,
            True,
            barrier_threshold,
            tunneling_strength,
            top_k,
            barrier_scale,
            beyond_only,
            candidates,
            context,
            context_strength,
            soft,
            filter,
            include_vectors,
            collection,
        )
        return found[0]

    def tunnel_search_batch(
        self,
        queries: ArrayLike,
        *,
        barrier_threshold: float | None = None,
        tunneling_strength: float = 1.0,
        top_k: int = 10,
        barrier_scale: BarrierScale = "rank",
        beyond_only: bool = True,
        candidates: int = 2000,
        context: ContextLike = None,
        context_strength: float = 0.5,
        soft: bool = False,
        filter: Mapping[str, Any] | None = None,
        include_vectors: bool = False,
        collection: str = "default",
    ) -> list[TunnelResult]:
        """One result for each row of (n, d), all from the same snapshot. Arguments as in `tunnel_search`."""
        return self._run(
            self._core.tunnel,
            queries,
            False,
            barrier_threshold,
            tunneling_strength,
            top_k,
            barrier_scale,
            beyond_only,
            candidates,
            context,
            context_strength,
            soft,
            filter,
            include_vectors,
            collection,
        )

    def neighbours(self, id: str, k: int = 10, *, collection: str = "default") -> QueryResult:
        """The k nearest other records of a stored one. Raises RecordNotFoundError."""
        return self._run(self._core.neighbours, id, k, collection)

    def scroll(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        limit: int = 100,
        cursor: str | None = None,
        collection: str = "default",
    ) -> Page:
        """Records in the order of their last writes, a page at a time; pass `Page.cursor` to go on.

        A record that is there all along and is not written meanwhile comes exactly once.
        """
        return self._run(self._core.scroll, filter, limit, cursor, collection)

    def count(self, filter: Mapping[str, Any] | None = None, *, collection: str = "default") -> int:
        """How many records there are, or match."""
        return self._run(self._core.count, filter, collection)

    # Upkeep

    def wait_indexed(self, timeout: float | None = None) -> None:
        """Wait until everything written so far is indexed. Raises WaitTimeoutError; building goes on then."""
        self._run(self._core.engine.wait_indexed, timeout)

    def snapshot(self) -> int:
        """Save the index now, so that a restart is quick; the op sequence. Happens in the background anyway."""
        return self._run(self._core.engine.snapshot)

    def compact(self) -> int:
        """Give free space back to the file system; the bytes given back. Other calls wait meanwhile."""
        return self._run(self._core.engine.compact)

    def backup(self, destination: str | Path) -> Path:
        """A consistent copy in a new folder, with a checksum for every file, while reads and writes go on."""
        return self._run(backup, self._core.engine, Path(destination))

    def verify(self) -> dict[str, Any]:
        """Check every stored byte against its checksum: counts, "problems" and "index_problems"."""
        return self._run(self._core.verify)

    def stats(self) -> dict[str, Any]:
        """Counts, memory, index lag and faults, of the database and of each collection."""
        return self._run(self._core.stats)

    def close(self) -> None:
        """Finish queued writes and close. Calling it again does nothing."""
        self._shut()

    # Inside

    def _measure(self, collection: str) -> None:
        if self._core.scale_is_due(collection):
            self._run(self._core.scale, collection)

    def _put_many(
        self,
        records: Any,
        ids: Sequence[str] | None,
        vectors: ArrayLike | None,
        contexts: Sequence[Contexts] | None,
        metadata: Sequence[Mapping[str, Any] | None] | None,
        expires_at: Sequence[float | None] | None,
        collection: str,
        progress: Progress,
        exclusive: bool,
    ) -> int:
        if (records is None) == (ids is None) or (ids is None) != (vectors is None):
            raise ArgumentError("give either records, or both ids and vectors", subject="records")
        if records is not None:
            rows = self._run(rows_from, records)
            ids, vectors, contexts, metadata = rows.ids, rows.vectors, rows.contexts, rows.metadata
            expires_at = rows.expires_at
        assert ids is not None
        assert vectors is not None
        pieces = self._run(
            self._core.pieces, ids, vectors, contexts, metadata, collection, expires_at, exclusive
        )
        sequence = 0
        with progress_for(progress, len(ids), "storing") as advance:
            for piece in pieces:
                begin = self._core.beginner(collection, piece)
                sequence = self._write(begin).sequence
                advance(len(piece))
                self._measure(collection)
        return sequence
