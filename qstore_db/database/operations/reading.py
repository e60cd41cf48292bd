"""The operations that read and search records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from qstore_db.database.arguments import check_ids
from qstore_db.database.operations.base import (
    REQUIRED,
    Fields,
    Operation,
    pack_options,
    plain,
    required,
    unpack_options,
)
from qstore_db.database.operations.found import (
    pack_records,
    pack_results,
    pack_tunnels,
    unpack_records,
    unpack_results,
    unpack_tunnels,
)
from qstore_db.database.options import QueryOptions, SearchOptions, TunnelOptions
from qstore_db.records import (
    ContextQuery,
    Page,
    QueryResult,
    Record,
    TunnelResult,
    as_matrix,
    as_vector,
    parse_filter,
)


def _pack_search(vectors: object, what: str, options: SearchOptions) -> Fields:
    # What a connection could not carry is refused here, by the errors that the database itself would raise.
    ContextQuery.parse(options.context)
    parse_filter(options.filter)
    return {what: vectors, **pack_options(options)}


def _pack_query(vector: ArrayLike, options: QueryOptions) -> Fields:
    return _pack_search(as_vector(vector), "vector", options)


def _pack_query_batch(vectors: ArrayLike, options: QueryOptions) -> Fields:
    return _pack_search(as_matrix(vectors), "vectors", options)


def _pack_tunnel(query: ArrayLike, options: TunnelOptions) -> Fields:
    return _pack_search(as_vector(query, what="query"), "query", options)


def _pack_tunnel_batch(queries: ArrayLike, options: TunnelOptions) -> Fields:
    return _pack_search(as_matrix(queries, what="queries"), "queries", options)


def _unpack_search(given: Fields, what: str, kind: type[SearchOptions]) -> tuple[Any, ...]:
    vectors = required(given, what)
    return vectors, unpack_options(kind, {name: value for name, value in given.items() if name != what})


def _page(given: Fields) -> Page:
    return Page(tuple(record for record in unpack_records(given) if record is not None), given["cursor"])


def _pack_get(ids: Sequence[object], collection: str) -> Fields:
    return {"ids": check_ids(ids), "collection": collection}


_unpack_get = plain(ids=REQUIRED, collection="default")[1]
_pack_neighbours, _unpack_neighbours = plain(id=REQUIRED, k=10, collection="default")
_pack_count, _unpack_count = plain(filter=None, collection="default")
_pack_scroll, _unpack_scroll = plain(filter=None, limit=100, cursor=None, collection="default")


def _checking_filter(pack: Any) -> Any:
    def checked(filter: Mapping[str, Any] | None, *others: Any) -> Fields:
        parse_filter(filter)
        packed: Fields = pack(filter, *others)
        return packed

    return checked


GET: Operation[[Sequence[object], str], list[Record | None]] = Operation(
    "db.get",
    "read",
    lambda core, ids, collection: core.reads.get(ids, collection),
    _pack_get,
    _unpack_get,
    pack_records,
    unpack_records,
)
QUERY: Operation[[ArrayLike, QueryOptions], QueryResult] = Operation(
    "db.query",
    "read",
    lambda core, vector, options: core.reads.query(vector, options),
    _pack_query,
    partial(_unpack_search, what="vector", kind=QueryOptions),
    lambda result: pack_results([result]),
    lambda given: unpack_results(given)[0],
)
QUERY_BATCH: Operation[[ArrayLike, QueryOptions], list[QueryResult]] = Operation(
    "db.query_batch",
    "read",
    lambda core, vectors, options: core.reads.query_batch(vectors, options),
    _pack_query_batch,
    partial(_unpack_search, what="vectors", kind=QueryOptions),
    pack_results,
    unpack_results,
)
TUNNEL: Operation[[ArrayLike, TunnelOptions], TunnelResult] = Operation(
    "db.tunnel_search",
    "read",
    lambda core, query, options: core.reads.tunnel(query, options),
    _pack_tunnel,
    partial(_unpack_search, what="query", kind=TunnelOptions),
    lambda result: pack_tunnels([result]),
    lambda given: unpack_tunnels(given)[0],
)
TUNNEL_BATCH: Operation[[ArrayLike, TunnelOptions], list[TunnelResult]] = Operation(
    "db.tunnel_search_batch",
    "read",
    lambda core, queries, options: core.reads.tunnel_batch(queries, options),
    _pack_tunnel_batch,
    partial(_unpack_search, what="queries", kind=TunnelOptions),
    pack_tunnels,
    unpack_tunnels,
)
NEIGHBOURS: Operation[[str, int, str], QueryResult] = Operation(
    "db.neighbours",
    "read",
    lambda core, id, k, collection: core.reads.neighbours(id, k, collection),
    _pack_neighbours,
    _unpack_neighbours,
    lambda result: pack_results([result]),
    lambda given: unpack_results(given)[0],
)
SCROLL: Operation[[Mapping[str, Any] | None, int, str | None, str], Page] = Operation(
    "db.scroll",
    "read",
    lambda core, filter, limit, cursor, collection: core.reads.scroll(filter, limit, cursor, collection),
    _checking_filter(_pack_scroll),
    _unpack_scroll,
    lambda page: {**pack_records(page.records), "cursor": page.cursor},
    _page,
)
COUNT: Operation[[Mapping[str, Any] | None, str], int] = Operation(
    "db.count",
    "read",
    lambda core, filter, collection: core.reads.count(filter, collection),
    _checking_filter(_pack_count),
    _unpack_count,
    lambda count: {"count": count},
    lambda given: int(given["count"]),
)
