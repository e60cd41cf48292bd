"""Runs the steps of a compiled circuit, block by block: a sample in each lane of vectors, or one inside of them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from qstore_db.quantum.kernels.diagonals import add_slopes
from qstore_db.quantum.kernels.lanes import VECTOR_BYTES, compiled, load, total
from qstore_db.quantum.kernels.product import begin, chain_slopes, end, qubit_states
from qstore_db.quantum.kernels.readout import means, pull
from qstore_db.quantum.kernels.rotations import turn_layer, unturn_layer
from qstore_db.quantum.kernels.steps import (
    apply_one,
    apply_two,
    multiply,
    permute,
    slope_about,
    turn_about,
    unmultiply,
)

LAYER, DIAGONAL, PERMUTATION, TURN, ONE, TWO = range(6)
_CACHED = 1 << 17
"""Bytes of a plane that stay in a core's cache while a layer turns."""


class Tables(NamedTuple):
    """A compiled circuit as arrays. Angles that all samples share in a layer or a diagonal are `shared` ones, all
    others `own` ones, of which each lane has its own.
    """

    ops: Any
    """(steps, 5): kind and up to four numbers."""
    bits: Any
    """(shared angles of layers,): which bit each turns."""
    sources: Any
    """(permutations, 2, 2^n): where each amplitude comes from, forwards and backwards."""
    masks_of: Any
    """(terms of diagonals,): on which qubits a Z stands."""
    diagonals: Any
    """(diagonals + 1,): where the terms of each begin."""
    joint: Any
    """(diagonals,): the table in which slopes are summed, where a Z stands on several qubits; else -1."""
    gates: Any
    """(fixed gates, 4, 4, 2): those on one qubit in the corner."""
    inverses: Any
    kinds: Any
    which: Any
    starts: Any
    """The chains of the start, as in `product`; no qubits where states are given."""
    last: Any
    """(2^n,) or (0,): a last permutation that is only read through."""
    single: bool
    masks: Any
    others: Any
    """The strings of the observables, as in `readout`."""
    entries: Any
    """(e, 2): observable and string."""
    factors: Any
    """(e,)"""
    slot_terms: Any
    """(d, 2): own angle and slot."""
    slot_factors: Any
    """(d,)"""


class Values(NamedTuple):
    """What is the same for all samples of a run."""

    cosines: Any
    sines: Any
    """(shared angles of layers,), of half the angles."""
    table_cosines: Any
    table_sines: Any
    """(diagonals, 2^n)"""
    own: Any
    """(own angles,): radians, without what comes from data."""


@compiled
def _block(plane: Any) -> Any:
    return _CACHED // plane.itemsize


@compiled
def _evolve(t: Any, v: Any, cosines: Any, sines: Any, low: int, re: Any, im: Any, out: Any) -> Any:
    """All steps; the planes may have changed places in the end."""
    width = VECTOR_BYTES // re.itemsize
    for step in range(len(t.ops)):
        kind, a, b, c, d = t.ops[step]
        if kind == LAYER:
            turn_layer(re, low, t.bits[a:b], v.cosines[a:b], v.sines[a:b], _block(re))
            turn_layer(im, low, t.bits[a:b], v.cosines[a:b], v.sines[a:b], _block(re))
        elif kind == DIAGONAL:
            multiply(re, im, low, v.table_cosines[a], v.table_sines[a])
        elif kind == PERMUTATION:
            permute(re, out, low, t.sources[a, 0])
            re, out = out, re
            permute(im, out, low, t.sources[a, 0])
            im, out = out, im
        elif kind == TURN:
            place = a * width
            turn_about(re, im, low, b, c, d, cosines[place : place + width], sines[place : place + width])
        elif kind == ONE:
            apply_one(re, im, low, a, t.gates[b])
        else:
            apply_two(re, im, a, b, t.gates[c])
    return re, im, out


