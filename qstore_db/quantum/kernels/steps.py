"""All other steps of a circuit: diagonals, permutations, turns about Pauli strings, and fixed gates.

A state is two planes, its real and its imaginary parts, each a flat array of rows of one vector. Bits of an
amplitude's index below `low` lie inside of a vector, the others choose the row: where the lanes of a vector are
samples, `low` is 0.
"""

from __future__ import annotations

from typing import Any

from qstore_db.quantum.kernels.lanes import (
    VECTOR_BYTES,
    compiled,
    exchanged,
    load,
    parity,
    splat,
    store,
    total,
)


@compiled
def multiply(re: Any, im: Any, low: int, cosines: Any, sines: Any) -> None:
    """By a diagonal exp(i phi) that all samples share: cosines and sines (2^n,) of phi."""
    width = VECTOR_BYTES // re.itemsize
    for k in range(0, re.size, width):
        if low:
            c, s = load(cosines, k), load(sines, k)
        else:
            c, s = splat(re, cosines[k // width]), splat(re, sines[k // width])
        a, b = load(re, k), load(im, k)
        store(re, k, c * a - s * b)
        store(im, k, s * a + c * b)


@compiled
def unmultiply(
    psi: Any, psi_im: Any, lam: Any, lam_im: Any, low: int, cosines: Any, sines: Any, slopes: Any
) -> None:
    """Take a diagonal back from both states; slopes (2^n,) become Im conj(lambda) psi, of all samples together."""
    width = VECTOR_BYTES // psi.itemsize
    for k in range(0, psi.size, width):
        if low:
            c, s = load(cosines, k), load(sines, k)
        else:
            c, s = splat(psi, cosines[k // width]), splat(psi, sines[k // width])
        a, b, x, y = load(psi, k), load(psi_im, k), load(lam, k), load(lam_im, k)
        if low:
            store(slopes, k, x * b - y * a)
        else:
            slopes[k // width] = total(x * b - y * a)
        store(psi, k, c * a + s * b)
        store(psi_im, k, c * b - s * a)
        store(lam, k, c * x + s * y)
        store(lam_im, k, c * y - s * x)


@compiled
def permute(plane: Any, out: Any, low: int, sources: Any) -> None:
    """out[i] = plane[sources[i]] for all amplitudes i, sources (2^n,)."""
    width = VECTOR_BYTES // plane.itemsize
    if low:
        for i in range(sources.size):
            out[i] = plane[sources[i]]
    else:
        for i in range(sources.size):
            store(out, i * width, load(plane, sources[i] * width))


@compiled
def pauli_signs(like: Any, sign: int) -> Any:
    """(width,): -1 in the lanes whose number has an odd count of bits in common with `sign`, else 1."""
    width = VECTOR_BYTES // like.itemsize
    signs = like[:width].copy()
    for lane in range(width):
        signs[lane] = -1 if parity(lane & sign) else 1
    return signs


@compiled
def turn_about(re: Any, im: Any, low: int, flip: int, sign: int, ys: int, cosine: Any, sine: Any) -> None:
    """exp(-i theta/2 P) for the Pauli string of these masks; cosine and sine: (width,) of half the angles.

    (P psi)_i = (-i)^ys chi(i) psi_(i ^ flip), where chi is -1 for an odd number of ones in i & sign.
    """
    width = VECTOR_BYTES // re.itemsize
    lanes = pauli_signs(re, sign & ((1 << low) - 1))
    rows, row_sign, turned = flip >> low, sign >> low, flip & ((1 << low) - 1)
    c, plus = load(cosine, 0), load(lanes, 0) * load(sine, 0)
    minus = splat(lanes, 0) - plus
    if ys & 2:
        plus, minus = minus, plus
    for r in range(re.size // width):
        q = r ^ rows
        if q < r:
            continue
        k, j = r * width, q * width
        a, b, x, y = load(re, k), load(im, k), load(re, j), load(im, j)
        s = minus if parity(r & row_sign) else plus
        if ys & 1:  # c psi_i - s psi_j
            store(re, k, c * a - s * exchanged(x, turned))
            store(im, k, c * b - s * exchanged(y, turned))
        else:  # c psi_i - i s psi_j
            store(re, k, c * a + s * exchanged(y, turned))
            store(im, k, c * b - s * exchanged(x, turned))
        if q != r:
            s = minus if parity(q & row_sign) else plus
            if ys & 1:
                store(re, j, c * x - s * exchanged(a, turned))
                store(im, j, c * y - s * exchanged(b, turned))
            else:
                store(re, j, c * x + s * exchanged(b, turned))
                store(im, j, c * y - s * exchanged(a, turned))


@compiled
def slope_about(psi: Any, psi_im: Any, lam: Any, lam_im: Any, low: int, flip: int, sign: int, ys: int) -> Any:
    """(width,) in lanes: Im <lambda|P|psi>, summed over the rows."""
    width = VECTOR_BYTES // psi.itemsize
    lanes = pauli_signs(psi, sign & ((1 << low) - 1))
    rows, row_sign, turned = flip >> low, sign >> low, flip & ((1 << low) - 1)
    zero = splat(lanes, 0)
    plus = minus = zero
    for r in range(psi.size // width):
        k, j = r * width, (r ^ rows) * width
        a, b = exchanged(load(psi, j), turned), exchanged(load(psi_im, j), turned)
        x, y = load(lam, k), load(lam_im, k)
        here = zero - (x * a + y * b) if ys & 1 else x * b - y * a
        if parity(r & row_sign):
            minus += here
        else:
            plus += here
    slope = load(lanes, 0) * (plus - minus)
    if ys & 2:
        slope = zero - slope
    store(lanes, 0, slope)
    return lanes


@compiled
def mean_about(re: Any, im: Any, low: int, flip: int, sign: int, ys: int) -> Any:
    """(width,) in lanes: <psi|P|psi>, summed over the rows. It is Im <psi|iP|psi>, and three more Y make that i."""
    return slope_about(re, im, re, im, low, flip, sign, (ys + 3) & 3)


@compiled
def add_about(
    psi: Any, psi_im: Any, lam: Any, lam_im: Any, low: int, flip: int, sign: int, ys: int, weights: Any
) -> None:
    """lambda += w P psi, weights (width,) by lanes."""
    width = VECTOR_BYTES // psi.itemsize
    lanes = pauli_signs(psi, sign & ((1 << low) - 1))
    rows, row_sign, turned = flip >> low, sign >> low, flip & ((1 << low) - 1)
    plus = load(lanes, 0) * load(weights, 0)
    minus = splat(lanes, 0) - plus
    if ys & 2:
        plus, minus = minus, plus
    for r in range(psi.size // width):
        k, j = r * width, (r ^ rows) * width
        a, b = exchanged(load(psi, j), turned), exchanged(load(psi_im, j), turned)
        w = minus if parity(r & row_sign) else plus
        if ys & 1:
            store(lam, k, load(lam, k) + w * b)
            store(lam_im, k, load(lam_im, k) - w * a)
        else:
            store(lam, k, load(lam, k) + w * a)
            store(lam_im, k, load(lam_im, k) + w * b)


@compiled
def apply_one(re: Any, im: Any, low: int, bit: int, gate: Any) -> None:
    """A fixed gate on one qubit: gate (2, 2, 2), real and imaginary parts last."""
    width = VECTOR_BYTES // re.itemsize
    if bit < low:
        _apply_in_lanes(re, im, bit, gate)
        return
    stride = width << (bit - low)
    ar, ai = splat(re, gate[0, 0, 0]), splat(re, gate[0, 0, 1])
    br, bi = splat(re, gate[0, 1, 0]), splat(re, gate[0, 1, 1])
    cr, ci = splat(re, gate[1, 0, 0]), splat(re, gate[1, 0, 1])
    dr, di = splat(re, gate[1, 1, 0]), splat(re, gate[1, 1, 1])
    for base in range(0, re.size, 2 * stride):
        for k in range(base, base + stride, width):
            x, y, u, v = load(re, k), load(im, k), load(re, k + stride), load(im, k + stride)
            store(re, k, (ar * x - ai * y) + (br * u - bi * v))
            store(im, k, (ar * y + ai * x) + (br * v + bi * u))
            store(re, k + stride, (cr * x - ci * y) + (dr * u - di * v))
            store(im, k + stride, (cr * y + ci * x) + (dr * v + di * u))


@compiled
def _apply_in_lanes(re: Any, im: Any, bit: int, gate: Any) -> None:
    width = VECTOR_BYTES // re.itemsize
    own_re, own_im, far_re, far_im = (
        re[:width].copy(),
        re[:width].copy(),
        re[:width].copy(),
        re[:width].copy(),
    )
    for lane in range(width):
        b = lane >> bit & 1
        own_re[lane], own_im[lane] = gate[b, b, 0], gate[b, b, 1]
        far_re[lane], far_im[lane] = gate[b, 1 - b, 0], gate[b, 1 - b, 1]
    ar, ai, br, bi = load(own_re, 0), load(own_im, 0), load(far_re, 0), load(far_im, 0)
    for k in range(0, re.size, width):
        x, y = load(re, k), load(im, k)
        u, v = exchanged(x, 1 << bit), exchanged(y, 1 << bit)
        store(re, k, (ar * x - ai * y) + (br * u - bi * v))
        store(im, k, (ar * y + ai * x) + (br * v + bi * u))


@compiled
def apply_two(re: Any, im: Any, high: int, bit: int, gate: Any) -> None:
    """A fixed gate (4, 4, 2) on two qubits, where lanes are samples; `high` is the first qubit's bit."""
    width = VECTOR_BYTES // re.itemsize
    reals, imaginaries = re[: 4 * width].copy(), re[: 4 * width].copy()
    for r in range(re.size // width):
        if r >> high & 1 or r >> bit & 1:
            continue
        for i in range(4):
            k = (r | (i >> 1) << high | (i & 1) << bit) * width
            store(reals, i * width, load(re, k))
            store(imaginaries, i * width, load(im, k))
        for i in range(4):
            x = y = splat(re, 0)
            for j in range(4):
                c, s = splat(re, gate[i, j, 0]), splat(re, gate[i, j, 1])
                u, v = load(reals, j * width), load(imaginaries, j * width)
                x += c * u - s * v
                y += c * v + s * u
            k = (r | (i >> 1) << high | (i & 1) << bit) * width
            store(re, k, x)
            store(im, k, y)
