"""What noise does to expectation values, and a turn by them."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from qstore_db.errors import ArgumentError
from qstore_db.layers import arguments, tensors
from qstore_db.layers.base import QuantumModule

KINDS: Final = ("amplitude_damping", "phase_damping", "parametric")


class QuantumNonlinearity(QuantumModule):
    """(..., n_qubits * n_bases) -> the same: each value as it is after noise of `strength` on each qubit.

    nonlinearity_type:
        "amplitude_damping": Z -> (1 - strength) Z + strength; X, Y -> sqrt(1 - strength) X, Y. Exact, and affine.
        "phase_damping": X, Y -> sqrt(1 - strength) X, Y; Z stays, so that X or Y must be among the bases.
        "parametric": <Z> after RY(a x + b), which is cos(a x + b), with a and b trained for every column.
        They begin
            at a = `strength`, b = -pi/2: sin(strength x).
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
        arguments.qubits(n_qubits)
        arguments.one_of("nonlinearity_type", nonlinearity_type, KINDS)
        arguments.share("strength", strength)
        bases = arguments.bases(measurement_bases)
        if nonlinearity_type == "phase_damping" and bases == ("Z",):
            raise ArgumentError(
                "phase damping does nothing to Z: measurement_bases must have X or Y",
                subject="measurement_bases",
            )
        width = n_qubits * len(bases)
        kept = {
            "n_qubits": n_qubits,
            "nonlinearity_type": nonlinearity_type,
            "strength": strength,
            "measurement_bases": bases,
        }
        super().__init__(kept, width)
        self._width, self._damps = width, nonlinearity_type == "amplitude_damping"
        self.quantum_params = None
        if nonlinearity_type == "parametric":
            begin = torch.tensor([[float(strength)] * width, [-math.pi / 2] * width])
            self.quantum_params = nn.Parameter(begin.T.flatten())
        is_z = [letter == "Z" for letter in bases for _ in range(n_qubits)]
        shrunk = math.sqrt(1.0 - strength)
        along_z = 1.0 - strength if self._damps else 1.0
        self._factors = [along_z if z else shrunk for z in is_z]
        self._shifts = [strength if z and self._damps else 0.0 for z in is_z]

    def forward(self, x: Tensor) -> Tensor:
        x = tensors.inputs(x, self._width, self.quantum_params)
        if self.quantum_params is not None:
            slope, shift = self.quantum_params.to(x.dtype).reshape(-1, 2).unbind(dim=1)
            return torch.cos(slope * x + shift)
        return x.new_tensor(self._factors) * x + x.new_tensor(self._shifts)

    def _quantum(self) -> list[nn.Parameter]:
        return [] if self.quantum_params is None else [self.quantum_params]
