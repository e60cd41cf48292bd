"""Links: the graph of nearest neighbours over a whole collection, and what a walk reads of it.

Node i is the record at place i of the view that carries the graph. An edge joins two nodes where either lists the
other among its nearest; W_ij = exp(-d_ij^2 / (s_i s_j)) + 1e-6, with s_i the distance to the farthest that i lists,
and a walk uses S = D^-1/2 W D^-1/2, D the row sums over the whole graph. S is what is kept, since walks read it all
the time; distances are taken again from the vectors when the graph changes.

Source: ranking on manifolds (Zhou et al., 2004) with self-tuning scales (Zelnik-Manor and Perona, 2004).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 10
"""How many neighbours a node lists."""
LEAST_WEIGHT = 1e-6
"""Added to every edge, so that a long edge still joins."""
_FLOOR = 1e-12
"""Of the mean squared scale: among duplicates alone, a scale would be 0."""
_BLOCK = 1 << 20
"""Edges in memory at a time, beyond what is kept of them."""

EDGE = np.dtype([("node", np.int32), ("weight", np.float32)])
"""One edge of a row. Both halves are read together: half the cache misses of two arrays."""

Nodes = NDArray[np.int64]
Mask = NDArray[np.bool_]
Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """The neighbours that each node lists, in no order: what `Links` are made of."""

    nodes: NDArray[np.int32]
    """(n, NEIGHBOURS), -1 where there is none."""
    d2: NDArray[np.float32]
    """(n, NEIGHBOURS) squared distances, infinity where there is none."""

    @classmethod
    def empty(cls, n: int) -> Lists:
        return cls(np.full((n, NEIGHBOURS), -1, np.int32), np.full((n, NEIGHBOURS), np.inf, np.float32))

    def counts(self) -> Nodes:
        return np.asarray((self.nodes >= 0).sum(axis=1), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Immutable compressed sparse rows. Every edge stands in both rows; what a node lists itself comes first."""

    indptr: Nodes
    """(n + 1,), from 0 to the number of directed edges."""
    own: NDArray[np.uint8]
    """(n,) how many neighbours a node lists itself."""
    edges: NDArray[np.void]
    """(edges,) of EDGE: the neighbours' places and the entries of S."""
    root: Weights
    """(n,) D^1/2; 0 for a node without edges."""
    lost: int = 0
    """Nodes that `kept` took away without the others' lists having been filled up since."""

    def __len__(self) -> int:
        return len(self.own)

    @property
    def indices(self) -> NDArray[np.int32]:
        """(edges,) the neighbours' places."""
        nodes: NDArray[np.int32] = self.edges["node"]
        return nodes

    @property
    def weights(self) -> Weights:
        """(edges,) the entries of S."""
        weights: Weights = self.edges["weight"]
        return weights

    @classmethod
    def of(
        cls,
        indptr: Nodes,
        own: NDArray[np.uint8],
        indices: NDArray[np.int32],
        weights: Weights,
        root: Weights,
        lost: int,
    ) -> Links:
        """Of separate arrays, as they are saved."""
        edges = np.empty(len(indices), EDGE)
        edges["node"], edges["weight"] = indices, weights
        return cls(indptr, own, edges, root, lost)

    def edges_of(self, nodes: Nodes) -> tuple[Nodes, Nodes, Weights]:
        """How many edges each of some nodes (m,) has; the neighbours and the weights of all, node after node."""
        counts, place = entries(self.indptr, nodes)
        # As whole numbers: numpy gathers records ten times slower.
        found = self.edges.view(np.int64).take(place).view(EDGE)
        return counts, found["node"].astype(np.int64), found["weight"]

    @classmethod
    def joining(cls, lists: Lists) -> Links:
        """An edge wherever either of two nodes lists the other."""
        n = len(lists.nodes)
        there = lists.nodes >= 0
        own = np.asarray(there.sum(axis=1), np.int64)
        source = np.repeat(np.arange(n), own)
        target, d2 = lists.nodes[there], lists.d2[there]
        single = ~_mutual(lists.nodes, source, target)
        giver, taker, given = source[single], target[single], d2[single]
        by_taker = np.argsort(taker, kind="stable")
        received = np.bincount(taker, minlength=n)
        indptr = np.zeros(n + 1, np.int64)
        np.cumsum(own + received, out=indptr[1:])
        indices = np.empty(indptr[-1], np.int32)
        squared = np.empty(indptr[-1], np.float32)
        at = indptr[source] + _ranks(own)
        indices[at], squared[at] = target, d2
        at = (indptr[:-1] + own)[taker[by_taker]] + _ranks(received)
        indices[at], squared[at] = giver[by_taker], given[by_taker]
        reach = np.where(there, lists.d2, np.float32(0.0)).max(axis=1, initial=0.0)
        w = _affinities(indptr, indices, squared, reach.astype(np.float32))
        return cls._of(indptr, own.astype(np.uint8), indices, w)

    @classmethod
    def _of(
        cls, indptr: Nodes, own: NDArray[np.uint8], indices: NDArray[np.int32], affinities: Weights
    ) -> Links:
        """The graph with weights S made of W."""
        root = np.zeros(len(own), np.float32)
        linked = np.flatnonzero(indptr[1:] > indptr[:-1])
        if len(linked):
            root[linked] = np.sqrt(np.add.reduceat(affinities, indptr[linked], dtype=np.float64))
        edges = np.empty(len(indices), EDGE)
        edges["node"] = indices
        for source, block in _blocks(indptr):
            edges["weight"][block] = affinities[block] / (root[source] * root[indices[block]])
        return cls(indptr, own, edges, root)

    def listed(self, node: int) -> Nodes:
        """The places that one node lists, in no order."""
        start = int(self.indptr[node])
        return self.indices[start : start + int(self.own[node])].astype(np.int64)

    def lists(self) -> Lists:
        """What each node lists; distances are left at infinity."""
        out = Lists.empty(len(self))
        own = self.own.astype(np.int64)
        rank = _ranks(own)
        node = np.repeat(np.arange(len(self)), own)
        out.nodes[node, rank] = self.indices[self.indptr[node] + rank]
        return out

    def kept(self, keep: Mask) -> Links:
        """The graph without the nodes that `keep` (n,) leaves out; the others close ranks."""
        source = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        stays = keep[source] & keep[self.indices]
        listing = np.arange(len(source)) - self.indptr[source] < self.own[source]
        own = np.bincount(source[stays & listing], minlength=len(self))
        source, target = source[stays], self.indices[stays]
        place = np.cumsum(keep) - 1
        indptr = np.zeros(int(keep.sum()) + 1, np.int64)
        np.cumsum(np.bincount(source, minlength=len(self))[keep], out=indptr[1:])
        affinities = self.weights[stays] * (self.root[source] * self.root[target])
        links = Links._of(
            indptr,
            own[keep].astype(np.uint8),
            place[target].astype(np.int32),
            affinities.astype(np.float32, copy=False),
        )
        gone = (self.root > 0.0) & ~keep
        return replace(links, lost=self.lost + int(gone.sum()))

    def smoothed(self, values: NDArray[np.float64], steps: int, share: float) -> NDArray[np.float64]:
        """`steps` times v <- share P v + (1 - share) values, P = D^-1 W: each node takes on its neighbours' mean.

        values: (n,). A node without edges keeps its own. Label propagation (Zhu and Ghahramani, 2002).
        """
        linked = np.flatnonzero(self.root)
        root, starts = self.root.astype(np.float64), self.indptr[linked]
        out = values.astype(np.float64)
        for _ in range(steps if len(linked) else 0):
            # P = D^-1/2 S D^1/2.
            mean = np.add.reduceat(self.weights * (root * out)[self.indices], starts) / root[linked]
            out[linked] = share * mean + (1.0 - share) * values[linked]
        return out

    @property
    def bare(self) -> int:
        """Nodes without edges: those that were dead when the graph was made."""
        return len(self) - int(np.count_nonzero(self.root))

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (self.indptr, self.own, self.edges, self.root))


