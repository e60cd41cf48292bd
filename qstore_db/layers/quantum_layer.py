"""The layer most programs use: angles in, expectation values out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from qstore_db.config import DatabaseConfig
from qstore_db.errors import ArgumentError
from qstore_db.layers import arguments, tensors
from qstore_db.layers.ansatz import Entanglement, ansatz, encoded
from qstore_db.layers.base import CircuitModule, LayerSpecs
from qstore_db.layers.encoding import EncodingLayer
from qstore_db.layers.function import TRAJECTORIES
from qstore_db.layers.noise import channels, with_noise
from qstore_db.quantum import Channel, pauli


class QuantumLayer(CircuitModule):
    """(..., n_qubits) -> (..., n_qubits * n_bases) in [-1, 1]: all qubits in the first basis, then in the next.

    depth: layers of the ansatz, each of rotations on every qubit and CNOTs.
    config: a DatabaseConfig, or backend: "simulator" or "mock"; all run on this machine and exactly.
    entanglement: "linear", "circular", "full", or pairs (control, target).
    encoding: "angle" turns qubit i by RY(x_i); "reuploading" does so before every layer; "iqp" is H, RZ(x_i),
        RZZ(x_i x_j); "amplitude" takes up to 2^n_qubits columns as amplitudes, normalised and padded with zeros.
    ansatz: "hardware_efficient" (RY, RZ), "rz_ry" (RZ, RY) or "full_rotation" (RX, RY, RZ).
    measurement_bases: of "X", "Y", "Z". Each takes a circuit of its own.
    gradient: "auto", "adjoint", "parameter_shift" or "spsa"; shots: means over so many, once differentiable.
    init: "small" (within 0.1 of 0), "uniform" or "normal".
    input_grad: whether the gradient goes on to the input. None: yes, and an error where that needs two circuits for
        each of the 2^n_qubits amplitudes (amplitude encoding without the adjoint), which must be asked for.
    noise: channels on every qubit after each layer of the ansatz, one after the other where there are several.
        Values are those of the density matrix, exactly, up to 10 qubits, and for any number at depth 1. Beyond,
        Pauli channels (depolarising and flips) only, as means over so many `trajectories`, drawn anew in each
        call. Needs gradient="auto" or "adjoint", and no shots.
    seed: of initial angles, shots, trajectories and SPSA; None draws one from Torch's.

    Raises ArgumentError that names the argument, and VectorError for rows that are not finite.
    """

    def __init__(
        self,
        n_qubits: int,
        depth: int = 2,
        config: DatabaseConfig | None = None,
        entanglement: Entanglement = "linear",
        *,
        backend: str | None = None,
        encoding: str = "angle",
        ansatz: str = "hardware_efficient",
        measurement_bases: tuple[str, ...] = ("Z",),
        gradient: str = "auto",
        shots: int | None = None,
        init: str = "small",
        input_grad: bool | None = None,
        noise: Channel | Sequence[Channel] | None = None,
        trajectories: int = TRAJECTORIES,
        seed: int | None = None,
    ) -> None:
        arguments.qubits(n_qubits)
        arguments.backend(config, backend)
        arguments.one_of("input_grad", input_grad, (None, True, False))
        bases = arguments.bases(measurement_bases)
        kept: dict[str, Any] = {
            "n_qubits": n_qubits,
            "depth": depth,
            "config": config,
            "entanglement": entanglement,
            "backend": backend,
            "encoding": encoding,
            "ansatz": ansatz,
            "measurement_bases": bases,
            "gradient": gradient,
            "shots": shots,
            "init": init,
            "input_grad": input_grad,
            "noise": noise,
            "trajectories": trajectories,
            "seed": seed,
        }
        layers = _layers(n_qubits, depth, entanglement, ansatz)
        super().__init__(
            kept,
            encoded(encoding, [with_noise(each, channels(noise)) for each in layers], n_qubits),
            [pauli(f"{letter}{qubit}") for letter in bases for qubit in range(n_qubits)],
            output_dim=n_qubits * len(bases),
            from_states=encoding == "amplitude",
            init=init,
            gradient=gradient,
            shots=shots,
            seed=seed,
            trajectories=trajectories,
        )
        self._n_qubits, self._encoding, self._input_grad = n_qubits, encoding, input_grad
        self._pairs = list(combinations(range(n_qubits), 2))
        self.amplitudes = EncodingLayer(1 << n_qubits) if encoding == "amplitude" else None

    def forward(self, x: Tensor) -> Tensor:
        wide = self.amplitudes is not None
        x = tensors.inputs(x, None if wide else self._n_qubits, self.quantum_params)
        if self._input_grad is False:
            x = x.detach()
        rows, states = x.reshape(-1, x.shape[-1]), None
        if self.amplitudes is not None:
            self._check_input_gradient(rows)
            states, rows = self.amplitudes(rows), rows[:, :0]
        elif self._encoding == "iqp":
            rows = torch.cat(
                [rows, *(rows[:, i : i + 1] * rows[:, j : j + 1] for i, j in self._pairs)], dim=1
            )
        values = self.expectations(self._angles(), rows, states)
        return values.reshape(*x.shape[:-1], values.shape[-1])

    def specs(self) -> LayerSpecs:
        found = super().specs()
        if self._input_grad is False:
            circuits = self.expectations.gradient_circuits(of_data=False)
            return LayerSpecs(found.gates, found.depth, found.circuits, circuits, found.shots)
        return found

    def _check_input_gradient(self, x: Tensor) -> None:
        asked = self._input_grad is None and self._wants_gradient(x)
        if asked and self.expectations.method == "parameter_shift":
            raise ArgumentError(
                f"the gradient of the input takes {2 << self._n_qubits} more circuits a sample: input_grad=True to "
                "have it, input_grad=False to do without",
                subject="input_grad",
            )


_layers = ansatz
