"""JAX: the circuit gate by gate for one sample, mapped over the batch and compiled."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from benchmarks.simulators.base import Numbers, Task


class Jax:
    name: ClassVar = "jax.jit"
    package: ClassVar = "jax"

    def __init__(self, task: Task, /) -> None:
        jax = import_module("jax")
        jax.config.update("jax_enable_x64", task.dtype == "float64")
        jnp = import_module("jax.numpy")
        n_qubits = task.n_qubits
        complex_dtype = jnp.complex64 if task.dtype == "float32" else jnp.complex128

        def turned(state: Any, matrix: Any, qubit: int) -> Any:
            return jnp.moveaxis(jnp.tensordot(matrix, state, axes=[[1], [qubit]]), 0, qubit)

        def ry(angle: Any) -> Any:
            c, s = jnp.cos(angle / 2), jnp.sin(angle / 2)
            return jnp.array([[c, -s], [s, c]], complex_dtype)

        def rz(angle: Any) -> Any:
            phase = jnp.exp(-0.5j * angle).astype(complex_dtype)
            return jnp.array([[phase, 0], [0, jnp.conj(phase)]], complex_dtype)

        def flipped(state: Any, control: int, target: int) -> Any:
            # The two halves of the control; in the second the target's are exchanged.
            low, high = jnp.split(state, 2, axis=control)
            return jnp.concatenate([low, jnp.flip(high, axis=target)], axis=control)

        def values(parameters: Any, row: Any) -> Any:
            state = jnp.zeros((2,) * n_qubits, complex_dtype).at[(0,) * n_qubits].set(1)
            for qubit in range(n_qubits):
                state = turned(state, ry(row[qubit]), qubit)
            for layer in range(task.depth):
                for qubit in range(n_qubits):
                    both = rz(parameters[layer, qubit, 1]) @ ry(parameters[layer, qubit, 0])
                    state = turned(state, both, qubit)
                for qubit in range(n_qubits - 1):
                    state = flipped(state, qubit, qubit + 1)
            chances = jnp.real(state) ** 2 + jnp.imag(state) ** 2
            read = []
            for qubit in range(n_qubits):
                halves = chances.sum(axis=tuple(axis for axis in range(n_qubits) if axis != qubit))
                read.append(halves[0] - halves[1])
            return jnp.stack(read)

        over_batch = jax.vmap(values, in_axes=(None, 0))

        def weighted(parameters: Any, inputs: Any, weights: Any) -> Any:
            return (over_batch(parameters, inputs) * weights).sum()

        self._forward = jax.jit(over_batch)
        self._gradient = jax.jit(jax.grad(weighted, argnums=(0, 1)))
        self._numbers = task.numbers()

    def forward(self) -> Numbers:
        return np.asarray(self._forward(*self._numbers[:2]))

    def gradient(self) -> tuple[Numbers, Numbers]:
        by_parameter, by_input = self._gradient(*self._numbers)
        return np.asarray(by_parameter), np.asarray(by_input)