def entries(indptr: Nodes, rows: Nodes) -> tuple[Nodes, Nodes]:
    """How many entries each of some compressed sparse rows (m,) holds, and where they all are, row after row."""
    starts = indptr[rows]
    counts = indptr[rows + 1] - starts
    place = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    place += np.arange(len(place))
    return counts, place


def _affinities(indptr: Nodes, indices: NDArray[np.int32], d2: Weights, reach: Weights) -> Weights:
    """W of every edge, (edges,)."""
    listing = reach[indptr[:-1] < indptr[1:]].astype(np.float64)
    floor = float(_FLOOR * listing.mean() or 1.0) if len(listing) else 1.0
    # Roots first: a product of two squared scales may leave float32.
    scale = np.sqrt(np.maximum(reach, np.float32(floor)))
    out = np.empty(len(d2), np.float32)
    for source, edges in _blocks(indptr):
        out[edges] = np.exp(-d2[edges] / (scale[source] * scale[indices[edges]])) + np.float32(LEAST_WEIGHT)
    return out


def _blocks(indptr: Nodes) -> Iterator[tuple[Nodes, slice]]:
    """All edges, some whole rows at a time: the node that each belongs to, and where they are stored."""
    start = 0
    while start < len(indptr) - 1:
        stop = max(start + 1, int(np.searchsorted(indptr, indptr[start] + _BLOCK, "right")) - 1)
        counts = np.diff(indptr[start : stop + 1])
        yield np.repeat(np.arange(start, stop), counts), slice(int(indptr[start]), int(indptr[stop]))
        start = stop


def _mutual(listed: NDArray[np.int32], source: Nodes, target: NDArray[np.int32]) -> Mask:
    """For each listing source -> target, whether the target lists the source too."""
    out = np.empty(len(source), np.bool_)
    for start in range(0, len(source), _BLOCK):
        part = slice(start, start + _BLOCK)
        out[part] = (listed[target[part]] == source[part, None]).any(axis=1)
    return out


def _ranks(counts: Nodes) -> Nodes:
    """0, 1, ... counts[0] - 1, 0, 1, ... counts[1] - 1, and so on."""
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(before, counts)
