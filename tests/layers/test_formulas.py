"""What layers compute, held against the formulas that they are documented by."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from qstore_db.layers import (
    AdaptiveLayer,
    CircuitLayer,
    DecodingLayer,
    EncodingLayer,
    QuantumAwareNormalization,
    QuantumFeatureExtractor,
    QuantumLayer,
    QuantumNonlinearity,
    QuantumPooling,
    QuantumReadout,
)
from qstore_db.quantum import Circuit, data, expectations, pauli, plain


def close(found: Tensor, expected: object, tolerance: float = 1e-6) -> bool:
    return np.allclose(found.detach().numpy(), np.asarray(expected), atol=tolerance, rtol=0)


def test_one_qubit_turned_by_the_input_and_by_a_parameter() -> None:
    layer = QuantumLayer(1, 1, measurement_bases=("Z", "X"), seed=0)
    y, z = layer.get_quantum_parameters()
    x = torch.tensor([[0.3], [1.2]])
    angle = x[:, 0].numpy() + y
    assert close(layer(x), np.stack([np.cos(angle), np.sin(angle) * np.cos(z)], axis=1))


@pytest.mark.parametrize("encoding", ["angle", "iqp", "reuploading"])
def test_a_layer_is_its_circuit(encoding: str) -> None:
    layer = QuantumLayer(3, encoding=encoding, measurement_bases=("Z", "Y"), init="normal", seed=0).double()
    x = torch.rand(4, 3, dtype=torch.float64)
    columns = x.numpy()
    if encoding == "iqp":
        products = [columns[:, i] * columns[:, j] for i, j in ((0, 1), (0, 2), (1, 2))]
        columns = np.column_stack([columns, *products])
    observables = [pauli(f"{letter}{qubit}") for letter in "ZY" for qubit in range(3)]
    angles = layer.quantum_params.detach().numpy()
    assert close(layer(x), expectations(layer.circuit, observables, angles, columns), 1e-12)


def test_amplitudes_are_the_row_normalised_and_padded() -> None:
    x = torch.tensor([[3.0, 0.0, 4.0], [0.0, -2.0, 0.0]])
    assert close(EncodingLayer(4)(x), [[0.6, 0, 0.8, 0], [0, -1, 0, 0]])
    assert close(EncodingLayer(2, "truncate")(x[:1]), [[1, 0]])
    layer = QuantumFeatureExtractor(2, 1, measurement_bases=("Z",), seed=0).double()
    states = np.array([[0.6, 0, 0.8, 0], [0, -1, 0, 0]], np.complex128)
    ended = plain.run(layer.circuit, layer.quantum_params.detach().numpy(), np.zeros((2, 0)), states)
    expected = plain.expectations(ended, [pauli("Z0"), pauli("Z1")])
    assert close(layer(x.double()), expected, 1e-12)


def test_rows_may_be_as_small_and_as_large_as_numbers_are() -> None:
    x = torch.tensor([[3e-40, 4e-40], [-3e38, 3e38]])
    assert torch.allclose(EncodingLayer(2)(x), torch.tensor([[0.6, 0.8], [-(0.5**0.5), 0.5**0.5]]), atol=1e-5)


def test_rows_of_zeros_can_be_the_ground_state_and_then_have_no_gradient() -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 2.0]], requires_grad=True)
    found = EncodingLayer(4, on_zero="ground")(x)
    assert close(found, [[1, 0, 0, 0], [0, 1, 0, 0]])
    found.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert not x.grad[0].any()


def test_pca_projects_on_the_main_components() -> None:
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [5.0, 3.0, 1.0, 0.1, 0.1]
    )
    layer = EncodingLayer(2, "pca").fit(x)
    centred = (x - x.mean(dim=0)).double().numpy()
    _, vectors = np.linalg.eigh(centred.T @ centred)
    main = vectors[:, ::-1][:, :2]
    main *= np.sign(main[np.abs(main).argmax(axis=0), [0, 1]])
    projected = centred @ main
    assert close(layer(x), projected / np.linalg.norm(projected, axis=1, keepdims=True), 1e-5)


def test_decoding_brings_values_to_between_0_and_1() -> None:
    assert close(DecodingLayer()(torch.tensor([-1.0, 0.0, 1.0])), [0, 0.5, 1])
    layer = DecodingLayer(2)
    found = layer(torch.tensor([[-1.0, -1.0, -1.0]]))
    assert close(found, [[0, 0]])
    assert layer.map is not None
    assert layer.map.bias is None


VALUES = torch.tensor([[0.9, -0.4, 0.2, 0.6, -0.8]])


@pytest.mark.parametrize(
    ("kind", "strength", "expected"),
    [
        ("partial_trace", None, [0.9, 0.2]),
        ("measurement", None, [0.25, 0.4]),
        ("amplitude_damping", None, [0.9 * 0.25 + 0.1, 0.9 * 0.4 + 0.1]),
        ("amplitude_damping", 0.5, [0.5 * 0.25 + 0.5, 0.5 * 0.4 + 0.5]),
    ],
)
def test_pooling_of_five_qubits_by_two(kind: str, strength: float | None, expected: list[float]) -> None:
    layer = QuantumPooling(5, 2, kind, strength=strength)
    assert layer.output_dim == 2
    assert close(layer(VALUES), [expected])


def test_damping_is_what_the_channel_does_to_bloch_vectors() -> None:
    bases, strength = ("X", "Z"), 0.3
    x = torch.tensor([[0.6, 0.8]])  # <X>, <Z> of one qubit in a pure state
    for kind, expected in {
        "amplitude_damping": [0.6 * math.sqrt(0.7), 0.8 * 0.7 + 0.3],
        "phase_damping": [0.6 * math.sqrt(0.7), 0.8],
    }.items():
        assert close(QuantumNonlinearity(1, kind, strength, measurement_bases=bases)(x), [expected])


def test_the_parametric_kind_is_a_sine_to_begin_with() -> None:
    layer = QuantumNonlinearity(2, "parametric", 0.5)
    x = torch.tensor([[0.3, -0.7]])
    assert close(layer(x), np.sin(0.5 * x.numpy()))
    layer.set_quantum_parameters([1.0, 0.2, 2.0, 0.1])
    assert close(layer(x), [[math.cos(0.3 + 0.2), math.cos(-1.4 + 0.1)]])


def born(layer: QuantumReadout, x: Tensor) -> np.ndarray:
    """Probabilities of all basis states."""
    states = x.double().numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True)
    for qubit, angle in enumerate(layer.get_quantum_parameters().astype(float)):
        turn = np.array(
            [[math.cos(angle / 2), -math.sin(angle / 2)], [math.sin(angle / 2), math.cos(angle / 2)]]
        )
        states = plain.applied(states, turn, (qubit,))
    return states**2


@pytest.mark.parametrize("output", ["log_probs", "probs"])
def test_readout_by_the_born_rule(output: str) -> None:
    x = torch.rand(4, 4) + 0.1
    for unused in ("renormalise", "penalise", "extra_class"):
        layer = QuantumReadout(2, 3, output=output, unused=unused, init="normal", seed=0)
        every = born(layer, x)
        expected = {
            "renormalise": every[:, :3] / every[:, :3].sum(axis=1, keepdims=True),
            "penalise": every[:, :3],
            "extra_class": every,
        }[unused]
        found = layer(x).exp() if output == "log_probs" else layer(x)
        assert layer.output_dim == found.shape[1]
        assert close(found, expected)
        assert layer.leftover.item() == pytest.approx(every[:, 3].mean(), abs=1e-6)


def test_a_class_that_cannot_occur_has_a_finite_logarithm_and_gradient() -> None:
    layer = QuantumReadout(1, 2)
    layer.set_quantum_parameters([0.0])
    x = torch.tensor([[1.0, 0.0]], requires_grad=True)
    found = layer(x)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert layer.quantum_params.grad is not None
    assert torch.isfinite(layer.quantum_params.grad).all()


def test_a_circuit_layer_begins_where_it_is_told_to() -> None:
    layer = CircuitLayer(Circuit(1).ry(0, "a").rz(0, data(0)), [pauli("X0"), pauli("Z0") * 2.0]).double()
    layer.set_quantum_parameters([0.5])
    x, states = (
        torch.tensor([[0.3]], dtype=torch.float64),
        torch.tensor([[0.6, 0.8j]], dtype=torch.complex128),
    )
    turned = plain.run(layer.circuit, np.array([0.5]), x.numpy(), states.numpy())
    assert close(layer(x, states), plain.expectations(turned, layer.expectations.observables), 1e-12)


def test_an_adaptive_layer_is_a_mean_of_both_ways() -> None:
    layer = AdaptiveLayer(2, seed=0)
    x = torch.rand(3, 2)
    both = (layer.quantum(x) + torch.tanh(layer.classical(x))) / 2
    assert close(layer(x), both.detach())
    assert layer.quantum_share() == 0.5
    with torch.no_grad():
        layer.gate.fill_(-50.0)
    assert close(layer(x), torch.tanh(layer.classical(x)).detach())
    assert layer.quantum_share() < 1e-6


def test_normalisation_gives_angles_that_keep_the_order_of_features() -> None:
    layer = QuantumAwareNormalization(1, limit=1.5)
    x = torch.linspace(-50, 70, 13).unsqueeze(1)
    found = layer(x)
    spread = (x - x.mean()) / torch.sqrt(x.var(correction=0) + 1e-5)
    assert close(found, 1.5 * np.tanh(spread.numpy() / 2))
    assert (found.diff(dim=0) > 0).all()
    assert found.abs().max() < 1.5
