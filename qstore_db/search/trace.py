"""How probability came: from a seed to a record, each time over the neighbour that passed most on."""

from __future__ import annotations

import numpy as np

from qstore_db.engines.base import Floats
from qstore_db.engines.links import Nodes, entries
from qstore_db.search.diffusion import Graph


def carriers(graph: Graph, start: Floats, arrived: Floats, targets: Nodes) -> list[list[int]]:
    """For each target the nodes on its path, from a seed to the target's neighbour.

    graph: n nodes. start: (n,) > 0 on the seeds. arrived: (n,) where probability ended up. targets: nodes.
    A path is a shortest one, in edges, that takes the neighbour with the largest S p at every step; it is empty for
    a seed and for a node that no path joins to one.
    """
    depth = _depths(graph, start, targets)
    paths: list[list[int]] = [[] for _ in targets]
    alive = np.flatnonzero(depth[targets] > 0)
    here = targets[alive]
    while len(alive):
        here = _best_neighbours(graph, arrived, depth, here)
        for at, node in zip(alive.tolist(), here.tolist(), strict=True):
            paths[at].insert(0, node)
        going = depth[here] > 0
        alive, here = alive[going], here[going]
    return paths


def _depths(graph: Graph, start: Floats, targets: Nodes) -> Nodes:
    """Edges from the nearest seed, of all nodes that are no farther than the farthest target; -1 elsewhere."""
    depth = np.where(start > 0.0, 0, -1)
    frontier, level = np.flatnonzero(depth == 0), 0
    while len(frontier) and (depth[targets] < 0).any():
        level += 1
        reached = graph.indices[entries(graph.indptr, frontier)[1]]
        depth[reached[depth[reached] < 0]] = level
        frontier = np.flatnonzero(depth == level)
    return depth


def _best_neighbours(graph: Graph, arrived: Floats, depth: Nodes, nodes: Nodes) -> Nodes:
    """Of each node (at least one edge from a seed) the neighbour, one edge nearer, that passes most on."""
    counts, entry = entries(graph.indptr, nodes)
    before = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(len(nodes)), counts)
    neighbour: Nodes = graph.indices[entry]
    passed = np.where(
        depth[neighbour] == depth[nodes][owner] - 1, graph.weights[entry] * arrived[neighbour], -1.0
    )
    most = np.maximum.reduceat(passed, before)
    at = np.flatnonzero(passed == most[owner])
    first = at[np.searchsorted(owner[at], np.arange(len(nodes)))]
    best: Nodes = neighbour[first]
    return best
