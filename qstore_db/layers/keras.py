"""A circuit as a Keras 3 layer, on any of its backends: made of functions that each differentiates by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qstore_db.errors import ArgumentError, ConfigurationError
from qstore_db.layers import arguments
from qstore_db.layers.ansatz import Entanglement, ansatz, encoded
from qstore_db.quantum import pauli
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

ENCODINGS = ("angle", "reuploading")


@keras.saving.register_keras_serializable(package="qstore")
class QuantumLayer(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """(..., n_qubits) -> (..., n_qubits * n_bases) in [-1, 1]: all qubits in the first basis, then in the next.

    The arguments mean what they mean to the Torch layer of this name, and so do its weights: `quantum_params`,
    (n_parameters,), radians, in the order layer, qubit, gate. Values are exact, and so are gradients, of any order.
    Computes in float32, under policies of lower precision too, or in float64 with dtype="float64". Inputs that are
    not finite give values that are not: a compiled model cannot refuse them.

    Raises ArgumentError that names the argument; and, as Keras does, ValueError for inputs of another width.
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
        super().__init__(**kwargs)
        arguments.qubits(n_qubits)
        arguments.backend(None, backend)
        arguments.one_of("encoding", encoding, ENCODINGS)
        arguments.one_of("init", init, arguments.INITS)
        arguments.seed(seed)
        letters = arguments.bases(measurement_bases)
        self.circuit = encoded(encoding, _layers(n_qubits, depth, entanglement, ansatz), n_qubits)
        self.n_qubits, self.output_dim = n_qubits, n_qubits * len(letters)
        self.dtype_policy = keras.DTypePolicy(_precision(self.compute_dtype))
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: n_qubits})
        self._init, self._seed = init, seed
        self._program = PortableProgram(
            self.circuit,
            [pauli(f"{letter}{qubit}") for letter in letters for qubit in range(n_qubits)],
            _library(),
            lambda array, like: keras.ops.convert_to_tensor(array, like.dtype),
        )
        self._kept = {
            "n_qubits": n_qubits,
            "depth": depth,
            "entanglement": entanglement if isinstance(entanglement, str) else list(map(list, entanglement)),
            "backend": backend,
            "encoding": encoding,
            "ansatz": ansatz,
            "measurement_bases": list(letters),
            "init": init,
            "seed": seed,
        }

    def build(self, input_shape: tuple[int | None, ...]) -> None:  # noqa: ARG002 - Keras' signature
        self.quantum_params = self.add_weight(
            shape=(len(self.circuit.parameters),),
            initializer=_initializer(self._init, self._seed),
            name="quantum_params",
        )

    def call(self, inputs: Any) -> Any:
        ops: Any = keras.ops
        rows = ops.reshape(inputs, (-1, self.n_qubits))
        values = self._program.values(ops.convert_to_tensor(self.quantum_params), rows)
        return ops.reshape(values, (*ops.shape(inputs)[:-1], self.output_dim))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._kept}


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


def _library() -> Any:
    """`keras.ops`, which on JAX would round float64: there it is what they call."""
    if keras.backend.backend() == "jax":
        import jax.numpy as jnp

        return jnp
    return keras.ops


def _initializer(init: str, seed: int | None) -> Any:
    seed = None if seed is None else seed % (1 << 32)  # as many bits as Keras has for it
    if init == "normal":
        return keras.initializers.RandomNormal(stddev=1.0, seed=seed)
    reach = 0.1 if init == "small" else float(np.pi)
    return keras.initializers.RandomUniform(-reach, reach, seed=seed)


_layers = ansatz
