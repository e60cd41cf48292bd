"""A continuous-time quantum walk over the neighbour graph of a query's candidates.

What `diffuse` does with probability, this does with amplitude: psi_0 = sum_s sqrt(p_s) |s> on the seeds evolves
under H = -S, and a candidate's probability is |<i| exp(-iHt) |psi_0>|^2. Interference makes it swing with t, so
the mean over several moments is taken.

The propagator is expanded in Chebyshev polynomials of S, whose eigenvalues lie in [-1, 1] as they are:

    exp(-iHt) = exp(iSt) = J_0(t) + 2 sum_{k >= 1} i^k J_k(t) T_k(S)

S and psi_0 are real, hence every T_k(S) psi_0 too, and one recurrence of real vectors serves all moments: its
even terms make the real parts of the amplitudes, its odd ones the imaginary parts.

The order of the candidates does not matter, as in `diffusion`: rows of S are summed in their own order, and all
else is done element by element. Collecting the terms by one matrix product would save a seventh of the time, but
what BLAS gives for a column may depend on where the column stands.

Source: Farhi and Gutmann (1998) for the walk, Tal-Ezer and Kosloff (1984) for the expansion.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qstore_db.search.diffusion import Graph

_ERROR = 5e-13  # of an amplitude, relative to |psi_0|; its square is off by at most twice that


def quantum_walk(
    graph: Graph, p0: NDArray[np.float64], *, horizon: float = 20.0, moments: int = 8
) -> NDArray[np.float64]:
    """The walker's probability on every candidate, averaged over time: (n,), >= 0.

    p0: (n,) probabilities of the start, >= 0.
    horizon: the last moment, > 0, in the dimensionless time of H; one step along an edge of S takes about 1.
    moments: at least 1; those are horizon j / moments for j = 1 ... moments.

    Its sum is that of p0: the evolution is unitary, and each connected part of the graph keeps what it began
    with. Exactly 0 on a part without a seed. The error is at most 1e-12 of the sum of p0. Takes about
    1.4 horizon + 20 products with S, however many the moments are."""
    coefficients = _coefficients(horizon * np.arange(1, moments + 1) / moments)
    parts = np.zeros((2, moments, len(graph)))  # real and imaginary
    scaled = np.empty((moments, len(graph)))
    term = np.sqrt(p0)
    following = graph.multiply(term)
    for k, factors in enumerate(coefficients.T):
        parts[k % 2] += np.multiply(factors[:, np.newaxis], term, out=scaled)
        term, following = following, 2.0 * graph.multiply(following) - term
    mean: NDArray[np.float64] = np.square(parts, out=parts).sum(axis=(0, 1)) / moments
    return mean


def _coefficients(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The factors of the terms, (moments, terms): J_0(t), then 2 (-1)^(k // 2) J_k(t).

    times: (moments,), > 0, rising. By the Jacobi-Anger series exp(i t cos a) = sum_k i^k J_k(t) exp(i k a),
    whose Fourier coefficients N evenly spaced angles give up to aliases of order N - k. With N four times the
    terms these are below the last term kept to the third power, so only rounding is left: a few 1e-16."""
    terms = _terms(float(times[-1]))
    count = 4 * terms
    angles = 2.0 * np.pi * np.arange(count) / count
    series = np.fft.fft(np.exp(1j * times[:, np.newaxis] * np.cos(angles)), axis=1)[:, :terms] / count
    series[:, 1:] *= 2.0
    return np.where(np.arange(terms) % 2 == 0, series.real, series.imag)


def _terms(t: float) -> int:
    """How many terms keep an amplitude's error below `_ERROR` up to time t.

    From |J_k(t)| <= (t / 2)^k / k! and |T_k| <= 1: where k >= t each bound is less than half the one before,
    so what is left out from term k on is less than 4 (t / 2)^k / k!."""
    k = math.ceil(t)
    while math.log(4.0 / _ERROR) + k * math.log(t / 2.0) > math.lgamma(k + 1):
        k += 1
    return k
