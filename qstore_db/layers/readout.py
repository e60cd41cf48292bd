"""Classes from a state."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from qstore_db.errors import ArgumentError
from qstore_db.layers import arguments, tensors
from qstore_db.layers.base import CircuitModule
from qstore_db.layers.encoding import EncodingLayer
from qstore_db.quantum import Circuit, Projector

UNUSED: Final = ("renormalise", "penalise", "extra_class")
_LEAST = 1e-30
"""Below this a probability is taken for it, so that its logarithm has a gradient that is a number."""


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
        arguments.qubits(n_qubits)
        arguments.whole("n_classes", n_classes)
        arguments.one_of("readout_type", readout_type, ("computational",))
        arguments.one_of("output", output, ("log_probs", "probs"))
        arguments.one_of("unused", unused, UNUSED)
        if n_classes > 1 << n_qubits:
            raise ArgumentError(
                f"n_classes={n_classes} is more than the {1 << n_qubits} basis states of {n_qubits} qubits",
                subject="n_classes",
            )
        if unused == "extra_class" and n_classes == 1 << n_qubits:
            raise ArgumentError("unused='extra_class', but every basis state is a class", subject="unused")
        kept: dict[str, Any] = {
            "n_qubits": n_qubits,
            "n_classes": n_classes,
            "readout_type": readout_type,
            "output": output,
            "unused": unused,
            "init": init,
            "seed": seed,
        }
        self.n_qubits, self.n_classes = n_qubits, n_classes
        self._logarithm, self._unused = output == "log_probs", unused
        super().__init__(
            kept,
            self.renamed(""),
            list(self.classes_on(range(n_qubits))),
            output_dim=n_classes + (unused == "extra_class"),
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
        if self._unused == "renormalise":
            probabilities = probabilities / total.clamp_min(_LEAST)
        elif self._unused == "extra_class":
            probabilities = torch.cat([probabilities, (1.0 - total).clamp_min(0.0)], dim=1)
        return probabilities.clamp_min(_LEAST).log() if self._logarithm else probabilities

    def classes_on(self, qubits: Any) -> list[Projector]:
        """Class c is the basis state c of these qubits, the first the most significant."""
        places = tuple(qubits)
        last = len(places) - 1
        return [
            Projector(places, tuple(c >> (last - place) & 1 for place in range(len(places))))
            for c in range(self.n_classes)
        ]

    def renamed(self, prefix: str) -> Circuit:
        """Its circuit with `prefix` before every parameter's name."""
        circuit = Circuit(self.n_qubits)
        for qubit in range(self.n_qubits):
            circuit = circuit.ry(qubit, f"{prefix}readout_theta_{qubit}")
        return circuit
