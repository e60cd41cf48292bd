"""The metric of a circuit's states, by which a gradient becomes the natural one.

How far the state moves as the angles do: g_ij = Re <d_i psi|d_j psi> - <d_i psi|psi><psi|d_j psi>, between gates
that act side by side; between all others it is taken as 0, which makes it block-diagonal.
Source: Stokes et al. (2020), arXiv:1909.02108.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.gates import Matrix, Turn, word_matrix
from qstore_db.quantum.observables import PauliString, PauliSum
from qstore_db.quantum.operations import Apply, Operation, Unitary, name_of
from qstore_db.quantum.program import Program

Numbers = NDArray[Any]
DAMPING = 1e-3
"""Added to the metric's diagonal: along a direction in which the state does not move, it is 0."""


class Metric:
    """The metric of one circuit, whose every trainable gate counts.

    Raises ArgumentError for noise, measurements and resets: it is that of pure states.
    """

    def __init__(self, circuit: Circuit, dtype: type[np.floating[Any]] = np.float64) -> None:
        places = {name: place for place, name in enumerate(circuit.parameters)}
        self._n_parameters = len(places)
        self._blocks = [_Block(prefix, gates, places, dtype) for prefix, gates in _side_by_side(circuit)]

    def __call__(
        self, parameters: Numbers, data: Numbers, states: Numbers | None = None
    ) -> NDArray[np.float64]:
        """(n_parameters, n_parameters), symmetric, positive semidefinite: the mean over the batch.

        parameters, data, states: as `Program.values` takes them.
        """
        found = np.zeros((self._n_parameters, self._n_parameters))
        for block in self._blocks:
            found += block.metric(parameters, data, states)
        return found


def natural(gradient: Numbers, metric: Numbers, damping: float = DAMPING) -> NDArray[np.float64]:
    """(n_parameters,): the direction of steepest ascent for states that move by the same distance."""
    found = np.linalg.solve(metric + damping * np.eye(len(metric)), gradient)
    return np.asarray(found, np.float64)


class _Block:
    """Gates that act side by side, right behind `prefix`."""

    def __init__(
        self, prefix: Circuit, gates: Sequence[Apply], places: dict[str, int], dtype: type[np.floating[Any]]
    ) -> None:
        self._count = len(gates)
        self._factors = np.zeros((len(gates), len(places)))
        for row, gate in enumerate(gates):
            for symbol, factor in gate.angles[0].terms:
                if isinstance(symbol, str):
                    self._factors[row, places[symbol]] += factor
        generators = [_paulis(_generator(gate), gate.qubits) for gate in gates]
        squares = [_paulis(_generator(gate) @ _generator(gate), gate.qubits) for gate in gates]
        self._pairs = list(combinations(range(len(gates)), 2))
        both = [_multiplied(generators[i], generators[j]) for i, j in self._pairs]
        # Those of later gates are not the prefix's.
        self._parameters = [places[name] for name in prefix.parameters]
        self._n_slots = prefix.n_slots
        self._program = Program(prefix, [*generators, *squares, *both], dtype)

    def metric(self, parameters: Numbers, data: Numbers, states: Numbers | None) -> NDArray[np.float64]:
        own = np.ascontiguousarray(data[:, : self._n_slots])
        values = self._program.values(parameters[self._parameters], own, states).astype(np.float64)
        means, products = values[:, : self._count], values.mean(axis=0)[self._count :]
        found: NDArray[np.float64] = np.diag(products[: self._count])
        for (i, j), value in zip(self._pairs, products[self._count :], strict=True):
            found[i, j] = found[j, i] = value
        np.subtract(found, means.T @ means / len(values), out=found)
        pulled: NDArray[np.float64] = self._factors.T @ found @ self._factors
        return pulled


def _side_by_side(circuit: Circuit) -> list[tuple[Circuit, list[Apply]]]:
    """Trainable gates none of which comes after another, and all steps that can come before them."""
    levels: list[int] = []
    reached = [0] * circuit.n_qubits
    for step in circuit.steps:
        if not isinstance(step, (Apply, Unitary)):
            raise ArgumentError(
                f"a circuit with {name_of(step)} has no metric here: it is that of pure states",
                subject="circuit",
            )
        level = max(reached[qubit] for qubit in step.qubits) + _is_trainable(step)
        levels.append(level)
        for qubit in step.qubits:
            reached[qubit] = level
    ordered = list(zip(circuit.steps, levels, strict=True))
    return [
        (
            Circuit(circuit.n_qubits, tuple(step for step, its in ordered if its < level)),
            [
                step
                for step, its in ordered
                if its == level and _is_trainable(step) and isinstance(step, Apply)
            ],
        )
        for level in range(1, max(reached, default=0) + 1)
    ]


def _is_trainable(step: Operation) -> bool:
    return (
        isinstance(step, Apply)
        and isinstance(step.gate, Turn)
        and any(isinstance(symbol, str) for symbol, _ in step.angles[0].terms)
    )


def _generator(gate: Apply) -> Matrix:
    assert isinstance(gate.gate, Turn)
    return gate.gate.generator


def _paulis(matrix: Matrix, qubits: Sequence[int]) -> PauliSum:
    """A Hermitian (2^k, 2^k) matrix on k qubits, of which the first is the most significant."""
    terms: list[tuple[float, PauliString]] = []
    for letters in product("IXYZ", repeat=len(qubits)):
        factor = float(np.trace(word_matrix("".join(letters)) @ matrix).real) / len(matrix)
        if abs(factor) > 1e-12:
            factors = sorted(
                (qubit, letter) for qubit, letter in zip(qubits, letters, strict=True) if letter != "I"
            )
            terms.append((factor, PauliString(tuple(factors))))
    return PauliSum(tuple(terms))


def _multiplied(one: PauliSum, other: PauliSum) -> PauliSum:
    """Of sums on different qubits."""
    return PauliSum(tuple((a * b, p @ q) for (a, p), (b, q) in product(one.terms, other.terms)))
