"""Rivals of `tunnel_search` for far lists, each with the settings it is tuned over.

Those that walk get the graph that diffusion gets: k nearest on the exact pool, self-tuning weights, the same five
seeds. Nothing is taken from them: all settings are tried on the tuning queries, all results are reported.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from benchmarks.data import Integers
from benchmarks.far import DEPTH, SEEDS, Pool, Values
from qstore_db.search.diffusion import seed_distribution

Setting: TypeAlias = Mapping[str, Any]
GRAPHS = (5, 10, 20)
"""k of the graphs that are tried."""
OUR_OWN = ("diffusion on the exact pool",)
"""No rival, but a check: what the database's own diffusion would give on the graph that the rivals get."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A method, its grid, and how it lists 20 members of a pool outside the well."""

    name: str
    grid: tuple[Setting, ...]
    rank: Callable[[Pool, Setting], Integers]


def grid(**choices: Sequence[Any]) -> tuple[Setting, ...]:
    """Every combination of the choices."""
    return tuple(dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values()))


def walkers() -> tuple[Rival, ...]:
    """Plain neighbours, and what follows the edges of the pool's graph."""
    return (
        Rival("kNN", ({},), nearest),
        Rival(OUR_OWN[0], ({"k": 10, "alpha": 0.99, "steps": 10},), diffusion),
        Rival(
            "personalised PageRank",
            grid(k=GRAPHS, alpha=(0.5, 0.85, 0.95, 0.99), per_degree=(False, True)),
            page_rank,
        ),
        Rival("heat kernel", grid(k=GRAPHS, time=(1.0, 3.0, 10.0, 30.0)), heat),
        Rival("hop expansion", grid(k=GRAPHS, length=("hops", "distance")), hops),
    )


def listers() -> tuple[Rival, ...]:
    """What needs no graph, but for the regimes, which belong to a data set (`regimes.rival`)."""
    return (
        Rival("mean query", grid(m=(5, 10, 20, 50), beta=(0.5, 1.0), passes=(1, 3)), mean_query),
        Rival("MMR", grid(trade=(0.5, 0.7, 0.9, 0.97)), mmr),
        Rival("DPP", grid(quality=(0.5, 2.0, 8.0), width=(0.25, 1.0)), dpp),
    )


def nearest(pool: Pool, _setting: Setting) -> Integers:
    """Ranks R + 1 to R + 20."""
    return np.arange(pool.far, min(pool.far + DEPTH, len(pool)))


@functools.lru_cache(maxsize=len(GRAPHS))
def adjacency(pool: Pool, k: int) -> Any:
    """The symmetric weights W of the pool's graph, (N, N) CSR: an edge where either lists the other."""
    from scipy.sparse import csr_array

    n, near = len(pool), pool.nearest[:, :k]
    rows, columns = np.repeat(np.arange(n), near.shape[1]), near.ravel()
    d2 = pool.between[rows, columns].astype(np.float64)
    tenth = d2.reshape(near.shape)[:, -1]
    scale = np.sqrt(np.maximum(tenth, 1e-12 * tenth.mean()))
    weights = np.exp(-d2 / (scale[rows] * scale[columns])) + 1e-6
    directed = csr_array((weights, (rows, columns)), shape=(n, n))
    return directed.maximum(directed.T)


def _normalised(pool: Pool, k: int) -> Any:
    """S = D^-1/2 W D^-1/2."""
    from scipy.sparse import diags_array

    w = adjacency(pool, k)
    root = diags_array(1.0 / np.sqrt(w.sum(axis=1)))
    return root @ w @ root


def diffusion(pool: Pool, setting: Setting) -> Integers:
    """What `tunnel_search` does by default, on the exact graph of the pool."""
    s, start = _normalised(pool, setting["k"]), seed_distribution(pool.d2, SEEDS)
    p = start
    for _ in range(setting["steps"]):
        p = setting["alpha"] * (s @ p) + (1.0 - setting["alpha"]) * start
    return pool.beyond(p)


