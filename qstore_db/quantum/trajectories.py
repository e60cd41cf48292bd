"""Noise, measurements and resets by chance: pure states that jump, whose mean is what the density matrix says.

At each channel one of its Kraus operators is drawn with probability |K psi|^2. Memory is that of pure states, so
this reaches where density matrices do not; errors fall with the square root of the number of trajectories.
Source: Molmer, Castin and Dalibard (1993), J. Opt. Soc. Am. B 10, 524.

Gradients exist for channels that apply Pauli operators with probabilities of their own (depolarising and flips):
there a trajectory is an ordinary sample of an ordinary circuit, with the Paulis that were drawn as further data.
Where probabilities depend on the state, so do the draws: the mean of the gradients is not the gradient of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import DifferentiationError
from qstore_db.quantum import adjoint, plain
from qstore_db.quantum.adjoint import Gradients
from qstore_db.quantum.angles import data as slot
from qstore_db.quantum.channels import UNITARY_MIXTURES
from qstore_db.quantum.circuit import Circuit, Values
from qstore_db.quantum.memory import check_memory, state_bytes
from qstore_db.quantum.observables import Observable, check_observables
from qstore_db.quantum.operations import Apply, Measure, Noise, Unitary, kraus_of, name_of
from qstore_db.quantum.plain import Reals, States
from qstore_db.quantum.sampling import Seed, checked_shots, generator

_AT_ONCE: Final = 64 << 20
"""Bytes of states that run together. Part of what a seed means: other parts draw in another order."""
_PAULI: Final = {"I": (0, 0), "X": (1, 0), "Y": (1, 1), "Z": (0, 1)}
"""Whether X acts, and whether Z does; Y is both up to a phase."""


@dataclass(frozen=True, slots=True)
class Trajectories:
    """Means over trajectories."""

    values: Reals
    """(n_observables,), or (batch, n_observables)"""
    errors: Reals
    """Standard errors of these, of the same shape."""
    outcomes: NDArray[np.uint8]
    """(trajectories, n_measurements), or (batch, trajectories, n_measurements): what the measurements gave, in the
    order of the circuit."""


def trajectory_expectations(
    circuit: Circuit,
    observables: Sequence[Observable],
    trajectories: int,
    parameters: Values | None = None,
    data: ArrayLike | None = None,
    *,
    seed: Seed = None,
) -> Trajectories:
    """Expectation values of any circuit; the same seed gives the same. data: (n_slots,) or (batch, n_slots)."""
    check_observables(observables, circuit.n_qubits)
    trajectories, rng = checked_shots(trajectories, "trajectories"), generator(seed)
    values, inputs = circuit.vector(parameters), circuit.inputs(data)
    check_memory(circuit.n_qubits)
    rows = np.repeat(np.atleast_2d(inputs), trajectories, axis=0)
    together = max(1, _AT_ONCE // state_bytes(circuit.n_qubits))
    read, outcomes = [], []
    for start in range(0, len(rows), together):
        states, its = run(circuit, values, rows[start : start + together], rng)
        read.append(plain.expectations(states, observables))
        outcomes.append(its)
    by_row = (*inputs.shape[:-1], trajectories)
    found = np.concatenate(read).reshape(*by_row, len(observables))
    spread = found.std(axis=-2, ddof=1) if trajectories > 1 else np.full_like(found[..., 0, :], np.inf)
    return Trajectories(
        found.mean(axis=-2),
        spread / np.sqrt(trajectories),
        np.concatenate(outcomes).reshape(*by_row, outcomes[0].shape[1]),
    )


def run(
    circuit: Circuit, parameters: Reals, data: Reals, rng: np.random.Generator
) -> tuple[States, NDArray[np.uint8]]:
    """One trajectory for each row of `data`: states (batch, 2^n) and outcomes (batch, n_measurements)."""
    check_memory(circuit.n_qubits, len(data))
    states = np.zeros((len(data), 1 << circuit.n_qubits), np.complex128)
    states[:, 0] = 1.0
    outcomes: list[NDArray[np.uint8]] = []
    for operation in circuit.steps:
        if isinstance(operation, (Apply, Unitary)):
            matrices = plain.matrix_of(operation, circuit, parameters, data)
            states = plain.applied(states, matrices, operation.qubits)
        else:
            states, drawn = _jumped(states, kraus_of(operation), operation.qubits[0], rng)
            if isinstance(operation, Measure):
                outcomes.append(drawn.astype(np.uint8))
    return states, np.array(outcomes, np.uint8).T.reshape(len(data), len(outcomes))


def gradients(
    circuit: Circuit,
    observables: Sequence[Observable],
    parameters: Reals,
    data: Reals,
    weights: Reals,
    trajectories: int,
    rng: np.random.Generator,
) -> Gradients:
    """As `adjoint.gradients`, with means over `trajectories` for each row of `data`.

    Raises DifferentiationError for damping, measurements and resets.
    """
    pure = unravelled(circuit)
    rows = np.hstack([np.repeat(data, trajectories, axis=0), draws(circuit, len(data) * trajectories, rng)])
    found = adjoint.gradients(
        pure, observables, parameters, rows, np.repeat(weights, trajectories, axis=0) / trajectories
    )
    apart = (len(data), trajectories, -1)
    return Gradients(
        found.values.reshape(apart).mean(axis=1),
        found.parameters,
        found.data.reshape(apart)[..., : data.shape[1]].sum(axis=1),
        None,
    )


def unravelled(circuit: Circuit) -> Circuit:
    """The same without channels: where one was, RX(pi a) and RZ(pi b) with two further data slots a, b for it.

    With rows of `draws` in these slots, a batch is one of trajectories, up to phases that nobody reads. Raises
    DifferentiationError for what is no mixture of Paulis with fixed probabilities.
    """
    pure, place = Circuit(circuit.n_qubits), circuit.n_slots
    for operation in circuit.operations:
        if isinstance(operation, (Apply, Unitary)):
            pure = Circuit(pure.n_qubits, (*pure.operations, operation))
            continue
        if not isinstance(operation, Noise) or operation.channel.kind not in UNITARY_MIXTURES:
            name = operation.channel.kind if isinstance(operation, Noise) else name_of(operation)
            raise DifferentiationError(
                f"{name} has no gradient by trajectories: only {', '.join(sorted(UNITARY_MIXTURES))} do; use a "
                "density matrix, or noise right before readout",
                subject=name,
            )
        (qubit,) = operation.qubits
        pure = pure.rx(qubit, np.pi * slot(place)).rz(qubit, np.pi * slot(place + 1))
        place += 2
    return pure


def draws(circuit: Circuit, rows: int, rng: np.random.Generator) -> Reals:
    """(rows, 2 n_channels) of 0 and 1: for each channel, whether X acts and whether Z does."""
    columns: list[Reals] = [np.empty((rows, 0))]
    for operation in circuit.operations:
        if isinstance(operation, Noise):
            shares = operation.channel.shares()
            drawn = rng.choice(len(shares), rows, p=list(shares.values()))
            columns.append(np.array([_PAULI[letter] for letter in shares], np.float64)[drawn])
    return np.hstack(columns)


def _jumped(
    states: States, kraus: NDArray[np.complex128], qubit: int, rng: np.random.Generator
) -> tuple[States, NDArray[np.intp]]:
    """States after the operators that were drawn, of norm 1, and which these were, (batch,)."""
    halves = states.reshape(len(states), 1 << qubit, 2, -1)
    reduced = np.einsum("blir,bljr->bij", halves, halves.conj())
    probs = np.einsum("kai,kaj,bij->bk", kraus, kraus.conj(), reduced).real.clip(min=0.0)
    upto = np.cumsum(probs, axis=1)
    # Divided by itself the last is exactly 1, which no draw reaches: operators of probability 0 are never drawn.
    drawn = (upto / upto[:, -1:] <= rng.random((len(states), 1))).sum(axis=1)
    norms = np.sqrt(probs[np.arange(len(states)), drawn])
    return plain.applied(states, kraus[drawn] / norms[:, np.newaxis, np.newaxis], (qubit,)), drawn
