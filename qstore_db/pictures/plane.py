"""Vectors in two dimensions: their principal components, by SVD."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """The two directions in which some vectors vary most."""

    centre: NDArray[np.float64]
    """(d,) the mean of those vectors."""
    basis: NDArray[np.float64]
    """(2, d) orthonormal rows; rows of zeros where the vectors vary in fewer directions."""
    kept: float
    """The share of the variance that two dimensions keep, 0 to 1; 1 where nothing varies."""

    def place(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """(n, d) onto (n, 2), or (d,) onto (2,); the same units on both axes."""
        placed: NDArray[np.float64] = (np.asarray(vectors, np.float64) - self.centre) @ self.basis.T
        return placed


def principal_plane(vectors: ArrayLike) -> Plane:
    """The plane of (n, d) vectors, n at least 1.

    Signs are fixed, so that a picture is the same on every machine: on each axis the component of largest size is
    positive.
    """
    rows = np.asarray(vectors, np.float64)
    centre = rows.mean(axis=0)
    _, sizes, axes = np.linalg.svd(rows - centre, full_matrices=False)
    found = axes[:2]
    signs = np.sign(found[np.arange(len(found)), np.abs(found).argmax(axis=1)])
    basis = np.zeros((2, rows.shape[1]))
    basis[: len(found)] = found * signs[:, None]
    whole = float((sizes**2).sum())
    return Plane(centre, basis, float((sizes[:2] ** 2).sum()) / whole if whole > 0.0 else 1.0)
