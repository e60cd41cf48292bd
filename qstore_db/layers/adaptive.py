"""A layer that finds out how much of it should be quantum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from qstore_db.layers import tensors
from qstore_db.layers.ansatz import Entanglement
from qstore_db.layers.base import LayerSpecs, QuantumModule
from qstore_db.layers.quantum_layer import QuantumLayer
from qstore_db.quantum.torch_path import full_precision


class AdaptiveLayer(QuantumModule):
    """(..., n_qubits) -> (..., n_qubits * n_bases) in [-1, 1]: g times a `QuantumLayer`, 1 - g times tanh(W x + b).

    g is trained with the rest, for each column, and begins at 1/2. `quantum_share()` says where it has gone:
    a layer that training drives to 0 did not need its circuit. The arguments are those of `QuantumLayer`.
    """

    def __init__(
        self,
        n_qubits: int,
        depth: int = 2,
        entanglement: Entanglement = "linear",
        *,
        measurement_bases: tuple[str, ...] = ("Z",),
        init: str = "small",
        seed: int | None = None,
    ) -> None:
        kept: dict[str, Any] = {
            "n_qubits": n_qubits,
            "depth": depth,
            "entanglement": entanglement,
            "measurement_bases": measurement_bases,
            "init": init,
            "seed": seed,
        }
        quantum = QuantumLayer(**kept)
        width = n_qubits * len(measurement_bases)
        super().__init__(kept, width)
        self.quantum = quantum
        self.classical = nn.Linear(n_qubits, width)
        if seed is not None:
            random = torch.Generator().manual_seed(seed)
            for each in self.classical.parameters():
                nn.init.uniform_(each, -(n_qubits**-0.5), n_qubits**-0.5, generator=random)
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        x = tensors.inputs(x, self.classical.in_features, self.gate)
        share = torch.sigmoid(self.gate)
        with full_precision(x.device):
            classical = torch.tanh(self.classical(x))
        found: Tensor = share * self.quantum(x) + (1.0 - share) * classical
        return found

    def quantum_share(self) -> float:
        """The mean of g, from 0 to 1."""
        return float(torch.sigmoid(self.gate.detach()).mean())

    def specs(self) -> LayerSpecs:
        return self.quantum.specs()

    def dead_parameters(self) -> tuple[str, ...]:
        """Those of the quantum part."""
        return self.quantum.dead_parameters()

    def quantum_parameters(self) -> list[nn.Parameter]:
        return [self.quantum.quantum_params]
