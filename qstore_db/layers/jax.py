"""Circuits as JAX functions: `grad`, `jit` and `vmap` go through them, since they are made of jax.numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qstore_db.errors import ArgumentError, ConfigurationError
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
    with instead of |0...0>. Gives (n_observables,), or (batch, n_observables) where data or states have rows, in
    float32, or in float64 where any of them is.

    Raises ArgumentError for observables on qubits that are not there, and for circuits without a state. f raises it
    for arrays of other shapes, and names the argument.
    """
    program = PortableProgram(circuit, observables, jnp, lambda array, like: jnp.asarray(array, like.dtype))

    def values(parameters: Any, data: Any = None, states: Any = None) -> Any:
        angles = _checked("parameters", parameters, len(circuit.parameters), (1,))
        rows = _checked("data", jnp.zeros(0, jnp.float32) if data is None else data, circuit.n_slots, (1, 2))
        given = [angles, rows]
        if states is not None:
            began = _checked("states", states, 1 << circuit.n_qubits, (1, 2))
            given += [jnp.real(began), jnp.imag(began)]
        precision = jnp.result_type(jnp.float32, *given)
        angles, *parts = (each.astype(precision) for each in given)
        rows, *pair = map(jnp.atleast_2d, parts)
        found = program.values(angles, rows, (pair[0], pair[1]) if pair else None)
        return found if any(part.ndim == 2 for part in parts) else found[0]

    return values


def _checked(name: str, array: Any, width: int, dimensions: tuple[int, ...]) -> Any:
    """JAX reads beyond the end of an array without an error."""
    array = jnp.asarray(array)
    if jnp.iscomplexobj(array) and name != "states":
        raise ArgumentError(f"{name} of {array.dtype} given: angles are real", subject=name)
    if array.ndim not in dimensions or array.shape[-1] != width:
        wanted = " or ".join(f"({'batch, ' * (count - 1)}{width})" for count in dimensions)
        raise ArgumentError(f"{name} of shape {array.shape} given, {wanted} needed", subject=name)
    return array
