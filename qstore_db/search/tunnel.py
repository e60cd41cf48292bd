"""tunnel_search: items of the same kind beyond the query's dense neighbourhood, reached over the kNN graph.

The nearest N candidates form a graph; probability starts at the five nearest and diffuses over it. What lies
inside the barrier (the well) is given apart, in plain distance order. This is the reference: its graph is exact
on its candidates, and everything else is measured against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import Floats, Hits, Selection, View
from qstore_db.records import Geometry, Metric, QueryResult, Ranked, TunnelResult, Vectors
from qstore_db.search.diffusion import (
    diffuse,
    knn_graph,
    query_scale,
    seed_distribution,
    tunnel_scores,
    well_size,
)
from qstore_db.search.ranking import Ranking, best_first, by_distance

BarrierScale: TypeAlias = Literal["rank", "similarity", "distance"]
MAX_CANDIDATES = 4_000
"""The exact graph on more would take seconds and gigabytes."""
NEIGHBOURS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """The parameters of one tunnelling search, already checked."""

    k: int
    barrier: float | None
    """None: the k nearest are the well. Else a rank exponent in [0, 1], a similarity or a distance."""
    scale: BarrierScale
    strength: float
    beyond_only: bool
    candidates: int
    ranking: Ranking | None
    """How context and age join the score; None for neither."""
    geometry: Geometry
    u: float
    include_vectors: bool
    warnings: tuple[str, ...]
    """What is known to be odd before the search begins."""


def tunnel(view: View, query: Vectors, selection: Selection, search: Tunnel) -> TunnelResult:
    """Run the reference search. Ties are broken by distance, then id; repeats are bit-equal."""
    eligible = view.count(selection)
    wanted = _well_rank(eligible, search)
    limit = min(eligible, MAX_CANDIDATES)
    fetch = min(max(search.candidates, search.k, 2 * (wanted or 0)), limit)
    while True:
        found = _nearest(view, query, fetch, selection)
        reached = len(found)
        probabilities = None
        if search.ranking is not None:
            found, probabilities = search.ranking.admit(found)
        well = _well(found, wanted, search)
        if fetch == limit or 2 * well <= len(found):
            break
        fetch = min(2 * well if 2 * well > fetch else 2 * fetch, limit)
    warnings = [*search.warnings]
    if len(found) and well == len(found):
        if reached < eligible:
            warnings.append(
                f"the well holds at least {well} records, all that {reached} candidates gave: "
                "raise barrier_threshold to see beyond it"
            )
        else:
            warnings.append("every eligible record lies inside the well: nothing is beyond the barrier")
    elif search.k > len(found) - well * search.beyond_only and reached < eligible:
        warnings.append(
            f"top_k={search.k} reaches past the {reached} nearest records, beyond which none is ranked"
        )
    everything_inside = search.beyond_only and well == len(found)
    score, terms = (np.zeros(well), {}) if everything_inside else _scores(found, probabilities, search)
    order = best_first(score, found.raw, found)
    beyond = order >= well
    if search.beyond_only:
        order = order[beyond]
    order = order[: search.k]
    warnings.extend(found.warnings)
    return TunnelResult(
        _ranked(found, order, score, terms, probabilities, well, search),
        exact=found.exact,
        inside=QueryResult(
            by_distance(found.take(np.arange(well)), search.geometry, search.u),
            exact=found.exact,
            include_vectors=search.include_vectors,
        ),
        well_size=max(well, wanted or 0),
        eligible=eligible,
        warnings=tuple(dict.fromkeys(warnings)),
        include_vectors=search.include_vectors,
    )


def _nearest(view: View, query: Vectors, count: int, selection: Selection) -> Hits:
    """The `count` nearest, or a few more: ties of the last one belong to them, whatever their ids are.

    Where the ties alone are more than MAX_CANDIDATES, those of lowest id are taken.
    """
    fetch = count + 1
    while True:
        found = view.search(query[None], fetch, selection)[0]
        if len(found) <= count:
            return found
        tied = int(np.searchsorted(found.raw, found.raw[count - 1], side="right"))
        if tied < len(found) or len(found) < fetch:
            return found.take(np.arange(tied))
        if fetch > MAX_CANDIDATES:
            nearer = int(np.searchsorted(found.raw, found.raw[count - 1], side="left"))
            return found.take(np.arange(nearer or count))
        fetch = min(4 * fetch, MAX_CANDIDATES + 1)


def _well_rank(eligible: int, search: Tunnel) -> int | None:
    """How many of the nearest the well holds, before ties; None where a distance decides."""
    if search.barrier is None:
        return min(search.k, eligible)
    if search.scale == "rank":
        return min(well_size(eligible, search.barrier), eligible) if eligible else 0
    return None


def _well(found: Hits, wanted: int | None, search: Tunnel) -> int:
    """How many of the candidates (nearest first) lie inside, ties at the edge included."""
    if wanted is not None:
        if wanted == 0 or len(found) == 0:
            return 0
        edge = found.raw[min(wanted, len(found)) - 1]
        return int(np.searchsorted(found.raw, edge, side="right"))
    assert search.barrier is not None
    if search.scale == "similarity":
        return int((search.geometry.similarity(found.raw) >= search.barrier).sum())
    return int((search.geometry.distance(found.raw) <= search.barrier).sum())


def _scores(found: Hits, probabilities: Floats | None, search: Tunnel) -> tuple[Floats, dict[str, Floats]]:
    if len(found) == 0:
        return np.empty(0), {}
    d2 = np.maximum(search.geometry.squared(found.raw), 0.0)
    scale = query_scale(d2)
    if search.strength > 0.0:
        max_dot = search.geometry.max_dot if search.geometry.metric is Metric.DOT else None
        walked = diffuse(knn_graph(found.vectors(), NEIGHBOURS, max_dot=max_dot), seed_distribution(d2))
    else:
        walked = np.ones(len(found))
    score = tunnel_scores(d2, walked, search.strength, scale)
    terms = {"distance": -(1.0 - search.strength) * d2 / scale}
    terms["walk"] = score - terms["distance"]
    if search.ranking is not None:
        added = search.ranking.added(found, probabilities)
        terms |= added
        score = sum(added.values(), score)
    return score, terms


def _ranked(
    found: Hits,
    order: NDArray[np.intp],
    score: Floats,
    terms: dict[str, Floats],
    probabilities: Floats | None,
    well: int,
    search: Tunnel,
) -> Ranked:
    hits = found.take(order)
    return Ranked(
        score=score[order],
        distance=search.geometry.distance(hits.raw),
        similarity=search.geometry.similarity(hits.raw),
        ids=hits.ids,
        records=hits.records,
        weight=None if probabilities is None else probabilities[order],
        terms={name: term[order] for name, term in terms.items()},
        scale={"strength": search.strength},
        tunneled=order >= well,
    )
