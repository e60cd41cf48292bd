"""Layers of RY gates with angles that all samples share. They are real, so each plane of a state turns by itself.

Three neighbouring qubits turn in one pass: eight rows are read, turned three times in registers, and written.
A plane is a flat array of rows of one vector each. Bits of an amplitude's index below `low` lie inside of a vector,
the others choose the row.
"""

from __future__ import annotations

from typing import Any, Final

from qstore_db.quantum.kernels.lanes import (
    VECTOR_BYTES,
    compiled,
    exchanged,
    load,
    splat,
    store,
    total,
)

_FEW_WAYS: Final = 4096
"""From rows so many bytes apart on, all that are read together share one set of the first cache, which has room for
eight of them but not for sixteen: there each state turns by itself, and the slopes are a pass of their own."""


@compiled
def turn_layer(plane: Any, low: int, bits: Any, cosines: Any, sines: Any, block: int) -> None:
    """Turn by all angles of a layer: bits (k,) rising, cosines and sines (k,) of half the angles.

    block: numbers that stay in the cache while all turns among them are made.
    """
    size = plane.size
    if size <= block:
        _turn_some(plane, low, bits, cosines, sines, True, size)
        return
    for start in range(0, size, block):
        _turn_some(plane[start : start + block], low, bits, cosines, sines, True, block)
    _turn_some(plane, low, bits, cosines, sines, False, block)


@compiled
def _turn_some(plane: Any, low: int, bits: Any, cosines: Any, sines: Any, near: bool, block: int) -> None:
    """Those turns whose rows lie within a block (near), or the others."""
    width = VECTOR_BYTES // plane.itemsize
    at = 0
    while at < bits.size:
        bit = bits[at]
        if bit < low:
            if near:
                _turn_lanes(plane, 1 << bit, cosines[at], sines[at])
            at += 1
            continue
        stride = width << (bit - low)
        if at + 2 < bits.size and bits[at + 1] == bit + 1 and bits[at + 2] == bit + 2:
            if (8 * stride <= block) == near:
                _turn_three(plane, stride, cosines[at : at + 3], sines[at : at + 3])
            at += 3
        else:
            if (2 * stride <= block) == near:
                _turn_one(plane, stride, cosines[at], sines[at])
            at += 1


@compiled
def _turn_lanes(plane: Any, distance: int, cosine: Any, sine: Any) -> None:
    width = VECTOR_BYTES // plane.itemsize
    signed = plane[:width].copy()
    for lane in range(width):
        signed[lane] = sine if lane & distance else -sine
    c, s = splat(plane, cosine), load(signed, 0)
    for k in range(0, plane.size, width):
        a = load(plane, k)
        store(plane, k, c * a + s * exchanged(a, distance))


@compiled
def _turn_one(plane: Any, stride: int, cosine: Any, sine: Any) -> None:
    width = VECTOR_BYTES // plane.itemsize
    c, s = splat(plane, cosine), splat(plane, sine)
    for base in range(0, plane.size, 2 * stride):
        for k in range(base, base + stride, width):
            a, b = load(plane, k), load(plane, k + stride)
            store(plane, k, c * a - s * b)
            store(plane, k + stride, s * a + c * b)


