"""Fewer qubits, or values of fewer."""

from __future__ import annotations

from dataclasses import asdict

from torch import Tensor

from qstore_db.layers import tensors
from qstore_db.layers.base import QuantumModule
from qstore_db.layers.readings import Pooling


class QuantumPooling(QuantumModule):
    """(..., n_qubits) values <Z> -> (..., n_qubits // pool_size). n_qubits: qubits that come in.

    Qubits are taken in groups of `pool_size` neighbours; those beyond the last whole group are dropped.
    pooling_type: "partial_trace" keeps the first qubit of each group; "measurement" is the mean <Z> of the group;
    "amplitude_damping" is that mean after each qubit has lost energy: (1 - strength) <Z> + strength.
    strength: of "amplitude_damping" only; 0.1 without it.
    Inside a `QuantumSequential`, "partial_trace" is the partial trace of the state.
    """

    def __init__(
        self,
        n_qubits: int,
        pool_size: int = 2,
        pooling_type: str = "partial_trace",
        *,
        strength: float | None = None,
    ) -> None:
        its = Pooling(n_qubits, pool_size, pooling_type, strength)
        super().__init__(asdict(its), its.groups)
        self.n_qubits, self.pooling_type, self.kept = n_qubits, pooling_type, its.kept
        self._size, self._lost = pool_size, its.lost

    def forward(self, x: Tensor) -> Tensor:
        x = tensors.inputs(x, self.n_qubits)
        groups = len(self.kept)
        whole = x[..., : groups * self._size].reshape(*x.shape[:-1], groups, self._size)
        if self.pooling_type == "partial_trace":
            return whole[..., 0]
        return (1.0 - self._lost) * whole.mean(dim=-1) + self._lost
