"""Ranking by distance and context: -d^2/u + lambda log p.

p is the Born probability of the queried context in a record. Log-linear ranking beat the product of similarity
and weight, and a hard weight filter, on three data sets; lambda is its one parameter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import Floats, Hits
from qstore_db.records import ContextQuery, Geometry, Ranked, soften

SPARE = 16
"""Candidates ranked beyond k on float32 distances, before the exact ones decide."""


@dataclass(frozen=True, slots=True)
class ContextRanking:
    """How one query trades distance against context."""

    geometry: Geometry
    u: float
    context: ContextQuery
    strength: float
    """lambda >= 0."""
    soft: bool

    def probabilities(self, hits: Hits) -> Floats:
        p = self.context.probabilities(hits.weights(self.context.names))
        return soften(p) if self.soft else p

    def context_term(self, p: Floats) -> Floats:
        """lambda log p, (m,); -inf where p is 0 (and lambda too: such a record is not in the context)."""
        term = np.full(len(p), -np.inf)
        inside = p > 0.0
        term[inside] = self.strength * np.log(p[inside])
        return term

    def rank(self, hits: Hits, k: int) -> tuple[Hits, Ranked]:
        """The best k of `hits`, which may be in any order. Records outside the context are left out."""
        p = self.probabilities(hits)
        term = self.context_term(p)
        score = -self.geometry.squared(hits.raw) / self.u + term
        inside = np.flatnonzero(p > 0.0)
        if len(inside) > k + SPARE:
            best = np.argpartition(-score[inside], k + SPARE - 1)[: k + SPARE]
            cut = score[inside][best].min()
            inside = inside[score[inside] >= cut]
        hits, p, term = hits.take(inside).refined(), p[inside], term[inside]
        distance_term = -self.geometry.squared(hits.raw) / self.u
        order = best_first(distance_term + term, hits.raw, hits)[:k]
        hits, p, term, distance_term = hits.take(order), p[order], term[order], distance_term[order]
        ranked = Ranked(
            score=distance_term + term,
            distance=self.geometry.distance(hits.raw),
            similarity=self.geometry.similarity(hits.raw),
            ids=hits.ids,
            records=hits.records,
            weight=p,
            terms={"distance": distance_term, "context": term},
            scale={"u": self.u, "lambda": self.strength},
        )
        return hits, ranked


def by_distance(hits: Hits, geometry: Geometry, u: float) -> Ranked:
    """A plain result: hits as they came, nearest first, scored -d^2/u."""
    score = -geometry.squared(hits.raw) / u
    return Ranked(
        score=score,
        distance=geometry.distance(hits.raw),
        similarity=geometry.similarity(hits.raw),
        ids=hits.ids,
        records=hits.records,
        terms={"distance": score},
        scale={"u": u},
    )


def best_first(score: Floats, raw: Floats, hits: Hits) -> NDArray[np.intp]:
    """Positions by falling score; ties by distance, then by id."""
    order = np.lexsort((raw, -score))
    s, r = score[order], raw[order]
    tied = np.flatnonzero((s[1:] == s[:-1]) & (r[1:] == r[:-1]))
    if len(tied) == 0:
        return order
    ids = np.array(hits.ids(), dtype=object)
    rank_of_id = np.empty(len(ids), np.int64)
    rank_of_id[np.argsort(ids, kind="stable")] = np.arange(len(ids))
    return np.lexsort((rank_of_id, raw, -score))
