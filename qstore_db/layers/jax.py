"""Circuits as JAX functions: `grad`, `jit` and `vmap` go through them, since they are made of jax.numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qstore_db.errors import ConfigurationError
from qstore_db.quantum import Circuit
from qstore_db.quantum.observables import Observable
from qstore_db.quantum.portable import PortableProgram

try:
    import jax.numpy as jnp
except ModuleNotFoundError as error:
    raise ConfigurationError('JAX is not installed: pip install "qstore-db[jax]"', subject="jax") from error


def expectations(circuit: Circuit, observables: Sequence[Observable]) -> Callable[..., Any]:
    """A function f(parameters, data=None, states=None) of JAX arrays.

    parameters: (n_parameters,), radians, as in `circuit.parameters`. data: (n_slots,) or (batch, n_slots);
    not needed where the circuit reads none. states: (2^n,) or (batch, 2^n), real or complex, of norm 1, to begin
    with instead of |0...0>. Gives (n_observables,) or (batch, n_observables), in the precision of its input.

    Raises ArgumentError for observables on qubits that are not there, and for circuits without a state.
    """
    program = PortableProgram(circuit, observables, jnp, jnp.asarray)

    def values(parameters: Any, data: Any = None, states: Any = None) -> Any:
        parameters = jnp.asarray(parameters)
        lead = () if data is None and states is None else jnp.shape(data if data is not None else states)[:-1]
        rows = jnp.zeros((*lead, 0), parameters.dtype) if data is None else jnp.asarray(data)
        began = None if states is None else jnp.atleast_2d(jnp.asarray(states))
        pair = None if began is None else (jnp.real(began), jnp.imag(began))
        found = program.values(parameters, jnp.atleast_2d(rows), pair)
        return found if lead else found[0]

    return values
