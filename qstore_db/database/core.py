"""What a database does, without the question who waits how: `QuantumDatabase` and its async twin both drive it.

Writes are begun here and waited for by the caller; reads are plain functions of one pinned snapshot.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from qstore_db.config import DatabaseConfig
from qstore_db.database import arguments as check
from qstore_db.engines.base import (
    CollectionSpec,
    Delete,
    DeleteWhere,
    Patch,
    Pending,
    Put,
    Selection,
    View,
    Write,
)
from qstore_db.errors import (
    ArgumentError,
    CollectionExistsError,
    CollectionNotFoundError,
    ConfigurationError,
    RecordNotFoundError,
)
from qstore_db.records import (
    ContextLike,
    ContextQuery,
    Contexts,
    Geometry,
    Page,
    QueryResult,
    Record,
    Superposition,
    TunnelResult,
    as_vector,
    check_id,
    check_metadata,
    parse_filter,
)
from qstore_db.records.results import empty_ranked
from qstore_db.search.planner import context_query
from qstore_db.search.ranking import ContextRanking, by_distance
from qstore_db.search.scale import Scale, measure, milestone
from qstore_db.search.tunnel import BarrierScale, Tunnel, tunnel

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine

DEFAULT = "default"
_MAX_LIMIT = 100_000


class Core:
    """One open database. Safe to use from many threads."""

    def __init__(self, config: DatabaseConfig, clock: Callable[[], float] = time.time) -> None:
        if config.engine != "embedded":
            raise ConfigurationError(
                f"engine={config.engine!r} is not part of this release; set engine='embedded'",
                subject="engine",
            )
        # Not before a database is opened: the engine loads LMDB and FAISS.
        from qstore_db.engines.embedded.engine import EmbeddedEngine

        self.config = config
        self._clock = clock
        temporary = config.directory is None
        self.directory = config.directory or Path(tempfile.mkdtemp(prefix="qstore-"))
        self.engine: EmbeddedEngine = EmbeddedEngine(
            self.directory, durable=not temporary, build_threads=config.build_threads, clock=clock
        )
        # Also at the end of the program, for those who never call close.
        self.close = weakref.finalize(self, _close, self.engine, self.directory if temporary else None)
        self._scales: dict[str, Scale] = {}
        self._measuring = threading.Lock()

    # Collections

    def create_collection(
        self, name: str, dimension: int, metric: str, index: str, storage: str, target_recall: float
    ) -> None:
        self.engine.create_collection(
            check.check_spec(name, dimension, metric, index, storage, target_recall)
        )

    def rename_collection(self, old: str, new: str) -> None:
        self.engine.rename_collection(old, check.check_name(new))
        with self._measuring:
            scale = self._scales.pop(old, None)
            entry = self.engine.catalog.get(_scale_key(old))
            if entry is not None:
                self.engine.catalog.put(_scale_key(new), entry.value)
                self.engine.catalog.delete(_scale_key(old))
            if scale is not None:
                self._scales[new] = scale

    def drop_collection(self, name: str) -> None:
        self.engine.drop_collection(name)
        with self._measuring:
            self._scales.pop(name, None)
            self.engine.catalog.delete(_scale_key(name))

    def reindex(self, name: str, index: str | None, storage: str | None) -> None:
        spec = self.spec(name)
        wanted = check.check_spec(
            name,
            spec.dimension,
            spec.metric,
            spec.index if index is None else index,
            spec.storage if storage is None else storage,
            spec.target_recall,
        )
        self.engine.reindex(name, index=wanted.index, storage=wanted.storage)

    def spec(self, collection: str) -> CollectionSpec:
        return self.engine.view(collection).spec

    # Writing

    def begin_put(
        self,
        id: str,
        vector: ArrayLike,
        contexts: Contexts,
        metadata: Mapping[str, Any] | None,
        collection: str,
        expires_at: object,
        exclusive: bool,
        patience: float,
    ) -> Pending:
        put = Put(
            check_id(id),
            as_vector(vector),
            self._superposition(contexts),
            check_metadata(metadata),
            check.check_expiry(expires_at),
            exclusive,
        )
        spec = self._spec_for(collection, len(put.vector))
        check.check_matrix(
            put.vector, dimension=spec.dimension, metric=spec.metric, collection=collection, what="vector"
        )
        self._ensure(spec)
        return self.engine.write(collection, [put], patience=patience)

    def pieces(
        self,
        ids: Sequence[object],
        vectors: ArrayLike,
        contexts: Sequence[Contexts] | None,
        metadata: Sequence[Mapping[str, Any] | None] | None,
        collection: str,
        expires_at: Sequence[object] | None,
        exclusive: bool,
    ) -> list[list[Put]]:
        """Checked records in atomic pieces; nothing is written yet."""
        if contexts is not None:
            self._check_enabled()
        matrix = check.as_matrix(vectors) if len(ids) else np.empty((0, 1), np.float32)
        if len(ids) == 0:
            return []
        spec = self._spec_for(collection, matrix.shape[1])
        pieces = list(check.puts(spec, ids, matrix, contexts, metadata, expires_at, exclusive=exclusive))
        self._ensure(spec)
        return pieces

    def begin_update(
        self,
        id: str,
        vector: ArrayLike | None,
        contexts: Contexts,
        metadata: Mapping[str, Any] | None,
        if_version: int | None,
        collection: str,
        patience: float,
    ) -> Pending:
        if vector is None and contexts is None and metadata is None:
            raise ArgumentError("update needs at least one of vector, contexts, metadata", subject="update")
        if if_version is not None:
            check.check_count("if_version", if_version, 1 << 62)
        spec = self.spec(collection)
        patch = Patch(
            check_id(id),
            None if vector is None else check.check_query(vector, spec),
            None if contexts is None else self._superposition(contexts),
            None if metadata is None else check_metadata(metadata),
            if_version,
        )
        return self.engine.write(collection, [patch], patience=patience)

    def begin_delete(
        self,
        id: str | Sequence[str] | None,
        filter: Mapping[str, Any] | None,
        collection: str,
        patience: float,
    ) -> Pending:
        if (id is None) == (filter is None):
            raise ArgumentError("delete needs either an id (or a list of ids) or a filter", subject="delete")
        writes: list[Write]
        if filter is not None:
            writes = [DeleteWhere(Selection(parse_filter(filter), (), self._clock()))]
        else:
            writes = [Delete(name) for name in check.check_ids([id] if isinstance(id, str) else id or ())]
        return self.engine.write(collection, writes, patience=patience)

    def beginner(self, collection: str, writes: Sequence[Write]) -> Callable[[float], Pending]:
        """What begins these writes, given how long to wait for room in the queue."""
        return lambda patience: self.engine.write(collection, writes, patience=patience)

    # Reading

    def get(self, ids: Sequence[object], collection: str) -> list[Record | None]:
        return self.engine.fetch(collection, check.check_ids(ids), self._clock())

    def query(
        self,
        vectors: ArrayLike,
        single: bool,
        top_k: int,
        context: ContextLike,
        filter: Mapping[str, Any] | None,
        soft: bool,
        context_strength: float,
        scale: float | None,
        include_vectors: bool,
        collection: str,
    ) -> list[QueryResult]:
        k = check.check_count("top_k", top_k, check.MAX_TOP_K)
        asked = self._context(context)
        strength = check.check_number("context_strength", context_strength, 0.0, 1e6)
        view = self._view_or_empty(collection)
        if view is None:
            return [QueryResult(empty_ranked(), exact=True)]
        if single:
            queries = check.check_query(vectors, view.spec)[None]
        else:
            queries = check.check_queries(vectors, view.spec, "vectors")
        geometry, u = self._geometry(collection, scale)
        selection = self._selection(filter, asked, soft)
        if asked is None:
            return [
                QueryResult(
                    lambda hits=hits: by_distance(hits, geometry, u),
                    exact=hits.exact,
                    warnings=hits.warnings,
                    include_vectors=include_vectors,
                )
                for hits in view.search(queries, k, selection)
            ]
        ranking = ContextRanking(geometry, u, asked, strength, soft)
        told = self._unknown(view, asked)
        results: list[QueryResult] = []
        for query in queries:
            hits, ranked, exact = context_query(
                view, query, k, selection, ranking, may_scan=self.engine.capabilities.scan
            )
            results.append(
                QueryResult(
                    ranked, exact=exact, warnings=(*told, *hits.warnings), include_vectors=include_vectors
                )
            )
        return results

    def tunnel(
        self,
        queries: ArrayLike,
        single: bool,
        barrier_threshold: float | None,
        tunneling_strength: float,
        top_k: int,
        barrier_scale: str,
        beyond_only: bool,
        candidates: int,
        context: ContextLike,
        context_strength: float,
        soft: bool,
        filter: Mapping[str, Any] | None,
        include_vectors: bool,
        collection: str,
    ) -> list[TunnelResult]:
        k = check.check_count("top_k", top_k, check.MAX_TOP_K)
        scale: BarrierScale = check.check_choice(  # type: ignore[assignment]
            "barrier_scale", barrier_scale, ("rank", "similarity", "distance")
        )
        barrier = _check_barrier(barrier_threshold, scale)
        strength = check.check_number("tunneling_strength", tunneling_strength, 0.0, 1.0)
        count = check.check_count("candidates", candidates, check.MAX_TOP_K)
        asked = self._context(context)
        weight = check.check_number("context_strength", context_strength, 0.0, 1e6)
        view = self._view_or_empty(collection)
        if view is None:
            nothing = QueryResult(empty_ranked(), exact=True)
            return [TunnelResult(empty_ranked(), exact=True, inside=nothing, well_size=0, eligible=0)]
        if single:
            matrix = check.check_query(queries, view.spec, "query")[None]
        else:
            matrix = check.check_queries(queries, view.spec, "queries")
        geometry, u = self._geometry(collection, None)
        ranking = None if asked is None else ContextRanking(geometry, u, asked, weight, soft)
        search = Tunnel(
            k, barrier, scale, strength, beyond_only, count, ranking, geometry, u, include_vectors
        )
        selection = self._selection(filter, asked, soft)
        results = [tunnel(view, query, selection, search) for query in matrix]
        if asked is not None:
            told = self._unknown(view, asked)
            for result in results:
                result.warnings = (*told, *result.warnings)
        return results

    def neighbours(self, id: str, k: int, collection: str) -> QueryResult:
        count = check.check_count("k", k, check.MAX_TOP_K)
        view = self.engine.view(collection)
        record = self.get([id], collection)[0]
        if record is None:
            raise RecordNotFoundError(f"record {id!r} is not in collection {collection!r}", subject=id)
        geometry, u = self._geometry(collection, None)
        hits = view.search(record.vector[None], count + 1, Selection(now=self._clock()))[0]
        others = [i for i, found in enumerate(hits.ids()) if found != id][:count]
        hits = hits.take(np.array(others, np.intp))
        return QueryResult(by_distance(hits, geometry, u), exact=hits.exact, warnings=hits.warnings)

    def scroll(
        self, filter: Mapping[str, Any] | None, limit: int, cursor: str | None, collection: str
    ) -> Page:
        count = check.check_count("limit", limit, _MAX_LIMIT)
        after = _parse_cursor(cursor)
        records, following = self.engine.view(collection).scroll(
            self._selection(filter, None, True), count, after
        )
        return Page(tuple(records), None if following is None else f"{following:x}")

    def count(self, filter: Mapping[str, Any] | None, collection: str) -> int:
        view = self._view_or_empty(collection)
        return 0 if view is None else view.count(self._selection(filter, None, True))

    # The rest

    def stats(self) -> dict[str, Any]:
        statistics = self.engine.statistics()
        for name, collection in statistics["collections"].items():
            collection["scale"] = self._stored_scale(name).as_data()
            collection["spec"] = {**asdict(self.spec(name)), "metric": self.spec(name).metric.value}
            recovery = self.engine.recoveries.get(name)
            collection["recovery"] = None if recovery is None else asdict(recovery)
        return {"directory": str(self.directory), **statistics}

    def verify(self) -> dict[str, Any]:
        return asdict(self.engine.verify())

    # Inside

    def scale_is_due(self, collection: str) -> bool:
        """Whether the collection has reached a milestone since u was last measured."""
        if not self.engine.has_collection(collection):  # dropped meanwhile
            return False
        count = self.engine.view(collection).count(Selection(now=self._clock()))
        return milestone(count) > milestone(self._stored_scale(collection).count)

    def scale(self, collection: str) -> Scale:
        """The collection's u, measured anew when it has doubled since the last time."""
        view = self.engine.view(collection)
        known = self._stored_scale(collection)
        due = milestone(view.count(Selection(now=self._clock())))
        if due <= milestone(known.count):
            return known
        with self._measuring:
            known = self._stored_scale(collection)
            if due > milestone(known.count):
                known = measure(view, self._clock(), known)
                self.engine.catalog.put(_scale_key(collection), known.as_data())
                self._scales[collection] = known
            return known

    def _stored_scale(self, collection: str) -> Scale:
        scale = self._scales.get(collection)
        if scale is None:
            entry = self.engine.catalog.get(_scale_key(collection))
            scale = Scale() if entry is None else Scale.of(entry.value)
            self._scales[collection] = scale
        return scale

    def _geometry(self, collection: str, pinned: float | None) -> tuple[Geometry, float]:
        scale = self.scale(collection)
        u = scale.u if pinned is None else check.check_number("scale", pinned, 1e-300, float("inf"))
        return Geometry(self.spec(collection).metric, scale.max_dot), u

    def _selection(
        self, filter: Mapping[str, Any] | None, context: ContextQuery | None, soft: bool
    ) -> Selection:
        names = () if context is None or soft else context.names
        return Selection(parse_filter(filter), names, self._clock())

    def _unknown(self, view: View, context: ContextQuery) -> tuple[str, ...]:
        return tuple(
            f"context {name!r} occurs in no record of collection {view.spec.name!r}"
            for name in context.names
            if view.count(Selection(None, (name,), self._clock())) == 0
        )

    def _context(self, context: ContextLike) -> ContextQuery | None:
        if context is not None:
            self._check_enabled()
        return ContextQuery.parse(context)

    def _superposition(self, contexts: Contexts) -> Superposition:
        if contexts is not None:
            self._check_enabled()
        return Superposition.parse(contexts)

    def _check_enabled(self) -> None:
        if not self.config.enable_superposition:
            raise ConfigurationError(
                "contexts are switched off here; open the database with enable_superposition=True",
                subject="enable_superposition",
            )

    def _view_or_empty(self, collection: str) -> View | None:
        """None for a "default" that nothing was inserted into yet."""
        try:
            return self.engine.view(collection)
        except CollectionNotFoundError:
            if collection == DEFAULT:
                return None
            raise

    def _spec_for(self, collection: str, dimension: int) -> CollectionSpec:
        """The collection's spec; for "default" before its first record, the one that record will give it."""
        try:
            return self.spec(collection)
        except CollectionNotFoundError:
            if collection != DEFAULT:
                raise
        return CollectionSpec(DEFAULT, check.check_dimension(dimension))

    def _ensure(self, spec: CollectionSpec) -> None:
        """Make "default" once its first record has passed every check."""
        if spec.name == DEFAULT and not self.engine.has_collection(DEFAULT):
            with contextlib.suppress(CollectionExistsError):  # another thread was first
                self.engine.create_collection(spec)


def _close(engine: EmbeddedEngine, remove: Path | None) -> None:
    engine.close()
    if remove is not None:
        shutil.rmtree(remove, ignore_errors=True)


def _scale_key(collection: str) -> str:
    return f"scale/{collection}"


def _check_barrier(value: object, scale: str) -> float | None:
    if value is None:
        return None
    low, high = {"rank": (0.0, 1.0), "similarity": (-np.inf, np.inf), "distance": (-np.inf, np.inf)}[scale]
    return check.check_number("barrier_threshold", value, low, high)


def _parse_cursor(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        return int(cursor, 16)
    except (TypeError, ValueError):
        raise ArgumentError(
            f"cursor={cursor!r} is none that scroll gave; pass Page.cursor unchanged", subject="cursor"
        ) from None
