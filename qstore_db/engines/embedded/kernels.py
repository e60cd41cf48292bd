"""The distance kernels of the embedded engine: FAISS over plain NumPy rows, no index object needed.

Raw values are squared Euclidean distances, or negated dot products, so that smaller is nearer everywhere.
FAISS releases the GIL in all of them. The two batch forms may differ in the last bit; `exact_rows` does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from qstore_db.records import Metric, Vectors

faiss: Any = _faiss
"""Untyped: its stubs lack the kernels, and most of what an HNSW index has."""

Bits: TypeAlias = NDArray[np.uint8]
Positions: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = "NDArray[np.float32] | NDArray[np.float16]"

Exact: TypeAlias = NDArray[np.float64]

_HALF_CHUNK = 4_096
_WIDE_BLOCK = 1 << 22
"""Numbers widened to float64 at a time."""
_WORTH_SHARING = 1 << 21
"""Numbers to go through; fewer are compared sooner than a second thread is awake, which takes milliseconds where
the cores are busy."""
_TINY = float(np.finfo(np.float32).tiny)
"""What may vanish of each term of a float32 sum."""


def nearest(
    rows: Rows, queries: Vectors, k: int, metric: Metric, bits: Bits | None = None
) -> tuple[Vectors, Positions]:
    """The k nearest of `rows` (n, d) to each query (q, d): raw (q, k) float32 and positions (q, k), -1 where
    none.

    `bits` (ceil(n/8),) admits the rows whose bit is set, least significant bit first.
    """
    if rows.dtype == np.float16:
        return _nearest_half(rows, queries, k, metric, bits)
    if bits is not None and len(queries) == 1:
        return _nearest_selected(rows, queries, k, metric, positions_of(bits, len(rows)))
    n, d = rows.shape
    raw = np.empty((len(queries), k), np.float32)
    positions = np.empty((len(queries), k), np.int64)
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    p, q, to = faiss.swig_ptr, len(queries), (k, faiss.swig_ptr(raw), faiss.swig_ptr(positions))
    with _threads_for(q * n * d):
        if metric is Metric.DOT:
            faiss.knn_inner_product(p(queries), p(rows), d, q, n, *to, selector)
            np.negative(raw, out=raw)
        else:
            faiss.knn_L2sqr(p(queries), p(rows), d, q, n, *to, None, selector)
    return raw, positions


def distances(rows: Rows, queries: Vectors, positions: Positions, metric: Metric) -> Vectors:
    """Raw float32 values (q, m) of each query (q, d) to its own rows (q, m); positions must be valid."""
    if rows.dtype == np.float16:
        return exact_rows(rows, queries, positions, metric).astype(np.float32)
    raw = np.empty(positions.shape, np.float32)
    ids = np.ascontiguousarray(positions, np.int64)
    p = faiss.swig_ptr
    d = rows.shape[1]
    with _threads_for(ids.size * d if len(ids) > 1 else 0):
        if metric is Metric.DOT:
            faiss.fvec_inner_products_by_idx(p(raw), p(queries), p(rows), p(ids), d, *positions.shape)
            np.negative(raw, out=raw)
        else:
            faiss.fvec_L2sqr_by_idx(p(raw), p(queries), p(rows), p(ids), d, *positions.shape)
    return raw


def crosswise(a: Vectors, b: Vectors, metric: Metric) -> Vectors:
    """Raw float32 values (m, n) of all pairs of a (m, d) and b (n, d): for few, on this thread alone."""
    raw = np.empty((len(a), len(b)), np.float32)
    kernel = faiss.fvec_inner_products_ny if metric is Metric.DOT else faiss.fvec_L2sqr_ny
    p, d = faiss.swig_ptr, a.shape[1]
    for row, values in zip(np.ascontiguousarray(a), raw, strict=True):
        kernel(p(values), p(row), p(b), d, len(b))
    return np.negative(raw, out=raw) if metric is Metric.DOT else raw


@contextmanager
def _threads_for(numbers: int) -> Iterator[None]:
    """FAISS on this thread alone for small work."""
    allowed = int(faiss.omp_get_max_threads())
    if numbers >= _WORTH_SHARING or allowed == 1:
        yield
        return
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(allowed)


def exact_rows(rows: Rows, queries: Vectors, positions: Positions, metric: Metric) -> Exact:
    """Raw values (q, m) summed in float64: a pair's value never depends on what else was asked with it."""
    axis = 0 if len(positions) > 1 else 1
    if positions.size * rows.shape[1] > _WIDE_BLOCK and positions.shape[axis] > 1:
        parts = np.array_split(positions, 2, axis)
        asked = np.array_split(queries, 2) if axis == 0 else (queries, queries)
        halves = [exact_rows(rows, q, p, metric) for q, p in zip(asked, parts, strict=True)]
        return np.concatenate(halves, axis)
    found = rows[positions]
    if metric is Metric.DOT:
        # Widened first: einsum would convert in blocks, and the place of a block's end changes the last bit.
        wide = found.astype(np.float64)
        return np.asarray(-np.einsum("qd,qmd->qm", queries.astype(np.float64), wide), np.float64)
    delta = np.subtract(found, queries[:, None, :], dtype=np.float64)
    return np.asarray(np.einsum("qmd,qmd->qm", delta, delta), np.float64)


