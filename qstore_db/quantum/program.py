"""A circuit made ready to be run often: with other parameters, other inputs, forwards and backwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError
from qstore_db.quantum import adjoint, plain
from qstore_db.quantum.adjoint import Gradients
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.observables import Observable, check_observables

if TYPE_CHECKING:
    from qstore_db.quantum.kernels.engine import Engine

Numbers = NDArray[Any]


class Program:
    """A circuit and what is read from it. Safe to use from several threads.

    Arrays are best of the `dtype` and C-contiguous: others are copied. Their shapes are checked, since compiled
    code would read beyond them, and not their numbers. Values and gradients are exact up to rounding; they come
    from compiled code with the extra `quantum`, else gate by gate.
    """

    def __init__(
        self, circuit: Circuit, observables: Sequence[Observable], dtype: type[np.floating[Any]] = np.float64
    ) -> None:
        """Raises ArgumentError for observables on qubits that are not there, and for circuits without a state."""
        check_observables(observables, circuit.n_qubits)
        self.circuit = circuit
        self.observables = tuple(observables)
        self.dtype = np.dtype(dtype)

    def values(self, parameters: Numbers, data: Numbers, states: Numbers | None = None) -> Numbers:
        """(batch, n_observables).

        parameters: (n_parameters,), radians. data: (batch, n_slots). states: (batch, 2^n), real or complex, each of
        norm 1, to begin with instead of |0...0>. Raises ArgumentError for other shapes, and for more than fits the
        memory.
        """
        self._check(parameters, data, states)
        engine = self._engine(states)
        if engine is not None:
            return engine.values(parameters, data, states)
        found = plain.expectations(
            plain.run(self.circuit, parameters, data, _complex(states)), self.observables
        )
        return found.astype(self.dtype, copy=False)

    def gradients(
        self, parameters: Numbers, data: Numbers, weights: Numbers, states: Numbers | None = None
    ) -> Gradients:
        """Of the sum of the values times `weights` (batch, n_observables); the others as in `values`."""
        self._check(parameters, data, states)
        _check_shape("weights", weights, (len(data), len(self.observables)))
        engine = self._engine(states)
        if engine is not None:
            return engine.gradients(parameters, data, weights, states)
        found = adjoint.gradients(self.circuit, self.observables, parameters, data, weights, _complex(states))
        return replace(found, values=found.values.astype(self.dtype, copy=False))

    def _check(self, parameters: Numbers, data: Numbers, states: Numbers | None) -> None:
        _check_shape("parameters", parameters, (len(self.circuit.parameters),))
        batch = len(data) if data.ndim else 0
        _check_shape("data", data, (batch, self.circuit.n_slots))
        if states is not None:
            _check_shape("states", states, (batch, 1 << self.circuit.n_qubits))

    def _engine(self, states: Numbers | None) -> Engine | None:
        if not _is_compiled():
            return None
        return self._from_zero if states is None else self._from_states

    @cached_property
    def _from_zero(self) -> Engine:
        from qstore_db.quantum.kernels.engine import Engine

        return Engine(self.circuit, self.observables, self.dtype, from_states=False)

    @cached_property
    def _from_states(self) -> Engine:
        from qstore_db.quantum.kernels.engine import Engine

        return Engine(self.circuit, self.observables, self.dtype, from_states=True)


@lru_cache(maxsize=1)
def _is_compiled() -> bool:
    return find_spec("numba") is not None


def _check_shape(name: str, array: Numbers, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ArgumentError(f"{name} of shape {array.shape} given, {shape} needed", subject=name)


def _complex(states: Numbers | None) -> Numbers | None:
    return None if states is None else states.astype(np.complex128)
