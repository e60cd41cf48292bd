"""Where a walk takes place, and how much of it arrives where.

Two fields: a region of the collection's links, grown around the query (milliseconds), and, where there are no links
or they reach too little, the exact graph of the query's nearest candidates (the reference, a hundred times slower).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from qstore_db.engines.base import Floats, Hits, Selection, View
from qstore_db.engines.links import Links, Mask, Nodes
from qstore_db.records import Geometry, Metric, Vectors
from qstore_db.search.diffusion import Graph, diffuse, knn_graph, seed_distribution
from qstore_db.search.leaves import reach_leaves
from qstore_db.search.region import grow
from qstore_db.search.walk import quantum_walk
from qstore_db.search.well import Well

Engine: TypeAlias = Literal["diffusion", "walk"]
SEEDS = 5
"""Records that a walk starts from: the nearest."""
NEIGHBOURS = 10
_MAX_UNLINKED = 20_000
"""With more records that have no links yet, the exact graph serves."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """The candidates of a search and the walk over them."""

    hits: Hits
    """The candidates that may be results, in any order."""
    walked: Floats
    """(m,) what the walk brought to each."""
    inside: Mask
    """(m,) whether it lies in the well."""
    graph: Graph
    """Of everything that was walked over."""
    start: Floats
    """Where the walk began: (nodes of the graph,)."""
    arrived: Floats
    """What it brought everywhere: (nodes of the graph,)."""
    nodes: Nodes
    """(m,) the graph's node of each candidate; for one that hangs on the graph as a leaf, the node it hangs on."""
    everything: Hits
    """The records at all nodes of the graph."""


def by_candidates(well: Well, geometry: Geometry, engine: Engine | None) -> Field:
    """The exact graph of the nearest candidates. engine None: nothing walks, everything has probability 1."""
    inside = np.arange(len(well.near)) < well.inside
    return _over(well.near, np.ones(len(well.near), np.bool_), inside, geometry, engine)


def by_neighbourhood(
    view: View,
    query: Vectors,
    selection: Selection,
    well: Well,
    geometry: Geometry,
    engine: Engine | None,
    size: int,
) -> Field:
    """The exact graph of the `size` nearest records, selected or not, and the well; results are selected."""
    near = view.search(query[None], size, Selection(now=selection.now))[0].places
    inner = well.near.places[: well.inside]
    places = np.concatenate([near, np.setdiff1d(inner, near)])
    eligible = view.eligible(selection)
    admitted = np.ones(len(places), np.bool_) if eligible is None else eligible[places]
    return _over(view.at(query, places).refined(), admitted, np.isin(places, inner), geometry, engine)


def _over(hits: Hits, admitted: Mask, inside: Mask, geometry: Geometry, engine: Engine | None) -> Field:
    nodes = np.flatnonzero(admitted)
    if engine is None or len(hits) == 0:
        graph = Graph(np.zeros(len(hits) + 1, np.int64), np.empty(0, np.int64), np.empty(0))
        start, arrived = np.zeros(len(hits)), np.ones(len(hits))
    else:
        vectors = hits.vectors()
        geometry = geometry.reaching(vectors)
        graph = graph_of(vectors, geometry)
        d2 = np.where(admitted, _squares(geometry, hits.raw), np.inf)
        start = seed_distribution(d2, SEEDS)
        arrived = _walk(engine, graph, start)
    return Field(hits.take(nodes), arrived[nodes], inside[nodes], graph, start, arrived, nodes, hits)


def graph_of(vectors: Vectors, geometry: Geometry) -> Graph:
    """The exact graph of some records, by a geometry that reaches their vectors."""
    max_dot = geometry.max_dot if geometry.metric is Metric.DOT else None
    return knn_graph(vectors, NEIGHBOURS, max_dot=max_dot)


def by_links(
    view: View,
    query: Vectors,
    selection: Selection,
    well: Well,
    geometry: Geometry,
    engine: Engine,
    *,
    size: int,
    walk_through: bool,
) -> Field | None:
    """A region of about `size` nodes of the collection's links; None where they cannot serve.

    walk_through: whether the walk may pass records that the selection leaves out, which are no results.
    """
    links = view.links
    if links is None or len(view) - len(links) > _MAX_UNLINKED:
        return None
    places = well.near.places
    linked = np.flatnonzero(places < len(links))
    seeds = linked[:SEEDS]
    if len(seeds) == 0:
        return None
    eligible = view.eligible(selection)
    passable = view.eligible(Selection(now=selection.now)) if walk_through else eligible
    inner = places[: well.inside]
    region = grow(
        links,
        places[seeds],
        size,
        passable,
        lambda nodes: view.at(query, nodes).raw,
        also=inner[inner < len(links)],
    )
    start = np.zeros(len(region.nodes))
    start[: len(seeds)] = seed_distribution(_squares(geometry, well.near.raw[seeds]), SEEDS)
    arrived = _walk(engine, region.graph, start)
    everything = view.at(query, region.nodes)
    nodes = np.arange(len(region.nodes))
    if walk_through and eligible is not None:
        nodes = np.flatnonzero(eligible[region.nodes])
    found, walked = region.nodes[nodes], arrived[nodes]
    leaves = _unlinked(view, links, eligible)
    if len(leaves):
        hung = reach_leaves(links, everything, arrived, view.at(query, leaves), geometry)
        found = np.concatenate([found, hung.places])
        walked = np.concatenate([walked, hung.walked])
        nodes = np.concatenate([nodes, hung.nodes])
    return Field(
        view.at(query, found),
        walked,
        np.isin(found, inner),
        region.graph,
        start,
        arrived,
        nodes,
        everything,
    )


def _squares(geometry: Geometry, raw: Floats) -> Floats:
    """d^2 to the query, at least 0. Products beyond the largest are shifted, not cut: the nearest stay apart."""
    d2 = geometry.squared(raw)
    return d2 - float(d2.min(initial=0.0))


def _walk(engine: Engine, graph: Graph, start: Floats) -> Floats:
    return diffuse(graph, start) if engine == "diffusion" else quantum_walk(graph, start)


def _unlinked(view: View, links: Links, eligible: Mask | None) -> Nodes:
    """Places of the eligible records that have no links yet."""
    if eligible is None:
        return np.arange(len(links), len(view))
    return len(links) + np.flatnonzero(eligible[len(links) :])
