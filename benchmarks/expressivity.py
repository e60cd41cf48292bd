"""What circuits gain from more qubits, layers, gates and bases, on principal components of images."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.harness import Bar, Options, Panel, Report, Spread, compared, gain, number
from benchmarks.images.data import WIDTHS, Images
from benchmarks.images.models import linear_of_components, mlp_of_components, of_components
from benchmarks.images.training import RATES, Outcome, accuracy, outcomes, parameters
from qstore_db.layers import QuantumLayer, QuantumNonlinearity
from qstore_db.quantum import Channel

QUESTION = "What do more qubits, layers, gates and measured bases bring, and what do they cost?"
DEPTHS = (1, 2, 4, 6)
HIDDEN = 8
"""Of the MLP beside the circuits."""
NOISY_QUBITS = 6
NOISE = (0.01, 0.05)
"""Depolarising, on every qubit after each layer."""
SHOTS = (300, 3_000)
"""Of all bases together."""
SAMPLED = 2_000
"""Test images that are read by shots or with noise."""
Shape = tuple[int, int]
"""Qubits and depth."""


def run(options: Options) -> Report:
    report = Report("expressivity", QUESTION)
    images = Images.loaded(options)
    count, epochs = options.pick(5_000, 40), options.pick(5, 1)
    seeds = range(options.pick(10, 1))
    report.settings = {
        "train": count,
        "epochs": epochs,
        "test": len(images.test_y),
        "seeds": len(seeds),
        "batch": 32,
        "optimiser": f"Adam, each model with its best rate of {RATES} on held back images; cross entropy",
        "model": "principal components as angles pi tanh(x / 2), the circuit, a linear map to 10 classes",
    }
    widths, depths = (WIDTHS, DEPTHS) if not options.quick else ((2, 4, 6), (1, 2))
    grid = {shape: of_components(*shape) for shape in product(widths, depths)}
    rotations = {
        shape: of_components(*shape, "full_rotation") for shape in grid if shape[0] in (4, 8) and shape[1] < 6
    }
    bases = {
        width: of_components(width, 2, measurement_bases=("Z", "X", "Y"))
        for width in widths
        if width in (4, 8)
    }
    controls = {width: (linear_of_components(width), mlp_of_components(width, HIDDEN)) for width in widths}
    models = [*grid.values(), *rotations.values(), *bases.values()]
    models += [model for pair in controls.values() for model in pair]
    found = outcomes(models, images, count, epochs, seeds)
    for model, outcome in found.items():
        report.row(
            model=model.name,
            front=model.front,
            parameters=parameters(model.make(0)),
            accuracy=Spread.of(outcome.accuracies),
            seconds_an_epoch=Spread.of([each / epochs for each in outcome.seconds]),
        )
    by_shape = {shape: found[model] for shape, model in grid.items()}
    _qubits(
        report, by_shape, {width: [found[each] for each in pair] for width, pair in controls.items()}, epochs
    )
    _depths(report, by_shape, images)
    _rotations(report, by_shape, {shape: found[model] for shape, model in rotations.items()})
    _bases(report, by_shape, {width: found[model] for width, model in bases.items()}, images)
    _damping(report)
    return report


def _qubits(
    report: Report, grid: dict[Shape, Outcome], controls: dict[int, list[Outcome]], epochs: int
) -> None:
    """C-14, beside classical models of the same components."""
    widths, depths = sorted({width for width, _ in grid}), sorted({depth for _, depth in grid})
    best: dict[int, NDArray[np.float64]] = {}
    for width in widths:
        cells = [grid[width, depth] for depth in depths]
        best[width] = max((its.accuracy for its in cells), key=lambda each: float(each.mean()))
        linear, mlp = controls[width]
        report.figure(
            f"{width} qubits, depth {', '.join(map(str, depths))}: accuracy; seconds an epoch",
            f"{', '.join(f'{its.accuracy.mean():.1%}' for its in cells)}; "
            f"{', '.join(number(float(np.median(its.seconds)) / epochs) for its in cells)} "
            f"(linear {linear.accuracy.mean():.1%}, MLP {mlp.accuracy.mean():.1%}; "
            f"{number(float(np.median(mlp.seconds)) / epochs)})",
        )
        bars = [
            Bar(f"depth {depth}", Spread.of(its.accuracies)) for depth, its in zip(depths, cells, strict=True)
        ]
        bars += [
            Bar("linear", Spread.of(linear.accuracies)),
            Bar(f"MLP, {HIDDEN} hidden", Spread.of(mlp.accuracies)),
        ]
        report.panels.append(Panel(f"{width} qubits on as many components: accuracy", "", bars))
    more, low, _ = gain(best[widths[-1]], best[widths[-2]])
    report.claim(
        "C-14",
        "corrected" if low > 0 else "holds",
        "accuracy at the best depth, "
        + ", ".join(f"{width} qubits {best[width].mean():.1%}" for width in widths)
        + f": {widths[-1]} qubits give {more:+.3f} over {widths[-2]}. A qubit is a component of the input, and "
        "what more components give an MLP is "
        + ", ".join(f"{controls[width][1].accuracy.mean():.1%}" for width in widths),
    )


def _depths(report: Report, grid: dict[Shape, Outcome], images: Images) -> None:
    """C-15: by depth, without noise and with it."""
    depths = sorted({depth for _, depth in grid})
    x, y = images.test_x[f"pca-{NOISY_QUBITS}"][:SAMPLED], images.test_y[:SAMPLED]
    shown = [
        "without noise " + ", ".join(f"{grid[NOISY_QUBITS, depth].accuracy.mean():.1%}" for depth in depths)
    ]
    losses: list[float] = []
    for strength in NOISE:
        by_depth = [
            np.mean([
                accuracy(_again(made, noise=Channel("depolarising", strength)), x, y)
                for made in grid[NOISY_QUBITS, depth].trained[:3]
            ])
            for depth in depths
        ]  # fmt: skip
        losses.append(float(by_depth[-1] - max(by_depth)))
        shown.append(
            f"depolarising {strength:g} a qubit and layer {', '.join(f'{each:.1%}' for each in by_depth)}"
        )
    text = f"accuracy at {NOISY_QUBITS} qubits by depth {', '.join(map(str, depths))}: {'; '.join(shown)}"
    report.figure("depth and noise", text)
    clean = [float(grid[NOISY_QUBITS, depth].accuracy.mean()) for depth in depths]
    holds = clean[0] < clean[1] and min(losses) < 0
    report.claim("C-15", "holds" if holds else "corrected", text)


def _rotations(report: Report, grid: dict[Shape, Outcome], full: dict[Shape, Outcome]) -> None:
    """C-16: two turns a qubit and layer against three."""
    shown: list[str] = []
    ends: list[float] = []
    for shape, theirs in full.items():
        ours = grid[shape]
        ends.append(gain(ours.accuracy, theirs.accuracy)[1])
        counts = [len(each.trained[0][1].quantum_params) for each in (ours, theirs)]  # type: ignore[index,arg-type]
        text = f"{compared(ours.accuracy, theirs.accuracy)}, {counts[0]} / {counts[1]} angles"
        report.figure(f"RY RZ / RX RY RZ, {shape[0]} qubits, depth {shape[1]}: accuracy", text)
        shown.append(f"{shape[0]} qubits, depth {shape[1]}: {text}")
    # Equal: not more than half a percent worse, with 95 % certainty.
    report.claim(
        "C-16",
        "holds" if min(ends) > -0.005 else "corrected",
        "accuracy of RY RZ / RX RY RZ, " + "; ".join(shown),
    )


def _bases(report: Report, grid: dict[Shape, Outcome], three: dict[int, Outcome], images: Images) -> None:
    """C-18: one basis against three, exactly and with equal shots in all."""
    shown: list[str] = []
    ends: list[float] = []
    y = images.test_y[:SAMPLED]
    for width, theirs in three.items():
        ours, x = grid[width, 2], images.test_x[f"pca-{width}"][:SAMPLED]
        parts = [f"exactly {compared(theirs.accuracy, ours.accuracy)}"]
        for shots in SHOTS:
            sampled = [
                np.array([accuracy(_again(made, shots=shots // circuits), x, y) for made in its.trained])
                for its, circuits in ((theirs, 3), (ours, 1))
            ]
            ends.append(gain(sampled[0], sampled[1])[1])
            parts.append(f"{shots:,} shots {compared(sampled[0], sampled[1])}")
        text = "; ".join(parts)
        report.figure(f"Z, X and Y (3 circuits) / Z (1 circuit), {width} qubits: accuracy", text)
        shown.append(f"{width} qubits: {text}")
    report.claim(
        "C-18",
        "corrected" if min(ends) > 0 else "refuted",
        "accuracy of Z, X, Y / Z alone; three bases are three circuits, each with a third of the shots. "
        + ". ".join(shown),
    )


def _damping(report: Report) -> None:
    """C-20: how far from a straight line a damped value is, and a leaky ReLU."""
    x = torch.linspace(-1, 1, 401, dtype=torch.float64)[:, None]
    curves = {
        "amplitude damping 0.1": QuantumNonlinearity(1, "amplitude_damping", 0.1).double()(x),
        "leaky ReLU 0.01": nn.functional.leaky_relu(x),
    }
    line = torch.cat([x, torch.ones_like(x)], dim=1)
    away = {
        name: float((y - line @ torch.linalg.lstsq(line, y).solution).abs().max().detach())
        for name, y in curves.items()
    }
    text = ", ".join(f"{name} {number(each)}" for name, each in away.items())
    report.figure("largest distance from a straight line, over [-1, 1]", text)
    straight = away["amplitude damping 0.1"] < 1e-9
    report.claim(
        "C-20",
        "refuted" if straight else "holds",
        f"largest distance from the best straight line over [-1, 1]: {text}. Damping before a measurement is "
        "affine",
    )


def _again(made: nn.Module, **changed: object) -> nn.Module:
    """A trained model with another way to run its circuit."""
    angles, layer, last = made.children()
    assert isinstance(layer, QuantumLayer)
    config = {**layer.get_config(), "seed": 0, **changed}
    again = QuantumLayer.from_config(config)
    again.set_quantum_parameters(layer.get_quantum_parameters())
    return nn.Sequential(angles, again, last)
