"""Quantum kernels: the overlaps that PennyLane's circuits give, positive, and the same by shots on average."""

from __future__ import annotations

from typing import Any

import numpy as np
import pennylane as qml
import pytest

from qstore_db.errors import ArgumentError, VectorError
from qstore_db.quantum import Circuit, data, encoding, iqp_features, quantum_kernel
from qstore_db.quantum.kernel import positive

RNG = np.random.default_rng(5)
X, Y = RNG.uniform(-2, 2, (6, 3)), RNG.uniform(-2, 2, (4, 3))
EMBEDDINGS = {
    "angle": lambda x: qml.AngleEmbedding(x, wires=range(3), rotation="Y"),
    "iqp": lambda x: qml.IQPEmbedding(x, wires=range(3), n_repeats=2),
    "amplitude": lambda x: qml.AmplitudeEmbedding(x, wires=range(2), pad_with=0.0, normalize=True),
}


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_entries_are_the_overlaps_of_pennylanes_states(kind: Any) -> None:
    embed, wires = EMBEDDINGS[kind], 2 if kind == "amplitude" else 3

    @qml.qnode(qml.device("default.qubit", wires=wires))
    def overlap(x: Any, y: Any) -> Any:
        embed(x)
        qml.adjoint(embed)(y)
        return qml.probs(wires=range(wires))

    options: Any = {"repeats": 2} if kind == "iqp" else {}
    theirs = [[overlap(x, y)[0] for y in Y] for x in X]
    np.testing.assert_allclose(quantum_kernel(X, Y, encoding=kind, **options), theirs, atol=1e-12)


@pytest.mark.parametrize("kind", ["angle", "iqp", "amplitude"])
def test_a_kernel_of_samples_with_themselves_is_positive_with_ones_on_its_diagonal(kind: Any) -> None:
    many = RNG.uniform(-2, 2, (40, 3))
    kernel = quantum_kernel(many, encoding=kind)
    np.testing.assert_allclose(np.diag(kernel), 1.0, atol=1e-12)
    np.testing.assert_allclose(kernel, quantum_kernel(many, many, encoding=kind), atol=1e-14)
    assert np.linalg.eigvalsh(kernel)[0] >= -1e-8


def test_basis_states_overlap_where_they_are_equal() -> None:
    bits = np.array([[0, 1], [1, 1], [0, 1]])
    np.testing.assert_array_equal(quantum_kernel(bits, encoding="basis"), [[1, 0, 1], [0, 1, 0], [1, 0, 1]])


def test_a_circuit_over_data_slots_is_an_encoding() -> None:
    circuit = encoding("iqp", 3, repeats=2)
    by_kind = quantum_kernel(X, encoding="iqp", repeats=2)
    np.testing.assert_allclose(quantum_kernel(iqp_features(X), encoding=circuit), by_kind, atol=1e-14)


def test_estimates_by_shots_are_unbiased_and_repeat_with_their_seed() -> None:
    exact, shots, runs = quantum_kernel(X, Y), 50, 400
    rng = np.random.default_rng(1)
    mean = np.mean([quantum_kernel(X, Y, shots=shots, seed=rng) for _ in range(runs)], axis=0)
    assert (np.abs(mean - exact) <= 5 * np.sqrt(exact * (1 - exact) / (shots * runs)) + 1e-12).all()
    np.testing.assert_array_equal(
        quantum_kernel(X, Y, shots=shots, seed=3), quantum_kernel(X, Y, shots=shots, seed=3)
    )
    assert (quantum_kernel(X, Y, shots=shots, seed=3) != quantum_kernel(X, Y, shots=shots, seed=4)).any()


def test_shots_that_make_a_kernel_indefinite_are_an_error_naming_the_eigenvalue_or_clipped() -> None:
    close = 1e-3 * RNG.normal(size=(8, 3)) + 0.7 * RNG.integers(0, 2, (8, 1))
    with pytest.raises(ArgumentError, match=r"smallest eigenvalue is -0\.\d+") as caught:
        quantum_kernel(close, shots=20, seed=0)
    assert caught.value.subject == "kernel"
    clipped = quantum_kernel(close, shots=20, seed=0, on_indefinite="clip")
    assert np.linalg.eigvalsh(clipped)[0] >= -1e-8
    np.testing.assert_allclose(clipped, clipped.T, atol=1e-12)


def test_a_symmetric_kernel_by_shots_is_symmetric_and_sure_of_its_diagonal() -> None:
    apart = np.pi * np.array([[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]])
    kernel = quantum_kernel(apart, shots=100, seed=2)
    np.testing.assert_array_equal(kernel, kernel.T)
    np.testing.assert_array_equal(np.diag(kernel), 1.0)


def test_rounding_below_zero_is_no_error_and_more_is() -> None:
    nearly = np.array([[1.0, 1.0 + 5e-9], [1.0 + 5e-9, 1.0]])
    np.testing.assert_array_equal(positive(nearly), nearly)
    with pytest.raises(ArgumentError, match="-1e-07"):
        positive(np.array([[1.0, 1.0 + 1e-7], [1.0 + 1e-7, 1.0]]))


def test_samples_that_do_not_fit_each_other_or_the_circuit_are_refused() -> None:
    with pytest.raises(ArgumentError, match="different numbers of qubits"):
        quantum_kernel(X, X[:, :2])
    with pytest.raises(ArgumentError, match="reads 1 columns"):
        quantum_kernel(X, encoding=Circuit(1).ry(0, data(0)))
    with pytest.raises(ArgumentError, match="no options"):
        quantum_kernel(X, encoding=encoding("angle", 3), n_qubits=4)
    with pytest.raises(VectorError, match="row 1 of x"):
        quantum_kernel([[1.0, 2.0], [0.0, 0.0]], encoding="amplitude")
    with pytest.raises(ArgumentError, match="shots=0"):
        quantum_kernel(X, shots=0)
    with pytest.raises(ArgumentError, match="on_indefinite"):
        quantum_kernel(X, on_indefinite="fix")  # type: ignore[arg-type]
