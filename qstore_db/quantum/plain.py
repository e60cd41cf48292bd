"""Statevectors gate by gate, without algebra or compiled code: what all faster paths are held against.

A batch of states is (batch, 2^n) complex128; qubit 0 is the most significant bit of an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError
from qstore_db.quantum.angles import Angle
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.gates import Gate, Matrix, Turn
from qstore_db.quantum.memory import check_memory
from qstore_db.quantum.observables import Observable, PauliString, PauliSum
from qstore_db.quantum.operations import Apply, Operation, Unitary

States = NDArray[np.complex128]
Reals = NDArray[np.float64]


def run(circuit: Circuit, parameters: Reals, data: Reals, states: States | None = None) -> States:
    """States after the circuit, (batch, 2^n).

    parameters: (n_parameters,). data: (batch, n_slots). states: those to begin with, (batch, 2^n); |0...0> without.
    Raises ArgumentError for a circuit with noise, measurements or resets, and for more than fits the memory.
    """
    check_memory(circuit.n_qubits, len(data))
    if states is None:
        states = np.zeros((len(data), 1 << circuit.n_qubits), np.complex128)
        states[:, 0] = 1.0
    for operation in circuit.steps:
        states = applied(states, matrix_of(operation, circuit, parameters, data), operation.qubits)
    return states


def applied(states: States, matrices: Matrix, qubits: Sequence[int]) -> States:
    """With (2^k, 2^k) or (batch, 2^k, 2^k) matrices applied to k qubits."""
    batch, size = states.shape
    n_qubits = size.bit_length() - 1
    axes = [1 + qubit for qubit in qubits]
    apart = np.moveaxis(states.reshape(batch, *(2,) * n_qubits), axes, range(1, 1 + len(axes)))
    turned = matrices @ apart.reshape(batch, 1 << len(axes), -1)
    return np.moveaxis(turned.reshape(apart.shape), range(1, 1 + len(axes)), axes).reshape(batch, size)


def matrix_of(operation: Operation, circuit: Circuit, parameters: Reals, data: Reals) -> Matrix:
    """(2^k, 2^k), or (batch, 2^k, 2^k) where the angle depends on the input."""
    if isinstance(operation, Unitary):
        return operation.matrix
    if not isinstance(operation, Apply):
        raise ArgumentError(
            f"a circuit with {type(operation).__name__.lower()} has no state vector: run it as a density matrix "
            "or as trajectories",
            subject="circuit",
        )
    gate = operation.gate
    if isinstance(gate, Gate):
        return gate.matrix
    assert isinstance(gate, Turn), "composed gates were taken apart"
    return gate.matrices(value_of(operation.angles[0], circuit, parameters, data))


def value_of(angle: Angle, circuit: Circuit, parameters: Reals, data: Reals) -> Reals:
    """Radians, () or (batch,)."""
    value: Any = np.float64(angle.constant)
    for symbol, factor in angle.terms:
        value = value + factor * (
            parameters[circuit.parameters.index(symbol)] if isinstance(symbol, str) else data[:, symbol]
        )
    return np.asarray(value, np.float64)


def expectations(states: States, observables: Sequence[Observable]) -> Reals:
    """(batch, len(observables))"""
    found: Reals = np.empty((len(states), len(observables)))
    for column, observable in enumerate(observables):
        found[:, column] = np.einsum("bi,bi->b", states.conj(), observed(states, observable)).real
    return found


def observed(states: States, observable: Observable) -> States:
    """The observable applied to each state."""
    size = states.shape[1]
    n_qubits = size.bit_length() - 1
    if isinstance(observable, PauliString):
        return _flipped(states, observable, n_qubits)
    if isinstance(observable, PauliSum):
        total = np.zeros(states.shape, np.complex128)
        for factor, string in observable.terms:
            total += factor * _flipped(states, string, n_qubits)
        return total
    return np.where(observable.holds(np.arange(size), n_qubits), states, 0.0)


def _flipped(states: States, string: PauliString, n_qubits: int) -> States:
    flip, sign = string.masks(n_qubits)
    index = np.arange(states.shape[1])
    signs = 1.0 - 2.0 * (np.bitwise_count(index & sign) & 1)
    phase = 1j ** sum(letter == "Y" for _, letter in string.factors)
    moved: States = (phase * signs * states)[:, index ^ flip]
    return moved