@compiled
def _devolve(
    t: Any, v: Any, cosines: Any, sines: Any, low: int,
    psi: Any, psi_im: Any, lam: Any, lam_im: Any, out: Any,
    layer_slopes: Any, diagonal_slopes: Any, tables: Any, by_angle: Any,
) -> Any:  # fmt: skip
    """All steps taken back from both states, with the slopes of their angles."""
    width = VECTOR_BYTES // psi.itemsize
    for step in range(len(t.ops) - 1, -1, -1):
        kind, a, b, c, d = t.ops[step]
        if kind == LAYER:
            bits, layer_c, layer_s, slopes = t.bits[a:b], v.cosines[a:b], v.sines[a:b], layer_slopes[a:b]
            unturn_layer(psi, lam, low, bits, layer_c, layer_s, slopes, _block(psi))
            unturn_layer(psi_im, lam_im, low, bits, layer_c, layer_s, slopes, _block(psi))
        elif kind == DIAGONAL:
            slopes = out[: v.table_cosines.shape[1]]
            unmultiply(psi, psi_im, lam, lam_im, low, v.table_cosines[a], v.table_sines[a], slopes)
            if t.joint[a] < 0:
                first, last = t.diagonals[a], t.diagonals[a + 1]
                add_slopes(t.masks_of[first:last], slopes, diagonal_slopes[first:last])
            else:
                tables[t.joint[a]] += slopes
        elif kind == PERMUTATION:
            permute(psi, out, low, t.sources[a, 1])
            psi, out = out, psi
            permute(psi_im, out, low, t.sources[a, 1])
            psi_im, out = out, psi_im
            permute(lam, out, low, t.sources[a, 1])
            lam, out = out, lam
            permute(lam_im, out, low, t.sources[a, 1])
            lam_im, out = out, lam_im
        elif kind == TURN:
            place = a * width
            slope = slope_about(psi, psi_im, lam, lam_im, low, b, c, d)
            if low:
                by_angle[place] += total(load(slope, 0))
            else:
                for lane in range(width):
                    by_angle[place + lane] += slope[lane]
            cosine, sine = cosines[place : place + width], -sines[place : place + width]
            turn_about(psi, psi_im, low, b, c, d, cosine, sine)
            turn_about(lam, lam_im, low, b, c, d, cosine, sine)
        elif kind == ONE:
            apply_one(psi, psi_im, low, a, t.inverses[b])
            apply_one(lam, lam_im, low, a, t.inverses[b])
        else:
            apply_two(psi, psi_im, a, b, t.inverses[c])
            apply_two(lam, lam_im, a, b, t.inverses[c])
    return psi, psi_im, lam, lam_im, out


@compiled
def _set_angles(v: Any, cosines: Any, sines: Any, width: int) -> None:
    for a in range(v.own.size):
        c, s = math.cos(0.5 * v.own[a]), math.sin(0.5 * v.own[a])
        for k in range(a * width, (a + 1) * width):
            cosines[k], sines[k] = c, s


@compiled
def _read_data(
    t: Any, v: Any, data: Any, first: int, count: int, low: int, angles: Any, cosines: Any, sines: Any
) -> None:
    """The own angles that depend on data, of the samples of a block."""
    width = angles.size // max(v.own.size, 1)
    for term in range(len(t.slot_terms)):
        a = t.slot_terms[term, 0]
        if term == 0 or t.slot_terms[term - 1, 0] != a:
            angles[a * width : (a + 1) * width] = v.own[a]
        slot, factor = t.slot_terms[term, 1], t.slot_factors[term]
        for lane in range(width):
            sample = first if low else first + min(lane, count - 1)
            angles[a * width + lane] += factor * data[sample, slot]
        if term + 1 == len(t.slot_terms) or t.slot_terms[term + 1, 0] != a:
            for k in range(a * width, (a + 1) * width):
                cosines[k], sines[k] = math.cos(0.5 * angles[k]), math.sin(0.5 * angles[k])


@compiled
def _read_states(states: Any, states_im: Any, first: int, count: int, low: int, re: Any, im: Any) -> None:
    width = VECTOR_BYTES // re.itemsize
    im[:] = 0
    if low:
        re[:] = states[first]
        if states_im.size:
            im[:] = states_im[first]
        return
    re[:] = 0
    for lane in range(count):
        for row in range(states.shape[1]):
            re[row * width + lane] = states[first + lane, row]
        if states_im.size:
            for row in range(states.shape[1]):
                im[row * width + lane] = states_im[first + lane, row]


@compiled
def _start(
    t: Any, states: Any, states_im: Any, first: int, count: int, low: int, cosines: Any, sines: Any,
    steps: Any, re: Any, im: Any,
) -> None:  # fmt: skip
    if states.size:
        _read_states(states, states_im, first, count, low, re, im)
    else:
        qubit_states(t.kinds, t.which, t.starts, t.gates, cosines, sines, steps)
        begin(re, im, low, t.starts, steps)


@compiled
def _write_values(t: Any, low: int, first: int, count: int, by_string: Any, values: Any) -> None:
    for sample in range(count):
        lane = 0 if low else sample
        values[first + sample, :] = 0
        for entry in range(len(t.entries)):
            values[first + sample, t.entries[entry, 0]] += (
                t.factors[entry] * by_string[t.entries[entry, 1], lane]
            )


@compiled
def _read_weights(t: Any, low: int, first: int, count: int, weights: Any, by_string: Any) -> None:
    by_string[:] = 0
    for lane in range(by_string.shape[1]):
        sample = 0 if low else lane
        if sample < count:
            for entry in range(len(t.entries)):
                by_string[t.entries[entry, 1], lane] += (
                    t.factors[entry] * weights[first + sample, t.entries[entry, 0]]
                )


