"""Ranking by distance, context and age: -d^2/u + lambda log p + lambda log 2^(-age/tau).

p is the Born probability of the queried context in a record, and 2^(-age/tau) what a record keeps of its coherence
for `age` seconds after its last write, tau being the half-life. Log-linear ranking beat the product of similarity
and weight, and a hard weight filter, on three data sets; lambda is its one parameter. Nothing that is added to the
distance's term is above 0, which is what lets a search stop early.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import Floats, Hits
from qstore_db.records import ContextQuery, Geometry, Ranked, soften

SPARE = 16
"""Candidates ranked beyond k on float32 distances, before the exact ones decide."""
_MOST_HALVINGS = 1e300
"""Half-lives that an age counts at most, so that none is too short for float64."""


@dataclass(frozen=True, slots=True)
class Coherence:
    """What records keep of their coherence: half of it is lost in each half-life since the last write."""

    time: float
    """tau, the half-life in seconds, > 0."""
    now: float
    """Seconds since the epoch. A record written later than that, by another clock, has age 0."""

    def log_kept(self, updated: Floats) -> Floats:
        """log 2^(-age/tau), (m,), of records last written at `updated` (m,), seconds since the epoch."""
        age = np.maximum(self.now - updated, 0.0)
        return -math.log(2.0) * (np.minimum(age, _MOST_HALVINGS * self.time) / self.time)


@dataclass(frozen=True, slots=True)
class Ranking:
    """How one query trades distance against context, age, or both."""

    geometry: Geometry
    u: float
    strength: float
    """lambda >= 0, of both."""
    context: ContextQuery | None = None
    soft: bool = False
    coherence: Coherence | None = None
    denoise: bool = False
    """Whether weights are those of the record's neighbourhood rather than its own."""

    def admit(self, hits: Hits) -> tuple[NDArray[np.intp], Floats | None]:
        """Positions of those that are in the context, and p of each; without a context all of them, and None."""
        if self.context is None:
            return np.arange(len(hits)), None
        p = self.context.probabilities(hits.weights(self.context.names, denoise=self.denoise))
        p = soften(p) if self.soft else p
        inside = np.flatnonzero(p > 0.0)
        return inside, p[inside]

    def added(self, hits: Hits, p: Floats | None) -> dict[str, Floats]:
        """The terms of admitted hits besides the distance's, by name: each (m,), at most 0."""
        terms: dict[str, Floats] = {}
        if p is not None:
            terms["context"] = self.strength * np.log(p)
        if self.coherence is not None:
            terms["age"] = self.strength * self.coherence.log_kept(hits.updated())
        return terms

    def distance_term(self, raw: Floats) -> Floats:
        """-d^2/u, from an engine's raw values."""
        return -self.geometry.squared(raw) / self.u

    def rank(self, hits: Hits, k: int) -> tuple[Hits, Ranked]:
        """The best k of `hits`, which may be in any order. Records outside the context are left out."""
        admitted, p = self.admit(hits)
        hits = hits.take(admitted)
        terms = self.added(hits, p)
        added = sum(terms.values(), np.zeros(len(hits)))
        chosen = np.arange(len(hits))
        if len(hits) > k + SPARE:
            score = self.distance_term(hits.raw) + added
            best = np.argpartition(-score, k + SPARE - 1)[: k + SPARE]
            chosen = np.flatnonzero(score >= score[best].min())
        hits = hits.take(chosen).refined()
        order = best_first(self.distance_term(hits.raw) + added[chosen], hits.raw, hits)[:k]
        hits, chosen = hits.take(order), chosen[order]
        distance_term = self.distance_term(hits.raw)
        scale = {"u": self.u, "lambda": self.strength}
        if self.coherence is not None:
            scale["tau"] = self.coherence.time
        ranked = Ranked(
            score=distance_term + added[chosen],
            distance=self.geometry.distance(hits.raw),
            similarity=self.geometry.similarity(hits.raw),
            found=hits,
            weight=None if p is None else p[chosen],
            terms={"distance": distance_term, **{name: term[chosen] for name, term in terms.items()}},
            scale=scale,
        )
        return hits, ranked


def by_distance(hits: Hits, geometry: Geometry, u: float) -> Ranked:
    """A plain result: hits as they came, nearest first, scored -d^2/u."""
    score = -geometry.squared(hits.raw) / u
    return Ranked(
        score=score,
        distance=geometry.distance(hits.raw),
        similarity=geometry.similarity(hits.raw),
        found=hits,
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
