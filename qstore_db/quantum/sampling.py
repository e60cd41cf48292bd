"""What a quantum computer would give: outcomes of shots, drawn from exact probabilities.

A seed is an integer, or a numpy Generator that goes on from where it is; the same integer gives the same shots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import ArgumentError
from qstore_db.quantum.circuit import Circuit, Values
from qstore_db.quantum.observables import (
    Observable,
    PauliString,
    Projector,
    check_observables,
    measured_together,
)
from qstore_db.quantum.plain import Reals
from qstore_db.quantum.simulator import probabilities

Seed: TypeAlias = "int | np.random.Generator | None"
Outcomes: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Samples:
    """The outcome of each shot."""

    n_qubits: int
    outcomes: Outcomes
    """(shots,): the index of the basis state; qubit 0 is its most significant bit."""

    @property
    def bits(self) -> NDArray[np.uint8]:
        """(shots, n_qubits)"""
        places = np.arange(self.n_qubits - 1, -1, -1)
        return (self.outcomes[:, np.newaxis] >> places & 1).astype(np.uint8)

    @property
    def counts(self) -> dict[str, int]:
        """How often each outcome that occurred did: keys as "010", qubit 0 first, in rising order."""
        found = Counter(self.outcomes.tolist())
        return {f"{outcome:0{self.n_qubits}b}": found[outcome] for outcome in sorted(found)}


@dataclass(frozen=True, slots=True)
class Estimates:
    """Expectation values from shots, and what they cost."""

    values: Reals
    """(n_observables,), or (batch, n_observables); without bias."""
    errors: Reals
    """Their standard errors, of the same shape."""
    bases: tuple[str, ...]
    """In which the qubits were measured: a letter for each. One circuit for each sample and basis."""
    circuits: int
    shots: int
    """Of all circuits together."""


def sample(
    circuit: Circuit,
    shots: int,
    parameters: Values | None = None,
    data: ArrayLike | None = None,
    *,
    seed: Seed = None,
) -> Samples:
    """Measure all qubits at the end, `shots` times. data: (n_slots,), one sample."""
    row = circuit.inputs(data, one=True)
    drawn = _drawn(probabilities(circuit, parameters, row[np.newaxis]), checked_shots(shots), generator(seed))
    return Samples(circuit.n_qubits, drawn[0])


def estimate(
    circuit: Circuit,
    observables: Sequence[Observable],
    shots: int,
    parameters: Values | None = None,
    data: ArrayLike | None = None,
    *,
    seed: Seed = None,
) -> Estimates:
    """Expectation values as they come from `shots` of each circuit.

    Observables that agree on every qubit's letter are read from the same shots; each further basis is a circuit of
    its own. data: (n_slots,) or (batch, n_slots).
    """
    check_observables(observables, circuit.n_qubits)
    shots, rng = checked_shots(shots), generator(seed)
    inputs = circuit.inputs(data)
    rows = np.atleast_2d(inputs)
    bases = measured_together(observables, circuit.n_qubits)
    values = np.zeros((len(rows), len(observables)))
    variances = np.zeros_like(values)
    for number, basis in enumerate(bases):
        drawn = _drawn(probabilities(in_basis(circuit, basis), parameters, rows), shots, rng)
        for column, observable in enumerate(observables):
            read = read_in_basis(observable, drawn, bases, number)
            values[:, column] += read.mean(axis=1)
            variances[:, column] += read.var(axis=1) / shots
    if inputs.ndim == 1:
        values, variances = values[0], variances[0]
    circuits = len(rows) * len(bases)
    return Estimates(values, np.sqrt(variances), tuple(bases), circuits, circuits * shots)


def in_basis(circuit: Circuit, basis: str) -> Circuit:
    """Followed by the gates after which measuring in Z measures each qubit in its letter of `basis`."""
    for qubit, letter in enumerate(basis):
        if letter == "Y":
            circuit = circuit.sdg(qubit)
        if letter in "XY":
            circuit = circuit.h(qubit)
    return circuit


def generator(seed: Seed) -> np.random.Generator:
    if isinstance(seed, bool) or not (
        seed is None
        or isinstance(seed, np.random.Generator)
        or (isinstance(seed, (int, np.integer)) and seed >= 0)
    ):
        raise ArgumentError(f"seed={seed!r:.80} must be an integer from 0 on, or a Generator", subject="seed")
    return np.random.default_rng(seed)


def checked_shots(shots: int, name: str = "shots") -> int:
    if isinstance(shots, bool) or not isinstance(shots, (int, np.integer)) or shots < 1:
        raise ArgumentError(f"{name}={shots!r:.80} must be an integer from 1 on", subject=name)
    return int(shots)


def _drawn(probs: Reals, shots: int, rng: np.random.Generator) -> Outcomes:
    """(batch, shots)"""
    drawn = np.empty((len(probs), shots), np.int64)
    for row, its in enumerate(probs):
        upto = np.cumsum(its)
        # Divided by itself the last is exactly 1, which no draw reaches: outcomes of probability 0 never come.
        drawn[row] = np.searchsorted(upto / upto[-1], rng.random(shots), side="right")
    return drawn


def read_in_basis(observable: Observable, outcomes: Outcomes, bases: Sequence[str], number: int) -> Reals:
    """What each outcome in basis `number` says of it; of what is read in other bases, nothing."""
    n_qubits, total = len(bases[number]), np.zeros(outcomes.shape)
    if isinstance(observable, Projector):
        asked = PauliString(tuple((qubit, "Z") for qubit in observable.qubits))
        return total + observable.holds(outcomes, n_qubits) if _home(asked, bases) == number else total
    for factor, string in (observable * 1.0).terms:
        if _home(string, bases) == number:
            mask = sum(1 << (n_qubits - 1 - qubit) for qubit in string.qubits)
            total += factor * (1.0 - 2.0 * (np.bitwise_count(outcomes & mask) & 1))
    return total


def _home(string: PauliString, bases: Sequence[str]) -> int:
    """The first basis in which it can be read."""
    return next(
        number
        for number, basis in enumerate(bases)
        if all(basis[qubit] == letter for qubit, letter in string.factors)
    )