@compiled
def run_values(
    t: Any, v: Any, data: Any, states: Any, states_im: Any, planes: Any, size: int, low: int,
    begin_at: int, end_at: int, values: Any,
) -> None:  # fmt: skip
    """values (batch, observables), of the samples from begin_at to before end_at.

    planes: (3, at least size), to work in. size: of a plane. low: 0 for samples in lanes, else how many qubits are
    in them.
    """
    width = VECTOR_BYTES // values.itemsize
    re, im, out = planes[0][:size], planes[1][:size], planes[2][:size]
    own = v.own.size * width
    angles, cosines, sines = (
        np.empty(own, values.dtype),
        np.empty(own, values.dtype),
        np.empty(own, values.dtype),
    )
    steps = np.empty((t.kinds.size + t.starts.size, 4, width), values.dtype)
    by_string = np.empty((t.masks.size + len(t.others), width), values.dtype)
    _set_angles(v, cosines, sines, width)
    for first in range(begin_at, end_at, 1 if low else width):
        count = 1 if low else min(width, end_at - first)
        _read_data(t, v, data, first, count, low, angles, cosines, sines)
        _start(t, states, states_im, first, count, low, cosines, sines, steps, re, im)
        re, im, out = _evolve(t, v, cosines, sines, low, re, im, out)
        means(re, im, out, low, t.last, t.single, t.masks, t.others, by_string)
        _write_values(t, low, first, count, by_string, values)


@compiled
def run_gradients(
    t: Any, v: Any, data: Any, states: Any, states_im: Any, weights: Any, planes: Any, size: int, low: int,
    begin_at: int, end_at: int, values: Any, layer_slopes: Any, diagonal_slopes: Any, own_slopes: Any,
    data_slopes: Any, state_slopes: Any, state_slopes_im: Any,
) -> None:  # fmt: skip
    """As `run_values` with five planes, and the slopes of the sum of all values times weights (batch, observables).

    Added to, in double precision: layer_slopes (shared angles of layers,), diagonal_slopes (terms of diagonals,),
    own_slopes (own angles,), data_slopes (batch, slots). Set: state_slopes (batch, 2^n), unless of size 0.
    """
    width = VECTOR_BYTES // values.itemsize
    re, im, out = planes[0][:size], planes[1][:size], planes[2][:size]
    lam, lam_im = planes[3][:size], planes[4][:size]
    own = v.own.size * width
    angles, cosines, sines = (
        np.empty(own, values.dtype),
        np.empty(own, values.dtype),
        np.empty(own, values.dtype),
    )
    by_angle = np.empty(own, values.dtype)
    steps = np.empty((t.kinds.size + t.starts.size, 4, width), values.dtype)
    ends = np.empty((max(t.starts.size - 1, 0), 4, width), values.dtype)
    by_string = np.empty((t.masks.size + len(t.others), width), values.dtype)
    tables = np.zeros(
        (max(t.joint.max(), -1) + 1 if t.joint.size else 0, v.table_cosines.shape[1]), np.float64
    )
    _set_angles(v, cosines, sines, width)
    for first in range(begin_at, end_at, 1 if low else width):
        count = 1 if low else min(width, end_at - first)
        _read_data(t, v, data, first, count, low, angles, cosines, sines)
        _start(t, states, states_im, first, count, low, cosines, sines, steps, re, im)
        re, im, out = _evolve(t, v, cosines, sines, low, re, im, out)
        means(re, im, out, low, t.last, t.single, t.masks, t.others, by_string)
        _write_values(t, low, first, count, by_string, values)
        _read_weights(t, low, first, count, weights, by_string)
        pull(re, im, lam, lam_im, out, low, t.last, t.single, t.masks, t.others, by_string)
        by_angle[:] = 0
        re, im, lam, lam_im, out = _devolve(
            t,
            v,
            cosines,
            sines,
            low,
            re,
            im,
            lam,
            lam_im,
            out,
            layer_slopes,
            diagonal_slopes,
            tables,
            by_angle,
        )
        if states.size:
            _write_states(lam, lam_im, first, count, low, state_slopes, state_slopes_im)
        else:
            end(re, im, lam, lam_im, low, t.starts, steps, ends)
            chain_slopes(t.kinds, t.which, t.starts, t.gates, cosines, sines, steps, ends, by_angle)
        for a in range(v.own.size):
            for lane in range(count):
                own_slopes[a] += by_angle[a * width + lane]
        for term in range(len(t.slot_terms)):
            a, slot = t.slot_terms[term]
            for lane in range(count):
                data_slopes[first + lane, slot] += t.slot_factors[term] * by_angle[a * width + lane]
    for a in range(t.joint.size):
        if t.joint[a] >= 0:
            first, last = t.diagonals[a], t.diagonals[a + 1]
            add_slopes(t.masks_of[first:last], tables[t.joint[a]], diagonal_slopes[first:last])


@compiled
def _write_states(
    lam: Any, lam_im: Any, first: int, count: int, low: int, slopes: Any, slopes_im: Any
) -> None:
    width = VECTOR_BYTES // lam.itemsize
    for lane in range(count):
        for row in range(slopes.shape[1]):
            k = row if low else row * width + lane
            slopes[first + lane, row] = 2 * lam[k]
            slopes_im[first + lane, row] = 2 * lam_im[k]
