"""The nearest others of a stored record."""

from __future__ import annotations

import numpy as np

from qstore_db.engines.base import Hits, Selection, View
from qstore_db.engines.links import NEIGHBOURS
from qstore_db.records import Vectors
from qstore_db.search.ranking import best_first


def nearest_others(view: View, vector: Vectors, version: int, k: int, now: float) -> Hits:
    """The k nearest living records but the one of that version, nearest first, ties by id.

    What the links list is taken from there, if all of it is alive still; else it is searched for.
    """
    listed = _listed(view, vector, version, now) if k <= NEIGHBOURS else None
    if listed is not None and len(listed) >= k:
        hits = listed.refined()
        return hits.take(best_first(-hits.raw, hits.raw, hits)[:k])
    hits = view.search(vector[None], k + 1, Selection(now=now))[0]
    return hits.take(np.flatnonzero(hits.rows() != version)[:k])


def _listed(view: View, vector: Vectors, version: int, now: float) -> Hits | None:
    links = view.links
    place = None if links is None else view.place_of(version)
    if links is None or place is None or place >= len(links):
        return None
    listed = links.listed(place)
    alive = view.eligible(Selection(now=now))
    return view.at(vector, listed if alive is None else listed[alive[listed]])
