"""Noise right before readout is a map of what is read: the state stays pure, and gradients stay exact.

In the picture in which observables move, a channel with Kraus operators K turns O into the sum of K^dagger O K. For
amplitude damping g that is Z -> (1 - g) Z + g and X, Y -> sqrt(1 - g) X, Y; for phase damping Z stays as it is.
Source: Nielsen and Chuang (2010), section 8.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.quantum.channels import Channel
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.gates import PAULIS
from qstore_db.quantum.observables import Observable, PauliString, PauliSum, Projector
from qstore_db.quantum.operations import Apply, Operation, Unitary, kraus_of

_Map: TypeAlias = Mapping[str, Sequence[tuple[float, str]]]
"""What each letter becomes: factors and letters."""


def read_through(observable: Observable, channel: Channel, *qubits: int) -> PauliSum:
    """What, read without the channel, has the value of `observable` read right after it.

    The channel is on each of `qubits`; without any, on all that the observable reads. A string of w letters becomes
    up to 2^w, a projector on w qubits 2^w.
    """
    total = _as_sum(observable)
    for qubit in qubits or sorted({qubit for _, string in total.terms for qubit in string.qubits}):
        total = _mapped(total, _map_of(channel.kraus()), qubit)
    return total


def absorbed(circuit: Circuit, observables: Sequence[Observable]) -> tuple[Circuit, list[Observable]]:
    """Without the channels, measurements and resets that no gate follows on their qubit, and what then is read."""
    kept: list[Operation] = []
    found: list[Observable] = list(observables)
    gates_follow: set[int] = set()
    for operation in reversed(circuit.operations):
        if isinstance(operation, (Apply, Unitary)) or operation.qubits[0] in gates_follow:
            kept.append(operation)
            gates_follow |= set(operation.qubits)
        else:
            by_letter = _map_of(kraus_of(operation))
            found = [_mapped(_as_sum(each), by_letter, operation.qubits[0]) for each in found]
    return Circuit(circuit.n_qubits, tuple(reversed(kept))), found


def _map_of(kraus: NDArray[np.complex128]) -> _Map:
    found: dict[str, list[tuple[float, str]]] = {"I": [(1.0, "I")]}
    for letter in "XYZ":
        moved = np.einsum("kba,bc,kcd->ad", kraus.conj(), PAULIS[letter], kraus)
        factors = [(float(np.trace(PAULIS[to] @ moved).real) / 2, to) for to in "IXYZ"]
        found[letter] = [(factor, to) for factor, to in factors if abs(factor) > 1e-16]
    return found


def _mapped(total: PauliSum, by_letter: _Map, qubit: int) -> PauliSum:
    factors: dict[PauliString, float] = {}
    for its, string in total.terms:
        others = dict(string.factors)
        for factor, letter in by_letter[others.pop(qubit, "I")]:
            letters = others if letter == "I" else {**others, qubit: letter}
            moved = PauliString(tuple(sorted(letters.items())))
            factors[moved] = factors.get(moved, 0.0) + its * factor
    return PauliSum(tuple((factor, string) for string, factor in factors.items()))


def _as_sum(observable: Observable) -> PauliSum:
    """A projector on bits is the product of (1 + Z) / 2 and (1 - Z) / 2."""
    if not isinstance(observable, Projector):
        return observable * 1.0
    terms = [(1.0, PauliString())]
    for qubit, bit in zip(observable.qubits, observable.bits, strict=True):
        z = PauliString(((qubit, "Z"),))
        terms = [
            term
            for factor, string in terms
            for term in ((0.5 * factor, string), ((0.5 - bit) * factor, string @ z))
        ]
    return PauliSum(tuple(terms))
