"""Results that differ from each other: maximal marginal relevance over any score.

The next result is the candidate that is best by its score and, in part, least like those already chosen.
Candidates come scored; this only reorders them, so it goes with plain, context and tunnelling scores alike.

Source: Carbonell and Goldstein (1998), with a similarity made of distance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qstore_db.search.diffusion import query_scale

POOL = 10
"""Candidates considered for each result wanted, unless told.

Measured with the tunnelling score on 1,797 digits, 20 results beyond the 60 nearest: from diversity .1 to .9,
P@20 falls from .967 to .54, and the distance of a result to the nearest other grows from 1.03 to 1.9 times that of
the plain list. With all 940 candidates for a pool diversity .3 costs what .6 costs here, since beside the worst of
them everything is relevant; what a given distance costs in precision is the same."""


def diversify(
    score: NDArray[np.float64],
    distance: NDArray[np.float64],
    vectors: NDArray[np.float32],
    k: int,
    diversity: float,
    *,
    pool: int | None = None,
) -> NDArray[np.intp]:
    """The positions of k of m candidates, in the order they were chosen: (min(k, m, pool),).

    score: (m,) finite, higher is better.
    distance: (m,) finite, to the query in any unit. Of equal choices the better score wins, then the nearer
        candidate, then the one given first.
    vectors: (m, d) finite, in the space that is searched (of unit length under cosine).
    k: at least 1.
    diversity: in [0, 1]. At 0 this is the order by score, exactly. At 1 the best comes first, then always the
        one farthest from all chosen.
    pool: only so many of the best are considered, at least k; 10 k by default. More than a pool of copies of
        one vector hide the rest: then it must be larger.

    Each step takes the largest (1 - diversity) relevance - diversity similarity, where

    - relevance is the score, shifted and scaled so that the best of the pool has 1 and the worst 0 (all 0 where
      they are equal): no affine change of the score matters;
    - similarity is the largest 1 / (1 + |a - b|^2 / scale) to a chosen b: 1 for a copy, half at the distance
      from the pool's best to the 20th nearest in it, copies not counted (`query_scale`). Euclidean under the
      dot metric too, where a product does not tell a copy from a longer vector. Where a Gaussian would round
      all that is far to 0, this still tells far from farther, and trades the same.

    Above 2/3, no copy of a chosen vector comes before one of the pool that is at most half similar to all
    of them. Which candidates are chosen does not depend on the order they are given in, where score and
    distance leave no tie. Costs O(k pool d)."""
    order = np.lexsort((distance, -score))[: POOL * k if pool is None else pool]
    if not len(order):
        return order
    among = vectors[order].astype(np.float64)
    relevance = score[order] - score[order[-1]]
    relevance /= relevance[0] or 1.0

    chosen = [0]
    nearest = _squared_distances(among, 0)
    scale = query_scale(nearest[nearest > 0.0])
    while len(chosen) < min(k, len(order)):
        value = (1.0 - diversity) * relevance - diversity / (1.0 + nearest / scale)
        value[chosen] = -np.inf
        chosen.append(int(np.argmax(value)))
        np.minimum(nearest, _squared_distances(among, chosen[-1]), out=nearest)
    return order[chosen]


def _squared_distances(vectors: NDArray[np.float64], to: int) -> NDArray[np.float64]:
    """(m,) to one of them. By differences, row by row: exactly 0 for copies, whatever stands beside them."""
    apart = vectors - vectors[to]
    d2: NDArray[np.float64] = np.einsum("md,md->m", apart, apart)
    return d2
