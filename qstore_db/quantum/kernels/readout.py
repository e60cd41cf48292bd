"""What is read in the end: expectation values of Pauli strings, and the states that their gradients begin with.

Strings of Z need the probabilities only, and all of them come out of one sweep: where each has a single Z, by
halving (the difference of the halves of the probabilities is <Z> of the first qubit, their sum the probabilities of
the others), else by a Walsh-Hadamard transform, which gives the parities of all subsets of qubits at once.
"""

from __future__ import annotations

from typing import Any

from qstore_db.quantum.kernels.lanes import VECTOR_BYTES, compiled, exchanged, load, splat, store, total
from qstore_db.quantum.kernels.steps import add_about, mean_about, pauli_signs


@compiled
def means(
    re: Any, im: Any, out: Any, low: int, sources: Any, single: bool, masks: Any, others: Any, values: Any
) -> None:
    """values (strings, width): the expectation value of each string, by lanes; `out` is a plane to work in.

    masks (z,): the sign masks of the strings of Z. others (m, 3): flip, sign and ys of the rest.
    sources (2^n,) or (0,): which amplitude is at a place after a last permutation, which is not carried out.
    With low > 0 all of a string's value is in lane 0.
    """
    width = VECTOR_BYTES // re.itemsize
    if masks.size:
        _probabilities(re, im, out, low, sources)
        if single:
            _by_halves(out, low, masks, values)
        else:
            _transform(out, low)
            for string in range(masks.size):
                if low:
                    values[string, :] = 0
                    values[string, 0] = out[masks[string]]
                else:
                    store(values[string], 0, load(out, masks[string] * width))
    for other in range(len(others)):
        mean = mean_about(re, im, low, others[other, 0], others[other, 1], others[other, 2])
        if low:
            whole = total(load(mean, 0))
            mean[:] = 0
            mean[0] = whole
        values[masks.size + other, :] = mean


@compiled
def _probabilities(re: Any, im: Any, out: Any, low: int, sources: Any) -> None:
    width = VECTOR_BYTES // re.itemsize
    if sources.size == 0:
        for k in range(0, re.size, width):
            a, b = load(re, k), load(im, k)
            store(out, k, a * a + b * b)
    elif low:
        for i in range(sources.size):
            a, b = re[sources[i]], im[sources[i]]
            out[i] = a * a + b * b
    else:
        for i in range(sources.size):
            a, b = load(re, sources[i] * width), load(im, sources[i] * width)
            store(out, i * width, a * a + b * b)


@compiled
def _by_halves(out: Any, low: int, masks: Any, values: Any) -> None:
    width = VECTOR_BYTES // out.itemsize
    rows = out.size // width
    at = 0  # masks fall
    while rows > 1:
        rows //= 2
        difference = splat(out, 0)
        for k in range(0, rows * width, width):
            a, b = load(out, k), load(out, k + rows * width)
            difference += a - b
            store(out, k, a + b)
        if at < masks.size and masks[at] == rows << low:
            store(values[at], 0, difference)
            if low:
                whole = total(difference)
                values[at, :] = 0
                values[at, 0] = whole
            at += 1
    for string in range(at, masks.size):
        if masks[string] == 0:
            values[string, :] = out[:width]
            if low:
                whole = total(load(out, 0))
                values[string, :] = 0
                values[string, 0] = whole
        else:
            whole = total(load(pauli_signs(out, masks[string]), 0) * load(out, 0))
            values[string, :] = 0
            values[string, 0] = whole


@compiled
def _transform(out: Any, low: int) -> None:
    """out[m] becomes the sum over i of out[i] times -1 for an odd number of ones in i & m."""
    width = VECTOR_BYTES // out.itemsize
    for bit in range(low):
        signs = load(pauli_signs(out, 1 << bit), 0)
        for k in range(0, out.size, width):
            a = load(out, k)
            store(out, k, exchanged(a, 1 << bit) + signs * a)
    stride = width
    while stride < out.size:
        for base in range(0, out.size, 2 * stride):
            for k in range(base, base + stride, width):
                a, b = load(out, k), load(out, k + stride)
                store(out, k, a + b)
                store(out, k + stride, a - b)
        stride *= 2


@compiled
def pull(
    psi: Any, psi_im: Any, lam: Any, lam_im: Any, out: Any, low: int, sources: Any, single: bool, masks: Any,
    others: Any, weights: Any,
) -> None:  # fmt: skip
    """lambda = the sum of weights (strings, width), by lanes, times each string, on psi.

    With low > 0 all lanes of a weight are alike. With `sources`, lambda and psi are those before the permutation.
    """
    width = VECTOR_BYTES // psi.itemsize
    if masks.size:
        if single:
            _spread(out, low, masks, weights)
        else:
            out[:] = 0
            for string in range(masks.size):
                if low:
                    out[masks[string]] += weights[string, 0]
                else:
                    k = masks[string] * width
                    store(out, k, load(out, k) + load(weights[string], 0))
            _transform(out, low)
        if sources.size == 0:
            for k in range(0, psi.size, width):
                d = load(out, k)
                store(lam, k, d * load(psi, k))
                store(lam_im, k, d * load(psi_im, k))
        elif low:
            for i in range(sources.size):
                lam[sources[i]], lam_im[sources[i]] = out[i] * psi[sources[i]], out[i] * psi_im[sources[i]]
        else:
            for i in range(sources.size):
                k, d = sources[i] * width, load(out, i * width)
                store(lam, k, d * load(psi, k))
                store(lam_im, k, d * load(psi_im, k))
    else:
        lam[:] = 0
        lam_im[:] = 0
    for other in range(len(others)):
        add_about(
            psi, psi_im, lam, lam_im, low, others[other, 0], others[other, 1], others[other, 2],
            weights[masks.size + other],
        )  # fmt: skip


@compiled
def _spread(out: Any, low: int, masks: Any, weights: Any) -> None:
    """The diagonal that the weights of single Z make, by doubling."""
    width = VECTOR_BYTES // out.itemsize
    n_rows_bits = 0
    while (width << n_rows_bits) < out.size:
        n_rows_bits += 1
    first = splat(out, 0)
    for string in range(masks.size):
        if masks[string] < 1 << low:  # within a vector; 0 is the identity
            first += load(pauli_signs(out, masks[string]), 0) * load(weights[string], 0)
    store(out, 0, first)
    at = 0
    for level in range(n_rows_bits):
        bit = 1 << (n_rows_bits - 1 - level + low)
        while at < masks.size and masks[at] > bit:
            at += 1
        weight = splat(out, 0)
        if at < masks.size and masks[at] == bit:
            weight = load(weights[at], 0)
        for r in range((1 << level) - 1, -1, -1):
            a = load(out, r * width)
            store(out, (2 * r + 1) * width, a - weight)
            store(out, 2 * r * width, a + weight)
