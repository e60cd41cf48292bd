"""What the Keras layer promises on the backend that KERAS_BACKEND names; run by `test_keras.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError
from qstore_db.layers.keras import (
    QuantumFeatureExtractor,
    QuantumLayer,
    QuantumNonlinearity,
    QuantumPooling,
    QuantumReadout,
)
from qstore_db.quantum import adjoint, amplitude_states, iqp_features, pauli, plain

BACKEND = keras.backend.backend()
OPTIONS: list[dict[str, Any]] = [
    {"encoding": "reuploading", "entanglement": "circular", "measurement_bases": ("Z", "X", "Y")},
    {"ansatz": "full_rotation", "entanglement": [(2, 0), (0, 1)], "depth": 1, "measurement_bases": ["Y"]},
    {"ansatz": "rz_ry", "entanglement": "full"},
]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    if BACKEND != "jax":
        yield
        return
    import jax

    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=shape)


def array(tensor: Any) -> NDArray[Any]:
    found: NDArray[Any] = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(tensor))
    return found


def evaluated(layer: Any, x: Any, weights: Any) -> list[NDArray[Any]]:
    """Its values, and the gradients of their weighted sum by x and by what is trained; compiled where it can be."""
    x, weights = (keras.ops.convert_to_tensor(each, layer.dtype) for each in (x, weights))
    if not layer.built:
        layer.build(x.shape)
    trained = [each.value for each in layer.trainable_variables]
    if BACKEND == "torch":
        x.requires_grad_()
        values = layer(x)
        (values * weights).sum().backward()
        return [array(each) for each in (values, x.grad, *(its.grad for its in trained))]
    if BACKEND == "jax":
        import jax

        def total(x: Any, trained: Any) -> Any:
            values = layer.stateless_call(trained, [], x)[0]
            return (values * weights).sum(), values

        (by_input, slopes), values = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(x, trained)
        return [array(each) for each in (values, by_input, *slopes)]
    import tensorflow as tf

    @tf.function
    def all_of_them(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            values = layer(x)
            total = tf.reduce_sum(values * weights)
        return [values, *tape.gradient(total, [x, *trained])]

    return [array(each) for each in all_of_them(x)]


def made(dtype: str, options: dict[str, Any]) -> QuantumLayer:
    layer = QuantumLayer(3, dtype=dtype, **options)
    layer.build((None, 3))
    layer.set_weights([numbers(len(layer.circuit.parameters), seed=1)])
    return layer


@pytest.mark.parametrize(
    ("options", "dtype", "error"),
    [*((options, "float64", 1e-10) for options in OPTIONS), (OPTIONS[1], "float32", 1e-5)],
)
def test_values_and_gradients_are_those_of_the_plain_path(
    options: dict[str, Any], dtype: str, error: float
) -> None:
    layer, x = made(dtype, options), numbers(5, 3).astype(dtype)
    weights = numbers(5, layer.output_dim, seed=2).astype(dtype)
    letters = options.get("measurement_bases", ("Z",))
    read = [pauli(f"{letter}{qubit}") for letter in letters for qubit in range(3)]
    parameters = array(layer.quantum_params).astype(np.float64)
    true = adjoint.gradients(layer.circuit, read, parameters, x.astype(float), weights.astype(float))
    values, by_data, by_parameter = evaluated(layer, x, weights)
    assert values.dtype == dtype
    np.testing.assert_allclose(values, true.values, rtol=0, atol=error)
    np.testing.assert_allclose(by_parameter, true.parameters, rtol=0, atol=error)
    np.testing.assert_allclose(by_data, true.data, rtol=0, atol=error)


@pytest.mark.skipif(BACKEND != "torch", reason="the plain path stands for it on the others")
def test_the_same_weights_give_what_the_torch_layer_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from qstore_db.layers import QuantumLayer as TorchLayer

    monkeypatch.setattr(
        "qstore_db.layers.function._COMPILED", False
    )  # which would take longer than all else here
    layer, x = made("float32", OPTIONS[0]), numbers(5, 3).astype("float32")
    other = TorchLayer(3, **OPTIONS[0])
    other.set_quantum_parameters(array(layer.quantum_params))
    np.testing.assert_allclose(array(layer(x)), other(torch.from_numpy(x)).detach().numpy(), atol=1e-6)


def test_leading_dimensions_are_kept() -> None:
    layer, x = made("float32", {"measurement_bases": ("Z", "X")}), numbers(2, 4, 3).astype("float32")
    assert layer(x).shape == (2, 4, 6)
    np.testing.assert_array_equal(array(layer(x)).reshape(8, 6), array(layer(x.reshape(8, 3))))
    assert layer(keras.Input((None, 3))).shape == (None, None, 6)


def check(layer: Any, x: NDArray[np.float64], true: Any) -> None:
    """Values against `true`, a function of NumPy arrays, and gradients by x against its differences."""
    expected = true(x)
    weights = numbers(*expected.shape, seed=2)
    values, found = evaluated(layer, x, weights)[:2]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-10)
    assert layer(keras.Input((x.shape[1],))).shape == (None, expected.shape[1])
    step = 1e-5
    for column in range(x.shape[1]):
        shift = step * np.eye(x.shape[1])[column]
        slope = ((true(x + shift) - true(x - shift)) * weights).sum(axis=1) / (2 * step)
        np.testing.assert_allclose(found[:, column], slope, rtol=1e-6, atol=1e-7)


def with_angles(layer: Any, width: int) -> Any:
    layer.build((None, width))
    layer.set_weights([numbers(*each.shape, seed=1) for each in layer.get_weights()])
    return layer


def from_amplitudes(layer: Any, read: Any) -> Any:
    def true(x: NDArray[np.float64]) -> NDArray[np.float64]:
        angles = array(layer.quantum_params)
        began = amplitude_states(x, layer.n_qubits).astype(complex)
        return read(plain.run(layer.circuit, angles, np.empty((len(x), 0)), began))

    return true


def in_bases(letters: str, n_qubits: int) -> Any:
    read = [pauli(f"{letter}{qubit}") for letter in letters for qubit in range(n_qubits)]
    return lambda states: plain.expectations(states, read)


def test_products_of_features_are_angles_too() -> None:
    layer = with_angles(QuantumLayer(3, encoding="iqp", dtype="float64"), 3)

    def true(x: NDArray[np.float64]) -> NDArray[np.float64]:
        states = plain.run(layer.circuit, array(layer.quantum_params), iqp_features(x))
        return np.asarray(in_bases("Z", 3)(states))

    check(layer, numbers(4, 3), true)


@pytest.mark.parametrize("width", [4, 3])
def test_amplitudes_are_normalised_and_padded(width: int) -> None:
    x = numbers(3, width)
    for layer, letters in (
        (QuantumLayer(2, encoding="amplitude", dtype="float64"), "Z"),
        (QuantumFeatureExtractor(2, depth=2, dtype="float64"), "ZXY"),
    ):
        with_angles(layer, width)
        check(layer, x, from_amplitudes(layer, in_bases(letters, 2)))


def test_a_row_of_zeros_gives_what_is_no_number() -> None:
    layer = QuantumFeatureExtractor(1, depth=1)
    found = array(layer(np.array([[0.0, 0.0], [1.0, 0.0]], "float32")))
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


def test_rows_that_have_no_room_are_refused() -> None:
    with pytest.raises(ValueError, match="5 columns, and 2 qubits have 4 amplitudes"):
        QuantumFeatureExtractor(2)(numbers(2, 5))


@pytest.mark.parametrize("unused", ["renormalise", "penalise", "extra_class"])
@pytest.mark.parametrize("output", ["probs", "log_probs"])
def test_the_readout_gives_the_chances_of_classes(unused: str, output: str) -> None:
    layer = with_angles(QuantumReadout(2, 3, output=output, unused=unused, dtype="float64"), 4)

    def read(states: NDArray[np.complex128]) -> NDArray[np.float64]:
        chances = np.abs(states) ** 2
        classes = chances[:, :3]
        if unused == "renormalise":
            classes = classes / classes.sum(axis=1, keepdims=True)
        elif unused == "extra_class":
            classes = chances
        return np.log(classes) if output == "log_probs" else classes

    check(layer, numbers(4, 4), from_amplitudes(layer, read))


def test_damping_is_a_line_and_the_trained_turn_a_cosine() -> None:
    x = np.tanh(numbers(4, 4))
    damped = QuantumNonlinearity(2, "amplitude_damping", 0.3, measurement_bases=("Z", "X"), dtype="float64")
    check(damped, x, lambda x: np.hstack([0.7 * x[:, :2] + 0.3, np.sqrt(0.7) * x[:, 2:]]))
    dephased = QuantumNonlinearity(2, "phase_damping", 0.3, measurement_bases=("Z", "X"), dtype="float64")
    check(dephased, x, lambda x: np.hstack([x[:, :2], np.sqrt(0.7) * x[:, 2:]]))
    turned = QuantumNonlinearity(4, "parametric", 0.5, dtype="float64")
    check(turned, x, lambda x: np.sin(0.5 * x))
    assert turned.quantum_params.shape == (8,)


def test_pooling_takes_groups_of_neighbours() -> None:
    x = np.tanh(numbers(4, 5))
    whole = x[:, :4].reshape(4, 2, 2)
    check(QuantumPooling(5, 2, dtype="float64"), x, lambda x: x[:, [0, 2]])
    found = QuantumPooling(5, 2, "measurement")(x)
    np.testing.assert_allclose(array(found), whole.mean(axis=2), atol=1e-6)
    found = QuantumPooling(5, 2, "amplitude_damping", strength=0.2)(x)
    np.testing.assert_allclose(array(found), 0.8 * whole.mean(axis=2) + 0.2, atol=1e-6)


def test_a_model_of_all_layers_is_fitted_saved_and_loaded(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    x = np.abs(numbers(48, 8)).astype("float32")
    y = (x[:, :4].sum(axis=1) > x[:, 4:].sum(axis=1)).astype("int32")
    trained = keras.Sequential(
        [
            keras.Input((8,)),
            QuantumFeatureExtractor(3, depth=1, measurement_bases=("Z",)),
            QuantumNonlinearity(3, "parametric", 1.0),
            QuantumPooling(3, 3, "measurement"),
            keras.layers.Dense(2),
            QuantumLayer(2, depth=1, encoding="iqp", measurement_bases=("Z", "X")),
            QuantumReadout(2, 2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(keras.optimizers.Adam(0.1), loss)
    losses = trained.fit(x, y, epochs=6, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), trained.predict(x, verbose=0), atol=1e-5)


def model() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(3),
            QuantumLayer(3, depth=1, entanglement=[(0, 1), (1, 2)], seed=1, name="circuit"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )


def test_a_model_is_fitted_saved_and_loaded(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    x = numbers(64, 2).astype("float32")
    y = (x[:, :1] * x[:, 1:] > 0).astype("float32")
    trained = model()
    before = array(trained.get_layer("circuit").quantum_params).copy()
    trained.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")
    losses = trained.fit(x, y, epochs=12, batch_size=32, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert not np.allclose(array(trained.get_layer("circuit").quantum_params), before, atol=0.05)
    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), trained.predict(x, verbose=0), atol=1e-6)
    assert loaded.get_layer("circuit").get_config() == trained.get_layer("circuit").get_config()


@pytest.mark.parametrize("options", OPTIONS)
def test_a_layer_is_made_anew_from_its_config(options: dict[str, Any]) -> None:
    layer = QuantumLayer(3, init="uniform", seed=4, dtype="float64", name="its", **options)
    again = QuantumLayer.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.circuit, again.output_dim, again.name) == (layer.circuit, layer.output_dim, "its")
    layer.build((None, 3))
    again.build((None, 3))
    np.testing.assert_array_equal(array(again.quantum_params), array(layer.quantum_params))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_under_a_policy_of_low_precision_it_computes_in_single(policy: str) -> None:
    layer, single = made(policy, {}), made("float32", {})
    x = numbers(8, 3).astype("float32")
    values = layer(x)
    assert keras.backend.standardize_dtype(values.dtype) == "float32"
    np.testing.assert_array_equal(array(values), array(single(x)))
    low = keras.ops.cast(x, "float16")
    np.testing.assert_array_equal(array(layer(low)), array(single(keras.ops.cast(low, "float32"))))


def test_initial_angles_are_as_their_names_say() -> None:
    def angles(**options: Any) -> NDArray[Any]:
        layer = QuantumLayer(8, 16, **options)
        layer.build((None, 8))
        return array(layer.quantum_params)

    assert 0.05 < np.abs(angles(seed=0)).max() <= 0.1
    assert 3.0 < np.abs(angles(init="uniform", seed=0)).max() <= np.pi
    assert 0.8 < angles(init="normal", seed=0).std() < 1.2
    np.testing.assert_array_equal(angles(seed=2**62), angles(seed=2**62))
    assert not np.array_equal(angles(), angles())
    keras.utils.set_random_seed(3)
    first = angles()
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(angles(), first)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_qubits", 0),
        ("n_qubits", 40),
        ("depth", 0),
        ("entanglement", "knotted"),
        ("entanglement", [(0, 0)]),
        ("entanglement", 3),
        ("backend", "ionq"),
        ("encoding", "basis"),
        ("ansatz", "none"),
        ("measurement_bases", ("Z", "Z")),
        ("measurement_bases", ()),
        ("init", "zeros"),
        ("seed", -1),
        ("seed", 1.5),
    ],
)
def test_bad_arguments_are_named(name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=name) as caught:
        QuantumLayer(**{"n_qubits": 2, name: value})
    assert caught.value.subject == name


@pytest.mark.parametrize(
    ("kind", "arguments", "name"),
    [
        (QuantumFeatureExtractor, {"n_qubits": 2, "measurement_bases": ()}, "measurement_bases"),
        (QuantumFeatureExtractor, {"n_qubits": 2, "depth": 0}, "depth"),
        (QuantumReadout, {"n_qubits": 2, "n_classes": 5}, "n_classes"),
        (QuantumReadout, {"n_qubits": 2, "n_classes": 4, "unused": "extra_class"}, "unused"),
        (QuantumNonlinearity, {"n_qubits": 2, "nonlinearity_type": "phase_damping"}, "measurement_bases"),
        (QuantumNonlinearity, {"n_qubits": 2, "strength": 2}, "strength"),
        (QuantumPooling, {"n_qubits": 2, "pool_size": 3}, "pool_size"),
        (QuantumPooling, {"n_qubits": 2, "strength": 0.1}, "strength"),
    ],
)
def test_bad_arguments_of_the_other_layers_are_named(kind: Any, arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(ArgumentError, match=name) as caught:
        kind(**arguments)
    assert caught.value.subject == name


def test_inputs_of_another_width_are_refused_in_keras_words() -> None:
    for layer in (QuantumLayer(3), made("float32", {})):
        with pytest.raises(ValueError, match=r"expected axis -1 .* to have value 3"):
            layer(numbers(2, 4))


@pytest.mark.skipif(BACKEND != "jax", reason="of JAX alone")
def test_double_precision_that_jax_would_not_give_is_refused() -> None:
    import jax

    jax.config.update("jax_enable_x64", False)
    with pytest.raises(ArgumentError, match="jax_enable_x64"):
        QuantumLayer(2, dtype="float64")
