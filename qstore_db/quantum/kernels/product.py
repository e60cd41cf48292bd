"""The start: every qubit by itself, before the first gate that joins two.

A state of n qubits that are not entangled is a product, built by doubling. `chains` are the gates on each qubit
up to there, of which every lane may have its own angles.
"""

from __future__ import annotations

from typing import Any

from qstore_db.quantum.kernels.lanes import VECTOR_BYTES, compiled, load, splat, store

FIXED = 3
"""Kind of a fixed gate in a chain; 0, 1, 2 turn about X, Y, Z."""


@compiled
def qubit_states(
    kinds: Any, which: Any, starts: Any, gates: Any, cosines: Any, sines: Any, steps: Any
) -> None:
    """steps (k + n, 4, width): of each qubit the state before the chain and behind each gate of it.

    kinds, which: (k,), of a turn the number of its angle, of a fixed gate that of its matrix. starts: (n + 1,).
    The four are the real and imaginary parts of the amplitudes of |0> and |1>.
    """
    width = steps.shape[2]
    zero, one = splat(steps, 0), splat(steps, 1)
    for qubit in range(starts.size - 1):
        a, b, x, y = one, zero, zero, zero
        place = starts[qubit] + qubit
        _keep(steps[place].reshape(4 * width), width, a, b, x, y)
        for at in range(starts[qubit], starts[qubit + 1]):
            kind = kinds[at]
            if kind == FIXED:
                g = gates[which[at]]
                low = _times(g[0, 0], g[0, 1], a, b, x, y, steps)
                high = _times(g[1, 0], g[1, 1], a, b, x, y, steps)
                a, b, x, y = low[0], low[1], high[0], high[1]
            else:
                c, s = load(cosines, which[at] * width), load(sines, which[at] * width)
                if kind == 0:
                    a, b, x, y = c * a + s * y, c * b - s * x, c * x + s * b, c * y - s * a
                elif kind == 1:
                    a, b, x, y = c * a - s * x, c * b - s * y, s * a + c * x, s * b + c * y
                else:
                    a, b, x, y = c * a + s * b, c * b - s * a, c * x - s * y, c * y + s * x
            place += 1
            _keep(steps[place].reshape(4 * width), width, a, b, x, y)


@compiled
def _times(first: Any, second: Any, a: Any, b: Any, x: Any, y: Any, like: Any) -> Any:
    """The complex number first (a + ib) + second (x + iy); first and second: (2,), real and imaginary part."""
    p, q = splat(like, first[0]), splat(like, first[1])
    r, s = splat(like, second[0]), splat(like, second[1])
    return (p * a - q * b) + (r * x - s * y), (p * b + q * a) + (r * y + s * x)


@compiled
def _keep(step: Any, width: int, a: Any, b: Any, x: Any, y: Any) -> None:
    store(step, 0, a)
    store(step, width, b)
    store(step, 2 * width, x)
    store(step, 3 * width, y)


@compiled
def begin(re: Any, im: Any, low: int, starts: Any, steps: Any) -> None:
    """The product of the qubits' states. With low > 0 all lanes of `steps` are alike."""
    width = VECTOR_BYTES // re.itemsize
    n_qubits = starts.size - 1
    if low:
        re[0], im[0] = 1, 0
        for qubit in range(n_qubits - low, n_qubits):  # the first vector, by single numbers
            v = steps[starts[qubit + 1] + qubit]
            for r in range((1 << (qubit - n_qubits + low)) - 1, -1, -1):
                a, b = re[r], im[r]
                re[2 * r + 1], im[2 * r + 1] = a * v[2, 0] - b * v[3, 0], a * v[3, 0] + b * v[2, 0]
                re[2 * r], im[2 * r] = a * v[0, 0] - b * v[1, 0], a * v[1, 0] + b * v[0, 0]
    else:
        store(re, 0, splat(steps, 1))
        store(im, 0, splat(steps, 0))
    for qubit in range(n_qubits - low):
        v = steps[starts[qubit + 1] + qubit].reshape(4 * width)
        p, q, s, t = load(v, 0), load(v, width), load(v, 2 * width), load(v, 3 * width)
        for r in range((1 << qubit) - 1, -1, -1):
            a, b = load(re, r * width), load(im, r * width)
            k = 2 * r * width
            store(re, k + width, a * s - b * t)
            store(im, k + width, a * t + b * s)
            store(re, k, a * p - b * q)
            store(im, k, a * q + b * p)


