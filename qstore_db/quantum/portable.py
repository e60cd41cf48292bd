"""Expectation values in functions that NumPy, jax.numpy and keras.ops have alike: each differentiates them itself.

States are pairs of real arrays (batch, 2^n), since not every library has derivatives of complex ones. Gates are
turns about Pauli strings, permutations and fixed matrices; all index arrays and signs are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.quantum.angles import Angle
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.kernels.lowering import One, Permutation, Rotation, Two, elementary
from qstore_db.quantum.observables import Observable, PauliString, check_observables, terms_of

Pair = tuple[Any, Any]
"""Real and imaginary part."""


class PortableProgram:
    """A circuit and what is read from it, for a library of arrays.

    library: the module with its functions. constant: makes one of its arrays from a NumPy array, in the precision
    of the array that is given next.
    Raises ArgumentError for observables on qubits that are not there, and for circuits without a state.
    """

    def __init__(
        self,
        circuit: Circuit,
        observables: Sequence[Observable],
        library: Any,
        constant: Callable[[NDArray[Any], Any], Any],
    ) -> None:
        check_observables(observables, circuit.n_qubits)
        self._names = {name: place for place, name in enumerate(circuit.parameters)}
        self._steps = list(elementary(circuit))
        self._size = 1 << circuit.n_qubits
        self._n_qubits = circuit.n_qubits
        self._terms = [terms_of(observable) for observable in observables]
        self._library = library
        self._constant = constant

    def values(self, parameters: Any, data: Any, states: Pair | None = None) -> Any:
        """(batch, n_observables).

        parameters: (n_parameters,), radians. data: (batch, n_slots). states: both (batch, 2^n), to begin with; data
        or states may be one row for all of the other. All are of one precision, which is that of the values.
        """
        xp = self._library
        if states is None:
            nothing = 0.0 * xp.sum(data, axis=1, keepdims=True)
            first = self._constant(np.eye(1, self._size), data)
            states = nothing + first, nothing + 0.0 * first
        for step in self._steps:
            states = self._applied(step, states, parameters, data)
        return self._read(states)

    def _applied(
        self, step: Rotation | Permutation | One | Two, states: Pair, parameters: Any, data: Any
    ) -> Pair:
        if isinstance(step, Permutation):
            return self._moved(states, step.sources)
        if isinstance(step, Rotation):
            return self._turned(step, states, self._angle(step.angle, parameters, data))
        bits = (step.bit,) if isinstance(step, One) else (step.high, step.low)
        return self._fixed(step.matrix, bits, states)

    def _angle(self, angle: Angle, parameters: Any, data: Any) -> Any:
        """() or (batch, 1)"""
        value: Any = angle.constant
        for symbol, factor in angle.terms:
            if isinstance(symbol, str):
                value = value + factor * parameters[self._names[symbol]]
            else:
                value = value + factor * data[:, symbol : symbol + 1]
        return value if angle.terms else self._constant(np.array(value), data)

    def _moved(self, states: Pair, sources: NDArray[Any]) -> Pair:
        re, im = states
        return self._library.take(re, sources, axis=1), self._library.take(im, sources, axis=1)

    def _flipped(self, states: Pair, flip: int) -> Pair:
        """psi_(i ^ flip), without an index, which compilers of graphs take long to differentiate: an axis is turned
        round for each run of neighbouring bits.
        """
        xp = self._library
        re, im = states
        low = 0
        while flip >> low:
            high = low
            while flip >> high & 1:
                high += 1
            if high > low:
                shape = (-1, self._size >> high, 1 << (high - low), 1 << low)
                re, im = (
                    xp.reshape(xp.flip(xp.reshape(part, shape), axis=2), (-1, self._size))
                    for part in (re, im)
                )
            low = high + 1
        return re, im

    def _turned(self, step: Rotation, states: Pair, angle: Any) -> Pair:
        """cos(angle/2) psi - i sin(angle/2) P psi"""
        re, im = states
        c, s = self._library.cos(0.5 * angle), self._library.sin(0.5 * angle)
        x, y = self._about(states, step.flip, step.sign, step.ys)
        return c * re + s * y, c * im - s * x

    def _about(self, states: Pair, flip: int, sign: int, ys: int) -> Pair:
        """P psi, which is (-i)^ys chi(i) psi_(i ^ flip)."""
        index = np.arange(self._size)
        chi = self._constant(1.0 - 2.0 * (np.bitwise_count(index & sign) & 1), states[0])
        re, im = self._flipped(states, flip)
        re, im = chi * re, chi * im
        return ((re, im), (im, -re), (-re, -im), (-im, re))[ys % 4]

    def _fixed(self, matrix: NDArray[np.complex128], bits: tuple[int, ...], states: Pair) -> Pair:
        """A gate as a sum over what its qubits were before: each a permutation and a diagonal."""
        index = np.arange(self._size)
        own = np.zeros_like(index)
        for bit in bits:
            own = own << 1 | index >> bit & 1
        re: Any = 0.0
        im: Any = 0.0
        for shift in range(len(matrix)):
            flip = sum(1 << bit for place, bit in enumerate(reversed(bits)) if shift >> place & 1)
            factors = matrix[own, own ^ shift]
            a, b = self._constant(factors.real, states[0]), self._constant(factors.imag, states[0])
            x, y = self._flipped(states, flip)
            re, im = re + a * x - b * y, im + a * y + b * x
        return re, im

    def _read(self, states: Pair) -> Any:
        re, im = states
        xp = self._library
        chances = re * re + im * im
        columns: list[Any] = []
        for terms in self._terms:
            column: Any = 0.0
            for factor, string in terms:
                column = column + factor * self._mean(string, states, chances)
            columns.append(column)
        return xp.stack(columns, axis=1)

    def _mean(self, string: PauliString, states: Pair, chances: Any) -> Any:
        """(batch,)"""
        flip, sign = string.masks(self._n_qubits)
        if flip == 0:
            ones = np.bitwise_count(np.arange(self._size) & sign) & 1
            chi = self._constant(1.0 - 2.0 * ones, chances)
            return self._library.sum(chances * chi, axis=1)
        x, y = self._about(states, flip, sign, sum(letter == "Y" for _, letter in string.factors))
        return self._library.sum(states[0] * x + states[1] * y, axis=1)
