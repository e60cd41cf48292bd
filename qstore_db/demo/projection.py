"""A neighbourhood in two dimensions: principal components of a query and its nearest records, by SVD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.database import QuantumDatabase
from qstore_db.demo.beyond import Case
from qstore_db.pictures.plane import principal_plane

CANDIDATES: Final = 2_000
"""How far tunnelling can reach: the nearest records that form its graph."""
SHOWN: Final = 1_000
"""How many of them the picture shows, besides everything that was found."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Where a query, its well and what was found lie along the two directions in which they vary most."""

    case: Case
    query: tuple[float, float]
    points: NDArray[np.float64]
    """(n, 2), in the order of `ids`; the same units on both axes."""
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    kept: float
    """The share of the variance that two dimensions keep, 0 to 1."""
    ranks: tuple[int, ...]
    """The distance rank of each record that tunnelling found, from 1, in rising order."""

    def of(self, ids: tuple[str, ...]) -> NDArray[np.intp]:
        """Positions of some ids among the points."""
        places = {id: i for i, id in enumerate(self.ids)}
        return np.array([places[id] for id in ids if id in places], np.intp)


def project(database: QuantumDatabase, case: Case, query: NDArray[np.float32]) -> Projection:
    """Principal components of the well and both lists of results, and the query's neighbours on them.

    Vectors are scaled to length 1 first, as cosine distance sees them.
    """
    nearest = list(database.query(query, top_k=CANDIDATES, include_vectors=True))
    found = {match.id for match in (*case.plain, *case.tunneled)}
    shown = [match for rank, match in enumerate(nearest) if rank < SHOWN or match.id in found]
    ids = tuple(match.id for match in shown)
    matrix = np.array([match.vector for match in shown], np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    telling = matrix[[id in found or id in case.well for id in ids]]
    plane = principal_plane(telling)
    place = plane.place(query.astype(np.float64) / np.linalg.norm(query))
    tunneled = {match.id for match in case.tunneled}
    return Projection(
        case,
        (float(place[0]), float(place[1])),
        plane.place(matrix),
        ids,
        tuple(str(match.metadata["class"]) for match in shown),
        plane.kept,
        tuple(rank for rank, match in enumerate(nearest, 1) if match.id in tunneled),
    )
