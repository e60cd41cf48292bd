"""Fashion-MNIST as tensors, through front ends that have no parameters and know no labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Options
from qstore_db.demo.dataset import load

WIDTHS = (2, 4, 6, 8, 10)
"""Of the fronts pca-2 to pca-10."""


@dataclass(frozen=True, slots=True)
class Images:
    """Training images beside test images."""

    train_x: Mapping[str, Tensor]
    """By front end: pixels (784) | area (256) | pca-2, ... pca-10 (each of variance 1) | pca-256 (all together)."""
    train_y: Tensor
    test_x: Mapping[str, Tensor]
    test_y: Tensor

    @classmethod
    def loaded(cls, options: Options) -> Images:
        data = load(options.data)
        train, test = _scaled(data.train_images), _scaled(data.test_images)
        if options.quick:
            train, test = train[:200], test[:100]
        fronts = {"pixels": (train.flatten(1), test.flatten(1)), "area": (area(train), area(test))}
        fronts |= _components(*fronts["area"])
        return cls(
            {name: its[0] for name, its in fronts.items()},
            _labels(data.train_labels[: len(train)]),
            {name: its[1] for name, its in fronts.items()},
            _labels(data.test_labels[: len(test)]),
        )


def area(images: Tensor) -> Tensor:
    """(count, 256) from (count, 28, 28): means of the pixels under each of 16 x 16 fields."""
    return nn.functional.interpolate(images[:, None], size=(16, 16), mode="area").flatten(1)


def _components(train: Tensor, test: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Principal components of the first 10,000 training images, the most important first."""
    mean = train.mean(dim=0)
    _, _, axes = torch.linalg.svd(train[:10_000] - mean, full_matrices=False)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for width in (*WIDTHS, 256):
        ours, theirs = ((its - mean) @ axes[:width].T for its in (train, test))
        scale = ours.std() if width == 256 else ours.std(dim=0)
        found[f"pca-{width}"] = _padded(ours / scale, width), _padded(theirs / scale, width)
    return found


def _scaled(images: Any) -> Tensor:
    return torch.tensor(np.asarray(images, np.float32) / 255.0).reshape(-1, 28, 28)


def _padded(x: Tensor, width: int) -> Tensor:
    """With zeros to the width: few images have fewer components."""
    return nn.functional.pad(x, (0, width - x.shape[1]))


def _labels(labels: Any) -> Tensor:
    return torch.tensor(np.asarray(labels, np.int64))
