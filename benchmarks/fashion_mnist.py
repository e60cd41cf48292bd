"""Quantum layers on Fashion-MNIST: seconds and accuracy, beside classical models with the same front end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Bar, Options, Panel, Report, Spread
from benchmarks.image_models import DENSE, HYBRIDS, LAYERED, Model, accuracy, area, parameters, train
from qstore_db.demo.dataset import load

QUESTION = "What do quantum layers reach on Fashion-MNIST, in what time, and what do classical models reach?"
EARLIER = {"4-qubit hybrid": "19.5 s", "dense hybrid": "346 s", "four layers": "41 s (projected)"}
"""What an earlier system reports for these runs."""


@dataclass(frozen=True, slots=True)
class Images:
    train_x: Mapping[str, Tensor]
    """By front end."""
    train_y: Tensor
    test_x: Mapping[str, Tensor]
    test_y: Tensor


@dataclass(frozen=True, slots=True)
class Outcome:
    seconds: list[float]
    accuracies: list[float]
    """Of each seed."""


def run(options: Options) -> Report:
    report = Report("fashion_mnist", QUESTION)
    images = _images(options)
    seeds = range(options.pick(10, 1))
    few, all_of = options.pick(500, 40), options.pick(len(images.train_y), 80)
    report.settings = {
        "train": len(images.train_y),
        "test": len(images.test_y),
        "seeds": len(seeds),
        "batch": 32,
        "optimiser": "Adam, cross entropy",
    }
    _task(report, "4-qubit hybrid", HYBRIDS, images, few, 2, seeds)
    _task(report, "dense hybrid", DENSE, images, few, 3, seeds)
    _task(report, "four layers", LAYERED, images, few, 3, seeds)
    _task(report, "all images, one epoch", (*HYBRIDS, *DENSE, *LAYERED), images, all_of, 1, seeds)
    return report


def _task(
    report: Report,
    task: str,
    models: Sequence[Model],
    images: Images,
    count: int,
    epochs: int,
    seeds: Sequence[int],
) -> None:
    found: dict[str, Outcome] = {}
    for model in models:
        outcome = _outcome(model, images, count, epochs, seeds)
        name = f"{model.name} ({model.front})"
        found[name] = outcome
        report.row(
            task=task,
            model=model.name,
            front=model.front,
            quantum=model.quantum,
            parameters=parameters(model.make(0)),
            images=count,
            epochs=epochs,
            seconds=Spread.of(outcome.seconds),
            accuracy=Spread.of(outcome.accuracies),
        )
        earlier = f"; an earlier system: {EARLIER[task]}" if task in EARLIER and model is models[0] else ""
        report.figure(
            f"{task} ({count:,} x {epochs}): {name}",
            f"{np.mean(outcome.accuracies):.1%} +- {np.std(outcome.accuracies):.1%}, "
            f"{np.median(outcome.seconds):.2f} s{earlier}",
        )
    bars = [Bar(name, Spread.of(outcome.accuracies)) for name, outcome in found.items()]
    report.panels.append(Panel(f"{task}: accuracy", "", bars))


def _outcome(model: Model, images: Images, count: int, epochs: int, seeds: Sequence[int]) -> Outcome:
    x, y = images.train_x[model.front], images.train_y
    seconds: list[float] = []
    accuracies: list[float] = []
    train(model.make(0), x[:64], y[:64], 1, model.learning_rate, 0)  # compiles
    for seed in seeds:
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:count]
        made: Any = model.make(seed)
        started = time.perf_counter()
        train(made, x[rows], y[rows], epochs, model.learning_rate, seed)
        seconds.append(time.perf_counter() - started)
        accuracies.append(accuracy(made, images.test_x[model.front], images.test_y))
    return Outcome(seconds, accuracies)


def _images(options: Options) -> Images:
    data = load(options.data)
    train_images, test_images = _scaled(data.train_images), _scaled(data.test_images)
    if options.quick:
        train_images, test_images = train_images[:200], test_images[:100]
    pixels = train_images.flatten(1), test_images.flatten(1)
    areas = area(train_images), area(test_images)
    mean = areas[0].mean(dim=0)
    _, _, axes = torch.linalg.svd(areas[0][:10_000] - mean, full_matrices=False)
    fronts: dict[str, tuple[Tensor, Tensor]] = {"pixels": pixels, "area": areas}
    for width in (8, 256):
        parts = [(its - mean) @ axes[:width].T for its in areas]
        scale = parts[0].std() if width == 256 else parts[0].std(dim=0)
        parts = [_padded(part / scale, width) for part in parts]
        fronts[f"pca-{width}"] = parts[0], parts[1]
    return Images(
        {name: its[0] for name, its in fronts.items()},
        torch.tensor(np.asarray(data.train_labels[: len(train_images)], np.int64)),
        {name: its[1] for name, its in fronts.items()},
        torch.tensor(np.asarray(data.test_labels[: len(test_images)], np.int64)),
    )


def _scaled(images: Any) -> Tensor:
    return torch.tensor(np.asarray(images, np.float32) / 255.0).reshape(-1, 28, 28)


def _padded(x: Tensor, width: int) -> Tensor:
    """With zeros to the width: few images have fewer components."""
    return torch.nn.functional.pad(x, (0, width - x.shape[1]))
