"""Where circuits are run on this machine: checked input in, exact values out.

A circuit of gates alone is run as state vectors; one with noise, measurements or resets as a density matrix, unless
all of these come last: then they are taken into the observables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from qstore_db.quantum import density, plain
from qstore_db.quantum.circuit import Circuit, Values
from qstore_db.quantum.memory import check_memory
from qstore_db.quantum.observables import Observable, Projector, check_observables, strings_of
from qstore_db.quantum.operations import Apply, Unitary
from qstore_db.quantum.plain import Reals, States
from qstore_db.quantum.readout_noise import absorbed

_WIDEST: Final = 8
"""Qubits that an observable may read for noise to be taken into it: w become up to 2^w strings."""


def state(circuit: Circuit, parameters: Values | None = None, data: ArrayLike | None = None) -> States:
    """(2^n,) amplitudes, or (batch, 2^n) for data (batch, n_slots)."""
    values, inputs = circuit.vector(parameters), circuit.inputs(data)
    check_memory(circuit.n_qubits, len(np.atleast_2d(inputs)))
    found = plain.run(circuit, values, np.atleast_2d(inputs))
    return found if inputs.ndim == 2 else found[0]


def probabilities(circuit: Circuit, parameters: Values | None = None, data: ArrayLike | None = None) -> Reals:
    """(2^n,) or (batch, 2^n): of each outcome of measuring all qubits at the end."""
    if is_pure(circuit):
        amplitudes = state(circuit, parameters, data)
        return amplitudes.real**2 + amplitudes.imag**2
    values, inputs = circuit.vector(parameters), circuit.inputs(data)
    found = density.probabilities(density.run(circuit, values, np.atleast_2d(inputs)))
    return found if inputs.ndim == 2 else found[0]


def expectations(
    circuit: Circuit,
    observables: Sequence[Observable],
    parameters: Values | None = None,
    data: ArrayLike | None = None,
) -> Reals:
    """(n_observables,), or (batch, n_observables) for data (batch, n_slots)."""
    check_observables(observables, circuit.n_qubits)
    values, inputs = circuit.vector(parameters), circuit.inputs(data)
    rows = np.atleast_2d(inputs)
    if not is_pure(circuit) and max(map(_width, observables), default=0) <= _WIDEST:
        circuit, observables = absorbed(circuit, observables)
    if is_pure(circuit):
        check_memory(circuit.n_qubits, len(rows))
        found = plain.expectations(plain.run(circuit, values, rows), observables)
    else:
        found = density.expectations(density.run(circuit, values, rows), observables)
    return found if inputs.ndim == 2 else found[0]


def is_pure(circuit: Circuit) -> bool:
    """Whether it has a state vector: gates and nothing else."""
    return all(isinstance(operation, (Apply, Unitary)) for operation in circuit.operations)


def _width(observable: Observable) -> int:
    if isinstance(observable, Projector):
        return len(observable.qubits)
    return max((len(string.factors) for string in strings_of([observable])), default=0)
