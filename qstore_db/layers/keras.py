"""Circuits as Keras 3 layers, on any of its backends: made of functions that each differentiates by itself.

Arguments and weights mean what they mean to the Torch layers of these names. Values and gradients are exact, of any
order. All compute in float32, under policies of lower precision too, or in float64 with dtype="float64". A compiled
model cannot refuse numbers: inputs that are not finite, and rows of zeros as amplitudes, give values that are not
finite. All raise ArgumentError that names the argument; and, as Keras does, ValueError for inputs of another width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from qstore_db.errors import ArgumentError, ConfigurationError
from qstore_db.layers import arguments, readings
from qstore_db.layers.ansatz import Entanglement, ansatz, encoded
from qstore_db.quantum import Circuit, pauli
from qstore_db.quantum.observables import Observable
from qstore_db.quantum.portable import PortableProgram

try:
    import keras
except ModuleNotFoundError as error:
    raise ConfigurationError(
        'Keras is not installed: pip install "qstore-db[keras]"'
        if error.name == "keras"
        else f"Keras runs on {error.name}, which is not installed: set KERAS_BACKEND to one that is before the "
        "first import of keras",
        subject="keras",
    ) from error

if keras.backend.backend() == "jax":
    # Whose functions round float64 when they are called through keras.ops.
    import jax.numpy as xp
else:
    xp: Any = keras.ops  # type: ignore[no-redef]

Shape = tuple[int | None, ...]


class _Layer(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """What all have alike: a precision, arguments that are kept, and how many columns come out."""

    def __init__(self, kept: Mapping[str, Any], output_dim: int, kwargs: Mapping[str, Any]) -> None:
        super().__init__(**kwargs)
        self.dtype_policy = keras.DTypePolicy(_precision(self.compute_dtype))
        self.output_dim = output_dim
        self._kept = dict(kept)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._kept}


class _CircuitLayer(_Layer):
    """A circuit whose angles are the weight `quantum_params`, (n_parameters,), radians: layer, qubit, gate."""

    def __init__(
        self,
        kept: Mapping[str, Any],
        circuit: Circuit,
        observables: Sequence[Observable],
        kwargs: Mapping[str, Any],
        *,
        output_dim: int | None = None,
        amplitudes: bool = False,
    ) -> None:
        arguments.one_of("init", kept["init"], arguments.INITS)
        arguments.seed(kept["seed"])
        super().__init__(kept, len(observables) if output_dim is None else output_dim, kwargs)
        self.circuit, self.n_qubits = circuit, circuit.n_qubits
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={} if amplitudes else {-1: self.n_qubits})
        self._amplitudes = amplitudes
        self._program = PortableProgram(
            circuit,
            observables,
            xp,
            lambda array, like: keras.ops.convert_to_tensor(array, like.dtype),
        )

    def build(self, input_shape: Shape) -> None:
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})
        if self._amplitudes and (input_shape[-1] or 0) > 1 << self.n_qubits:
            raise ValueError(
                f"inputs have {input_shape[-1]} columns, and {self.n_qubits} qubits have {1 << self.n_qubits} "
                "amplitudes"
            )
        self.quantum_params = self.add_weight(
            shape=(len(self.circuit.parameters),),
            initializer=_initializer(self._kept["init"], self._kept["seed"]),
            name="quantum_params",
        )

    def call(self, inputs: Any) -> Any:
        rows = xp.reshape(inputs, (-1, inputs.shape[-1]))
        parameters = keras.ops.convert_to_tensor(self.quantum_params)
        if self._amplitudes:
            states = self._states(rows)
            values = self._program.values(parameters, rows[:, :0], (states, 0.0 * states))
        else:
            values = self._program.values(parameters, self._slots(rows))
        values = self._finished(values)
        return xp.reshape(values, (*xp.shape(inputs)[:-1], self.output_dim))

    def _slots(self, rows: Any) -> Any:
        return rows

    def _finished(self, values: Any) -> Any:
        return values

    def _states(self, rows: Any) -> Any:
        """(batch, 2^n): of norm 1, padded with zeros."""
        # Divided by the largest first: squares of very small and very large values would be no such numbers.
        rows = rows / xp.max(xp.abs(rows), axis=1, keepdims=True)
        rows = rows / xp.sqrt(xp.sum(rows * rows, axis=1, keepdims=True))
        return xp.pad(rows, ((0, 0), (0, (1 << self.n_qubits) - rows.shape[1])))


@keras.saving.register_keras_serializable(package="qstore")
class QuantumLayer(_CircuitLayer):
    """(..., n_qubits) -> (..., n_qubits * n_bases) in [-1, 1]: all qubits in the first basis, then in the next.
    With encoding="amplitude" up to 2^n_qubits columns come in.
    """

    def __init__(
        self,
        n_qubits: int,
        depth: int = 2,
        entanglement: Entanglement = "linear",
        *,
        backend: str | None = None,
        encoding: str = "angle",
        ansatz: str = "hardware_efficient",
        measurement_bases: Sequence[str] = ("Z",),
        init: str = "small",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        """kwargs: of every Keras layer, as `name` and `dtype`."""
        arguments.qubits(n_qubits)
        arguments.backend(None, backend)
        letters = arguments.bases(measurement_bases)
        layers = _layers(n_qubits, depth, entanglement, ansatz)
        kept = {
            "n_qubits": n_qubits,
            "depth": depth,
            "entanglement": _listed(entanglement),
            "backend": backend,
            "encoding": encoding,
            "ansatz": ansatz,
            "measurement_bases": list(letters),
            "init": init,
            "seed": seed,
        }
        super().__init__(
            kept,
            encoded(encoding, layers, n_qubits),
            _read(letters, n_qubits),
            kwargs,
            amplitudes=encoding == "amplitude",
        )

    def _slots(self, rows: Any) -> Any:
        if self._kept["encoding"] != "iqp":
            return rows
        pairs = [rows[:, i : i + 1] * rows[:, j : j + 1] for i, j in combinations(range(self.n_qubits), 2)]
        return xp.concatenate([rows, *pairs], axis=1)


@keras.saving.register_keras_serializable(package="qstore")
class QuantumFeatureExtractor(_CircuitLayer):
    """(..., up to 2^n_qubits) amplitudes -> (..., n_qubits * n_bases): all qubits in the first basis, then in the
    next. Wider inputs are to be reduced before, as by a Dense layer.
    """

    def __init__(
        self,
        n_qubits: int,
        depth: int = 3,
        entanglement: Entanglement = "full",
        measurement_bases: Sequence[str] = ("Z", "X", "Y"),
        backend: str | None = None,
        *,
        init: str = "small",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        arguments.qubits(n_qubits)
        arguments.backend(None, backend)
        letters = arguments.bases(measurement_bases)
        kept = {
            "n_qubits": n_qubits,
            "depth": depth,
            "entanglement": _listed(entanglement),
            "measurement_bases": list(letters),
            "backend": backend,
            "init": init,
            "seed": seed,
        }
        circuit = encoded("amplitude", _layers(n_qubits, depth, entanglement), n_qubits)
        super().__init__(kept, circuit, _read(letters, n_qubits), kwargs, amplitudes=True)


@keras.saving.register_keras_serializable(package="qstore")
class QuantumReadout(_CircuitLayer):
    """(..., up to 2^n_qubits) amplitudes -> (..., n_classes) probabilities of the first basis states, or their
    logarithms, which `keras.losses.SparseCategoricalCrossentropy(from_logits=True)` takes; but for
    unused="penalise", as it would add up to 1 what does not.
    """

    def __init__(
        self,
        n_qubits: int,
        n_classes: int,
        readout_type: str = "computational",
        *,
        output: str = "log_probs",
        unused: str = "renormalise",
        init: str = "small",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        its = readings.Readout(n_qubits, n_classes, readout_type, output, unused)
        kept = {**asdict(its), "init": init, "seed": seed}
        classes = its.classes_on(range(n_qubits))
        super().__init__(kept, its.circuit(), classes, kwargs, output_dim=its.width, amplitudes=True)
        self._its = its

    def _finished(self, values: Any) -> Any:
        total = xp.sum(values, axis=1, keepdims=True)
        if self._its.unused == "renormalise":
            values = values / _at_least(total, readings.LEAST)
        elif self._its.unused == "extra_class":
            values = xp.concatenate([values, _at_least(1.0 - total, 0.0)], axis=1)
        return xp.log(_at_least(values, readings.LEAST)) if self._its.output == "log_probs" else values


@keras.saving.register_keras_serializable(package="qstore")
class QuantumNonlinearity(_Layer):
    """(..., n_qubits * n_bases) -> the same: each value as it is after noise of `strength` on each qubit, or with
    "parametric" after a trained turn, cos(a x + b).
    """

    def __init__(
        self,
        n_qubits: int,
        nonlinearity_type: str = "amplitude_damping",
        strength: float = 0.1,
        *,
        measurement_bases: Sequence[str] = ("Z",),
        **kwargs: Any,
    ) -> None:
        its = readings.Nonlinearity(n_qubits, nonlinearity_type, strength, arguments.bases(measurement_bases))
        super().__init__({**asdict(its), "measurement_bases": list(its.measurement_bases)}, its.width, kwargs)
        self._its = its
        self.input_spec = keras.layers.InputSpec(axes={-1: its.width})

    def build(self, input_shape: Shape) -> None:  # noqa: ARG002 - Keras' signature
        self.quantum_params = None
        if self._its.nonlinearity_type == "parametric":
            turn = np.array(self._its.turn()).ravel()
            self.quantum_params = self.add_weight(
                shape=turn.shape,
                initializer=lambda shape, dtype: xp.reshape(keras.ops.convert_to_tensor(turn, dtype), shape),
                name="quantum_params",
            )

    def call(self, inputs: Any) -> Any:
        if self.quantum_params is not None:
            turn = xp.reshape(keras.ops.convert_to_tensor(self.quantum_params), (-1, 2))
            return xp.cos(turn[:, 0] * inputs + turn[:, 1])
        factors, shifts = (
            keras.ops.convert_to_tensor(np.array(each), inputs.dtype) for each in self._its.line()
        )
        return factors * inputs + shifts


@keras.saving.register_keras_serializable(package="qstore")
class QuantumPooling(_Layer):
    """(..., n_qubits) values <Z> -> (..., n_qubits // pool_size), of each group of neighbours."""

    def __init__(
        self,
        n_qubits: int,
        pool_size: int = 2,
        pooling_type: str = "partial_trace",
        *,
        strength: float | None = None,
        **kwargs: Any,
    ) -> None:
        its = readings.Pooling(n_qubits, pool_size, pooling_type, strength)
        super().__init__(asdict(its), its.groups, kwargs)
        self._its = its
        self.input_spec = keras.layers.InputSpec(axes={-1: n_qubits})

    def call(self, inputs: Any) -> Any:
        its = self._its
        whole = inputs[..., : its.groups * its.pool_size]
        whole = xp.reshape(whole, (*xp.shape(inputs)[:-1], its.groups, its.pool_size))
        if its.pooling_type == "partial_trace":
            return whole[..., 0]
        return (1.0 - its.lost) * xp.mean(whole, axis=-1) + its.lost


def _at_least(values: Any, least: float) -> Any:
    """By what keeps float64, which `keras.ops.maximum` does not."""
    above = values - least
    return least + 0.5 * (above + xp.abs(above))


def _precision(dtype: str) -> str:
    if dtype != "float64":
        return "float32"
    if keras.backend.backend() == "jax":
        import jax

        if not jax.config.read("jax_enable_x64"):
            raise ArgumentError(
                "dtype='float64' is float32 to JAX until jax.config.update('jax_enable_x64', True)",
                subject="dtype",
            )
    return dtype


def _initializer(init: str, seed: int | None) -> Any:
    seed = None if seed is None else seed % (1 << 32)  # as many bits as Keras has for it
    if init == "normal":
        return keras.initializers.RandomNormal(stddev=1.0, seed=seed)
    reach = 0.1 if init == "small" else float(np.pi)
    return keras.initializers.RandomUniform(-reach, reach, seed=seed)


def _read(letters: Sequence[str], n_qubits: int) -> list[Observable]:
    return [pauli(f"{letter}{qubit}") for letter in letters for qubit in range(n_qubits)]


def _listed(entanglement: Entanglement) -> str | list[list[int]]:
    """As it can be saved."""
    return entanglement if isinstance(entanglement, str) else [list(pair) for pair in entanglement]


_layers = ansatz