@compiled
def _three(
    c0: Any, s0: Any, c1: Any, s1: Any, c2: Any, s2: Any,
    a0: Any, a1: Any, a2: Any, a3: Any, a4: Any, a5: Any, a6: Any, a7: Any,
) -> Any:  # fmt: skip
    """Eight rows turned three times: rows that differ in bit 0, then 1, then 2."""
    b0, b1, b2, b3 = c0 * a0 - s0 * a1, s0 * a0 + c0 * a1, c0 * a2 - s0 * a3, s0 * a2 + c0 * a3
    b4, b5, b6, b7 = c0 * a4 - s0 * a5, s0 * a4 + c0 * a5, c0 * a6 - s0 * a7, s0 * a6 + c0 * a7
    a0, a1, a2, a3 = c1 * b0 - s1 * b2, c1 * b1 - s1 * b3, s1 * b0 + c1 * b2, s1 * b1 + c1 * b3
    a4, a5, a6, a7 = c1 * b4 - s1 * b6, c1 * b5 - s1 * b7, s1 * b4 + c1 * b6, s1 * b5 + c1 * b7
    return (
        c2 * a0 - s2 * a4, c2 * a1 - s2 * a5, c2 * a2 - s2 * a6, c2 * a3 - s2 * a7,
        s2 * a0 + c2 * a4, s2 * a1 + c2 * a5, s2 * a2 + c2 * a6, s2 * a3 + c2 * a7,
    )  # fmt: skip


@compiled
def _load_eight(plane: Any, k: int, stride: int) -> Any:
    return (
        load(plane, k), load(plane, k + stride), load(plane, k + 2 * stride), load(plane, k + 3 * stride),
        load(plane, k + 4 * stride), load(plane, k + 5 * stride), load(plane, k + 6 * stride),
        load(plane, k + 7 * stride),
    )  # fmt: skip


@compiled
def _store_eight(plane: Any, k: int, stride: int, a: Any) -> None:
    store(plane, k, a[0])
    store(plane, k + stride, a[1])
    store(plane, k + 2 * stride, a[2])
    store(plane, k + 3 * stride, a[3])
    store(plane, k + 4 * stride, a[4])
    store(plane, k + 5 * stride, a[5])
    store(plane, k + 6 * stride, a[6])
    store(plane, k + 7 * stride, a[7])


@compiled
def _turn_three(plane: Any, stride: int, cosines: Any, sines: Any) -> None:
    width = VECTOR_BYTES // plane.itemsize
    c0, c1, c2 = splat(plane, cosines[0]), splat(plane, cosines[1]), splat(plane, cosines[2])
    s0, s1, s2 = splat(plane, sines[0]), splat(plane, sines[1]), splat(plane, sines[2])
    for base in range(0, plane.size, 8 * stride):
        for k in range(base, base + stride, width):
            a = _load_eight(plane, k, stride)
            turned = _three(c0, s0, c1, s1, c2, s2, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7])
            _store_eight(plane, k, stride, turned)


@compiled
def unturn_layer(
    psi: Any, lam: Any, low: int, bits: Any, cosines: Any, sines: Any, slopes: Any, block: int
) -> None:
    """Take a layer back from one plane of psi and lambda, and add to slopes (k,) what it has of Im <lam|Y|psi>."""
    size = psi.size
    if size <= block:
        _unturn_some(psi, lam, low, bits, cosines, sines, slopes, True, size)
        return
    for start in range(0, size, block):
        stop = start + block
        _unturn_some(psi[start:stop], lam[start:stop], low, bits, cosines, sines, slopes, True, block)
    _unturn_some(psi, lam, low, bits, cosines, sines, slopes, False, block)


@compiled
def _unturn_some(
    psi: Any, lam: Any, low: int, bits: Any, cosines: Any, sines: Any, slopes: Any, near: bool, block: int
) -> None:
    width = VECTOR_BYTES // psi.itemsize
    at = 0
    while at < bits.size:
        bit = bits[at]
        if bit < low:
            if near:
                slopes[at] += _unturn_lanes(psi, lam, 1 << bit, cosines[at], sines[at])
            at += 1
            continue
        stride = width << (bit - low)
        if at + 2 < bits.size and bits[at + 1] == bit + 1 and bits[at + 2] == bit + 2:
            if (8 * stride <= block) == near:
                _unturn_three(psi, lam, stride, cosines[at : at + 3], sines[at : at + 3], slopes[at : at + 3])
            at += 3
        else:
            if (2 * stride <= block) == near:
                slopes[at] += _unturn_one(psi, lam, stride, cosines[at], sines[at])
            at += 1


