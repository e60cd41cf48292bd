"""A walk over a neighbour graph on a plane: what the drawings of a tunnelling search show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.pictures.plane import principal_plane

TITLE: Final = "A tunnelling search, seen along its two main directions"
QUERY: Final = "the query"
WELL: Final = "the well: its nearest"
BEYOND: Final = "found beyond the well"
WALKED: Final = "walked over (larger: more probability)"
EDGES: Final = "edges walked (stronger: nearer neighbours)"
_LEAST: Final = 1e-4
"""Of the largest probability: what is below is drawn smallest."""
_UNIT: Final = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class WalkPicture:
    """Where a query, the records walked over and their edges lie on the plane that shows them best."""

    names: Sequence[str]
    points: NDArray[np.float64]
    """(m, 2), the same units on both axes."""
    query: NDArray[np.float64]
    """(2,)"""
    size: NDArray[np.float64]
    """(m,) in [0, 1]: the logarithm of the probability that came, 1 for the most."""
    inside: NDArray[np.bool_]
    """(m,) those in the well."""
    beyond: NDArray[np.bool_]
    """(m,) those found beyond it."""
    edges: NDArray[np.int64]
    """(e, 2) positions among the points."""
    weights: NDArray[np.float64]
    """(e,) in (0, 1], 1 for the strongest edge shown."""
    kept: float
    """The share of the variance that the plane keeps, 0 to 1."""


def walk_picture(
    *,
    query: NDArray[np.float32],
    names: Sequence[str],
    vectors: NDArray[np.float32],
    probability: NDArray[np.float64],
    inside: NDArray[np.bool_],
    beyond: NDArray[np.bool_],
    edges: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> WalkPicture:
    """Put a walk on the plane of principal components of its m vectors (m, d) and the query (d,).

    Where all vectors have length 1 only their directions were compared, so the query is shown by its own.
    """
    asked = query.astype(np.float64)
    length = float(np.linalg.norm(asked))
    if directions_only(vectors) and length > 0.0:
        asked = asked / length
    plane = principal_plane(np.vstack([vectors, asked]))
    return WalkPicture(
        names=names,
        points=plane.place(vectors),
        query=plane.place(asked),
        size=_sizes(probability),
        inside=inside,
        beyond=beyond,
        edges=edges,
        weights=weights / weights.max(initial=1e-300),
        kept=plane.kept,
    )


def directions_only(vectors: NDArray[np.float32]) -> bool:
    """Whether all of (m, d) vectors have length 1, as under cosine; False for none."""
    lengths = np.linalg.norm(vectors, axis=1)
    return len(vectors) > 0 and bool((np.abs(lengths - 1.0) < _UNIT).all())


def _sizes(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithms, spread from 0 (the least, or 10^-4 of the most) to 1 (the most)."""
    most = float(probability.max(initial=0.0))
    if most == 0.0:
        return np.zeros(len(probability))
    logs = np.log(np.maximum(probability / most, _LEAST))
    lowest = float(logs.min())
    sizes: NDArray[np.float64] = 1.0 - logs / lowest if lowest < 0.0 else np.ones(len(logs))
    return sizes
