"""Bringing links up to date: what new, changed and deleted records do to the neighbours that everyone lists.

New nodes are searched for, and offer themselves to the nodes they find, so that edges are right in both
directions. A node that lost more than a fifth of its neighbours is searched for again. Once most nodes are new, all
are searched for: what a chain of small steps may have missed does not add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.links import NEIGHBOURS, Links, Lists, Mask, Nodes

_OFFERED = 3 * NEIGHBOURS
"""A new node offers itself to that many: it may belong into lists of nodes that are not among its own ten."""
_BLOCK = 4_096
_ENOUGH = 0.8
"""A node that lists less than this share of what it could is searched for."""
_ANEW = 0.5
"""Where more than this share of the nodes are to be searched for, all are."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The nearest others of some nodes."""

    nodes: Nodes
    """(m,)"""
    others: NDArray[np.int64]
    """(m, k), nearest first, -1 where there are fewer."""
    d2: NDArray[np.float32]
    """(m, k), infinity where there are fewer."""


Search: TypeAlias = "Callable[[Nodes, int], Iterator[Found]]"
"""The k nearest others of each of some nodes, in blocks of them."""
Measure: TypeAlias = "Callable[[Nodes, NDArray[np.int32]], NDArray[np.float32]]"
"""Squared distances (m, k) of nodes (m,) to others (m, k); those to -1 may be anything."""


def linked(before: Links | None, alive: Mask, search: Search, measure: Measure) -> Links:
    """Links over all nodes of `alive` (n,), which begin with those of `before`. Dead nodes have no edges."""
    lists = _living(before, alive, measure)
    wanted = alive & (lists.counts() < _least(alive))
    anew = bool(wanted.sum() > _ANEW * alive.sum())
    nodes = np.flatnonzero(alive if anew else wanted)
    offers: list[Found] = []
    for found in search(nodes, NEIGHBOURS if anew else _OFFERED):
        width = min(found.others.shape[1], NEIGHBOURS)
        lists.nodes[found.nodes] = -1
        lists.d2[found.nodes] = np.inf
        lists.nodes[found.nodes, :width] = found.others[:, :width]
        lists.d2[found.nodes, :width] = found.d2[:, :width]
        offers.append(found)
    if not anew:
        for found in offers:
            _offer(lists, found, wanted)
    return Links.joining(lists)


def _least(alive: Mask) -> int:
    """A node that lists fewer is searched for."""
    return math.ceil(_ENOUGH * min(NEIGHBOURS, max(int(alive.sum()) - 1, 0)))


def _living(before: Links | None, alive: Mask, measure: Measure) -> Lists:
    """What the living list of the living, distances included."""
    lists = Lists.empty(len(alive))
    if before is None:
        return lists
    n = len(before)
    known = before.lists().nodes
    lists.nodes[:n] = np.where((known >= 0) & alive[known] & alive[:n, None], known, -1)
    listing = np.flatnonzero((lists.nodes[:n] >= 0).any(axis=1))
    for start in range(0, len(listing), _BLOCK):
        block = listing[start : start + _BLOCK]
        others = lists.nodes[block]
        lists.d2[block] = np.where(others >= 0, measure(block, others), np.inf)
    return lists


def _offer(lists: Lists, found: Found, searched: Mask) -> None:
    """Put the found nodes into the lists of those they found, where they are nearer than what stands there."""
    to, new, d2 = found.others.ravel(), np.repeat(found.nodes, found.others.shape[1]), found.d2.ravel()
    # Who was searched for has seen everything already.
    useful = (to >= 0) & ~searched[to]
    useful[useful] = d2[useful] < lists.d2[to[useful]].max(axis=1)
    useful[useful] = (lists.nodes[to[useful]] != new[useful, None]).all(axis=1)
    to, new, d2 = to[useful], new[useful], d2[useful]
    touched = np.unique(to)
    there = lists.nodes[touched] >= 0
    owner = np.concatenate([np.repeat(touched, there.sum(axis=1)), to])
    node = np.concatenate([lists.nodes[touched][there], new])
    distance = np.concatenate([lists.d2[touched][there], d2])
    order = np.lexsort((node, distance, owner))
    owner, node, distance = owner[order], node[order], distance[order]
    first = np.searchsorted(owner, owner)
    rank = np.arange(len(owner)) - first
    fits = rank < NEIGHBOURS
    lists.nodes[touched] = -1
    lists.d2[touched] = np.inf
    lists.nodes[owner[fits], rank[fits]] = node[fits]
    lists.d2[owner[fits], rank[fits]] = distance[fits]
