"""What all layers have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from qstore_db.errors import ArgumentError
from qstore_db.layers import arguments, diagnostics, tensors
from qstore_db.layers.function import TRAJECTORIES, Expectations
from qstore_db.layers.init import initial
from qstore_db.layers.noise import without_noise
from qstore_db.quantum import Circuit
from qstore_db.quantum.observables import Observable


@dataclass(frozen=True, slots=True)
class LayerSpecs:
    """What one sample costs."""

    gates: Mapping[str, int]
    """How many of each name; without those that prepare amplitudes, and without noise."""
    depth: int
    """Gates on the longest path."""
    circuits: int
    """Forward: one for each basis that is measured. 0 where no circuit is run."""
    gradient_circuits: int
    """Backward, where the gradient is found by circuits: 0 for the adjoint method."""
    shots: int | None
    """Of each circuit; None for exact values."""


class QuantumModule(nn.Module):
    """Base of all layers.

    Computes in float32, or in float64 where its parameters are (`layer.double()`), under autocast too. Input is
    (..., width): leading dimensions are kept. Can be pickled and copied; `state_dict` holds all that is learnt.
    """

    def __init__(self, config: Mapping[str, Any], output_dim: int | None) -> None:
        super().__init__()
        self._config = dict(config)
        self._output_dim = output_dim

    @property
    def output_dim(self) -> int | None:
        """Columns that come out; None where that depends on the input."""
        return self._output_dim

    @property
    def n_parameters(self) -> int:
        """Trainable parameters of circuits."""
        return sum(each.numel() for each in self.quantum_parameters())

    def get_config(self) -> dict[str, Any]:
        """The arguments that it was made with: `from_config` makes such a layer anew, not what it learnt."""
        return dict(self._config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(**config)

    def get_quantum_parameters(self) -> NDArray[np.float32]:
        """(n_parameters,) float32, a copy; order layer, qubit, gate."""
        parts = [each.detach().flatten().cpu().float().numpy() for each in self.quantum_parameters()]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def set_quantum_parameters(self, array: ArrayLike) -> None:
        """array: (n_parameters,), finite. Raises ArgumentError for others, and then changes nothing."""
        try:
            given = np.asarray(array, np.float64)
        except (TypeError, ValueError):
            raise ArgumentError(f"array must be numbers, not {array!r:.80}", subject="array") from None
        if given.shape != (self.n_parameters,):
            raise ArgumentError(
                f"array of shape {given.shape} given; the layer has {self.n_parameters} parameters",
                subject="array",
            )
        if not np.isfinite(given).all():
            raise ArgumentError("array has values that are not finite", subject="array")
        left = torch.from_numpy(given.copy())
        with torch.no_grad():
            for each in self.quantum_parameters():
                each.copy_(left[: each.numel()].reshape(each.shape))
                left = left[each.numel() :]

    async def forward_async(self, x: Tensor) -> Tensor:
        """The same as calling it, in a thread, so that the event loop goes on."""
        graph = torch.is_grad_enabled()

        def run() -> Tensor:
            with torch.set_grad_enabled(graph):  # which is each thread's own
                found: Tensor = self(x)
                return found

        return await asyncio.to_thread(run)

    def specs(self) -> LayerSpecs:
        return LayerSpecs({}, 0, 0, 0, None)

    def extra_repr(self) -> str:
        shown = {name: value for name, value in self._config.items() if value is not None}
        return ", ".join(f"{name}={value!r:.60}" for name, value in shown.items())

    def quantum_parameters(self) -> list[nn.Parameter]:
        """Those that are angles of circuits, in the order of `get_quantum_parameters`."""
        return []


class CircuitModule(QuantumModule):
    """A layer that runs a circuit. Its angles are `quantum_params`, (n_parameters,), in radians."""

    def __init__(
        self,
        config: Mapping[str, Any],
        circuit: Circuit,
        observables: list[Observable],
        *,
        output_dim: int,
        from_states: bool = False,
        init: str = "small",
        gradient: str = "auto",
        shots: int | None = None,
        seed: int | None = None,
        trajectories: int = TRAJECTORIES,
    ) -> None:
        super().__init__(config, output_dim)
        self.from_states = from_states
        """Whether rows of the input are states to begin with, rather than angles."""
        arguments.qubits(circuit.n_qubits)
        random = _random(seed)
        self.expectations = Expectations(circuit, observables, gradient, shots, _drawn(random), trajectories)
        self.quantum_params = nn.Parameter(initial(init, len(circuit.parameters), random))

    @property
    def circuit(self) -> Circuit:
        """Data slots are columns of the input, parameters `quantum_params`."""
        return self.expectations.circuit

    def specs(self) -> LayerSpecs:
        its, runs = without_noise(self.circuit).specs(), self.expectations
        return LayerSpecs(its.gates, its.depth, len(runs.bases), runs.gradient_circuits(), runs.shots)

    def dead_parameters(self) -> tuple[str, ...]:
        """Names of parameters on which nothing that is measured depends, whatever the input and the others are."""
        return diagnostics.dead_parameters(self)

    def quantum_parameters(self) -> list[nn.Parameter]:
        return [self.quantum_params]

    def _angles(self) -> Tensor:
        return self.quantum_params.to(tensors.precision(self.quantum_params))

    def _wants_gradient(self, x: Tensor) -> bool:
        return torch.is_grad_enabled() and x.requires_grad


def _random(seed: int | None) -> torch.Generator | None:
    """None: Torch's own, which `torch.manual_seed` sets."""
    arguments.seed(seed)
    return None if seed is None else torch.Generator().manual_seed(seed)


def _drawn(random: torch.Generator | None) -> int:
    return int(torch.randint(2**62, (), generator=random))
