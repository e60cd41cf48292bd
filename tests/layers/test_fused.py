"""Fused layers: one circuit, with the wires that pooling drops as spectators."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
import torch
from torch import nn

from qstore_db.errors import ArgumentError
from qstore_db.layers import (
    QuantumFeatureExtractor,
    QuantumLayer,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
)


def extractor(
    n_qubits: int, depth: int, bases: tuple[str, ...] | None = None, seed: int = 0
) -> QuantumFeatureExtractor:
    return QuantumFeatureExtractor(n_qubits, depth, measurement_bases=bases, init="uniform", seed=seed)


def peer(angles: np.ndarray, wires: list[int], depth: int) -> None:
    """The hardware-efficient ansatz with full entanglement."""
    for layer in angles.reshape(depth, len(wires), 2):
        for wire, (y, z) in zip(wires, layer, strict=True):
            qml.RY(y, wires=wire)
            qml.RZ(z, wires=wire)
        for place, control in enumerate(wires):
            for target in wires[place + 1 :]:
                qml.CNOT(wires=[control, target])


def test_four_layers_are_the_circuit_that_pennylane_builds() -> None:
    readout = QuantumReadout(2, 3, output="probs", seed=2)
    layers = extractor(4, 2), QuantumPooling(4, 2), extractor(2, 3, seed=1), readout
    model = QuantumSequential(*layers).double()
    x = torch.rand(5, 13, dtype=torch.float64)

    @qml.qnode(qml.device("default.qubit", wires=4))
    def circuit(row: np.ndarray) -> object:
        qml.AmplitudeEmbedding(row, wires=range(4), pad_with=0.0, normalize=True)
        first, second, last = (layers[place].quantum_params.detach().numpy() for place in (0, 2, 3))
        peer(first, [0, 1, 2, 3], 2)
        peer(second, [0, 2], 3)
        qml.RY(last[0], wires=0)
        qml.RY(last[1], wires=2)
        return qml.probs(wires=[0, 2])

    expected = np.array([circuit(row)[:3] for row in x.numpy()])
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.abs(model(x).detach().numpy() - expected).max() < 1e-9


def test_expectation_values_at_the_end_are_those_of_pennylane() -> None:
    layers = extractor(4, 1), QuantumPooling(4, 2), extractor(2, 1, ("Y", "Z"), seed=1)
    model = QuantumSequential(*layers).double()
    x = torch.rand(3, 16, dtype=torch.float64)

    @qml.qnode(qml.device("default.qubit", wires=4))
    def circuit(row: np.ndarray) -> object:
        qml.AmplitudeEmbedding(row, wires=range(4), normalize=True)
        peer(layers[0].quantum_params.detach().numpy(), [0, 1, 2, 3], 1)
        peer(layers[2].quantum_params.detach().numpy(), [0, 2], 1)
        return [qml.expval(kind(wire)) for kind in (qml.PauliY, qml.PauliZ) for wire in (0, 2)]

    expected = np.array([circuit(row) for row in x.numpy()])
    assert np.abs(model(x).detach().numpy() - expected).max() < 1e-9


def test_one_extractor_alone_is_itself() -> None:
    layer = extractor(3, 2, ("Z", "X"))
    x = torch.rand(4, 8)
    assert torch.allclose(QuantumSequential(layer)(x), layer(x), atol=1e-6)


def test_the_same_layers_in_a_row_are_another_function() -> None:
    fused = QuantumSequential(extractor(2, 1), QuantumReadout(2, 2, output="probs", seed=1))
    row = nn.Sequential(extractor(2, 1, ("Z",)), QuantumReadout(2, 2, output="probs", seed=1))
    x = torch.rand(3, 4)
    assert not torch.allclose(fused(x), row(x), atol=1e-2)


def test_training_the_fused_model_trains_the_layers_in_it() -> None:
    first, last = extractor(2, 1), QuantumReadout(2, 2)
    model = QuantumSequential(first, last)
    model(torch.rand(3, 4))[:, 0].sum().backward()
    assert first.quantum_params.grad is not None
    assert last.quantum_params.grad is not None
    assert model.n_parameters == first.n_parameters + last.n_parameters
    assert set(model.state_dict()) == {"layers.0.quantum_params", "layers.1.quantum_params"}
    assert model.circuit.parameters[0] == "0.theta_0_0_y"


@pytest.mark.parametrize(
    ("layers", "subject"),
    [
        ([], "layers"),
        ([QuantumPooling(2)], "layers"),
        ([extractor(2, 1)], "layers"),
        ([extractor(2, 1), QuantumPooling(2)], "layers"),
        ([extractor(2, 1), extractor(3, 1, ("Z",))], "layers"),
        ([extractor(2, 1), QuantumLayer(2)], "layers"),
        ([extractor(2, 1, ("Z",)), QuantumReadout(2, 2)], "measurement_bases"),
        ([extractor(2, 1), QuantumReadout(2, 2), extractor(2, 1, ("Z",))], "layers"),
        ([extractor(2, 1), QuantumPooling(2, 2, "measurement"), QuantumReadout(1, 2)], "pooling_type"),
    ],
)
def test_what_cannot_be_fused_is_refused(layers: list[nn.Module], subject: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        QuantumSequential(*layers)
    assert caught.value.subject == subject


def test_an_extractor_that_does_not_measure_cannot_be_used_alone() -> None:
    with pytest.raises(ArgumentError, match="QuantumSequential"):
        extractor(2, 1)(torch.rand(1, 4))
