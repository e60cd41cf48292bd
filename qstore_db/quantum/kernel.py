"""Quantum kernels: how much the states of two samples overlap.

Source: Havlicek et al. (2019), arXiv:1804.11326.
"""

from __future__ import annotations

from typing import Final, Literal, Unpack

import numpy as np
from numpy.typing import ArrayLike

from qstore_db.errors import ArgumentError
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.encodings import Kind, Options, encoded_states
from qstore_db.quantum.plain import Reals, States
from qstore_db.quantum.sampling import Seed, checked_shots, generator
from qstore_db.quantum.simulator import state

TOLERANCE: Final = 1e-8
"""How far below zero rounding may push an eigenvalue."""


def quantum_kernel(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    encoding: Kind | Circuit = "angle",
    shots: int | None = None,
    seed: Seed = None,
    on_indefinite: Literal["error", "clip"] = "error",
    **options: Unpack[Options],
) -> Reals:
    """(m, k): |<psi(x_i)|psi(y_j)>|^2 for x (m, n_features) and y (k, n_features); without y, of x with itself.

    encoding: a kind with its options as `encode` takes them, or a circuit over data slots. With `shots`, each entry
    is the share of shots that give 0...0 after the circuit of one sample and the inverse of the other's: m k
    circuits, or m (m - 1) / 2 without y, where entries (i, j) and (j, i) are the same and the diagonal is 1.

    Without y, the smallest eigenvalue must not be below -1e-8. Exact kernels pass; shots may well push it there:
    ArgumentError names it, or with on_indefinite="clip" negative eigenvalues become 0 (the nearest kernel).
    """
    if on_indefinite not in ("error", "clip"):
        raise ArgumentError(
            f"on_indefinite={on_indefinite!r:.80} must be 'error' or 'clip'", subject="on_indefinite"
        )
    first = _states(x, encoding, options)
    second = first if y is None else _states(y, encoding, options)
    if first.shape[1] != second.shape[1]:
        raise ArgumentError("x and y become states of different numbers of qubits", subject="y")
    overlaps = np.abs(first.conj() @ second.T) ** 2
    if shots is not None:
        drawn = generator(seed).binomial(checked_shots(shots), np.minimum(overlaps, 1.0)) / shots
        overlaps = drawn if y is not None else np.triu(drawn, 1) + np.triu(drawn, 1).T + np.eye(len(drawn))
    return overlaps if y is not None else positive(overlaps, on_indefinite)


def positive(kernel: Reals, on_indefinite: Literal["error", "clip"] = "error") -> Reals:
    """(m, m), symmetric: as it is, if no eigenvalue is below -1e-8; see `quantum_kernel` otherwise."""
    values, vectors = np.linalg.eigh(kernel)
    if values[0] >= -TOLERANCE:
        return kernel
    if on_indefinite == "error":
        raise ArgumentError(
            f"the kernel is not positive: its smallest eigenvalue is {values[0]:.3g}; use more shots, or "
            "on_indefinite='clip'",
            subject="kernel",
        )
    clipped: Reals = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return clipped


def _states(x: ArrayLike, encoding: Kind | Circuit, options: Options) -> States | Reals:
    if not isinstance(encoding, Circuit):
        return encoded_states(x, encoding, **options)
    if options:
        raise ArgumentError("a circuit as encoding takes no options", subject=min(options))
    return state(encoding, data=np.atleast_2d(encoding.inputs(x)))
