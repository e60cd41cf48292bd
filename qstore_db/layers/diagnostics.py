"""Is it learning: parameters without a gradient, and how much the gradient varies over random parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qstore_db.layers.arguments import whole
from qstore_db.quantum import Program

if TYPE_CHECKING:
    from qstore_db.layers.base import CircuitModule
    from qstore_db.layers.function import Expectations

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


def gradient_variance(layer: CircuitModule, samples: int = 100, seed: int = 0) -> GradientVariance:
    """Angles are drawn from all of [-pi, pi), as `init="uniform"` does. Deterministic by `seed`."""
    whole("samples", samples, 2)
    gradients = np.array(list(_gradients(layer.expectations, samples, seed)))
    return GradientVariance(layer.circuit.parameters, (gradients**2).mean(axis=0))


def dead_parameters(expectations: Expectations) -> tuple[str, ...]:
    """Names of those whose gradient is 0 everywhere, found at random points."""
    largest = np.abs(list(_gradients(expectations, _DRAWS, 0))).max(axis=0)
    return tuple(
        name for name, size in zip(expectations.circuit.parameters, largest, strict=True) if size < _NOTHING
    )


def _gradients(expectations: Expectations, samples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """(n_parameters,) each, of the values weighted at random, by 1 / their number on average of squares."""
    circuit, random = expectations.circuit, np.random.default_rng(seed)
    program = Program(circuit, expectations.observables)
    for _ in range(samples):
        angles = random.uniform(-np.pi, np.pi, len(circuit.parameters))
        data = random.uniform(-np.pi, np.pi, (1, circuit.n_slots))
        states = None
        if circuit.n_slots == 0:  # the input is the state to begin with
            states = random.normal(size=(1, 1 << circuit.n_qubits))
            states /= np.linalg.norm(states)
        count = max(1, len(expectations.observables))
        weights = random.normal(size=(1, len(expectations.observables))) / np.sqrt(count)
        yield program.gradients(angles, data, weights, states).parameters
