"""Is it learning: parameters without a gradient, and how much the gradient varies over random parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from qstore_db.layers.arguments import whole
from qstore_db.layers.function import Expectations

if TYPE_CHECKING:
    from qstore_db.layers.base import CircuitModule
    from qstore_db.layers.sequential import QuantumSequential

_DRAWS = 3
"""A gradient that is not always 0 is so at random points with probability 0; more than one guard against
rounding."""
_NOTHING = 1e-11


@dataclass(frozen=True, slots=True)
class GradientVariance:
    """How much gradients vary from one random choice of all parameters and of the input to the next."""

    names: tuple[str, ...]
    variances: NDArray[np.float64]
    """(n_parameters,): that of an expectation value's derivative, on average over those that are read."""

    @property
    def mean(self) -> float:
        """Over all parameters. Below about 1e-4, training from random angles goes nowhere: a barren plateau."""
        return float(self.variances.mean()) if len(self.variances) else 0.0


def gradient_variance(
    layer: CircuitModule | QuantumSequential, samples: int = 100, seed: int = 0
) -> GradientVariance:
    """Angles are drawn from all of [-pi, pi), as `init="uniform"` does. Deterministic by `seed`."""
    whole("samples", samples, 2)
    gradients = np.array(list(_gradients(layer, samples, seed)))
    return GradientVariance(layer.circuit.parameters, (gradients**2).mean(axis=0))


def dead_parameters(layer: CircuitModule | QuantumSequential) -> tuple[str, ...]:
    """Names of those whose gradient is 0 everywhere, found at random points."""
    largest = np.abs(list(_gradients(layer, _DRAWS, 0))).max(axis=0)
    return tuple(
        name for name, size in zip(layer.circuit.parameters, largest, strict=True) if size < _NOTHING
    )


def _gradients(
    layer: CircuitModule | QuantumSequential, samples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """(n_parameters,) each: of the values times normal weights whose squares sum to 1 on average."""
    circuit, observables, random = layer.circuit, layer.expectations.observables, np.random.default_rng(seed)
    exact = Expectations(circuit, observables, trajectories=layer.expectations.trajectories)
    for _ in range(samples):
        angles = torch.from_numpy(random.uniform(-np.pi, np.pi, len(circuit.parameters))).requires_grad_()
        data = torch.from_numpy(random.uniform(-np.pi, np.pi, (1, circuit.n_slots)))
        states = None
        if layer.from_states:
            states = torch.from_numpy(random.normal(size=(1, 1 << circuit.n_qubits)))
            states = states / torch.linalg.vector_norm(states)
        weights = random.normal(size=(1, len(observables))) / np.sqrt(max(1, len(observables)))
        with torch.enable_grad():
            values = exact(angles, data, states)
        (gradient,) = torch.autograd.grad(values, angles, torch.from_numpy(weights))
        yield gradient.numpy()
