"""Gradients by shifted angles: circuits only, so that they can be run where nothing but circuits can.

A gate exp(-i theta G) makes <O> a sum of sines of theta whose frequencies are the differences of the
eigenvalues of G. With R frequencies in equal steps, f'(theta) = sum_j c_j (f(theta + s_j) - f(theta - s_j))
is exact with R pairs: one for rx ry rz p cp rxx ryy rzz and each angle of u, two for crx cry crz.
Sources: Mitarai et al. (2018), arXiv:1803.00745; Wierichs et al. (2021), arXiv:2107.12390.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.quantum.angles import Angle, Symbol, parameter
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.gates import Turn
from qstore_db.quantum.operations import Apply, Operation

Numbers = NDArray[Any]
Evaluate: TypeAlias = "Callable[[Numbers, Numbers, Numbers | None], Numbers]"
"""Expectation values (batch, n_observables) of parameters (n_parameters,), data (batch, n_slots) and states."""


class Slopes(NamedTuple):
    """Gradients of the sum of the values times what came from behind."""

    parameters: Numbers
    """(n_parameters,), summed over the batch."""
    data: Numbers
    """(batch, n_slots)"""
    states: Numbers | None = None
    """(batch, 2^n), where they were asked for."""


def rule(turn: Turn) -> tuple[tuple[float, float], ...]:
    """(s_j, c_j) for each pair of evaluations; shifts in radians."""
    frequencies = np.array(turn.frequencies)
    shifts = (2 * np.arange(len(frequencies)) + 1) * np.pi / (2 * len(frequencies) * frequencies[0])
    factors = np.linalg.solve(2 * np.sin(np.outer(frequencies, shifts)), frequencies)
    return tuple(zip(shifts.tolist(), factors.tolist(), strict=True))


class ParameterShift:
    """The gradients of one circuit. Each occurrence of a shared parameter is shifted by itself, and all are
    summed."""

    def __init__(self, circuit: Circuit) -> None:
        self._rules: list[tuple[tuple[float, float], ...]] = []
        self._terms: list[tuple[tuple[Symbol, float], ...]] = []
        prefix = "shift"
        while any(name.startswith(prefix) for name in circuit.parameters):
            prefix += "_"
        self._prefix = prefix
        self.circuit = Circuit(circuit.n_qubits, tuple(map(self._opened, circuit.steps)))
        """The circuit to evaluate: every angle that is not constant has a parameter of its own added to it."""
        places = {name: place for place, name in enumerate(self.circuit.parameters)}
        self._own = [places[name] for name in circuit.parameters]
        self._shifts = [places[f"{prefix}{number}"] for number in range(len(self._rules))]
        self._numbers = {name: number for number, name in enumerate(circuit.parameters)}

    def evaluations(self, *, of_data: bool = True) -> int:
        """Circuits that a gradient takes for each sample, without those for the states it begins with."""
        return sum(
            2 * len(pairs)
            for pairs, terms in zip(self._rules, self._terms, strict=True)
            if of_data or any(isinstance(symbol, str) for symbol, _ in terms)
        )

    def gradients(
        self,
        evaluate: Evaluate,
        parameters: Numbers,
        data: Numbers,
        weights: Numbers,
        states: Numbers | None = None,
        *,
        of_data: bool = True,
        of_states: bool = False,
    ) -> Slopes:
        """parameters, data, states: as `Program.values` takes them. weights: (batch, n_observables).

        `evaluate` runs `circuit`. Without `of_data`, gates that only the data turn are not shifted, and its
        gradient is 0. `of_states` also asks for the gradient of real `states`, which takes 2 x 2^n more
        circuits a sample.
        """
        vector = np.zeros(len(self._own) + len(self._shifts), parameters.dtype)
        vector[self._own] = parameters
        by_parameter, by_data = np.zeros(len(parameters)), np.zeros(data.shape)
        for place, pairs, terms in zip(self._shifts, self._rules, self._terms, strict=True):
            if not of_data and all(isinstance(symbol, int) for symbol, _ in terms):
                continue
            slope = np.zeros(len(data))
            for shift, factor in pairs:
                for sign in (1.0, -1.0):
                    vector[place] = sign * shift
                    values = evaluate(vector, data, states)
                    slope += sign * factor * np.einsum("bo,bo->b", values, weights)
            vector[place] = 0.0
            for symbol, share in terms:
                if isinstance(symbol, str):
                    by_parameter[self._numbers[symbol]] += share * slope.sum()
                elif of_data:
                    by_data[:, symbol] += share * slope
        by_state = None
        if of_states and states is not None:
            by_state = np.zeros(states.shape)
            for place, unit in enumerate(np.eye(states.shape[1], dtype=states.dtype)):
                by_state[:, place] = along(evaluate, vector, data, weights, states, unit, 1.0)
        return Slopes(by_parameter, by_data, by_state)

    def _opened(self, step: Operation) -> Operation:
        if not (isinstance(step, Apply) and isinstance(step.gate, Turn)) or step.angles[0].is_constant:
            return step
        angle: Angle = step.angles[0]
        name = f"{self._prefix}{len(self._rules)}"
        self._rules.append(rule(step.gate))
        self._terms.append(angle.terms)
        return Apply(step.name, step.qubits, (angle + parameter(name),))


def along(
    evaluate: Evaluate,
    parameters: Numbers,
    data: Numbers,
    weights: Numbers,
    states: Numbers,
    direction: Numbers,
    size: float,
) -> Numbers:
    """(batch,): the slope of <weights, f> as the real states move along a direction.

    f is a quadratic form of the states, so that (f(x + d) - f(x - d)) / 2 is exact at any size; and as only states
    of norm 1 can be prepared, each value is that of the normalised state times the square of the norm.
    """
    slope = np.zeros(len(data))
    for sign in (1.0, -1.0):
        there = states + sign * size * direction
        norms = np.linalg.norm(there, axis=1)
        values = evaluate(
            parameters, data, there / np.maximum(norms, 1e-30)[:, np.newaxis].astype(states.dtype)
        )
        slope += sign * norms**2 * np.einsum("bo,bo->b", values, weights) / (2 * size)
    return slope
