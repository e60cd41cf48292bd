"""Classifiers of small images with circuits in them, and the classical ones that they have to beat.

All take the same front ends, without parameters: 28 x 28 pixels averaged over areas to 16 x 16, which are 256
amplitudes of 8 qubits; or their first principal components.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qstore_db.layers import (
    EncodingLayer,
    QuantumFeatureExtractor,
    QuantumLayer,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
)

CLASSES = 10


@dataclass(frozen=True, slots=True)
class Model:
    """One way to classify images."""

    name: str
    front: str
    """What it is given, of `Images`."""
    make: Callable[[int], nn.Module]
    """By seed; gives scores (batch, 10) or their logarithms, either of which cross entropy takes."""
    quantum: bool


class Angles(nn.Module):
    """Any numbers as angles in (-pi, pi)."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self._scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return torch.pi * torch.tanh(self._scale * x)


def of_components(
    n_qubits: int,
    depth: int = 2,
    ansatz: str = "hardware_efficient",
    measurement_bases: tuple[str, ...] = ("Z",),
) -> Model:
    """A component is the angle of a qubit, and a linear map of what is measured gives the scores."""

    def make(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        layer = QuantumLayer(n_qubits, depth, ansatz=ansatz, measurement_bases=measurement_bases)
        return nn.Sequential(Angles(0.5), layer, nn.Linear(n_qubits * len(measurement_bases), CLASSES))

    name = f"{n_qubits} qubits, depth {depth}, {ansatz}, {''.join(measurement_bases)}"
    return Model(name, f"pca-{n_qubits}", make, True)


def linear_of_components(width: int) -> Model:
    return Model("linear", f"pca-{width}", linear(width), False)


def mlp_of_components(width: int, hidden: int) -> Model:
    def make(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, CLASSES))

    return Model(f"MLP, {hidden} hidden", f"pca-{width}", make, False)


def four_qubits(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(784, 4), Angles(), QuantumLayer(4, depth=2), nn.Linear(4, CLASSES))


def four_numbers(seed: int) -> nn.Module:
    """`four_qubits` without its circuit."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(784, 4), nn.Tanh(), nn.Linear(4, CLASSES))


def dense(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(784, 128), nn.ReLU(), nn.BatchNorm1d(128), nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, 4), Angles(), QuantumLayer(4, depth=2),
        nn.Linear(4, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, CLASSES),
    )  # fmt: skip


def dense_alone(seed: int) -> nn.Module:
    """`dense` without its circuit and the bottleneck that leads to it."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(784, 128), nn.ReLU(), nn.BatchNorm1d(128), nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, CLASSES),
    )  # fmt: skip


def fused(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return QuantumSequential(
        QuantumFeatureExtractor(8, depth=4, measurement_bases=None),
        QuantumPooling(8, 2),
        QuantumFeatureExtractor(4, depth=3, measurement_bases=None),
        QuantumReadout(4, CLASSES),
    )


def encoded_again(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        QuantumFeatureExtractor(8, depth=4, measurement_bases=("Z",)),
        QuantumPooling(8, 2),
        QuantumFeatureExtractor(4, depth=3),
        QuantumReadout(4, CLASSES),
    )


def truncated(seed: int) -> nn.Module:
    """As an earlier system had it: the first 256 pixels, which are the top nine rows and often black."""
    return nn.Sequential(EncodingLayer(256, "truncate", on_zero="ground"), encoded_again(seed))


def frozen(seed: int) -> nn.Module:
    """A circuit of random angles, not trained, and a linear map of what is measured."""
    torch.manual_seed(seed)
    extractor = QuantumFeatureExtractor(8, depth=4, init="uniform")
    extractor.quantum_params.requires_grad_(False)
    return nn.Sequential(extractor, nn.Linear(24, CLASSES))


def extracted(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(QuantumFeatureExtractor(8, depth=4), nn.Linear(24, CLASSES))


def three_dense(seed: int) -> nn.Module:
    """What gives as many features as the extractor in `extracted`."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 24), nn.ReLU(),
        nn.Linear(24, CLASSES),
    )  # fmt: skip


def linear(width: int) -> Callable[[int], nn.Module]:
    def make(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Linear(width, CLASSES)

    return make


HYBRID = Model("784 - 4 - QuantumLayer(4, 2) - 10", "pixels", four_qubits, True)
HYBRID_ALONE = Model("784 - 4 - tanh - 10", "pixels", four_numbers, False)
DENSE = Model("dense hybrid with QuantumLayer(4, 2)", "pixels", dense, True)
DENSE_ALONE = Model("the same without the circuit", "pixels", dense_alone, False)
FUSED = Model("four layers, fused", "area", fused, True)
ENCODED_AGAIN = Model("four layers, encoded again", "area", encoded_again, True)
EXTRACTED = Model("extractor, linear", "area", extracted, True)
THREE_DENSE = Model("three dense layers, linear", "area", three_dense, False)
LINEAR = Model("linear", "area", linear(256), False)
LAYERED = (
    FUSED,
    Model("four layers, fused", "pca-256", fused, True),
    ENCODED_AGAIN,
    Model("four layers, first 256 pixels", "pixels", truncated, True),
    EXTRACTED,
    Model("the same, frozen", "area", frozen, True),
    THREE_DENSE,
    LINEAR,
    linear_of_components(8),
    mlp_of_components(8, hidden=4),  # 86 parameters; the fused circuit has 92
)
