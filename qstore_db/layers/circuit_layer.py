"""Any circuit as a module."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from qstore_db.errors import ArgumentError
from qstore_db.layers import tensors
from qstore_db.layers.base import CircuitModule
from qstore_db.layers.function import TRAJECTORIES
from qstore_db.layers.noise import channels, with_noise
from qstore_db.quantum import Channel, Circuit
from qstore_db.quantum.observables import Observable


class CircuitLayer(CircuitModule):
    """(..., n_slots) -> (..., n_observables). The circuit's data slots are columns of the input.

    The circuit may have channels, measurements and resets of its own, which act as averages over what happens.
    noise: further channels, on every qubit at the end of the circuit. gradient, shots, init, trajectories, seed:
    as `QuantumLayer` has them.
    """

    def __init__(
        self,
        circuit: Circuit,
        observables: Sequence[Observable],
        *,
        gradient: str = "auto",
        shots: int | None = None,
        init: str = "small",
        noise: Channel | Sequence[Channel] | None = None,
        trajectories: int = TRAJECTORIES,
        seed: int | None = None,
    ) -> None:
        if not isinstance(circuit, Circuit):
            raise ArgumentError(f"circuit must be a Circuit, not {type(circuit).__name__}", subject="circuit")
        kept = {
            "circuit": circuit,
            "observables": tuple(observables),
            "gradient": gradient,
            "shots": shots,
            "init": init,
            "noise": noise,
            "trajectories": trajectories,
            "seed": seed,
        }
        super().__init__(
            kept,
            with_noise(circuit, channels(noise)),
            list(observables),
            output_dim=len(observables),
            init=init,
            gradient=gradient,
            shots=shots,
            seed=seed,
            trajectories=trajectories,
        )

    def forward(self, x: Tensor, states: Tensor | None = None) -> Tensor:
        """states: (..., 2^n) of norm 1, real or complex, to begin with instead of |0...0>."""
        x = tensors.inputs(x, self.circuit.n_slots, self.quantum_params)
        if states is not None and states.shape != (*x.shape[:-1], 1 << self.circuit.n_qubits):
            raise ArgumentError(
                f"states of shape {tuple(states.shape)} do not fit x of shape {tuple(x.shape)} and "
                f"{self.circuit.n_qubits} qubits",
                subject="states",
            )
        rows = x.reshape(-1, self.circuit.n_slots) if x.shape[-1] else x.reshape(x.shape[:-1].numel(), 0)
        began = None if states is None else states.reshape(-1, states.shape[-1])
        values = self.expectations(self._angles(), rows, began)
        return values.reshape(*x.shape[:-1], values.shape[-1])
