"""Diagonals: the tables of their phases, and what angles have of the slopes at each amplitude."""

from __future__ import annotations

import math
from typing import Any

from qstore_db.quantum.kernels.lanes import VECTOR_BYTES, compiled, load, parity, splat, store, total


@compiled
def fill_table(masks: Any, angles: Any, cosines: Any, sines: Any) -> None:
    """The phases of the product of exp(-i theta/2 Z_mask), up to one that all amplitudes share.

    masks (k,): which qubits a Z stands on. angles (k,): radians. cosines, sines: (2^n,).
    """
    cosines[0], sines[0] = 1, 0
    size = 1
    while size < cosines.size:
        angle = 0.0
        for term in range(masks.size):
            if masks[term] == size:
                angle = angles[term]
        c, s = math.cos(angle), math.sin(angle)
        for i in range(size):
            a, b = cosines[i], sines[i]
            cosines[size + i], sines[size + i] = c * a - s * b, s * a + c * b
        size *= 2
    for term in range(masks.size):
        mask = masks[term]
        if mask & (mask - 1) == 0:
            continue
        c, s = math.cos(angles[term]), math.sin(angles[term])
        for i in range(size):
            if parity(i & mask):
                a, b = cosines[i], sines[i]
                cosines[i], sines[i] = c * a - s * b, s * a + c * b


@compiled
def add_slopes(masks: Any, slopes: Any, sums: Any) -> None:
    """Add to sums (k,) that of the slopes (2^n,), times -1 where i & mask has an odd number of ones.

    For masks of one bit the slopes are folded half onto half, which overwrites them.
    """
    for term in range(masks.size):
        mask = masks[term]
        if mask & (mask - 1):
            whole = 0.0
            for i in range(slopes.size):
                whole += -slopes[i] if parity(i & mask) else slopes[i]
            sums[term] += whole
    width = VECTOR_BYTES // slopes.itemsize
    size = slopes.size
    while size > 1:
        size //= 2
        whole = 0.0
        if size >= width:
            lanes = splat(slopes, 0)
            for i in range(0, size, width):
                a, b = load(slopes, i), load(slopes, size + i)
                lanes = lanes + (a - b)
                store(slopes, i, a + b)
            whole += total(lanes)
        else:
            for i in range(size):
                a, b = slopes[i], slopes[size + i]
                whole += a - b
                slopes[i] = a + b
        for term in range(masks.size):
            if masks[term] == size:
                sums[term] += whole
