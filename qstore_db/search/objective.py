"""Objective mode: the best record of each basin of a stored number, over the graph of nearest neighbours.

Twenty near-copies of one good configuration are one answer here, and a second one that is good for other reasons is
the next. It says nothing about configurations that were never tried.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qstore_db.engines.base import Floats, Hits, Selection, View
from qstore_db.engines.links import Nodes
from qstore_db.records import Geometry, QueryResult, Ranked, TunnelResult, Vectors
from qstore_db.search.field import NEIGHBOURS, graph_of
from qstore_db.search.prominence import distinct_best, peaks
from qstore_db.search.ranking import by_distance
from qstore_db.search.well import MAX_CANDIDATES, Barrier, find_well

_MOST_UNLINKED = 256
"""Each record without links takes a search for its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The parameters of one search for distinct optima, already checked."""

    path: str
    """A metadata path that holds numbers; larger is better."""
    min_prominence: float | None
    k: int
    barrier: Barrier
    geometry: Geometry
    u: float
    include_vectors: bool
    warnings: tuple[str, ...]


def distinct_optima(view: View, query: Vectors, selection: Selection, search: Objective) -> TunnelResult:
    """The best of every prominent basin, best first; ties by id. `inside` and `tunneled` are as in any search."""
    eligible = view.count(selection)
    well = find_well(
        view, query, selection, search.barrier, search.geometry, None, eligible=eligible, least=1, spare=1
    )
    warnings = [*search.warnings]
    places, values = _values(view, selection, search.path)
    if len(places) < eligible:
        skipped = eligible - len(places)
        warnings.append(
            f"{skipped} of {eligible} records have no number at {search.path!r} and were left out"
        )
    exact = len(places) <= MAX_CANDIDATES
    if not exact and (view.links is None or (places >= len(view.links)).sum() > _MOST_UNLINKED):
        near = np.argsort(view.at(query, places).raw, kind="stable")[:MAX_CANDIDATES]
        warnings.append(f"of {len(places)} records the {MAX_CANDIDATES} nearest to the query were looked at")
        places, values = places[np.sort(near)], values[np.sort(near)]
    hits = view.at(query, places)
    found = peaks(*_graph(view, hits, search.geometry, selection.now), values, _order_of_ids(hits, values))
    best = distinct_best(found, values, search.min_prominence)[: search.k]
    chosen = found.nodes[best]
    results = hits.take(chosen).refined()
    inner = well.near.places[: well.inside]
    return TunnelResult(
        Ranked(
            score=values[chosen],
            distance=search.geometry.distance(results.raw),
            similarity=search.geometry.similarity(results.raw),
            found=results,
            terms={"objective": values[chosen]},
            tunneled=~np.isin(results.places, inner),
            prominence=found.prominence[best],
        ),
        exact=exact,
        inside=QueryResult(
            by_distance(well.near.take(np.arange(well.inside)), search.geometry, search.u),
            exact=well.near.exact,
            include_vectors=search.include_vectors,
        ),
        well_size=max(well.inside, well.wanted or 0),
        eligible=eligible,
        query=query,
        warnings=tuple(warnings),
        include_vectors=search.include_vectors,
    )


def _values(view: View, selection: Selection, path: str) -> tuple[Nodes, Floats]:
    """Places of the eligible records that hold a finite number, and the numbers."""
    numbers = view.numbers(path)
    there = np.isfinite(numbers)
    eligible = view.eligible(selection)
    places = np.flatnonzero(there if eligible is None else there & eligible)
    return places, numbers[places]


def _graph(view: View, hits: Hits, geometry: Geometry, now: float) -> tuple[Nodes, Nodes]:
    """Who is near whom among the hits: rows and columns of a sparse matrix."""
    if len(hits) <= MAX_CANDIDATES or view.links is None:
        vectors = hits.vectors()
        graph = graph_of(vectors, geometry.reaching(vectors))
        return graph.indptr, graph.indices
    number = np.full(len(view), -1)
    number[hits.places] = np.arange(len(hits))
    linked = np.flatnonzero(hits.places < len(view.links))
    counts, neighbours, _ = view.links.edges_of(hits.places[linked])
    rows, columns = [np.repeat(linked, counts)], [number[neighbours]]
    newest = np.flatnonzero(hits.places >= len(view.links))
    found = view.search(hits.take(newest).vectors(), NEIGHBOURS + 1, Selection(now=now))
    for node, near in zip(newest.tolist(), found, strict=True):
        others = number[near.places]
        alike = np.full(len(others), node)
        rows += [alike, others]
        columns += [others, alike]
    row, column = np.concatenate(rows), np.concatenate(columns)
    both = np.flatnonzero((row >= 0) & (column >= 0) & (row != column))
    indptr = np.zeros(len(hits) + 1, np.int64)
    np.cumsum(np.bincount(row[both], minlength=len(hits)), out=indptr[1:])
    return indptr, column[both[np.argsort(row[both], kind="stable")]]


def _order_of_ids(hits: Hits, values: Floats) -> Nodes:
    """A rank that tells equal values apart: by id. Ids are read only where values are equal."""
    rank = np.arange(len(hits))
    if len(np.unique(values)) < len(values):
        rank[np.argsort(np.array(hits.ids(), dtype=object), kind="stable")] = np.arange(len(hits))
    return rank
