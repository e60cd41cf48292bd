"""Fewer qubits, or values of fewer."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from qstore_db.errors import ArgumentError
from qstore_db.layers import arguments, tensors
from qstore_db.layers.base import QuantumModule

POOLINGS: Final = ("partial_trace", "measurement", "amplitude_damping")


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
        arguments.qubits(n_qubits)
        arguments.whole("pool_size", pool_size)
        arguments.one_of("pooling_type", pooling_type, POOLINGS)
        if pool_size > n_qubits:
            raise ArgumentError(f"pool_size={pool_size} is more than {n_qubits} qubits", subject="pool_size")
        if strength is not None:
            arguments.share("strength", strength)
            if pooling_type != "amplitude_damping":
                raise ArgumentError(f"pooling_type={pooling_type!r} has no strength", subject="strength")
        kept = {
            "n_qubits": n_qubits,
            "pool_size": pool_size,
            "pooling_type": pooling_type,
            "strength": strength,
        }
        super().__init__(kept, n_qubits // pool_size)
        self.n_qubits, self.pooling_type = n_qubits, pooling_type
        self._size, self._strength = pool_size, 0.1 if strength is None else strength

    @property
    def kept(self) -> list[int]:
        """The qubits that a partial trace keeps."""
        return [self._size * group for group in range(self.n_qubits // self._size)]

    def forward(self, x: Tensor) -> Tensor:
        x = tensors.inputs(x, self.n_qubits)
        groups = len(self.kept)
        whole = x[..., : groups * self._size].reshape(*x.shape[:-1], groups, self._size)
        if self.pooling_type == "partial_trace":
            return whole[..., 0]
        mean = whole.mean(dim=-1)
        if self.pooling_type == "measurement":
            return mean
        return (1.0 - self._strength) * mean + self._strength