def page_rank(pool: Pool, setting: Setting) -> Integers:
    """Where a walk that returns to the seeds with probability 1 - alpha settles (Page et al., 1998).

    `per_degree` divides it by a node's degree, which takes away the advantage of hubs.
    """
    w, start = adjacency(pool, setting["k"]), seed_distribution(pool.d2, SEEDS)
    degree = w.sum(axis=1)
    p, change = start, 1.0
    while change > 1e-5:
        following: Values = setting["alpha"] * (w @ (p / degree)) + (1.0 - setting["alpha"]) * start
        change, p = float(np.abs(following - p).sum()), following
    return pool.beyond(p / degree if setting["per_degree"] else p)


def heat(pool: Pool, setting: Setting) -> Integers:
    """exp(-t (I - S)) applied to the seeds (Kondor and Lafferty, 2002)."""
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import expm_multiply

    laplacian = eye_array(len(pool)) - _normalised(pool, setting["k"])
    start = seed_distribution(pool.d2, SEEDS)
    trace = -setting["time"] * float(len(pool))
    return pool.beyond(expm_multiply(-setting["time"] * laplacian, start, traceA=trace))


def hops(pool: Pool, setting: Setting) -> Integers:
    """Fewest edges, or the shortest path in distance, from the nearest seed; ties by distance to the query."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    w = adjacency(pool, setting["k"]).tocoo()
    rows, columns = w.coords
    # Edges of length 0 would be no edges to csgraph.
    length = np.sqrt(np.maximum(pool.between[rows, columns].astype(np.float64), 1e-12))
    graph = csr_array((length, (rows, columns)), shape=w.shape)
    seeds = np.flatnonzero(seed_distribution(pool.d2, SEEDS))
    reached = dijkstra(graph, indices=seeds, min_only=True, unweighted=setting["length"] == "hops")
    return pool.beyond(-reached)


def mean_query(pool: Pool, setting: Setting) -> Integers:
    """The query moved towards the mean of its m nearest, `passes` times (Rocchio, 1971; Chum et al., 2007).

    The members are then ranked by distance to the moved query.
    """
    asked, d2 = pool.query.astype(np.float64), pool.d2
    members = pool.vectors.astype(np.float64)
    norms = np.einsum("nd,nd->n", members, members)
    for _ in range(setting["passes"]):
        near = np.argsort(d2, kind="stable")[: setting["m"]]
        asked = (1.0 - setting["beta"]) * asked + setting["beta"] * members[near].mean(axis=0)
        d2 = norms - 2.0 * (members @ asked)
    return pool.beyond(-d2)


def mmr(pool: Pool, setting: Setting) -> Integers:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998) with distances as dissimilarity."""
    trade, relevance = setting["trade"], -np.sqrt(pool.d2)
    apart = np.full(len(pool), np.inf)
    distance = (
        np.sqrt(pool.d2.max()) * 2.0
    )  # no two members are farther apart; stands for a member and itself
    chosen: list[int] = []
    score = relevance.copy()
    score[: pool.far] = -np.inf
    for _ in range(min(DEPTH, len(pool) - pool.far)):
        best = int(np.argmax(score))
        chosen.append(best)
        apart = np.minimum(apart, np.minimum(np.sqrt(pool.between[best]), distance))
        score = trade * relevance + (1.0 - trade) * apart
        score[: pool.far] = score[chosen] = -np.inf
    return np.array(chosen, np.int64)


def dpp(pool: Pool, setting: Setting) -> Integers:
    """Greedy MAP of a determinantal point process (Chen et al., 2018): quality by distance, a Gaussian kernel."""
    edge = float(pool.d2[min(pool.far, len(pool) - 1)]) or 1.0
    quality = np.exp(-setting["quality"] * (pool.d2 - edge) / edge)
    gain = quality**2
    gain[: pool.far] = -np.inf
    rows = np.zeros((DEPTH, len(pool)))
    chosen: list[int] = []
    for step in range(min(DEPTH, len(pool) - pool.far)):
        best = int(np.argmax(gain))
        chosen.append(best)
        kernel = quality[best] * quality * np.exp(-pool.between[best] / (setting["width"] * edge))
        rows[step] = (kernel - rows[:step, best] @ rows[:step]) / np.sqrt(max(float(gain[best]), 1e-12))
        gain = gain - rows[step] ** 2
        gain[chosen] = -np.inf
    return np.array(chosen, np.int64)
