"""Classifiers of small images with circuits in them, and the classical ones that they have to beat.

All take the same front end, without parameters: 28 x 28 pixels averaged over areas to 16 x 16, which are 256
amplitudes of 8 qubits; or their first principal components.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    """What it is given: pixels | area | pca-8 | pca-256."""
    make: Callable[[int], nn.Module]
    """By seed; gives scores (batch, 10) or their logarithms, either of which cross entropy takes."""
    quantum: bool
    learning_rate: float = 0.01


def area(images: Tensor) -> Tensor:
    """(count, 256) from (count, 28, 28): means of the pixels under each of 16 x 16 fields."""
    return nn.functional.interpolate(images[:, None], size=(16, 16), mode="area").flatten(1)


class _Angles(nn.Module):
    """Any numbers as angles in (-pi, pi)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.pi * torch.tanh(x)


def four_qubits(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(784, 4), _Angles(), QuantumLayer(4, depth=2), nn.Linear(4, CLASSES))


def four_numbers(seed: int) -> nn.Module:
    """`four_qubits` without its circuit."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(784, 4), nn.Tanh(), nn.Linear(4, CLASSES))


def dense(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(784, 128), nn.ReLU(), nn.BatchNorm1d(128), nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, 4), _Angles(), QuantumLayer(4, depth=2),
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


def linear(width: int) -> Callable[[int], nn.Module]:
    def make(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Linear(width, CLASSES)

    return make


def small_mlp(seed: int) -> nn.Module:
    """86 parameters; the fused circuit has 92."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, CLASSES))


HYBRIDS = (
    Model("784 - 4 - QuantumLayer(4, 2) - 10", "pixels", four_qubits, True),
    Model("784 - 4 - tanh - 10", "pixels", four_numbers, False),
)
DENSE = (
    Model("dense hybrid with QuantumLayer(4, 2)", "pixels", dense, True, 0.003),
    Model("the same without the circuit", "pixels", dense_alone, False, 0.003),
)
LAYERED = (
    Model("four layers, fused", "area", fused, True, 0.02),
    Model("four layers, fused", "pca-256", fused, True, 0.02),
    Model("four layers, encoded again", "area", encoded_again, True, 0.02),
    Model("four layers, first 256 pixels", "pixels", truncated, True, 0.02),
    Model("frozen random circuit, linear", "area", frozen, True, 0.02),
    Model("linear", "area", linear(256), False, 0.02),
    Model("linear", "pca-8", linear(8), False, 0.02),
    Model("MLP of equal size", "pca-8", small_mlp, False, 0.02),
)


def parameters(model: nn.Module) -> int:
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(part).argmax(dim=1) == label).sum())
            for part, label in zip(x.split(1_000), y.split(1_000), strict=True)
        )
    return right / len(y)


def train(
    model: nn.Module, x: Tensor, y: Tensor, epochs: int, learning_rate: float, seed: int, batch: int = 32
) -> Any:
    """Adam on cross entropy; the mean loss of each epoch."""
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=learning_rate)
    order = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    model.train()
    for _ in range(epochs):
        summed = 0.0
        for rows in torch.randperm(len(x), generator=order).split(batch):
            if len(rows) == 1:
                continue  # batch normalisation needs two
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            summed += float(loss.detach()) * len(rows)
        losses.append(summed / len(x))
    return losses