def slack(queries: Vectors, reach: Exact, metric: Metric, peak: float, *, product: bool) -> Exact:
    """How far `nearest` may be off for rows within `reach` (q,) of their query: (q,), never too little.

    `peak` is the largest squared norm of any row. `product` says that squared distances were computed from
    products, as FAISS does for batches, which loses what the vectors have in common. The bound of a sum of d
    rounded terms is d units of its terms' sizes: Higham, Accuracy and Stability of Numerical Algorithms, 3.1.
    """
    d = queries.shape[1]
    unit = (d + 4) * 2.0**-23
    sizes = reach
    if product or metric is Metric.DOT:
        wide = queries.astype(np.float64)
        norms = np.einsum("qd,qd->q", wide, wide)
        sizes = np.sqrt(norms * peak)
        if metric is not Metric.DOT:
            sizes = 2.0 * (norms + (np.sqrt(norms) + np.sqrt(reach)) ** 2)
    return np.asarray(unit * sizes + d * _TINY, np.float64)


def by_products(count: int, bits: Bits | None) -> bool:
    """Whether FAISS compares that many queries by matrix products."""
    return bits is None and count >= int(faiss.cvar.distance_compute_blas_threshold)


def pack(mask: NDArray[np.bool_]) -> Bits:
    """Bits as FAISS selectors want them: eight rows a byte, least significant first."""
    return np.packbits(mask, bitorder="little")


def unpack(bits: Bits, n: int) -> NDArray[np.bool_]:
    return np.unpackbits(bits, count=n, bitorder="little").view(np.bool_)


def positions_of(bits: Bits, n: int) -> Positions:
    """Ascending positions of the set bits."""
    return np.flatnonzero(unpack(bits, n))


def count(bits: Bits) -> int:
    return int(np.bitwise_count(bits).sum(dtype=np.int64))


def _nearest_selected(
    rows: Rows, query: Vectors, k: int, metric: Metric, admitted: Positions
) -> tuple[Vectors, Positions]:
    """One query against few rows. FAISS shares queries out among threads, never the rows of one: so each thread
    gets the same query and rows of its own (1.4 against 2.7 ms for 6,000 of 60,000 x 784 on two cores)."""
    shared = len(admitted) * rows.shape[1] >= _WORTH_SHARING
    shares = min(int(faiss.omp_get_max_threads()), len(admitted)) if shared else 1
    whole = len(admitted) - len(admitted) % max(shares, 1)
    parts = [admitted[:whole].reshape(shares, -1)] if whole else []
    if whole < len(admitted):
        parts.append(admitted[None, whole:])
    raw = np.concatenate(
        [
            np.empty(0, np.float32),
            *(distances(rows, np.repeat(query, len(p), axis=0), p, metric).ravel() for p in parts),
        ]
    )
    near = np.argpartition(raw, k - 1)[:k] if k < len(raw) else np.arange(len(raw))
    near = near[np.argsort(raw[near], kind="stable")]
    out = np.full((1, k), np.inf, np.float32), np.full((1, k), -1, np.int64)
    out[0][0, : len(near)], out[1][0, : len(near)] = raw[near], admitted[near]
    return out


def _nearest_half(
    rows: Rows, queries: Vectors, k: int, metric: Metric, bits: Bits | None
) -> tuple[Vectors, Positions]:
    """Half-precision rows are widened a chunk at a time, so that no float32 copy of them all exists."""
    raws: list[Vectors] = []
    places: list[Positions] = []
    for start in range(0, len(rows), _HALF_CHUNK):
        chunk = rows[start : start + _HALF_CHUNK].astype(np.float32)
        part = (
            None if bits is None else np.ascontiguousarray(bits[start // 8 : (start + len(chunk) + 7) // 8])
        )
        raw, positions = nearest(chunk, queries, k, metric, part)
        raws.append(np.where(positions < 0, np.float32(np.inf), raw))
        places.append(np.where(positions < 0, -1, positions + start))
    raw = np.concatenate(raws, axis=1)
    positions = np.concatenate(places, axis=1)
    order = np.argsort(raw, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(raw, order, 1), np.take_along_axis(positions, order, 1)
