"""From what users hold (NumPy, lists, torch tensors of any device) to checked float32 rows."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import ArgumentError, DimensionError, VectorError
from qstore_db.records.metric import Metric

Vectors: TypeAlias = NDArray[np.float32]

MAX_DIMENSION = 65_536
MAX_SQUARED_LENGTH = 1e36
"""Of a vector under l2 and dot: squared distances then stay well inside float32."""
_BLOCK = 1_024  # rows widened to float64 at a time


def check_dimension(dimension: int) -> int:
    """The dimension of a collection, 1 to 65,536. Raises ArgumentError."""
    if isinstance(dimension, bool) or not isinstance(dimension, int) or not 1 <= dimension <= MAX_DIMENSION:
        raise ArgumentError(
            f"dimension={dimension!r} must be an integer from 1 to {MAX_DIMENSION}", subject="dimension"
        )
    return dimension


def as_vector(values: ArrayLike, *, what: str = "vector") -> Vectors:
    """One finite vector, (d,) float32, in contiguous memory of its own. Raises VectorError naming `what`."""
    array = _numeric(values, what)
    if array.ndim != 1:
        raise VectorError(f"{what} must have one axis, got shape {array.shape}", subject=what)
    return _finite(array, what, copy=True)


def as_matrix(values: ArrayLike, *, what: str = "vectors", copy: bool = True) -> Vectors:
    """Finite rows, (n, d) float32, C-contiguous. Raises VectorError naming `what` and the row.

    The rows lie in memory of their own, unless `copy=False` and `values` already has this form.
    """
    array = _numeric(values, what)
    if array.ndim != 2:
        raise VectorError(
            f"{what} must have two axes (rows, dimension), got shape {array.shape}", subject=what
        )
    return _finite(array, what, copy=copy)


def check_matrix(array: Vectors, *, dimension: int, metric: Metric, collection: str, what: str) -> None:
    """Refuse rows of another length than the collection's, all-zero rows under cosine, and rows elsewhere so
    long (over 1e18) that the float32 search could not tell their distances from infinity."""
    if array.shape[-1] != dimension:
        raise DimensionError(
            f"collection {collection!r} holds vectors of dimension {dimension}, {what} has {array.shape[-1]}",
            subject=collection,
        )
    if metric is Metric.COSINE:
        alive = array.any(axis=-1)
        if not alive.all():
            where = "" if array.ndim == 1 else f" row {int(np.argmin(alive))}"
            raise VectorError(
                f"{what}{where} is all zero, which has no direction: collection {collection!r} "
                "compares by cosine (use metric='l2' for such data)",
                subject=what,
            )
    elif not np.vdot(array, array) <= MAX_SQUARED_LENGTH:  # the sum over all rows, to pay once for good data
        lengths = np.sqrt(np.einsum("...d,...d->...", array, array, dtype=np.float64))
        if (lengths**2 > MAX_SQUARED_LENGTH).any():
            where = "" if array.ndim == 1 else f" row {int(np.argmax(lengths))}"
            raise VectorError(
                f"{what}{where} has length {lengths.max():.3g}; collection {collection!r} holds up to "
                f"{MAX_SQUARED_LENGTH**0.5:.0e}: scale the data down",
                subject=what,
            )


def unit_rows(array: Vectors) -> Vectors:
    """Rows, (d,) or (n, d), scaled to length one.

    Computed in float64, where the square of no float32 overflows or vanishes. A row's result has the same
    bits whatever rows stand beside it. No row may be all zero (see `check_matrix`).
    """
    if array.ndim == 1:
        row: Vectors = unit_rows(array[None])[0]
        return row
    out = np.empty(array.shape, dtype=np.float32)
    for start in range(0, len(array), _BLOCK):
        wide = array[start : start + _BLOCK].astype(np.float64)
        norms = np.sqrt(np.einsum("nd,nd->n", wide, wide))
        np.divide(wide, norms[:, None], out=out[start : start + _BLOCK], casting="same_kind")
    return out


def _numeric(values: ArrayLike, what: str) -> NDArray[np.generic]:
    array = values if type(values) is np.ndarray else _adopted(values, what)
    if array.dtype.kind not in "fiu":
        raise VectorError(
            f"{what} is of dtype {array.dtype}; give real numbers (float or integer)", subject=what
        )
    if array.ndim and array.shape[-1] == 0:
        raise VectorError(f"{what} is empty; give at least one component", subject=what)
    return array


def _adopted(values: ArrayLike, what: str) -> NDArray[np.generic]:
    if np.ma.is_masked(values):
        raise VectorError(f"{what} has masked components; fill them first", subject=what)
    try:
        if hasattr(values, "detach"):  # a torch tensor of any device, without importing torch for it
            tensor: Any = values
            host = tensor.detach().cpu()
            try:
                return np.asarray(host.numpy())
            except TypeError:  # bfloat16 has no NumPy kin; every bfloat16 is a float32
                return np.asarray(host.float().numpy())
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise VectorError(f"{what} is ragged or not numeric: {error}", subject=what) from None


def _finite(array: NDArray[np.generic], what: str, *, copy: bool) -> Vectors:
    if array.dtype.kind == "f" and array.dtype.itemsize > 4:
        with np.errstate(over="ignore"):  # infinity is refused below, by place
            rows = array.astype(np.float32, order="C")
    else:
        rows = np.array(array, dtype=np.float32, order="C", copy=copy or None)
    # One NaN or infinity makes the sum of squares so, at half the price of testing each. Only where the sum
    # itself overflows, as it may for large finite numbers, are they tested.
    if math.isfinite(np.vdot(rows, rows)):
        return rows
    finite = np.isfinite(rows)
    if not finite.all():
        at = tuple(int(i) for i in np.argwhere(~finite)[0])
        place = f"component {at[0]}" if len(at) == 1 else f"row {at[0]}, component {at[1]}"
        raise VectorError(f"{what} holds {array[at]!s} (not finite as float32) at {place}", subject=what)
    return rows
