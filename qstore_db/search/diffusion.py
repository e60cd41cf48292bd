"""Diffusion of a query's probability over the nearest-neighbour graph of its candidates.

The numerical core of `tunnel_search` on an array of candidate vectors: no database, no ids, NumPy alone. A
walker starts on the candidates nearest to the query and hops along the graph; how much of it arrives at a
candidate says how well a chain of near neighbours joins the two, however far apart they lie.

**Order does not matter.** Let the candidates come in another order: on the same machine, NumPy and thread
count every vector gets the same probability and score, bit for bit, and equal vectors get equal ones. Three
things make it so. Distances are computed once for each distinct vector, in the order of the vectors' bytes,
so BLAS always sees the same matrix and equal vectors share one row of it. Every sum over neighbours runs in
that order too. Every cut (k nearest, m nearest) takes the ties of its last distance inside, so that no
arbitrary choice is left. What a caller adds must keep to it: distances to the query that depend on the vector
alone.

Source: ranking on manifolds (Zhou et al., 2004) with self-tuning scales (Zelnik-Manor and Perona, 2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.engines.links import LEAST_WEIGHT

ALPHA = 0.99
"""Of the probability, what goes on along the edges at each step; the rest comes from the start anew."""
STEPS = 10
LEAST_PROBABILITY = 1e-12  # what an unreached candidate counts as in a score
_FLOOR = 1e-12  # of the mean squared distance, below which a scale would be that of duplicates alone


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A symmetric weighted graph on n candidates, numbered as they were given, as compressed sparse rows.

    Row i is `indices[indptr[i]:indptr[i + 1]]` with the weights beside it. Its neighbours stand in an order
    that depends on their vectors, not on their numbers: the sums of `multiply` rely on it."""

    indptr: NDArray[np.int64]
    """(n + 1,), from 0 to the number of directed edges."""
    indices: NDArray[np.int64]
    """(edges,), the neighbours' numbers; edges appear in both directions, no node is its own neighbour."""
    weights: NDArray[np.float64]
    """(edges,), the entries of S = D^-1/2 W D^-1/2, in (0, 1]; the eigenvalues of S lie in [-1, 1]."""

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def neighbours(self, node: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The numbers of a node's neighbours and the entries of S to them, in the row's own order."""
        row = slice(self.indptr[node], self.indptr[node + 1])
        return self.indices[row], self.weights[row]

    def multiply(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """S p, for p of shape (n,). A node without edges gets 0."""
        # Clipped rather than checked: the numbers are valid, and checking each costs a third more.
        passed = p.take(self.indices, mode="clip")
        passed *= self.weights
        starts, ends = self.indptr[:-1], self.indptr[1:]
        # reduceat takes half the time of bincount (60 against 110 us for 34,000 entries), but cannot sum an
        # empty row.
        linked = starts < ends
        if linked.all():
            return np.add.reduceat(passed, starts) if len(self) else np.zeros(0)
        result = np.zeros(len(self))
        result[linked] = np.add.reduceat(passed, starts[linked]) if len(passed) else 0.0
        return result


def knn_graph(vectors: NDArray[np.float32], k: int = 10, *, max_dot: float | None) -> Graph:
    """The exact k-nearest-neighbour graph of n finite vectors, normalised for diffusion.

    vectors: (n, d) float32; unit length under cosine, where d^2 = 2 (1 - cos).
    k: at least 1. With k or fewer others, all of them are neighbours.
    max_dot: None for d^2 = |a - b|^2; under the dot metric the collection's largest product, and
        d^2 = max(0, 2 (max_dot - a.b)).

    An edge joins i and j where either lists the other among its k nearest, ties of the k-th distance
    included, with W_ij = exp(-d_ij^2 / (s_i s_j)) + 1e-6 and s_i the distance to i's k-th neighbour, itself
    left out. Among more than k duplicates s_i would be 0; s_i^2 is therefore at least 1e-12 of its mean over
    all nodes (1 if all are 0): then duplicates are joined with weight 1 + 1e-6, and what lies further off
    with 1e-6.

    Squared distances come from a float64 product of the vectors scaled by a power of two, so that no finite
    input overflows, and are rounded to float32: distances equal but for the order of a sum become ties.

    Memory is 16 n^2 bytes at the peak (64 MB for 2,000 vectors), 80 n^2 where all distances tie. Ordinary
    data give about 16 n entries, complete ties n^2."""
    n = len(vectors)
    if n < 2:
        return Graph(np.zeros(n + 1, np.int64), np.empty(0, np.int64), np.empty(0))
    order, distinct, member = _canonical(vectors)
    d2 = _squared_distances(distinct, max_dot)
    if len(distinct) < n:
        d2 = d2[np.ix_(member, member)]
    np.fill_diagonal(d2, np.inf)

    last = min(k, n - 1) - 1
    kth = np.partition(d2, last, axis=1)[:, last]
    linked = d2 <= kth[:, np.newaxis]
    linked |= linked.T
    rows, columns = np.nonzero(linked)

    own = kth.astype(np.float64)
    scale = np.sqrt(np.maximum(own, _FLOOR * own.mean() or 1.0))
    # One triangle serves both directions: W is symmetric to the last bit, whatever BLAS makes of the other.
    edge = d2[np.minimum(rows, columns), np.maximum(rows, columns)]
    w = np.exp(-edge / (scale[rows] * scale[columns])) + LEAST_WEIGHT
    degree = np.bincount(rows, weights=w, minlength=n)
    s = w / np.sqrt(degree[rows] * degree[columns])

    given = order[rows]
    by_row = np.argsort(given, kind="stable")
    indptr = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(given, minlength=n), out=indptr[1:])
    return Graph(indptr, order[columns[by_row]], s[by_row])


def _canonical(
    vectors: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """The vectors' order by their bytes, the distinct ones in it, and which of those stands at each place."""
    # Adding 0 turns -0.0 into 0.0: equal vectors then have equal bytes.
    unsigned = np.ascontiguousarray(vectors, dtype=np.float32) + np.float32(0)
    order = np.argsort(unsigned.view(np.dtype((np.void, unsigned[0].nbytes))).ravel(), kind="stable")
    ordered = unsigned[order]
    new = np.ones(len(ordered), np.bool_)
    np.any(ordered[1:] != ordered[:-1], axis=1, out=new[1:])
    return order, ordered[new].astype(np.float64), np.cumsum(new) - 1


def _squared_distances(vectors: NDArray[np.float64], max_dot: float | None) -> NDArray[np.float32]:
    """All squared distances, (n, n), in units of a power of two near the largest magnitude squared."""
    largest = float(np.abs(vectors).max())
    if max_dot is not None:
        largest = max(largest, math.sqrt(abs(max_dot)))
    exponent = math.frexp(largest)[1]
    scaled: NDArray[np.float64] = np.ldexp(vectors, -exponent)
    gram: NDArray[np.float64] = scaled @ scaled.T
    if max_dot is None:
        norms = gram.diagonal().copy()
        gram *= -2.0
        gram += norms[:, np.newaxis]
        gram += norms
    else:
        gram *= -2.0
        gram += 2.0 * math.ldexp(max_dot, -2 * exponent)
    np.maximum(gram, 0.0, out=gram)
    return gram.astype(np.float32)


def seed_distribution(d2: ArrayLike, m: int = 5) -> NDArray[np.float64]:
    """Where the walker starts: (n,) probabilities on the m candidates nearest to the query, 0 elsewhere.

    d2: (n,) squared distances to the query, >= 0. Proportional to exp(-d^2 / d_m^2), with d_m the m-th
    nearest's distance (the farthest's where there are fewer) and its ties inside. Uniform on the ties at 0 if
    d_m is 0."""
    near = np.asarray(d2, dtype=np.float64)
    if not near.size:
        return near.copy()
    last = min(m, near.size) - 1
    reach = float(np.partition(near, last)[last])
    inside = near <= reach
    weight = np.exp(-near[inside] / (reach or 1.0))
    p = np.zeros(near.size)
    p[inside] = weight / math.fsum(weight)  # fsum is exact, hence the same in every order
    return p


def diffuse(
    graph: Graph, p0: NDArray[np.float64], *, alpha: float = ALPHA, steps: int = STEPS
) -> NDArray[np.float64]:
    """`steps` times p <- alpha S p + (1 - alpha) p0, from p = p0: (n,), >= 0.

    Exactly 0 on every candidate that no path of at most `steps` edges joins to a seed. The sum is not kept at
    1 (S is symmetric, not stochastic). With many steps it tends to the solution of
    (I - alpha S) p = (1 - alpha) p0."""
    p, source = p0, (1.0 - alpha) * p0
    for _ in range(steps):
        p = alpha * graph.multiply(p) + source
    return p


def query_scale(d2: ArrayLike) -> float:
    """The query's own unit of squared distance: the 20th nearest's d^2, or the farthest's of fewer.

    d2: (n,) squared distances to the query, >= 0. At least 1e-12 of the mean d^2, and 1.0 if all are 0 or
    none is given: always > 0."""
    near = np.asarray(d2, dtype=np.float64)
    if not near.size:
        return 1.0
    last = min(20, near.size) - 1
    own = float(np.partition(near, last)[last])
    return max(own, _FLOOR * math.fsum(near) / near.size) or 1.0


def tunnel_scores(
    d2: ArrayLike, p: NDArray[np.float64], strength: float, scale: float
) -> NDArray[np.float64]:
    """-(1 - s) d^2 / scale + s log max(p, 1e-12), higher is better: (n,).

    d2: (n,) squared distances to the query; p: (n,) from `diffuse`; strength: s in [0, 1]; scale: from
    `query_scale`, > 0. Dividing never reverses two distances but may round two neighbouring ones to one
    score, so ties are to be broken by distance: then s = 0 is exactly the order of distance."""
    near = np.asarray(d2, dtype=np.float64)
    return strength * np.log(np.maximum(p, LEAST_PROBABILITY)) - (1.0 - strength) * (near / scale)


def well_size(n: int, barrier: float) -> int:
    """How many of n eligible records lie inside the barrier: max(1, floor(n^(1 - barrier))).

    n: up to 1e9; barrier: in [0, 1]. Of 60,000 records 9 at .8, 27 at .7, 244 at .5, all at 0, one at 1. A
    power that is a whole number but for rounding counts as that number: 100,000 records at .8 hold 10, though
    float64 makes it 9.999999999999998."""
    return max(1, math.floor(math.pow(n, 1.0 - barrier) * (1.0 + 1e-12)))