@compiled
def end(re: Any, im: Any, lam: Any, lam_im: Any, low: int, starts: Any, steps: Any, slopes: Any) -> None:
    """slopes (n, 4, width): of each qubit, the sum over all amplitudes of conj(lambda) times the other qubits.

    Overwrites all four planes. re, im become a heap: node 2^q + j is the product of the first q qubits for index j,
    and lambda is contracted with the last qubit again and again.
    """
    if low:
        _end_single(re, im, lam, lam_im, starts, steps, slopes)
        return
    width = VECTOR_BYTES // re.itemsize
    n_qubits = starts.size - 1
    zero = splat(steps, 0)
    if re.size > width:
        store(re, width, splat(steps, 1))
        store(im, width, zero)
    for qubit in range(n_qubits - 1):
        v = steps[starts[qubit + 1] + qubit].reshape(4 * width)
        p, q, s, t = load(v, 0), load(v, width), load(v, 2 * width), load(v, 3 * width)
        for node in range(1 << qubit, 2 << qubit):
            a, b = load(re, node * width), load(im, node * width)
            k = 2 * node * width
            store(re, k, a * p - b * q)
            store(im, k, a * q + b * p)
            store(re, k + width, a * s - b * t)
            store(im, k + width, a * t + b * s)
    for qubit in range(n_qubits - 1, -1, -1):
        v = steps[starts[qubit + 1] + qubit].reshape(4 * width)
        p, q, s, t = load(v, 0), load(v, width), load(v, 2 * width), load(v, 3 * width)
        g0 = g1 = g2 = g3 = zero
        for j in range(1 << qubit):
            k, m = 2 * j * width, ((1 << qubit) + j) * width
            a, b = load(re, m), load(im, m)
            # conj(lambda)
            x, y = load(lam, k), zero - load(lam_im, k)
            u, w = load(lam, k + width), zero - load(lam_im, k + width)
            g0 += a * x - b * y
            g1 += a * y + b * x
            g2 += a * u - b * w
            g3 += a * w + b * u
            store(lam, j * width, (x * p - y * q) + (u * s - w * t))
            store(lam_im, j * width, zero - ((x * q + y * p) + (u * t + w * s)))
        out = slopes[qubit].reshape(4 * width)
        _keep(out, width, g0, g1, g2, g3)


@compiled
def _end_single(re: Any, im: Any, lam: Any, lam_im: Any, starts: Any, steps: Any, slopes: Any) -> None:
    n_qubits = starts.size - 1
    re[1], im[1] = 1, 0
    for qubit in range(n_qubits - 1):
        v = steps[starts[qubit + 1] + qubit]
        p, q, s, t = v[0, 0], v[1, 0], v[2, 0], v[3, 0]
        for node in range(1 << qubit, 2 << qubit):
            a, b = re[node], im[node]
            re[2 * node], im[2 * node] = a * p - b * q, a * q + b * p
            re[2 * node + 1], im[2 * node + 1] = a * s - b * t, a * t + b * s
    slopes[:] = 0
    for qubit in range(n_qubits - 1, -1, -1):
        v = steps[starts[qubit + 1] + qubit]
        p, q, s, t = v[0, 0], v[1, 0], v[2, 0], v[3, 0]
        g0 = g1 = g2 = g3 = re[0] - re[0]
        for j in range(1 << qubit):
            m = (1 << qubit) + j
            a, b = re[m], im[m]
            x, y, u, w = lam[2 * j], -lam_im[2 * j], lam[2 * j + 1], -lam_im[2 * j + 1]
            g0 += a * x - b * y
            g1 += a * y + b * x
            g2 += a * u - b * w
            g3 += a * w + b * u
            lam[j] = (x * p - y * q) + (u * s - w * t)
            lam_im[j] = -((x * q + y * p) + (u * t + w * s))
        slopes[qubit, 0, 0], slopes[qubit, 1, 0] = g0, g1
        slopes[qubit, 2, 0], slopes[qubit, 3, 0] = g2, g3


@compiled
def chain_slopes(
    kinds: Any,
    which: Any,
    starts: Any,
    gates: Any,
    cosines: Any,
    sines: Any,
    steps: Any,
    slopes: Any,
    by_angle: Any,
) -> None:
    """Add to by_angle (angles * width,) what the chains have of Im <lambda|P|psi>, from the slopes of `end`."""
    width = steps.shape[2]
    for qubit in range(starts.size - 1):
        t = slopes[qubit].reshape(4 * width)
        a, b, x, y = load(t, 0), load(t, width), load(t, 2 * width), load(t, 3 * width)
        for at in range(starts[qubit + 1] - 1, starts[qubit] - 1, -1):
            kind = kinds[at]
            if kind == FIXED:
                g = gates[which[at]]
                low = _times(g[0, 0], g[1, 0], a, b, x, y, steps)
                high = _times(g[0, 1], g[1, 1], a, b, x, y, steps)
                a, b, x, y = low[0], low[1], high[0], high[1]
                continue
            place = which[at] * width
            c, s = load(cosines, place), load(sines, place)
            step = steps[at + qubit + 1].reshape(4 * width)
            d, e, f, h = load(step, 0), load(step, width), load(step, 2 * width), load(step, 3 * width)
            slope = load(by_angle, place)
            if kind == 0:
                slope += (a * h + b * f) + (x * e + y * d)
                a, b, x, y = c * a + s * y, c * b - s * x, c * x + s * b, c * y - s * a
            elif kind == 1:
                slope += (x * d - y * e) - (a * f - b * h)
                a, b, x, y = c * a + s * x, c * b + s * y, c * x - s * a, c * y - s * b
            else:
                slope += (a * e + b * d) - (x * h + y * f)
                a, b, x, y = c * a + s * b, c * b - s * a, c * x - s * y, c * y + s * x
            store(by_angle, place, slope)
