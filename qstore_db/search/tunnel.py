"""tunnel_search: items of the same kind beyond the query's dense neighbourhood, reached over the kNN graph.

Probability starts at the five nearest and spreads over a graph of nearest neighbours (`field`). What lies inside
the barrier (`well`) is given apart, in plain distance order; the rest is ranked by the probability that reached it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import Floats, Selection, View
from qstore_db.records import Geometry, QueryResult, Ranked, TunnelResult, Vectors, Walked
from qstore_db.search.diffusion import LEAST_PROBABILITY, query_scale
from qstore_db.search.diversity import POOL, diversify
from qstore_db.search.field import Engine, Field, by_candidates, by_links, by_neighbourhood
from qstore_db.search.ranking import SPARE, Ranking, best_first, by_distance
from qstore_db.search.trace import carriers
from qstore_db.search.well import MAX_CANDIDATES, Barrier, Well, find_well

NEAR = 20
"""The neighbour whose distance is a query's own unit."""
SHOWN = 300
"""Records that a picture of a walk shows, beside the well and the results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """The parameters of one tunnelling search, already checked."""

    k: int
    barrier: Barrier
    strength: float
    engine: Engine
    beyond_only: bool
    candidates: int
    walk_through: bool
    diversity: float
    ranking: Ranking | None
    """How context and age join the score; None for neither."""
    geometry: Geometry
    u: float
    include_vectors: bool
    warnings: tuple[str, ...]
    """What is known to be odd before the search begins."""


def tunnel(view: View, query: Vectors, selection: Selection, search: Tunnel) -> TunnelResult:
    """Run one search. Ties are broken by distance, then id; repeats are bit-equal."""
    eligible = view.count(selection)
    look = partial(
        find_well,
        view,
        query,
        selection,
        search.barrier,
        search.geometry,
        search.ranking,
        eligible=eligible,
    )
    warnings = [*search.warnings]
    well = field = None
    if search.strength > 0.0 and view.links is not None:
        well = look(least=NEAR, spare=1)
        field = _by_links(view, query, selection, well, eligible, search)
    exact = field is None
    if well is None or field is None:
        well = look(least=max(search.candidates, search.k), spare=2)
        engine = search.engine if search.strength > 0.0 else None
        if search.walk_through:
            field = by_neighbourhood(view, query, selection, well, search.geometry, engine, search.candidates)
        else:
            field = by_candidates(well, search.geometry, engine)
        warnings += _shortfalls(well, eligible, search)
    warnings += _extremes(well, eligible, search)
    ranked, chosen = _rank(field, well, search)
    return TunnelResult(
        ranked,
        exact=exact and well.near.exact,
        inside=QueryResult(
            by_distance(well.near.take(np.arange(well.inside)), search.geometry, search.u),
            exact=well.near.exact,
            include_vectors=search.include_vectors,
        ),
        well_size=max(well.inside, well.wanted or 0),
        eligible=eligible,
        query=query,
        walked=_walked(field, chosen) if search.include_vectors else None,
        warnings=tuple(dict.fromkeys([*warnings, *well.near.warnings])),
        include_vectors=search.include_vectors,
    )


def _by_links(
    view: View, query: Vectors, selection: Selection, well: Well, eligible: int, search: Tunnel
) -> Field | None:
    """None where the exact graph of the nearest candidates has more to give."""
    if 2 * max(well.inside, well.wanted or 0) > MAX_CANDIDATES:
        return None
    field = by_links(
        view,
        query,
        selection,
        well,
        search.geometry,
        search.engine,
        size=max(search.candidates, 2 * well.inside),
        walk_through=search.walk_through,
    )
    if field is None:
        return None
    reached = np.flatnonzero((field.walked > 0.0) & ~field.inside)
    wanted = min(search.k, eligible - well.inside)
    if search.ranking is not None and len(reached) >= wanted:
        # Amplitudes that cancel, and denoised weights, leave out what the selection let in.
        reached = reached[search.ranking.admit(field.hits.take(reached))[0]]
    return field if len(reached) >= wanted else None


def _extremes(well: Well, eligible: int, search: Tunnel) -> list[str]:
    """What a well that holds everything, or nothing, means."""
    whole = well.inside == len(well.near) > 0 and well.fetched >= eligible
    if whole or (eligible and well.wanted == eligible):
        return ["every eligible record lies inside the well: nothing is beyond the barrier"]
    if well.wanted == 0 and search.barrier.value is not None and search.barrier.value > 1.0:
        return [
            f"barrier_threshold={search.barrier.value:g} is above 1: the well is empty, everything lies beyond"
        ]
    return []


def _shortfalls(well: Well, eligible: int, search: Tunnel) -> list[str]:
    """What a search over the nearest candidates cannot tell."""
    found = len(well.near)
    if found and well.inside == found and well.fetched < eligible and well.wanted != eligible:
        given = f"all that {well.fetched} candidates gave: raise barrier_threshold to see beyond it"
        return [f"the well holds at least {well.inside} records, {given}"]
    if search.k > found - well.inside * search.beyond_only and well.fetched < eligible:
        return [
            f"top_k={search.k} reaches past the {well.fetched} nearest records, beyond which none is ranked"
        ]
    return []


def _rank(field: Field, well: Well, search: Tunnel) -> tuple[Ranked, NDArray[np.intp]]:
    """The best k, and which candidates they are."""
    positions = np.flatnonzero(~field.inside) if search.beyond_only else np.arange(len(field.hits))
    hits, probabilities, added = field.hits.take(positions), None, np.zeros(len(positions))
    terms: dict[str, Floats] = {}
    if search.ranking is not None:
        admitted, probabilities = search.ranking.admit(hits)
        positions, hits = positions[admitted], hits.take(admitted)
        terms = search.ranking.added(hits, probabilities)
        added = sum(terms.values(), np.zeros(len(hits)))
    walk = search.strength * np.log(np.maximum(field.walked[positions], LEAST_PROBABILITY))
    scale = query_scale(np.maximum(search.geometry.squared(well.near.raw), 0.0))

    def distance_term(raw: Floats) -> Floats:
        return -(1.0 - search.strength) * (np.maximum(search.geometry.squared(raw), 0.0) / scale)

    kept, pool = np.arange(len(hits)), (POOL * search.k if search.diversity > 0.0 else search.k) + SPARE
    if len(hits) > pool:
        # Distances of all are only taken where they count; of a few, to order what is equal.
        rough = walk + added + (distance_term(hits.raw) if search.strength < 1.0 else 0.0)
        least = np.partition(rough, -pool)[-pool]
        kept = np.flatnonzero(rough >= least)
    hits = hits.take(kept).refined()
    distance = distance_term(hits.raw)
    score = distance + walk[kept] + added[kept]
    order = best_first(score, hits.raw, hits)
    if search.diversity > 0.0:
        spread = diversify(
            score[order], hits.raw[order], hits.take(order).vectors(), search.k, search.diversity
        )
        order = order[spread]
    order = order[: search.k]
    hits, kept = hits.take(order), kept[order]
    chosen = positions[kept]
    return (
        Ranked(
            score=score[order],
            distance=search.geometry.distance(hits.raw),
            similarity=search.geometry.similarity(hits.raw),
            found=hits,
            weight=None if probabilities is None else probabilities[kept],
            terms={
                "distance": distance[order],
                "walk": walk[kept],
                **{name: term[kept] for name, term in terms.items()},
            },
            scale={"strength": search.strength},
            tunneled=~field.inside[chosen],
            paths=partial(_paths, field, chosen),
        ),
        chosen,
    )


def _paths(field: Field, chosen: NDArray[np.intp]) -> list[tuple[str, ...]]:
    """Ids on the way from a seed to each of the chosen candidates; none where nothing came."""
    nodes: list[list[int]] = [[] for _ in chosen]
    came = np.flatnonzero(field.walked[chosen] > 0.0)
    targets = field.nodes[chosen[came]]
    found = carriers(field.graph, field.start, field.arrived, targets)
    # What hangs on a node came over that node too.
    hung = field.everything.places[targets] != field.hits.places[chosen[came]]
    for at, path, node, leaf in zip(came.tolist(), found, targets.tolist(), hung.tolist(), strict=True):
        nodes[at] = [*path, node] if leaf else path
    wanted = sorted({node for path in nodes for node in path})
    names = dict(zip(wanted, field.everything.take(np.array(wanted, np.intp)).ids(), strict=True))
    return [tuple(names[node] for node in path) for path in nodes]


def _walked(field: Field, chosen: NDArray[np.intp]) -> Walked:
    """The records that a picture of the walk shows."""
    strong = np.argsort(-field.arrived, kind="stable")[:SHOWN]
    wanted = np.unique(np.concatenate([strong, field.nodes[chosen], field.nodes[field.inside]]))
    shown = field.everything.take(wanted)
    number = np.full(len(field.arrived), -1)
    number[wanted] = np.arange(len(wanted))
    source = np.repeat(np.arange(len(field.graph)), np.diff(field.graph.indptr))
    a, b = number[source], number[field.graph.indices]
    inner = (a >= 0) & (b > a)
    inside = np.isin(shown.places, field.hits.places[field.inside])
    return Walked(
        ids=shown.ids(),
        vectors=shown.vectors(),
        probability=field.arrived[wanted],
        inside=inside,
        edges=np.stack([a[inner], b[inner]], axis=1),
        weights=field.graph.weights[inner],
    )
