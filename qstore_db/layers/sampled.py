"""Expectation values as means over shots, drawn from exact probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qstore_db.quantum import Circuit, PauliString, PauliSum, Projector
from qstore_db.quantum.observables import Observable, measured_together
from qstore_db.quantum.torch_path import TorchProgram

Numbers = NDArray[Any]


class Sampled:
    """Evaluates a circuit by `shots` of it in each basis that the observables need."""

    def __init__(
        self, circuit: Circuit, observables: Sequence[Observable], shots: int, random: np.random.Generator
    ) -> None:
        self._shots, self._random, self._n_observables = shots, random, len(observables)
        bases = measured_together(observables, circuit.n_qubits)
        self._parts = [
            (TorchProgram(_in_basis(circuit, basis), ()), _read(observables, bases, number))
            for number, basis in enumerate(bases)
        ]

    def __call__(self, parameters: Numbers, data: Numbers, states: Numbers | None = None) -> Numbers:
        """(batch, n_observables)"""
        found = np.zeros((len(data), self._n_observables))
        angles, slots = torch.from_numpy(parameters).double(), torch.from_numpy(data).double()
        began = None if states is None else torch.from_numpy(states)
        for program, read in self._parts:
            with torch.no_grad():
                psi = program.states(angles, slots, began)
            probabilities = (psi.real.square() + psi.imag.square()).numpy()
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            found += self._random.multinomial(self._shots, probabilities) @ read / self._shots
        return found.astype(parameters.dtype)


def _in_basis(circuit: Circuit, basis: str) -> Circuit:
    for qubit, letter in enumerate(basis):
        if letter == "Y":
            circuit = circuit.sdg(qubit)
        if letter in "XY":
            circuit = circuit.h(qubit)
    return circuit


def _read(observables: Sequence[Observable], bases: Sequence[str], number: int) -> NDArray[np.float64]:
    """(2^n, n_observables): what each outcome in a basis says of each observable; 0 where others say it."""
    n_qubits = len(bases[number])
    index = np.arange(1 << n_qubits)
    read = np.zeros((len(index), len(observables)))
    for column, observable in enumerate(observables):
        if isinstance(observable, Projector):
            if _home(PauliString(tuple((qubit, "Z") for qubit in observable.qubits)), bases) == number:
                bits = [index >> (n_qubits - 1 - qubit) & 1 for qubit in observable.qubits]
                read[:, column] = np.all(
                    [its == bit for its, bit in zip(bits, observable.bits, strict=True)], axis=0
                )
            continue
        for factor, string in observable.terms if isinstance(observable, PauliSum) else ((1.0, observable),):
            if _home(string, bases) == number:
                mask = sum(1 << (n_qubits - 1 - qubit) for qubit in string.qubits)
                read[:, column] += factor * (1.0 - 2.0 * (np.bitwise_count(index & mask) & 1))
    return read


def _home(string: PauliString, bases: Sequence[str]) -> int:
    """The first basis in which it can be read."""
    return next(
        number
        for number, basis in enumerate(bases)
        if all(basis[qubit] == letter for qubit, letter in string.factors)
    )
