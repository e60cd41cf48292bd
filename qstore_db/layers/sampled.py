"""Expectation values as means over shots, drawn from exact probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qstore_db.quantum import Circuit
from qstore_db.quantum.observables import Observable, measured_together
from qstore_db.quantum.sampling import in_basis, read_in_basis
from qstore_db.quantum.torch_path import TorchProgram

Numbers = NDArray[Any]


class Sampled:
    """Evaluates a circuit by `shots` of it in each basis that the observables need."""

    def __init__(
        self, circuit: Circuit, observables: Sequence[Observable], shots: int, random: np.random.Generator
    ) -> None:
        self._shots, self._random, self._n_observables = shots, random, len(observables)
        bases = measured_together(observables, circuit.n_qubits)
        outcomes = np.arange(1 << circuit.n_qubits)
        self._parts = [
            (
                TorchProgram(in_basis(circuit, basis), ()),
                np.column_stack([read_in_basis(each, outcomes, bases, number) for each in observables]),
            )
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
