"""How a ranked query finds its candidates: by scanning what its selection admits, or by over-fetching neighbours.

Over-fetching may stop once the k-th best score is at least -d_last^2/u, because a ranking adds nothing above 0:
nothing farther away can score higher. Scanning is exact and costs about the same for every query, so it is taken
where the selection is small, and wherever over-fetching has become the dearer plan.
"""

from __future__ import annotations

import numpy as np

from qstore_db.engines.base import Hits, Selection, View
from qstore_db.records import Ranked, Vectors
from qstore_db.search.ranking import Ranking

SCAN_ROWS = 20_000
"""A selection of more rows is not scanned before over-fetching was tried."""
CHEAP_SCAN_ROWS = 4_096
"""A selection of no more is always scanned: over-fetching could not beat it."""
FETCH_COST = 64
"""Scanned rows that cost as much as one more fetched neighbour (measured on graphs of 60,000 rows)."""
FIRST_FETCH = 2
"""Times k, to begin with. In a context that is common near the query that is nearly always enough (93 of 100
queries at k = 20), and half as dear as eight times k; the stop rule asks for more where it is not."""
_LEAST_FETCH = 32
_GROWTH = 4


def ranked_query(
    view: View, query: Vectors, k: int, selection: Selection, ranking: Ranking, *, may_scan: bool
) -> tuple[Hits, Ranked, bool]:
    """The k best of a ranked query: hits, their ranking, and whether they are certain."""
    rows = view.count(selection)
    scannable = may_scan and rows <= SCAN_ROWS
    fetch = max(FIRST_FETCH * k, _LEAST_FETCH)
    while True:
        if scannable and (rows <= CHEAP_SCAN_ROWS or FETCH_COST * fetch > rows):
            everything = view.scan(query, selection)
            return *ranking.rank(everything, k), everything.exact
        found = view.search(query[None], min(fetch, max(rows, 1)), selection)[0]
        hits, ranked = ranking.rank(found, k)
        if len(found) < fetch or len(found) >= rows or _is_complete(found, ranked, ranking, k):
            return hits, ranked, found.exact
        fetch *= _GROWTH
        scannable = may_scan


def _is_complete(found: Hits, ranked: Ranked, ranking: Ranking, k: int) -> bool:
    """Whether no record beyond the farthest found can still reach the k-th score."""
    if len(ranked.score) < k:
        return False
    bound = ranking.distance_term(found.raw[-1:])
    return bool(ranked.score[k - 1] >= np.max(bound))
