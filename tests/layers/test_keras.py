"""The Keras layer on each backend, which a process has one of; and Keras and JAX where Torch is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CHILD = Path(__file__).parent / "children" / "keras_layer.py"
BACKENDS = [os.environ["KERAS_BACKEND"]] if "KERAS_BACKEND" in os.environ else ["torch", "jax"]
"""The variable is set where the backend has an environment of its own, as TensorFlow."""


on_jax = pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
"""Small circuits take JAX longer to compile than to run."""


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_layer_keeps_its_promises_on(backend: str) -> None:
    run(backend, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", str(CHILD))


def run(backend: str, *arguments: str) -> None:
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    ended = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder
class Blocked(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Blocked)
import numpy as np
from qstore_db.quantum import Circuit, data, pauli
import qstore_db.layers.jax, qstore_db.layers.keras
found = qstore_db.layers.jax.expectations(Circuit(1).ry(0, data(0)), [pauli("Z0")])([], [[0.5]])
again = qstore_db.layers.keras.QuantumLayer(1, depth=1, seed=0)
again.build((None, 1))
again.set_weights([np.zeros(2)])
np.testing.assert_allclose(found, [[np.cos(0.5)]], rtol=1e-6)
np.testing.assert_allclose(again(np.array([[0.5]])), [[np.cos(0.5)]], rtol=1e-6)
"""


@on_jax
def test_neither_keras_nor_jax_needs_torch() -> None:
    run("jax", "-c", WITHOUT_TORCH)


WITHOUT_BACKEND = """
import sys
sys.modules["jax"] = None
from qstore_db.errors import ConfigurationError
try:
    import qstore_db.layers.keras
except ConfigurationError as error:
    assert "KERAS_BACKEND" in str(error), error
else:
    sys.exit("it was imported")
"""


@on_jax
def test_keras_without_its_backend_says_what_to_set() -> None:
    run("jax", "-c", WITHOUT_BACKEND)
