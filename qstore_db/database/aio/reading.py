"""The calls that read and search records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, overload

from numpy.typing import ArrayLike

from qstore_db.database import operations
from qstore_db.database.edge import AsyncEdge
from qstore_db.database.options import QueryOptions, TunnelOptions
from qstore_db.records import Change, ContextLike, Page, QueryResult, Record, TunnelResult
from qstore_db.search.field import Engine
from qstore_db.search.well import BarrierScale


class AsyncReading:
    """Each call sees one commit, and all writes acknowledged before it began."""

    _edge: AsyncEdge

    @overload
    async def get(  # type: ignore[overload-overlap]  # a str is a Sequence[str] too; this one comes first
        self, id: str, *, collection: str = "default"
    ) -> Record | None: ...
    @overload
    async def get(self, id: Sequence[str], *, collection: str = "default") -> list[Record | None]: ...
    async def get(
        self, id: str | Sequence[str], *, collection: str = "default"
    ) -> list[Record | None] | Record | None:
        """The record of an id, or one for each of several ids, in their order; None where there is none.

        Raises CollectionNotFoundError, IdError; CorruptionError naming a record whose checksum does not hold.
        """
        if isinstance(id, str):
            return (await self._edge.run(operations.GET, [id], collection))[0]
        return await self._edge.run(operations.GET, id, collection)

    async def query(
        self,
        vector: ArrayLike,
        *,
        top_k: int = 10,
        context: ContextLike = None,
        filter: Mapping[str, Any] | None = None,
        soft: bool = False,
        denoise: bool = False,
        context_strength: float = 0.5,
        coherence_time: float | None = None,
        scale: float | None = None,
        include_vectors: bool = False,
        collection: str = "default",
    ) -> QueryResult:
        """The nearest records, best first; fewer than `top_k` where there are fewer.

        vector: (d,) finite numbers. Without a context the order is by distance. In a context, or a superposition
        of several (`{"a": .5, "b": .5}`, with phases in radians `{"a": (.5, 0), "b": (.5, pi)}`), it is by
        -d^2/u + context_strength * log p, p in [0, 1] the Born probability of the context in the record. Records
        outside it are left out, unless `soft` grants each of them p = 1/60.
        context_strength: lambda, 0 to 1e6. scale: u > 0 instead of the collection's stored one, which changes
        when the collection has doubled; pin it where the same query must rank the same for ever.
        coherence_time: half-life tau > 0 in seconds, with or without a context: context_strength * log 2^(-age/tau)
        is added, age the seconds since the record's last write by the writer's clock, 0 at least.
        denoise: take each record's weights from its neighbourhood (3 steps of label propagation over the
        collection's graph), for contexts that were assigned with errors. It helps where contexts follow the
        vectors, and **hurts badly where they do not**, which nothing in the data tells: off unless you know.
        filter: Mongo-style, see `qstore_db.records.filter`. An unknown context gives a warning, not an error.
        include_vectors: fill `Match.vector`. `result.exact` says whether the ranking is certain to be the true
        one; otherwise it holds `target_recall` of it.

        Raises CollectionNotFoundError, DimensionError, VectorError, ContextError, FilterError, ArgumentError;
        ConfigurationError for a context where `enable_superposition` is off.
        """
        options = QueryOptions(
            top_k=top_k,
            context=context,
            context_strength=context_strength,
            soft=soft,
            denoise=denoise,
            coherence_time=coherence_time,
            filter=filter,
            include_vectors=include_vectors,
            collection=collection,
            scale=scale,
        )
        return await self._edge.run(operations.QUERY, vector, options)

    async def query_batch(
        self,
        vectors: ArrayLike,
        *,
        top_k: int = 10,
        context: ContextLike = None,
        filter: Mapping[str, Any] | None = None,
        soft: bool = False,
        denoise: bool = False,
        context_strength: float = 0.5,
        coherence_time: float | None = None,
        scale: float | None = None,
        include_vectors: bool = False,
        collection: str = "default",
    ) -> list[QueryResult]:
        """One result for each row of (n, d), all from one snapshot, each bit-equal to its own `query`."""
        options = QueryOptions(
            top_k=top_k,
            context=context,
            context_strength=context_strength,
            soft=soft,
            denoise=denoise,
            coherence_time=coherence_time,
            filter=filter,
            include_vectors=include_vectors,
            collection=collection,
            scale=scale,
        )
        return await self._edge.run(operations.QUERY_BATCH, vectors, options)

    async def tunnel_search(
        self,
        query: ArrayLike,
        *,
        barrier_threshold: float | None = None,
        tunneling_strength: float = 1.0,
        top_k: int = 10,
        barrier_scale: BarrierScale = "rank",
        engine: Engine = "diffusion",
        beyond_only: bool = True,
        candidates: int = 2000,
        context: ContextLike = None,
        context_strength: float = 0.5,
        soft: bool = False,
        denoise: bool = False,
        coherence_time: float | None = None,
        filter: Mapping[str, Any] | None = None,
        walk_through: bool = False,
        diversity: float = 0.0,
        objective: str | None = None,
        min_prominence: float | None = None,
        include_vectors: bool = False,
        collection: str = "default",
    ) -> TunnelResult:
        """Items of the same kind beyond the query's dense neighbourhood, and that neighbourhood beside them.

        The result iterates over what lies beyond the barrier; `result.inside` holds the well in plain order,
        `result.well_size` of `result.eligible` records.
        barrier_threshold: b, usually in [0, 1]: the well holds the max(1, floor(n^(1-b))) nearest of n eligible
        records, ties inside. None: the `top_k` nearest. 0 and less puts everything inside, more than 1 nothing,
        which the result states.
        barrier_scale: "similarity" or "distance" make b the least similarity or largest distance inside, in the
        metric's own unit.
        tunneling_strength: s in [0, 1], score = -(1-s) d^2/d20^2 + s log p with p from a walk over the graph of
        nearest neighbours, and d20 the distance of the 20th; 0 is exact distance order. In a context,
        context_strength * log of its probability is added, and with a coherence_time the term of a record's age, as
        in `query`; neither changes the well.
        engine: "diffusion", or "walk", a continuous-time quantum walk, which ranks no better and takes longer.
        candidates: 1 to 4,000. A region of so many records is grown on the collection's graph around the query;
        while there is no such graph (index "flat", few records, an import under way), or it reaches too little, the
        exact graph of that many nearest records is made, which takes a hundred times as long.
        walk_through: let the walk pass records that filter and context leave out. They are no results in any case.
        diversity: in [0, 1], trades score for difference among the results (maximal marginal relevance).
        objective: the path of a metadata number. Then the results are the best record of each basin of it over the
        graph, whether in the well or beyond: distinct good records instead of near-copies of one. Larger is better;
        store the negative of a loss. A basin counts whose peak stands out by `min_prominence`, by default half the
        interquartile range of the numbers; see `result.prominence`. Records without the number are left out, which
        a warning counts. Only `filter` goes with it, of all that selects and ranks. It does not propose what to try
        next.
        beyond_only=False ranks the well's records too, each match flagged `tunneled` or not.
        A well larger than half the candidates raises them to twice its size, up to 4,000; warnings say where
        that was not enough.

        Raises as `query` does.
        """
        options = TunnelOptions(
            top_k=top_k,
            context=context,
            context_strength=context_strength,
            soft=soft,
            denoise=denoise,
            coherence_time=coherence_time,
            filter=filter,
            include_vectors=include_vectors,
            collection=collection,
            barrier_threshold=barrier_threshold,
            barrier_scale=barrier_scale,
            tunneling_strength=tunneling_strength,
            beyond_only=beyond_only,
            candidates=candidates,
            engine=engine,
            walk_through=walk_through,
            diversity=diversity,
            objective=objective,
            min_prominence=min_prominence,
        )
        return await self._edge.run(operations.TUNNEL, query, options)

    async def tunnel_search_batch(
        self,
        queries: ArrayLike,
        *,
        barrier_threshold: float | None = None,
        tunneling_strength: float = 1.0,
        top_k: int = 10,
        barrier_scale: BarrierScale = "rank",
        engine: Engine = "diffusion",
        beyond_only: bool = True,
        candidates: int = 2000,
        context: ContextLike = None,
        context_strength: float = 0.5,
        soft: bool = False,
        denoise: bool = False,
        coherence_time: float | None = None,
        filter: Mapping[str, Any] | None = None,
        walk_through: bool = False,
        diversity: float = 0.0,
        objective: str | None = None,
        min_prominence: float | None = None,
        include_vectors: bool = False,
        collection: str = "default",
    ) -> list[TunnelResult]:
        """One result for each row of (n, d), all from one snapshot, each bit-equal to its own search."""
        options = TunnelOptions(
            top_k=top_k,
            context=context,
            context_strength=context_strength,
            soft=soft,
            denoise=denoise,
            coherence_time=coherence_time,
            filter=filter,
            include_vectors=include_vectors,
            collection=collection,
            barrier_threshold=barrier_threshold,
            barrier_scale=barrier_scale,
            tunneling_strength=tunneling_strength,
            beyond_only=beyond_only,
            candidates=candidates,
            engine=engine,
            walk_through=walk_through,
            diversity=diversity,
            objective=objective,
            min_prominence=min_prominence,
        )
        return await self._edge.run(operations.TUNNEL_BATCH, queries, options)

    async def neighbours(self, id: str, k: int = 10, *, collection: str = "default") -> QueryResult:
        """The k nearest other records of a stored one, nearest first; up to ten from the collection's graph.

        Raises RecordNotFoundError, CollectionNotFoundError, ArgumentError.
        """
        return await self._edge.run(operations.NEIGHBOURS, id, k, collection)

    async def scroll(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        limit: int = 100,
        cursor: str | None = None,
        collection: str = "default",
    ) -> Page:
        """Records in the order of their last writes, a page at a time; pass `Page.cursor` to go on.

        A record that is there all along and is not written meanwhile comes exactly once; one that is written
        meanwhile comes again at its new place, or for the first time.

        Raises CollectionNotFoundError, FilterError, ArgumentError for a cursor that no page gave.
        """
        return await self._edge.run(operations.SCROLL, filter, limit, cursor, collection)

    async def watch(self, collection: str = "default", *, since: int | None = None) -> AsyncIterator[Change]:
        """The changes of a collection as they happen, without an end: iterate, and leave the loop when done.

        Each id's latest state, at least once, in rising `sequence`; a state that another replaced before it was
        read is left out. since: the op sequence after which to begin (`insert` returns it, `Change.sequence` and
        `Record.version` hold it), 0 for all that is kept; None begins with the first step. To go on after a break,
        give the sequence of the last change. Over a connection that is lost, it goes on by itself.

        Raises, at a step, CollectionNotFoundError (also once the collection is dropped), ArgumentError for a
        `since` that no op has had yet, ClosedError, and SequenceExpired where changes that old are no longer kept
        (they are for a day or ten million ops): read everything with `scroll`, then watch from there.
        """
        async for change in self._edge.watch(collection, since):
            yield change

    async def count(self, filter: Mapping[str, Any] | None = None, *, collection: str = "default") -> int:
        """How many records there are, or match. Raises CollectionNotFoundError, FilterError."""
        return await self._edge.run(operations.COUNT, filter, collection)
