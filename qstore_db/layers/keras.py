"""A circuit as a Keras 3 layer, on any of its backends: built of `keras.ops` alone, which each differentiates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qstore_db.errors import ConfigurationError
from qstore_db.layers.ansatz import Entanglement, ansatz, encoded
from qstore_db.layers.arguments import backend as check_backend
from qstore_db.layers.arguments import bases as check_bases
from qstore_db.layers.arguments import one_of, qubits
from qstore_db.quantum import pauli
from qstore_db.quantum.portable import PortableProgram

try:
    import keras
except ModuleNotFoundError as error:
    raise ConfigurationError(
        'Keras is not installed: pip install "qstore-db[keras]"', subject="keras"
    ) from error

ENCODINGS = ("angle", "reuploading")
INITS = ("small", "uniform", "normal")


@keras.saving.register_keras_serializable(package="qstore")
class QuantumLayer(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """(batch, n_qubits) -> (batch, n_qubits * n_bases) in [-1, 1]: all qubits in the first basis, then in the next.

    The arguments mean what they mean to the Torch layer of this name, and so do its weights: `quantum_params`,
    (n_parameters,), radians, in the order layer, qubit, gate. Values are exact, and so are gradients, of any order.
    Raises ArgumentError that names the argument.
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
        qubits(n_qubits)
        check_backend(None, backend)
        one_of("encoding", encoding, ENCODINGS)
        one_of("init", init, INITS)
        letters = check_bases(measurement_bases)
        self._kept = {
            "n_qubits": n_qubits,
            "depth": depth,
            "entanglement": entanglement,
            "backend": backend,
            "encoding": encoding,
            "ansatz": ansatz,
            "measurement_bases": list(letters),
            "init": init,
            "seed": seed,
        }
        self.circuit = encoded(encoding, _layers(n_qubits, depth, entanglement, ansatz), n_qubits)
        self._n_qubits, self._init, self._seed = n_qubits, init, seed
        self._program = PortableProgram(
            self.circuit,
            [pauli(f"{letter}{qubit}") for letter in letters for qubit in range(n_qubits)],
            keras.ops,
            self._constant,
        )
        self.output_dim = n_qubits * len(letters)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Raises ValueError, as Keras does, for inputs that are not n_qubits wide."""
        if input_shape[-1] != self._n_qubits:
            raise ValueError(f"input of shape {input_shape} given, (..., {self._n_qubits}) needed")
        self.quantum_params = self.add_weight(
            shape=(len(self.circuit.parameters),),
            initializer=_initializer(self._init, self._seed),
            name="quantum_params",
        )

    def call(self, inputs: Any) -> Any:
        return self._program.values(self.quantum_params, inputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._kept}

    def _constant(self, array: Any) -> Any:
        return keras.ops.convert_to_tensor(np.asarray(array), dtype=self.compute_dtype)


def _initializer(init: str, seed: int | None) -> Any:
    if init == "normal":
        return keras.initializers.RandomNormal(stddev=1.0, seed=seed)
    reach = 0.1 if init == "small" else float(np.pi)
    return keras.initializers.RandomUniform(-reach, reach, seed=seed)


_layers = ansatz