@compiled
def _unturn_lanes(psi: Any, lam: Any, distance: int, cosine: Any, sine: Any) -> Any:
    width = VECTOR_BYTES // psi.itemsize
    signs, signed = psi[:width].copy(), psi[:width].copy()
    for lane in range(width):
        signs[lane] = 1 if lane & distance else -1
        signed[lane] = -sine if lane & distance else sine
    c, s, sign = splat(psi, cosine), load(signed, 0), load(signs, 0)
    slope = splat(psi, 0)
    for k in range(0, psi.size, width):
        p, q = load(psi, k), load(lam, k)
        slope += sign * (q * exchanged(p, distance))
        store(psi, k, c * p + s * exchanged(p, distance))
        store(lam, k, c * q + s * exchanged(q, distance))
    return total(slope)


@compiled
def _unturn_one(psi: Any, lam: Any, stride: int, cosine: Any, sine: Any) -> Any:
    width = VECTOR_BYTES // psi.itemsize
    c, s = splat(psi, cosine), splat(psi, sine)
    slope = splat(psi, 0)
    for base in range(0, psi.size, 2 * stride):
        for k in range(base, base + stride, width):
            a, b = load(psi, k), load(psi, k + stride)
            x, y = load(lam, k), load(lam, k + stride)
            slope += y * a - x * b
            store(psi, k, c * a + s * b)
            store(psi, k + stride, c * b - s * a)
            store(lam, k, c * x + s * y)
            store(lam, k + stride, c * y - s * x)
    return total(slope)


@compiled
def _slopes_three(g: Any, p: Any, q: Any) -> Any:
    """g with what eight rows have of the slopes of three turns."""
    return (
        g[0]
        + ((q[1] * p[0] - q[0] * p[1]) + (q[3] * p[2] - q[2] * p[3]))
        + ((q[5] * p[4] - q[4] * p[5]) + (q[7] * p[6] - q[6] * p[7])),
        g[1]
        + ((q[2] * p[0] - q[0] * p[2]) + (q[3] * p[1] - q[1] * p[3]))
        + ((q[6] * p[4] - q[4] * p[6]) + (q[7] * p[5] - q[5] * p[7])),
        g[2]
        + ((q[4] * p[0] - q[0] * p[4]) + (q[5] * p[1] - q[1] * p[5]))
        + ((q[6] * p[2] - q[2] * p[6]) + (q[7] * p[3] - q[3] * p[7])),
    )


@compiled
def _unturn_three(psi: Any, lam: Any, stride: int, cosines: Any, sines: Any, slopes: Any) -> None:
    width = VECTOR_BYTES // psi.itemsize
    g = (splat(psi, 0), splat(psi, 0), splat(psi, 0))
    apart = stride * psi.itemsize >= _FEW_WAYS
    if apart:
        _turn_three(psi, stride, cosines, -sines)
        _turn_three(lam, stride, cosines, -sines)
    c0, c1, c2 = splat(psi, cosines[0]), splat(psi, cosines[1]), splat(psi, cosines[2])
    s0, s1, s2 = splat(psi, -sines[0]), splat(psi, -sines[1]), splat(psi, -sines[2])
    for base in range(0, psi.size, 8 * stride):
        for k in range(base, base + stride, width):
            p = _load_eight(psi, k, stride)
            q = _load_eight(lam, k, stride)
            g = _slopes_three(g, p, q)
            if apart:
                continue
            _store_eight(
                psi, k, stride,
                _three(c0, s0, c1, s1, c2, s2, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]),
            )  # fmt: skip
            _store_eight(
                lam, k, stride,
                _three(c0, s0, c1, s1, c2, s2, q[0], q[1], q[2], q[3], q[4], q[5], q[6], q[7]),
            )  # fmt: skip
    slopes[0] += total(g[0])
    slopes[1] += total(g[1])
    slopes[2] += total(g[2])
