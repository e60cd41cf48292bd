"""Where circuits are run on this machine: checked input in, exact values out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from qstore_db.quantum import plain
from qstore_db.quantum.circuit import Circuit, Values
from qstore_db.quantum.observables import Observable, check_observables
from qstore_db.quantum.plain import Reals, States


def state(circuit: Circuit, parameters: Values | None = None, data: ArrayLike | None = None) -> States:
    """(2^n,) amplitudes, or (batch, 2^n) for data (batch, n_slots)."""
    values, inputs = circuit.vector(parameters), circuit.inputs(data)
    found = plain.run(circuit, values, np.atleast_2d(inputs))
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
    found = plain.expectations(plain.run(circuit, values, np.atleast_2d(inputs)), observables)
    return found if inputs.ndim == 2 else found[0]
