"""Density matrices: circuits with noise, measurements and resets, exactly.

A batch is (batch, 2^n, 2^n) complex128, run as a state of 2 n qubits: the row's, then the column's. What a
measurement in the middle gave is not kept: it acts as the average over its outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import ArgumentError
from qstore_db.quantum import plain
from qstore_db.quantum.circuit import Circuit, Values
from qstore_db.quantum.gates import Matrix
from qstore_db.quantum.memory import check_memory, in_words, state_bytes
from qstore_db.quantum.observables import Observable, PauliString, PauliSum
from qstore_db.quantum.operations import Apply, Measure, Noise, Reset, Unitary, kraus_of
from qstore_db.quantum.plain import Reals

MAX_QUBITS: Final = 10
"""16 MiB a matrix; each qubit more takes four times as much, and as long."""


def density_matrix(
    circuit: Circuit, parameters: Values | None = None, data: ArrayLike | None = None
) -> NDArray[np.complex128]:
    """(2^n, 2^n), or (batch, 2^n, 2^n) for data (batch, n_slots). Raises ArgumentError beyond 10 qubits."""
    values, inputs = circuit.vector(parameters), circuit.inputs(data)
    found = run(circuit, values, np.atleast_2d(inputs))
    return found if inputs.ndim == 2 else found[0]


def run(circuit: Circuit, parameters: Reals, data: Reals) -> NDArray[np.complex128]:
    """(batch, 2^n, 2^n). The others as `plain.run` takes them."""
    n_qubits, batch = circuit.n_qubits, len(data)
    check_size(n_qubits)
    check_memory(n_qubits, batch << n_qubits)
    matrices = np.zeros((batch, 1 << 2 * n_qubits), np.complex128)
    matrices[:, 0] = 1.0
    for operation in circuit.steps:
        columns = tuple(qubit + n_qubits for qubit in operation.qubits)
        if isinstance(operation, (Apply, Unitary)):
            matrix = plain.matrix_of(operation, circuit, parameters, data)
            matrices = plain.applied(matrices, matrix, operation.qubits)
            matrices = plain.applied(matrices, matrix.conj(), columns)
        else:
            matrices = plain.applied(matrices, on_both(operation), operation.qubits + columns)
    return matrices.reshape(batch, 1 << n_qubits, 1 << n_qubits)


def on_both(operation: Noise | Measure | Reset) -> Matrix:
    """(4, 4): what it does to a qubit's row and column, the row the more significant."""
    kraus = kraus_of(operation)
    both: Matrix = np.einsum("kab,kcd->acbd", kraus, kraus.conj()).reshape(4, 4)
    return both


def check_size(n_qubits: int) -> None:
    """Raises ArgumentError beyond 10 qubits."""
    if n_qubits > MAX_QUBITS:
        raise ArgumentError(
            f"n_qubits={n_qubits}: a density matrix of them takes {in_words(state_bytes(2 * n_qubits))}, and is "
            f"computed up to {MAX_QUBITS} qubits; run the circuit as trajectories",
            subject="n_qubits",
        )


def probabilities(matrices: NDArray[np.complex128]) -> Reals:
    """(batch, 2^n)"""
    found: Reals = np.maximum(np.einsum("bii->bi", matrices).real, 0.0)
    return found


def expectations(matrices: NDArray[np.complex128], observables: Sequence[Observable]) -> Reals:
    """(batch, len(observables))"""
    found: Reals = np.empty((len(matrices), len(observables)))
    for column, observable in enumerate(observables):
        found[:, column] = _expectation(matrices, observable)
    return found


def _expectation(matrices: NDArray[np.complex128], observable: Observable) -> Reals:
    if isinstance(observable, PauliString):
        return _string(matrices, observable)
    if isinstance(observable, PauliSum):
        total: Reals = np.zeros(len(matrices))
        for factor, string in observable.terms:
            total += factor * _string(matrices, string)
        return total
    kept = observable.holds(np.arange(matrices.shape[1]), matrices.shape[1].bit_length() - 1)
    chance: Reals = probabilities(matrices)[:, kept].sum(axis=1)
    return chance


def _string(matrices: NDArray[np.complex128], string: PauliString) -> Reals:
    """The trace of rho P, from the one entry that P has in each column."""
    size = matrices.shape[1]
    flip, sign = string.masks(size.bit_length() - 1)
    index = np.arange(size)
    signs = 1.0 - 2.0 * (np.bitwise_count(index & sign) & 1)
    phase = 1j ** sum(letter == "Y" for _, letter in string.factors)
    found: Reals = (phase * (matrices[:, index, index ^ flip] @ signs)).real
    return found
