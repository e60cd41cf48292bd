"""Noise inside of layers: what is asked for, and how its values are found.

What no gate follows is a map of what is read. The rest is a density matrix up to 10 qubits; beyond, trajectories,
which exist for channels that apply Pauli operators with probabilities of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qstore_db.errors import ArgumentError
from qstore_db.quantum import Channel, Circuit
from qstore_db.quantum.channels import UNITARY_MIXTURES
from qstore_db.quantum.density import MAX_QUBITS
from qstore_db.quantum.observables import Observable
from qstore_db.quantum.operations import Apply, Noise, Unitary
from qstore_db.quantum.readout_noise import absorbed
from qstore_db.quantum.trajectories import unravelled


def channels(noise: Any) -> tuple[Channel, ...]:
    """None, a channel, or a sequence of them. Raises ArgumentError for what is none of these."""
    given = () if noise is None else (noise,) if isinstance(noise, Channel) else noise
    if not isinstance(given, Sequence) or not all(isinstance(each, Channel) for each in given):
        raise ArgumentError(f"noise={noise!r:.80} must be a Channel or a sequence of them", subject="noise")
    return tuple(given)


def with_noise(circuit: Circuit, noise: Sequence[Channel]) -> Circuit:
    """Followed by every channel on every qubit."""
    for channel in noise:
        circuit = circuit.noise(channel)
    return circuit


def without_noise(circuit: Circuit) -> Circuit:
    """What is asked of a device, which adds the noise by itself."""
    return Circuit(
        circuit.n_qubits, tuple(each for each in circuit.operations if not isinstance(each, Noise))
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated instead of a circuit that may have channels, measurements and resets."""

    circuit: Circuit
    observables: tuple[Observable, ...]
    mixed: bool
    """Whether that takes density matrices."""
    drawn: Circuit | None
    """The circuit whose channels are drawn for each trajectory; `circuit` has them as further data slots."""


def planned(circuit: Circuit, observables: Sequence[Observable]) -> Plan:
    """Raises ArgumentError for damping, measurements and resets inside of more than 10 qubits."""
    if _is_pure(circuit):
        return Plan(circuit, tuple(observables), mixed=False, drawn=None)
    rest, read = absorbed(circuit, observables)
    if _is_pure(rest) or circuit.n_qubits <= MAX_QUBITS:
        return Plan(rest, tuple(read), mixed=not _is_pure(rest), drawn=None)
    for operation in rest.operations:
        kind = operation.channel.kind if isinstance(operation, Noise) else type(operation).__name__.lower()
        if not isinstance(operation, (Apply, Unitary)) and kind not in UNITARY_MIXTURES:
            raise ArgumentError(
                f"noise: {kind} before other gates is computed up to {MAX_QUBITS} qubits, not for "
                f"{circuit.n_qubits}: use fewer, or {', '.join(sorted(UNITARY_MIXTURES))}, or only one layer",
                subject="noise",
            )
    return Plan(unravelled(rest), tuple(read), mixed=False, drawn=rest)


def _is_pure(circuit: Circuit) -> bool:
    return all(isinstance(each, (Apply, Unitary)) for each in circuit.operations)
