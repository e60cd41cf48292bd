"""From what users hold (NumPy, lists, torch tensors of any device) to checked float32 rows."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import ArgumentError, DimensionError, VectorError
from qstore_db.records.metric import Metric

Vectors: TypeAlias = NDArray[np.float32]

MAX_DIMENSION = 65_536


def check_dimension(dimension: int) -> int:
    if isinstance(dimension, bool) or not isinstance(dimension, int) or not 1 <= dimension <= MAX_DIMENSION:
        raise ArgumentError(
            f"dimension={dimension!r} must be an integer from 1 to {MAX_DIMENSION}", subject="dimension"
        )
    return dimension


def as_vector(values: ArrayLike, *, what: str = "vector") -> Vectors:
    """One finite vector, (d,) float32, in memory of its own. Raises VectorError naming `what`."""
    array = _numeric(values, what)
    if array.ndim != 1:
        raise VectorError(f"{what} must have one axis, got shape {array.shape}", subject=what)
    return _finite(array, what)


def as_matrix(values: ArrayLike, *, what: str = "vectors") -> Vectors:
    """Finite rows, (n, d) float32, in memory of their own. Raises VectorError naming `what` and the row."""
    array = _numeric(values, what)
    if array.ndim != 2:
        raise VectorError(f"{what} must have two axes (rows, dimension), got shape {array.shape}", subject=what)
    return _finite(array, what)


def check_matrix(array: Vectors, *, dimension: int, metric: Metric, collection: str, what: str) -> None:
    """Refuse rows of another length than the collection's, and all-zero rows under cosine."""
    if array.shape[-1] != dimension:
        raise DimensionError(
            f"collection {collection!r} holds vectors of dimension {dimension}, {what} has {array.shape[-1]}",
            subject=collection,
        )
    if metric is Metric.COSINE:
        zero = ~array.any(axis=-1)
        if zero.any():
            where = "" if array.ndim == 1 else f" row {int(np.argmax(zero))}"
            raise VectorError(
                f"{what}{where} is all zero, which has no direction: collection {collection!r} "
                "compares by cosine (use metric='l2' for such data)",
                subject=what,
            )


def unit_rows(array: Vectors) -> Vectors:
    """Rows scaled to length one; norms are taken in float64 so that tiny and huge rows survive."""
    wide = array.astype(np.float64)
    peak = np.abs(wide).max(axis=-1, keepdims=True)
    wide /= peak
    wide /= np.sqrt(np.einsum("...d,...d->...", wide, wide))[..., None]
    return wide.astype(np.float32)


def _numeric(values: ArrayLike, what: str) -> NDArray[np.generic]:
    detach = getattr(values, "detach", None)
    if callable(detach):  # a torch tensor of any device, without importing torch for it
        values = detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise VectorError(f"{what} is ragged or not numeric: {error}", subject=what) from None
    if array.dtype.kind not in "fiu" or (array.size == 0 and array.ndim > 0 and array.shape[-1] == 0):
        kind = "empty" if array.size == 0 else f"of dtype {array.dtype}"
        raise VectorError(f"{what} is {kind}; give real numbers (float or integer)", subject=what)
    return array


def _finite(array: NDArray[np.generic], what: str) -> Vectors:
    with np.errstate(over="ignore"):
        rows = np.array(array, dtype=np.float32, order="C")
    finite = np.isfinite(rows)
    if not finite.all():
        at = tuple(int(i) for i in np.argwhere(~finite)[0])
        place = f"component {at[0]}" if len(at) == 1 else f"row {at[0]}, component {at[1]}"
        raise VectorError(f"{what} holds {array[at]!s} (not finite as float32) at {place}", subject=what)
    return rows
