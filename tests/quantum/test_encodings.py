"""Encodings prepare the states that PennyLane's do, and refuse what has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.errors import ArgumentError, VectorError
from qstore_db.quantum import (
    Circuit,
    adjoint,
    amplitude_states,
    encode,
    encoded_states,
    encoding,
    expectations,
    iqp_features,
    pauli,
)

RNG = np.random.default_rng(20)
X = RNG.uniform(-np.pi, np.pi, (3, 4))
LAYERS = [Circuit(4).rz(0, "a").cx(0, 1).ry(2, 0.3).cx(2, 3), Circuit(4).ry(1, "b").cx(1, 2).rx(3, "a")]


def pennylane_state(prepare: Callable[[], Any], n_qubits: int) -> np.ndarray[Any, Any]:
    @qml.qnode(qml.device("default.qubit", wires=n_qubits))
    def state() -> Any:
        prepare()
        return qml.state()

    return np.asarray(state())


def reuploaded(x: np.ndarray[Any, Any], a: float, b: float) -> None:
    qml.AngleEmbedding(x, wires=range(4), rotation="Y")
    qml.RZ(a, 0)
    qml.CNOT([0, 1])
    qml.RY(0.3, 2)
    qml.CNOT([2, 3])
    qml.AngleEmbedding(x, wires=range(4), rotation="Y")
    qml.RY(b, 1)
    qml.CNOT([1, 2])
    qml.RX(a, 3)


def test_angle_encoding_is_pennylanes() -> None:
    theirs = pennylane_state(lambda: qml.AngleEmbedding(X[0], wires=range(5), rotation="Y"), 5)
    np.testing.assert_allclose(encode(X[0], n_qubits=5).state(), theirs, atol=1e-12)


@pytest.mark.parametrize("repeats", [1, 3])
def test_iqp_encoding_is_pennylanes(repeats: int) -> None:
    theirs = pennylane_state(lambda: qml.IQPEmbedding(X[0], wires=range(4), n_repeats=repeats), 4)
    np.testing.assert_allclose(encode(X[0], "iqp", repeats=repeats).state(), theirs, atol=1e-12)


def test_basis_encoding_is_pennylanes() -> None:
    theirs = pennylane_state(lambda: qml.BasisEmbedding([1, 0, 0, 1, 1], wires=range(5)), 5)
    np.testing.assert_array_equal(encode([1, 0, 0, 1, 1], "basis").state(), theirs)


def test_reuploading_puts_the_data_before_each_layer() -> None:
    theirs = pennylane_state(lambda: reuploaded(X[0], 0.7, -1.1), 4)
    circuit = encode(X[0], "reuploading", layers=LAYERS)
    assert circuit.parameters == ("a", "b")
    np.testing.assert_allclose(circuit.state({"a": 0.7, "b": -1.1}), theirs, atol=1e-12)


@pytest.mark.parametrize("is_complex", [False, True])
def test_amplitude_encoding_is_pennylanes(is_complex: bool) -> None:
    x = RNG.normal(size=(2, 11)) + (1j * RNG.normal(size=(2, 11)) if is_complex else 0.0)
    ours = amplitude_states(x, n_qubits=5)
    assert ours.dtype == (np.complex128 if is_complex else np.float64)
    for row, state in zip(x, ours, strict=True):
        prepare = lambda row=row: qml.AmplitudeEmbedding(row, range(5), pad_with=0.0, normalize=True)  # noqa: E731
        np.testing.assert_allclose(state, pennylane_state(prepare, 5), atol=1e-12)


@pytest.mark.parametrize("n_qubits", range(1, 9))
def test_the_circuit_prepares_a_real_state_with_its_signs(n_qubits: int) -> None:
    x = np.random.default_rng(n_qubits).normal(size=1 << n_qubits)
    circuit = encode(x, "amplitude")
    np.testing.assert_allclose(circuit.state(), x / np.linalg.norm(x), atol=1e-12)
    assert set(circuit.specs().gates) <= {"ry", "cx"}
    assert circuit.specs().two_qubit_gates == (1 << n_qubits) - 2


@pytest.mark.parametrize("n_qubits", range(1, 9))
def test_the_circuit_prepares_a_complex_state_up_to_a_global_phase(n_qubits: int) -> None:
    rng = np.random.default_rng(n_qubits)
    x = rng.normal(size=1 << n_qubits) + 1j * rng.normal(size=1 << n_qubits)
    circuit, wanted = encode(x, "amplitude"), x / np.linalg.norm(x)
    found = circuit.state()
    np.testing.assert_allclose(found * np.exp(1j * np.angle(np.vdot(found, wanted))), wanted, atol=1e-12)
    assert circuit.specs().two_qubit_gates == 2 * ((1 << n_qubits) - 2)


SPARSE = st.lists(
    st.sampled_from([0.0, 0.0, 1.0, -1.0, 0.25, -3.0, 1e-160, 1e200, 1j, -2j]), min_size=1, max_size=17
)


@given(SPARSE)
def test_states_with_zeros_signs_and_extreme_sizes_are_prepared(x: list[complex]) -> None:
    values = np.array(x) if np.iscomplex(x).any() else np.real(x)
    if not values.any():
        values[0] = -1.0
    (wanted,) = amplitude_states([values])
    found = encode(values, "amplitude").state()
    assert np.linalg.norm(wanted) == pytest.approx(1.0, abs=1e-12)
    phase = np.exp(1j * np.angle(np.vdot(found, wanted))) if np.iscomplexobj(values) else 1.0
    np.testing.assert_allclose(found * phase, wanted, atol=1e-12)


def test_padding_and_uniform_states_cost_no_gates_that_do_nothing() -> None:
    assert encode(np.ones(16), "amplitude").specs().gates == {"ry": 4}
    padded = encode([0.0, -2.0, 1.0, 1.0], "amplitude", n_qubits=6)
    assert padded.specs().two_qubit_gates == 2
    np.testing.assert_allclose(padded.state()[:4], np.array([0, -2, 1, 1]) / np.sqrt(6), atol=1e-12)
    assert np.linalg.norm(padded.state()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("kind", ["angle", "iqp", "reuploading"])
def test_a_circuit_over_data_slots_gives_the_states_of_its_samples(kind: Any) -> None:
    options: Any = {"layers": LAYERS} if kind == "reuploading" else {}
    parameters = [0.4, 0.8] if kind == "reuploading" else None
    columns = iqp_features(X) if kind == "iqp" else X
    batch = encoding(kind, 4, **options).state(parameters, columns)
    for row, state in zip(X, batch, strict=True):
        np.testing.assert_allclose(encode(row, kind, **options).state(parameters), state, atol=1e-13)


@pytest.mark.parametrize(("kind", "x"), [("angle", X), ("iqp", X), ("basis", X > 0), ("amplitude", X)])
def test_batches_of_states_are_those_of_their_samples(kind: Any, x: np.ndarray[Any, Any]) -> None:
    states = encoded_states(x, kind, n_qubits=5)
    for row, state in zip(x, states, strict=True):
        np.testing.assert_allclose(encode(row, kind, n_qubits=5).state(), state, atol=1e-12)


def test_gradients_of_iqp_features_become_gradients_of_the_data_as_documented() -> None:
    x, observable = X[0], pauli("X0 Y2") + 0.5 * pauli("X1 X3")
    circuit = encoding("iqp", 4, repeats=2)
    found = adjoint.gradients(circuit, [observable], np.empty(0), iqp_features(X[:1]), np.ones((1, 1))).data[
        0
    ]
    ours, pairs = found[:4].copy(), list(zip(*np.triu_indices(4, 1), strict=True))
    for (i, j), gradient in zip(pairs, found[4:], strict=True):
        ours[i] += gradient * x[j]
        ours[j] += gradient * x[i]

    def value(at: np.ndarray[Any, Any]) -> float:
        return float(expectations(circuit, [observable], data=iqp_features(at))[0])

    steps = 1e-5 * np.eye(4)
    differences = [(value(x + step) - value(x - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(ours, differences, atol=1e-8)


def test_rows_of_zeros_are_named_or_become_the_ground_state() -> None:
    x = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0], [3.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    with pytest.raises(VectorError, match=r"rows 1, 3 of x") as caught:
        amplitude_states(x)
    assert caught.value.subject == "x"
    states = amplitude_states(x, on_zero="ground")
    np.testing.assert_array_equal(states[[1, 3]], [[1, 0, 0, 0]] * 2)
    np.testing.assert_allclose(states[2], [0.6, 0, 0.8, 0], atol=1e-15)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(VectorError, match="row 1 of x has values that are not finite"):
        amplitude_states([[1.0, 2.0], [bad, 1.0]])
    for kind in ("angle", "iqp", "basis", "amplitude", "reuploading"):
        with pytest.raises(VectorError, match="not finite"):
            encode([1.0, bad], kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["abc", [[1.0]], [], [1.0, "x"], [[1.0], [1.0, 2.0]], [1j, 0.0], None])
def test_what_is_no_row_of_numbers_is_refused(bad: Any) -> None:
    with pytest.raises(VectorError):
        encode(bad)


def test_too_many_features_name_the_qubits_they_need() -> None:
    with pytest.raises(ArgumentError, match="n_qubits=4") as caught:
        amplitude_states(np.ones((1, 9)), n_qubits=3)
    assert caught.value.subject == "n_qubits"
    for kind in ("angle", "iqp", "basis", "reuploading"):
        with pytest.raises(ArgumentError, match="n_qubits=3"):
            encode([1, 1, 1], kind, n_qubits=2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "options", "subject"),
    [
        ("fourier", {}, "kind"),
        ("angle", {"repeats": 2}, "repeats"),
        ("amplitude", {"layers": LAYERS}, "layers"),
        ("iqp", {"repeats": 0}, "repeats"),
        ("angle", {"n_qubits": 2.5}, "n_qubits"),
        ("amplitude", {"n_qubits": 0}, "n_qubits"),
        ("reuploading", {}, "layers"),
    ],
)
def test_unknown_kinds_and_options_of_others_are_refused(kind: Any, options: Any, subject: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        encode([1.0, 0.0], kind, **options)
    assert caught.value.subject == subject


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="'depth'"):
        encode([1.0], depth=3)  # type: ignore[call-arg]


def test_basis_encoding_takes_bits_only() -> None:
    with pytest.raises(VectorError, match="0 and 1"):
        encode([0, 2], "basis")


@pytest.mark.parametrize("kind", ["basis", "amplitude"])
def test_encodings_without_turning_gates_have_no_slots(kind: Any) -> None:
    with pytest.raises(ArgumentError, match="no data slots"):
        encoding(kind, 2)


@pytest.mark.parametrize("bad", [0, -1, 2.0, True])
def test_a_circuit_over_slots_needs_at_least_one_feature(bad: Any) -> None:
    with pytest.raises(ArgumentError) as caught:
        encoding("angle", bad, n_qubits=3)
    assert caught.value.subject == "n_features"
