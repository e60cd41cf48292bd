"""Circuits and classical models that see five, ten or twenty images of each class (C-22)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.harness import Bar, Options, Panel, Report, Spread, compared, gain
from benchmarks.images.data import Images
from benchmarks.images.models import (
    CLASSES,
    FUSED,
    LINEAR,
    Model,
    linear_of_components,
    mlp_of_components,
    of_components,
)
from benchmarks.images.training import RATES, accuracy, best_rate, parameters, train

QUESTION = "Do circuits learn more from few images than classical models with the same front end?"
SHOWN = (5, 10, 20)
"""Images of each class."""
EPOCHS = 60
WIDTH = 8
Figures = NDArray[np.float64]


def run(options: Options) -> Report:
    report = Report("few_shot", QUESTION)
    images = Images.loaded(options)
    seeds, checks = range(options.pick(20, 2)), range(100, options.pick(103, 101))
    epochs, shown = options.pick(EPOCHS, 1), SHOWN if not options.quick else SHOWN[:1]
    report.settings = {
        "images_a_class": shown,
        "epochs": epochs,
        "test": len(images.test_y),
        "seeds": len(seeds),
        "optimiser": f"Adam, the best of {RATES} on {len(checks)} other draws, batches of 10",
        "components": "of 10,000 images without labels, the same for all models",
    }
    ours = (of_components(WIDTH), FUSED)
    theirs = (linear_of_components(WIDTH), mlp_of_components(WIDTH, hidden=5), LINEAR)
    answers: list[str] = []
    gains: list[float] = []
    for count in shown:
        trials = _Trials(images, len(images.train_y) - options.pick(2_000, 50), count, epochs)
        found = {model: trials.accuracies(model, seeds, checks) for model in (*ours, *theirs)}
        for model, figures in found.items():
            report.row(
                images_a_class=count,
                model=model.name,
                front=model.front,
                parameters=parameters(model.make(0)),
                accuracy=Spread.of(figures.tolist()),
            )
        best = max(ours, key=lambda model: float(found[model].mean()))
        # Against models of its own size; the linear map of all 256 fields has 2,570 parameters.
        rival = max(theirs[:2], key=lambda model: float(found[model].mean()))
        gains.append(gain(found[best], found[rival])[1])
        report.figure(
            f"{count} images a class: accuracy",
            "; ".join(f"{_named(model)} {figures.mean():.1%}" for model, figures in found.items()),
        )
        answers.append(
            f"{count} a class: {_named(best)} / {_named(rival)} {compared(found[best], found[rival])}; "
            f"{_named(LINEAR)} {found[LINEAR].mean():.3f}"
        )
        bars = [Bar(_named(model), Spread.of(figures.tolist())) for model, figures in found.items()]
        report.panels.append(Panel(f"{count} images of each class: accuracy", "", bars))
    report.claim(
        "C-22", "holds" if min(gains) > 0 else "refuted", "accuracy from few images, " + ". ".join(answers)
    )
    return report


@dataclass(frozen=True, slots=True)
class _Trials:
    """One number of images a class, of the training images before `held`; those after it choose learning rates."""

    images: Images
    held: int
    count: int
    epochs: int

    def accuracies(self, model: Model, seeds: Sequence[int], checks: Sequence[int]) -> Figures:
        """(seeds,), on the test images."""
        x, y = self.images.train_x[model.front][self.held :], self.images.train_y[self.held :]
        rate = best_rate(lambda rate: float(np.mean([self._one(model, seed, rate, x, y) for seed in checks])))
        x, y = self.images.test_x[model.front], self.images.test_y
        return np.array([self._one(model, seed, rate, x, y) for seed in seeds])

    def _one(self, model: Model, seed: int, rate: float, x: Tensor, y: Tensor) -> float:
        made, rows = model.make(seed), _drawn(self.images.train_y[: self.held], self.count, seed)
        its = self.images.train_x[model.front][rows]
        train(made, its, self.images.train_y[rows], self.epochs, rate, seed, batch=10)
        return accuracy(made, x, y)


def _drawn(labels: Tensor, count: int, seed: int) -> Tensor:
    """Rows of `count` images of each class."""
    random = torch.Generator().manual_seed(seed)
    rows: list[Tensor] = []
    for label in range(CLASSES):
        its = (labels == label).nonzero()[:, 0]
        rows.append(its[torch.randperm(len(its), generator=random)[:count]])
    return torch.cat(rows)


def _named(model: Model) -> str:
    return f"{model.name} ({model.front})"
