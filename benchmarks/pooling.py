"""What a partial trace keeps of eight qubits, beside other ways from eight numbers to four (C-19)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.harness import Bar, Options, Panel, Report, Spread, compared, gain
from benchmarks.images.data import Images
from benchmarks.images.models import CLASSES, Model
from benchmarks.images.training import outcomes, parameters
from qstore_db.layers import QuantumFeatureExtractor, QuantumPooling

QUESTION = "Does pooling by partial trace keep as much as other ways to half as many numbers?"
QUBITS = 8


def run(options: Options) -> Report:
    report = Report("pooling", QUESTION)
    images = Images.loaded(options)
    count, epochs, seeds = options.pick(5_000, 40), options.pick(5, 1), range(options.pick(10, 1))
    report.settings = {
        "train": count,
        "epochs": epochs,
        "test": len(images.test_y),
        "seeds": len(seeds),
        "model": f"area front end, extractor ({QUBITS} qubits, depth 4, Z), pooling, a linear map to 10 classes",
    }
    half = QUBITS // 2
    traced = _model("partial trace", lambda: QuantumPooling(QUBITS, 2), half)
    whole = _model("no pooling", nn.Identity, QUBITS)
    others = (
        _model("mean of each pair", lambda: QuantumPooling(QUBITS, 2, "measurement"), half),
        _model("a trained linear map", lambda: nn.Linear(QUBITS, half, bias=False), half),
    )
    found = outcomes((traced, *others, whole), images, count, epochs, seeds)
    for model, outcome in found.items():
        report.row(
            pooling=model.name, parameters=parameters(model.make(0)), accuracy=Spread.of(outcome.accuracies)
        )
        report.figure(
            f"{model.name}: accuracy, parameters",
            f"{outcome.accuracy.mean():.1%}, {parameters(model.make(0))}",
        )
    shown = {
        model.name: compared(found[model].accuracy, found[traced].accuracy) for model in (*others, whole)
    }
    lost = max(gain(found[model].accuracy, found[traced].accuracy)[1] for model in others)
    report.claim(
        "C-19",
        "refuted" if lost > 0 else "corrected",
        f"{QUBITS} values of an extractor to {half}, accuracy of each way / of partial trace: "
        + "; ".join(f"{name} {text}" for name, text in shown.items())
        + ". A partial trace drops qubits, whatever they hold",
    )
    bars = [Bar(model.name, Spread.of(outcome.accuracies)) for model, outcome in found.items()]
    report.panels.append(Panel("accuracy", "", bars))
    return report


def _model(name: str, pooling: Callable[[], nn.Module], width: int) -> Model:
    def make(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        extractor = QuantumFeatureExtractor(QUBITS, depth=4, measurement_bases=("Z",))
        return nn.Sequential(extractor, pooling(), nn.Linear(width, CLASSES))

    return Model(name, "area", make, True)
