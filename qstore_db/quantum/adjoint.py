"""Gradients by the adjoint method, gate by gate: what the compiled gradients are held against.

For f = sum_o w_o <psi| O_o |psi> and lambda = sum_o w_o O_o |psi>, walking backwards through the gates gives
df/dtheta = 2 Im <lambda| G |psi> for a gate exp(-i theta G), with both states right behind it.
Source: Jones and Gacon (2020), arXiv:2009.02823.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qstore_db.quantum import plain
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.gates import Turn
from qstore_db.quantum.observables import Observable
from qstore_db.quantum.operations import Apply
from qstore_db.quantum.plain import Reals


@dataclass(frozen=True, slots=True)
class Gradients:
    """Expectation values, and the gradients of their sum weighted by what came from behind."""

    values: Reals
    """(batch, n_observables)"""
    parameters: Reals
    """(n_parameters,), summed over the batch."""
    data: Reals
    """(batch, n_slots)"""
    states: plain.States | None
    """(batch, 2^n): df/dRe + i df/dIm of the states that the circuit began with, where it was given some."""


def gradients(
    circuit: Circuit,
    observables: Sequence[Observable],
    parameters: Reals,
    data: Reals,
    weights: Reals,
    states: plain.States | None = None,
) -> Gradients:
    """weights: (batch, n_observables). The others are as `plain.run` takes them."""
    psi = plain.run(circuit, parameters, data, states)
    values = plain.expectations(psi, observables)
    lam = np.zeros(psi.shape, np.complex128)
    for column, observable in enumerate(observables):
        lam += weights[:, column, np.newaxis] * plain.observed(psi, observable)
    by_parameter, by_data = np.zeros(len(parameters)), np.zeros(data.shape)
    places = {name: place for place, name in enumerate(circuit.parameters)}
    for operation in reversed(circuit.steps):
        if isinstance(operation, Apply) and isinstance(operation.gate, Turn):
            turned = plain.applied(psi, operation.gate.generator, operation.qubits)
            slope = 2.0 * np.einsum("bi,bi->b", lam.conj(), turned).imag
            for symbol, factor in operation.angles[0].terms:
                if isinstance(symbol, str):
                    by_parameter[places[symbol]] += factor * slope.sum()
                else:
                    by_data[:, symbol] += factor * slope
        back = np.swapaxes(plain.matrix_of(operation, circuit, parameters, data).conj(), -1, -2)
        psi, lam = plain.applied(psi, back, operation.qubits), plain.applied(lam, back, operation.qubits)
    return Gradients(values, by_parameter, by_data, None if states is None else 2.0 * lam)
