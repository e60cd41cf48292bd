"""Classes from a state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from qstore_db.layers import tensors
from qstore_db.layers.base import CircuitModule
from qstore_db.layers.encoding import EncodingLayer
from qstore_db.layers.readings import LEAST, Readout
from qstore_db.quantum import Circuit, Projector


class QuantumReadout(CircuitModule):
    """(..., up to 2^n_qubits) amplitudes -> (..., n_classes) probabilities of the first basis states, or
    their logarithms.

    Rows become amplitudes (normalised, padded with zeros), and every qubit is turned by a trained RY.
    output: "log_probs", as `torch.nn.NLLLoss` takes them, or "probs".
    unused: what is done with the probability of basis states that are no class: "renormalise" divides by the rest;
        "penalise" leaves it out, so that a loss of log_probs makes it small; "extra_class" is a column more.
    `leftover` is the mean of that probability in the last batch.

    Raises ArgumentError for more classes than there are basis states.
    """

    def __init__(
        self,
        n_qubits: int,
        n_classes: int,
        readout_type: str = "computational",
        *,
        output: str = "log_probs",
        unused: str = "renormalise",
        init: str = "small",
        seed: int | None = None,
    ) -> None:
        self._its = its = Readout(n_qubits, n_classes, readout_type, output, unused)
        self.n_qubits, self.n_classes = n_qubits, n_classes
        super().__init__(
            {**asdict(its), "init": init, "seed": seed},
            its.circuit(),
            list(its.classes_on(range(n_qubits))),
            output_dim=its.width,
            from_states=True,
            init=init,
            seed=seed,
        )
        self.encoding = EncodingLayer(1 << n_qubits)
        self.leftover: Tensor
        self.register_buffer("leftover", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = tensors.inputs(x, None, self.quantum_params)
        states = self.encoding(x.reshape(-1, x.shape[-1]))
        found = self.scores(self.expectations(self._angles(), states[:, :0], states))
        return found.reshape(*x.shape[:-1], found.shape[-1])

    def scores(self, probabilities: Tensor) -> Tensor:
        """What comes out for (batch, n_classes) probabilities of the classes' basis states."""
        total = probabilities.sum(dim=1, keepdim=True)
        with torch.no_grad():
            self.leftover.copy_((1.0 - total).mean())
        if self._its.unused == "renormalise":
            probabilities = probabilities / total.clamp_min(LEAST)
        elif self._its.unused == "extra_class":
            probabilities = torch.cat([probabilities, (1.0 - total).clamp_min(0.0)], dim=1)
        return probabilities.clamp_min(LEAST).log() if self._its.output == "log_probs" else probabilities

    def classes_on(self, qubits: Sequence[int]) -> list[Projector]:
        """Class c is the basis state c of these qubits, the first the most significant."""
        return self._its.classes_on(qubits)

    def renamed(self, prefix: str) -> Circuit:
        """Its circuit with `prefix` before every parameter's name."""
        return self._its.circuit(prefix)
