"""Regimes by k-means: what lies in the query's own cluster counts as its kind. A rival of `tunnel_search`."""

from __future__ import annotations

import functools

import numpy as np

from benchmarks.data import Floats, Integers, VectorSet, unit
from benchmarks.far import DEPTH, Pool
from benchmarks.rivals import Rival, Setting, grid

COUNTS = (5, 10, 20, 50, 100, 200)
"""Regimes that are tried."""
_SAMPLE = 10_000


def rival(data: VectorSet) -> Rival:
    """Regimes of the whole set, nearest regime first; inside one, by distance to the query or to its centre."""
    base = unit(data.base) if data.metric == "cosine" else data.base
    fit = functools.cache(functools.partial(_fit, base))

    def rank(pool: Pool, setting: Setting) -> Integers:
        centres, regime_of = fit(setting["regimes"])
        away = np.square(centres - pool.query).sum(axis=1)
        place = np.argsort(np.argsort(away, kind="stable"), kind="stable")
        own = regime_of[pool.positions]
        within = pool.d2
        if setting["by"] == "centre":
            within = np.square(pool.vectors - centres[own]).sum(axis=1).astype(np.float64)
        order = np.lexsort((within, place[own]))
        return order[order >= pool.far][:DEPTH]

    counts = tuple(count for count in COUNTS if count <= len(base) // 5)
    return Rival("k-means regimes", grid(regimes=counts, by=("query", "centre")), rank)


def _fit(base: Floats, count: int) -> tuple[Floats, Integers]:
    """Centres (count, d), and the nearest of each base vector: (n,)."""
    from sklearn.cluster import KMeans

    sample = np.random.default_rng(count).permutation(len(base))[:_SAMPLE]
    model = KMeans(count, n_init=1, random_state=count).fit(base[sample])
    return model.cluster_centers_, model.predict(base).astype(np.int64)
