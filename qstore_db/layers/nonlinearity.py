"""What noise does to expectation values, and a turn by them."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import Tensor, nn

from qstore_db.layers import arguments, tensors
from qstore_db.layers.base import QuantumModule
from qstore_db.layers.readings import Nonlinearity


class QuantumNonlinearity(QuantumModule):
    """(..., n_qubits * n_bases) -> the same: each value as it is after noise of `strength` on each qubit.

    nonlinearity_type:
        "amplitude_damping": Z -> (1 - strength) Z + strength; X, Y -> sqrt(1 - strength) X, Y. Exact, and affine.
        "phase_damping": X, Y -> sqrt(1 - strength) X, Y; Z stays, so that X or Y must be among the bases.
        "parametric": <Z> after RY(a x + b), which is cos(a x + b), with a and b trained for every column.
            They begin at a = `strength`, b = -pi/2: sin(strength x).
    measurement_bases: those that the columns are of, as the layer before gives them.

    The first two are linear in the state, as all noise is: what is not linear in a network of these layers is
    encoding, and "parametric".
    """

    def __init__(
        self,
        n_qubits: int,
        nonlinearity_type: str = "amplitude_damping",
        strength: float = 0.1,
        *,
        measurement_bases: tuple[str, ...] = ("Z",),
    ) -> None:
        its = Nonlinearity(n_qubits, nonlinearity_type, strength, arguments.bases(measurement_bases))
        super().__init__(asdict(its), its.width)
        self._width, self._line = its.width, its.line()
        self.quantum_params = None
        if nonlinearity_type == "parametric":
            self.quantum_params = nn.Parameter(torch.tensor(its.turn()).flatten())

    def forward(self, x: Tensor) -> Tensor:
        x = tensors.inputs(x, self._width, self.quantum_params)
        if self.quantum_params is not None:
            slope, shift = self.quantum_params.to(x.dtype).reshape(-1, 2).unbind(dim=1)
            return torch.cos(slope * x + shift)
        factors, shifts = self._line
        return x.new_tensor(factors) * x + x.new_tensor(shifts)

    def quantum_parameters(self) -> list[nn.Parameter]:
        return [] if self.quantum_params is None else [self.quantum_params]
