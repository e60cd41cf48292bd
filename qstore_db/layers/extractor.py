"""Features of data that are taken as amplitudes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qstore_db.errors import ArgumentError
from qstore_db.layers import arguments, tensors
from qstore_db.layers.ansatz import Entanglement, ansatz
from qstore_db.layers.base import CircuitModule
from qstore_db.layers.encoding import EncodingLayer
from qstore_db.quantum import Circuit, pauli


class QuantumFeatureExtractor(CircuitModule):
    """(..., up to 2^n_qubits) -> (..., n_qubits * n_bases) in [-1, 1]: all qubits in the first basis, then in
    the next.

    Rows become amplitudes (normalised, padded with zeros), go through a "hardware_efficient" ansatz, and
    every qubit is measured in every basis; each basis takes a circuit of its own. measurement_bases=None: not
    measured, for use inside a `QuantumSequential`. reduce: what is done to wider rows, as in `EncodingLayer`.
    """

    def __init__(
        self,
        n_qubits: int,
        depth: int = 3,
        entanglement: Entanglement = "full",
        measurement_bases: tuple[str, ...] | None = ("Z", "X", "Y"),
        backend: str | None = None,
        *,
        reduce: str = "error",
        init: str = "small",
        seed: int | None = None,
    ) -> None:
        arguments.qubits(n_qubits)
        arguments.backend(None, backend)
        bases = () if measurement_bases is None else arguments.bases(measurement_bases)
        kept: dict[str, Any] = {
            "n_qubits": n_qubits,
            "depth": depth,
            "entanglement": entanglement,
            "measurement_bases": None if measurement_bases is None else bases,
            "backend": backend,
            "reduce": reduce,
            "init": init,
            "seed": seed,
        }
        super().__init__(
            kept,
            _joined(n_qubits, ansatz(n_qubits, depth, entanglement)),
            [pauli(f"{letter}{qubit}") for letter in bases for qubit in range(n_qubits)],
            output_dim=n_qubits * len(bases),
            from_states=True,
            init=init,
            seed=seed,
        )
        self.n_qubits, self.measurement_bases = n_qubits, kept["measurement_bases"]
        self.encoding = EncodingLayer(1 << n_qubits, reduce)

    def forward(self, x: Tensor) -> Tensor:
        if self.measurement_bases is None:
            raise ArgumentError(
                "nothing is measured: measurement_bases=None is for use inside a QuantumSequential",
                subject="measurement_bases",
            )
        x = tensors.inputs(x, None, self.quantum_params)
        states = self.encoding(x.reshape(-1, x.shape[-1]))
        values = self.expectations(self._angles(), states[:, :0], states)
        return values.reshape(*x.shape[:-1], values.shape[-1])

    def renamed(self, prefix: str) -> Circuit:
        """Its circuit with `prefix` before every parameter's name."""
        config = self.get_config()
        parts = ansatz(self.n_qubits, config["depth"], config["entanglement"], prefix=prefix)
        return _joined(self.n_qubits, parts)


def _joined(n_qubits: int, layers: list[Circuit]) -> Circuit:
    circuit = Circuit(n_qubits)
    for layer in layers:
        circuit = circuit.compose(layer)
    return circuit
