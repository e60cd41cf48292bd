"""Records without links yet: they hang on the nodes of a region that they are nearest to, as leaves.

The newest records get their links in the background. Until then a walk cannot pass through them, but what would
arrive can be told: one step from their neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qstore_db.engines.base import Floats, Hits
from qstore_db.engines.links import LEAST_WEIGHT, NEIGHBOURS, Links, Nodes
from qstore_db.records import Geometry, Metric
from qstore_db.search.diffusion import ALPHA

MOST = 32
"""Leaves: the nearest unlinked records to the query."""
_HUBS = 128
"""Nodes that leaves may hang on: those with most probability, since no others could pass any on."""


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """Unlinked records with what reaches them."""

    places: Nodes
    """(m,)"""
    walked: Floats
    """(m,)"""
    nodes: Nodes
    """(m,) of the region's nodes the one that passed most on to it."""


def reach_leaves(links: Links, region: Hits, arrived: Floats, unlinked: Hits, geometry: Geometry) -> Leaves:
    """The nearest of `unlinked` as leaves of a region, whose nodes hold `arrived` (n,).

    A leaf is joined to its ten nearest hubs with W = exp(-d^2 / s^2) + 1e-6, s the distance to the tenth.
    """
    if len(unlinked) > MOST:
        unlinked = unlinked.take(np.argpartition(unlinked.raw, MOST - 1)[:MOST])
    hubs = np.arange(len(arrived))
    if len(hubs) > _HUBS:
        hubs = np.sort(np.argpartition(-arrived, _HUBS - 1)[:_HUBS])
    chosen = region.take(hubs)
    d2 = _squared_distances(unlinked, chosen, geometry)
    k = min(NEIGHBOURS, len(hubs))
    near = np.argpartition(d2, k - 1, axis=1)[:, :k]
    d2 = np.take_along_axis(d2, near, axis=1)
    scale = d2.max(axis=1, keepdims=True)
    w = np.exp(-d2 / np.where(scale > 0.0, scale, 1.0)) + LEAST_WEIGHT
    root = links.root[chosen.places].astype(np.float64)
    # A node that lost all its edges passes nothing on.
    passed = np.where(root > 0.0, arrived[hubs] / np.where(root > 0.0, root, 1.0), 0.0)[near] * w
    walked = ALPHA * passed.sum(axis=1) / np.sqrt(w.sum(axis=1))
    best = np.take_along_axis(near, passed.argmax(axis=1)[:, None], axis=1)[:, 0]
    return Leaves(unlinked.places, walked, hubs[best])


def _squared_distances(these: Hits, those: Hits, geometry: Geometry) -> Floats:
    """(m, n), at least 0."""
    if geometry.metric is Metric.DOT:
        geometry = geometry.reaching(these.vectors()).reaching(those.vectors())
    return np.maximum(geometry.squared(these.between(those).astype(np.float64)), 0.0)
