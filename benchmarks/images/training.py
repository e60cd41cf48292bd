"""Training models of images, and what they reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.images.data import Images
from benchmarks.images.models import Model
from qstore_db.quantum import Program

RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
"""Of Adam. Each model has the one with which it is best on training images that are held back for that."""
CHECKS = (100, 101)
"""Seeds with which rates are compared."""
HELD_BACK = 5_000


@dataclass(slots=True)
class Outcome:
    """Of one model, an entry for each seed."""

    rate: float
    seconds: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    """On the test images."""
    trained: list[nn.Module] = field(default_factory=list)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        return np.array(self.accuracies)


def outcomes(
    models: Iterable[Model], images: Images, count: int, epochs: int, seeds: Sequence[int]
) -> dict[Model, Outcome]:
    """All models trained on the same images, drawn anew with each seed; they take turns, as time is compared."""
    found = {model: Outcome(_own_rate(model, images, count, epochs)) for model in models}
    for seed in seeds:
        rows = _shuffled(len(images.train_y), seed)[:count]
        for model, outcome in found.items():
            made, x = model.make(seed), images.train_x[model.front][rows]
            started = time.perf_counter()
            train(made, x, images.train_y[rows], epochs, outcome.rate, seed)
            outcome.seconds.append(time.perf_counter() - started)
            outcome.accuracies.append(accuracy(made, images.test_x[model.front], images.test_y))
            outcome.trained.append(made)
    return found


def best_rate(reached: Callable[[float], float]) -> float:
    """Of RATES, by the accuracy that is reached with each."""
    by_rate = {rate: reached(rate) for rate in RATES}
    return max(by_rate, key=lambda rate: by_rate[rate])


def _own_rate(model: Model, images: Images, count: int, epochs: int) -> float:
    x, y = images.train_x[model.front], images.train_y
    kept = len(y) - min(HELD_BACK, len(y) // 4)

    def reached(rate: float) -> float:
        found: list[float] = []
        for seed in CHECKS:
            made, rows = model.make(seed), _shuffled(kept, seed)[:count]
            train(made, x[rows], y[rows], epochs, rate, seed)
            found.append(accuracy(made, x[kept:], y[kept:]))
        return float(np.mean(found))

    return best_rate(reached)


def _shuffled(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def parameters(model: nn.Module) -> int:
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def share_in_circuits(model: Model, images: Images, count: int) -> float:
    """Of the wall time of an epoch, the part that is spent in running circuits and their gradients."""
    spent = 0.0

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            nonlocal spent
            began = time.perf_counter()
            found = method(*arguments)
            spent += time.perf_counter() - began
            return found

        return run

    made, x = model.make(0), images.train_x[model.front][:count]
    with patch.multiple(Program, values=timed(Program.values), gradients=timed(Program.gradients)):
        started = time.perf_counter()
        train(made, x, images.train_y[:count], 1, RATES[0], 0)
        return spent / (time.perf_counter() - started)


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of rows that it gets right."""
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(part).argmax(dim=1) == label).sum())
            for part, label in zip(x.split(1_000), y.split(1_000), strict=True)
        )
    return right / len(y)


def train(
    model: nn.Module, x: Tensor, y: Tensor, epochs: int, learning_rate: float, seed: int, batch: int = 32
) -> list[float]:
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
