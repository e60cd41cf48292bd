"""The nearest others of a stored record."""

from __future__ import annotations

import numpy as np

from qstore_db.engines.base import Hits, Selection, View
from qstore_db.engines.links import NEIGHBOURS
from qstore_db.records import Vectors
from qstore_db.search.ranking import best_first

_MOST_UNLINKED = 1_024
"""With more records that have no links yet, a search costs less than looking at all of them."""


def nearest_others(view: View, vector: Vectors, version: int, k: int, now: float) -> Hits:
    """The k nearest living records but the one of that version, nearest first, ties by id.

    What the links list is taken from there, if enough of it is alive still; else it is searched for.
    """
    candidates = _listed(view, vector, version, k, now) if k <= NEIGHBOURS else None
    if candidates is not None:
        hits = candidates.refined()
        return hits.take(best_first(-hits.raw, hits.raw, hits)[:k])
    hits = view.search(vector[None], k + 1, Selection(now=now))[0]
    return hits.take(np.flatnonzero(hits.rows() != version)[:k])


def _listed(view: View, vector: Vectors, version: int, k: int, now: float) -> Hits | None:
    """Living records that the k nearest are among: those the links list, and all that have no links yet."""
    links = view.links
    place = None if links is None else view.place_of(version)
    if links is None or place is None or place >= len(links) or len(view) - len(links) > _MOST_UNLINKED:
        return None
    listed, unlinked = links.listed(place), np.arange(len(links), len(view))
    alive = view.eligible(Selection(now=now))
    if alive is not None:
        listed, unlinked = listed[alive[listed]], unlinked[alive[unlinked]]
    if len(listed) < k:
        return None
    return view.at(vector, np.concatenate([listed, unlinked]))
