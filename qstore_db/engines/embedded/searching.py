"""The nearest of one part, exactly or through its graph, under a selection.

Exact search covers parts without a graph and every selection that is cheap to search exactly. A graph is
asked for more neighbours than wanted until at least k of them are admitted: then the k-th admitted one lies
inside the ball that the graph explored at its measured recall, whatever the selection looks like. Where that
would cost more than the exact search, the exact search answers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import Floats
from qstore_db.engines.embedded.kernels import Positions, by_products, exact_rows, nearest, slack, unpack
from qstore_db.engines.embedded.part import Admitted, Part
from qstore_db.records import Metric, Vectors

ROWS_PER_WIDTH = 16
"""Exactly searched rows that cost as much as one unit of a graph's search width (measured: 7 at 784
dimensions, 31 at 96)."""
_WAGER = 2
"""A graph is asked under a selection only where that costs this many times less than the exact search, which has
to follow where too few of the neighbours are admitted."""
_TOGETHER = 2
"""Neighbours that are asked for first, times k, where the admitted rows are expected to lie together."""
_SPARE = 8
"""Extra candidates from a float32 search, so that summing in float64 can still reorder the last ones."""


def search_part(
    part: Part, queries: Vectors, k: int, admitted: Admitted, metric: Metric, *, together: bool
) -> tuple[Floats, Positions, bool]:
    """Raw values (q, k) ascending with their positions; `k` is at most what is admitted.

    together: whether the admitted rows may be expected to lie together, near the query. Then a few neighbours are
    asked for first, however few are admitted elsewhere.
    """
    graph = part.graph
    if graph is None:
        return *_exact(part, queries, k, admitted, metric), True
    if admitted.count == part.n and ROWS_PER_WIDTH * graph.width.of(k) < part.n:
        return *_graph(part, queries, k, graph.width.of(k), metric), False
    raw = np.empty((len(queries), k))
    positions = np.empty((len(queries), k), np.int64)
    waiting = np.arange(len(queries))
    fetch = usual = _first_fetch(k, admitted.count / part.n)
    if together and _WAGER * graph.width.of(_TOGETHER * k) < graph.width.of(usual):
        fetch = _TOGETHER * k
    allowed = np.ones(part.n, np.bool_) if admitted.bits is None else unpack(admitted.bits, part.n)
    while len(waiting) and _WAGER * ROWS_PER_WIDTH * graph.width.of(fetch) < admitted.count:
        r, p = _graph(part, queries[waiting], fetch, graph.width.of(fetch), metric)
        fits = allowed[p]
        enough = fits.sum(axis=1) >= k
        for at, values, places, mask in zip(waiting[enough], r[enough], p[enough], fits[enough], strict=True):
            raw[at], positions[at] = values[mask][:k], places[mask][:k]
        waiting = waiting[~enough]
        fetch = usual if fetch < usual else 4 * fetch
    if len(waiting) == len(queries):
        return *_exact(part, queries, k, admitted, metric), graph.precise
    if len(waiting):
        r, p = _exact(part, queries[waiting], k, admitted, metric)
        raw[waiting], positions[waiting] = r, p
    return raw, positions, False


def _first_fetch(k: int, share: float) -> int:
    """How many neighbours hold k admitted ones, if these lie anywhere: three standard deviations more than their
    mean, but half of it at most."""
    return int(k / share + min(0.5 * k, 3.0 * math.sqrt(k * (1.0 - share))) / share) + 1


def _graph(part: Part, queries: Vectors, k: int, width: int, metric: Metric) -> tuple[Floats, Positions]:
    graph = part.graph
    assert graph is not None
    raw, positions = graph.search(queries, k, width)
    if (positions < 0).any():  # a graph whose links do not reach every row
        raw, positions = nearest(part.matrix, queries, k, metric)
    return raw.astype(np.float64), positions


def _exact(
    part: Part, queries: Vectors, k: int, admitted: Admitted, metric: Metric
) -> tuple[Floats, Positions]:
    """Exactly the k nearest admitted, ties by id: float32 proposes, float64 decides.

    What float32 left out could still belong to the result where its distance was within the rounding error.
    Such queries are asked again for more, and in the end compared with everything.
    """
    raw = np.empty((len(queries), k))
    positions = np.empty((len(queries), k), np.int64)
    waiting = np.arange(len(queries))
    fetch = min(k + k // 8 + _SPARE, admitted.count)
    while len(waiting) and fetch * 4 <= max(admitted.count, 4 * (k + k // 8 + _SPARE)):
        r, p, sure = _propose(part, queries[waiting], k, fetch, admitted, metric)
        if len(waiting) == len(raw) and sure.all() and not (fetch > k and (r[:, k] == r[:, k - 1]).any()):
            return r[:, :k], p[:, :k]
        for at, values, places in zip(waiting[sure], r[sure], p[sure], strict=True):
            raw[at], positions[at] = _cut(part, values, places, k)
        waiting = waiting[~sure]
        fetch *= 4
    for at in waiting.tolist():
        everything = admitted.positions(part.n)
        values = exact_rows(part.matrix, queries[at : at + 1], everything[None], metric)[0]
        order = np.argsort(values, kind="stable")
        raw[at], positions[at] = _cut(part, values[order], everything[order], k)
    return raw, positions


def _propose(
    part: Part, queries: Vectors, k: int, fetch: int, admitted: Admitted, metric: Metric
) -> tuple[Floats, Positions, NDArray[np.bool_]]:
    """The `fetch` nearest in float32, ordered in float64, and for which queries they hold the k nearest."""
    coarse, positions = nearest(part.matrix, queries, fetch, metric, admitted.bits)
    # Squares overflow float32 from 1.8e19 on: FAISS then leaves places empty, or orders by infinity.
    sound = np.asarray((np.isfinite(coarse) & (positions >= 0)).all(axis=1), np.bool_)
    raw = exact_rows(part.matrix, queries, np.maximum(positions, 0), metric)
    order = np.argsort(raw, axis=1, kind="stable")
    raw = np.take_along_axis(raw, order, 1)
    if fetch < admitted.count:
        reach = raw[:, k - 1]
        peak = part.peak() if metric is Metric.DOT else 0.0
        product = by_products(len(queries), admitted.bits)
        sound = sound & (coarse[:, -1] - reach > slack(queries, reach, metric, peak, product=product))
    return raw, np.take_along_axis(positions, order, 1), sound


def _cut(part: Part, raw: Floats, positions: Positions, k: int) -> tuple[Floats, Positions]:
    """The first k of one part, ties at the cut by id."""
    if len(raw) > k and raw[k] == raw[k - 1]:
        start, stop = np.searchsorted(raw, raw[k - 1], "left"), np.searchsorted(raw, raw[k - 1], "right")
        tied = positions[start:stop].tolist()
        ids = part.source.ids
        tied.sort(key=ids.__getitem__)
        positions = np.concatenate([positions[:start], np.array(tied, np.int64)])
    return raw[:k], positions[:k]
