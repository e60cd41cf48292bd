"""The reads of a database: plain functions of one pinned snapshot."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from qstore_db.config import DatabaseConfig
from qstore_db.database.arguments import (
    check_choice,
    check_contexts_enabled,
    check_count,
    check_flag,
    check_ids,
    check_number,
    check_vectors,
)
from qstore_db.database.options import QueryOptions, SearchOptions, TunnelOptions
from qstore_db.database.scales import Scales
from qstore_db.database.writes import DEFAULT
from qstore_db.engines.base import Selection, View
from qstore_db.errors import ArgumentError, CollectionNotFoundError, RecordNotFoundError
from qstore_db.records import (
    ContextQuery,
    Geometry,
    Page,
    QueryResult,
    Record,
    TunnelResult,
    Vectors,
    as_matrix,
    as_vector,
    parse_filter,
)
from qstore_db.records.results import empty_ranked
from qstore_db.search.field import Engine
from qstore_db.search.neighbours import nearest_others
from qstore_db.search.objective import Objective, distinct_optima
from qstore_db.search.planner import ranked_query
from qstore_db.search.ranking import Coherence, Ranking, by_distance
from qstore_db.search.tunnel import Tunnel, tunnel
from qstore_db.search.well import MAX_CANDIDATES, Barrier, BarrierScale

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine

_MAX_STRENGTH = 1e6
_LEAST = 1e-300
"""Of what must be more than 0."""


@dataclass(frozen=True, slots=True)
class _Search:
    """What both searches need, checked; all their queries run on this one view."""

    view: View
    queries: Vectors
    """(n, d)."""
    selection: Selection
    geometry: Geometry
    u: float
    ranking: Ranking | None
    """None where distance alone ranks."""
    warnings: tuple[str, ...]


class Reads:
    """Safe to use from many threads; holds no state of its own."""

    def __init__(
        self, engine: EmbeddedEngine, scales: Scales, config: DatabaseConfig, clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._scales = scales
        self._config = config
        self._clock = clock

    def get(self, ids: Sequence[object], collection: str) -> list[Record | None]:
        return self._engine.fetch(collection, check_ids(ids), self._clock())

    def query(self, vector: ArrayLike, options: QueryOptions) -> QueryResult:
        return self._query(as_vector(vector), options, "vector")[0]

    def query_batch(self, vectors: ArrayLike, options: QueryOptions) -> list[QueryResult]:
        return self._query(as_matrix(vectors), options, "vectors")

    def tunnel(self, query: ArrayLike, options: TunnelOptions) -> TunnelResult:
        return self._tunnel(as_vector(query, what="query"), options, "query")[0]

    def tunnel_batch(self, queries: ArrayLike, options: TunnelOptions) -> list[TunnelResult]:
        return self._tunnel(as_matrix(queries, what="queries"), options, "queries")

    def neighbours(self, id: str, k: int, collection: str) -> QueryResult:
        count = check_count("k", k)
        view = self._engine.view(collection)
        record = self.get([id], collection)[0]
        if record is None:
            raise RecordNotFoundError(f"record {id!r} is not in collection {collection!r}", subject=id)
        geometry, u = self._scale_of(view, None)
        hits = nearest_others(view, record.vector, record.version, count, self._clock())
        return QueryResult(by_distance(hits, geometry, u), exact=hits.exact, warnings=hits.warnings)

    def scroll(
        self, filter: Mapping[str, Any] | None, limit: int, cursor: str | None, collection: str
    ) -> Page:
        count, after = check_count("limit", limit), _position(cursor)
        selection = self._selection(filter)
        view = self._view(collection)
        if view is None:
            return Page((), None)
        records, following = view.scroll(selection, count, after)
        return Page(tuple(records), None if following is None else f"{following:x}")

    def count(self, filter: Mapping[str, Any] | None, collection: str) -> int:
        selection = self._selection(filter)
        view = self._view(collection)
        return 0 if view is None else view.count(selection)

    # Inside

    def _query(self, queries: Vectors, options: QueryOptions, what: str) -> list[QueryResult]:
        k = check_count("top_k", options.top_k)
        pinned = options.scale
        if pinned is not None:
            pinned = check_number("scale", pinned, _LEAST, float("inf"))
        search = self._search(queries, options, pinned, what)
        if search is None:
            return [QueryResult(empty_ranked(), exact=True) for _ in np.atleast_2d(queries)]
        view, include = search.view, options.include_vectors
        if search.ranking is None:
            return [
                QueryResult(
                    partial(by_distance, hits, search.geometry, search.u),
                    exact=hits.exact,
                    warnings=hits.warnings,
                    include_vectors=include,
                )
                for hits in view.search(search.queries, k, search.selection)
            ]
        results: list[QueryResult] = []
        may_scan = self._engine.capabilities.scan
        for query in search.queries:
            hits, ranked, exact = ranked_query(
                view, query, k, search.selection, search.ranking, may_scan=may_scan
            )
            warnings = (*search.warnings, *hits.warnings)
            results.append(QueryResult(ranked, exact=exact, warnings=warnings, include_vectors=include))
        return results

    def _tunnel(self, queries: Vectors, options: TunnelOptions, what: str) -> list[TunnelResult]:
        k = check_count("top_k", options.top_k)
        scale = check_choice("barrier_scale", options.barrier_scale, get_args(BarrierScale))
        barrier = options.barrier_threshold
        if barrier is not None:
            barrier = check_number("barrier_threshold", barrier, -np.inf, np.inf)
        strength = check_number("tunneling_strength", options.tunneling_strength, 0.0, 1.0)
        beyond_only = check_flag("beyond_only", options.beyond_only)
        candidates = check_count("candidates", options.candidates, MAX_CANDIDATES)
        engine = check_choice("engine", options.engine, get_args(Engine))
        walk_through = check_flag("walk_through", options.walk_through)
        diversity = check_number("diversity", options.diversity, 0.0, 1.0)
        objective = _objective(options)
        search = self._search(queries, options, None, what)
        if search is None:
            nothing = QueryResult(empty_ranked(), exact=True)
            return [
                TunnelResult(
                    empty_ranked(),
                    exact=True,
                    inside=nothing,
                    well_size=0,
                    eligible=0,
                    query=query,
                    include_vectors=options.include_vectors,
                )
                for query in np.atleast_2d(queries)
            ]
        well = Barrier(barrier, scale, k)
        if objective is not None:
            wanted = Objective(
                path=objective[0],
                min_prominence=objective[1],
                k=k,
                barrier=well,
                geometry=search.geometry,
                u=search.u,
                include_vectors=options.include_vectors,
                warnings=search.warnings,
            )
            return [distinct_optima(search.view, query, search.selection, wanted) for query in search.queries]
        parameters = Tunnel(
            k=k,
            barrier=well,
            diversity=diversity,
            strength=strength,
            engine=engine,
            walk_through=walk_through,
            beyond_only=beyond_only,
            candidates=candidates,
            ranking=search.ranking,
            geometry=search.geometry,
            u=search.u,
            include_vectors=options.include_vectors,
            warnings=search.warnings,
        )
        return [tunnel(search.view, query, search.selection, parameters) for query in search.queries]

    def _search(
        self, queries: Vectors, options: SearchOptions, pinned: float | None, what: str
    ) -> _Search | None:
        """None for a "default" that nothing was inserted into yet; the arguments are checked all the same."""
        if options.context is not None:
            check_contexts_enabled(self._config)
        context = ContextQuery.parse(options.context)
        strength = check_number("context_strength", options.context_strength, 0.0, _MAX_STRENGTH)
        soft = check_flag("soft", options.soft)
        check_flag("include_vectors", options.include_vectors)
        denoise = check_flag("denoise", options.denoise)
        everyone = context is None or soft or denoise
        selection = self._selection(options.filter, () if everyone or context is None else context.names)
        coherence = _coherence(options.coherence_time, selection.now)
        view = self._view(options.collection)
        if view is None:
            return None
        rows = np.atleast_2d(check_vectors(queries, view.spec, what))
        geometry, u = self._scale_of(view, pinned)
        ranking: Ranking | None = None
        if context is not None or coherence is not None:
            ranking = Ranking(geometry, u, strength, context, soft, coherence, denoise)
        unknown = tuple(
            f"context {name!r} occurs in no record of collection {view.spec.name!r}"
            for name in (() if context is None else context.names)
            if view.count(Selection(None, (name,), selection.now)) == 0
        )
        warnings = unknown
        if denoise and view.links is None:
            warnings += ("denoise changes nothing: the collection has no graph of neighbours (yet)",)
        return _Search(view, rows, selection, geometry, u, ranking, warnings)

    def _scale_of(self, view: View, pinned: float | None) -> tuple[Geometry, float]:
        scale = self._scales.of(view)
        return Geometry(view.spec.metric, scale.max_dot), scale.u if pinned is None else pinned

    def _selection(self, filter: Mapping[str, Any] | None, contexts: tuple[str, ...] = ()) -> Selection:
        return Selection(parse_filter(filter), contexts, self._clock())

    def _view(self, collection: str) -> View | None:
        """None for a "default" that nothing was inserted into yet."""
        try:
            return self._engine.view(collection)
        except CollectionNotFoundError:
            if collection == DEFAULT:
                return None
            raise


def _objective(options: TunnelOptions) -> tuple[str, float | None] | None:
    """The path and least prominence of objective mode, or None."""
    path, least = options.objective, options.min_prominence
    if path is None:
        if least is not None:
            raise ArgumentError("min_prominence needs an objective to stand out in", subject="min_prominence")
        return None
    if not isinstance(path, str) or not path:
        raise ArgumentError(f"objective={path!r} must be the path of a metadata number", subject="objective")
    others = {
        "context": options.context is not None,
        "soft": options.soft,
        "denoise": options.denoise,
        "coherence_time": options.coherence_time is not None,
        "tunneling_strength": options.tunneling_strength != 1.0,
        "engine": options.engine != "diffusion",
        "walk_through": options.walk_through,
        "diversity": options.diversity != 0.0,
    }
    for name, given in others.items():
        if given:
            raise ArgumentError(
                f"{name} does not go with objective, which ranks by a number alone", subject=name
            )
    return path, None if least is None else check_number("min_prominence", least, 0.0, float("inf"))


def _coherence(half_life: float | None, now: float) -> Coherence | None:
    if half_life is None:
        return None
    return Coherence(check_number("coherence_time", half_life, _LEAST, float("inf")), now)


def _position(cursor: str | None) -> int:
    """The row after which a scroll goes on."""
    if cursor is None:
        return 0
    if not isinstance(cursor, str) or not re.fullmatch("[0-9a-f]{1,16}", cursor):
        raise ArgumentError(
            f"cursor={cursor!r} is none that scroll gave; pass Page.cursor unchanged", subject="cursor"
        )
    return int(cursor, 16)
