"""Writes the pictures of docs/layers.md: circuits of layers, and losses as they learn or do not.

Run it when layers are drawn or begin differently: `python tools/draw_layers.py`. All is seeded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn

from qstore_db.layers import (
    NaturalGradient,
    QuantumAwareNormalization,
    QuantumFeatureExtractor,
    QuantumLayer,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
)

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
COLOURS = ("#3b6fe0", "#a15c07", "#0f7d74", "#b8b8b8")
Curves = Mapping[str, Sequence[float]]


def circuits() -> dict[str, Any]:
    """By the name of the file."""
    return {
        "layer": QuantumLayer(3, depth=2, seed=0).circuit,
        "fused": QuantumSequential(
            QuantumFeatureExtractor(4, depth=1, entanglement="linear", measurement_bases=None, seed=1),
            QuantumPooling(4, pool_size=2),
            QuantumFeatureExtractor(2, depth=1, measurement_bases=None, seed=2),
            QuantumReadout(2, n_classes=3, seed=3),
        ).circuit,
    }


def moons() -> Curves:
    """Cross entropy on two half moons, with the same two maps around a circuit, tanh, or nothing."""
    points, labels = make_moons(300, noise=0.15, random_state=0)
    x, y = torch.tensor(points, dtype=torch.float32), torch.tensor(labels)
    found: dict[str, Sequence[float]] = {}
    middles = {
        "QuantumLayer(4, depth=2)": lambda: nn.Sequential(
            QuantumAwareNormalization(4), QuantumLayer(4, depth=2, seed=0)
        ),
        "tanh, 7 wide": nn.Tanh,  # as many parameters
        "nothing": nn.Identity,
    }
    for name, make in middles.items():
        torch.manual_seed(0)
        width = 7 if make is nn.Tanh else 4
        model = nn.Sequential(nn.Linear(2, width), make(), nn.Linear(width, 2))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        losses: list[float] = []
        for _ in range(80):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        found[name] = losses
    return found


def turned_over() -> Curves:
    """How far <Z> of 8 qubits is from -1, under 6 layers, from small angles and from any, by two gradients."""
    return {
        "small angles": _turned_over("small", natural=False),
        "small angles, natural gradient": _turned_over("small", natural=True),
        "any angles": _turned_over("uniform", natural=False),
        "any angles, natural gradient": _turned_over("uniform", natural=True),
    }


def _turned_over(init: str, *, natural: bool) -> list[float]:
    layer = QuantumLayer(8, depth=6, init=init, seed=1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    metric = NaturalGradient(layer, damping=0.01) if natural else None
    losses: list[float] = []
    for _ in range(80):
        optimizer.zero_grad()
        loss: Tensor = (layer(torch.zeros(1, 8)) + 1).square().mean()
        loss.backward()
        if metric is not None:
            metric.apply()
        optimizer.step()
        losses.append(loss.item())
    return losses


def draw(panels: Mapping[str, tuple[str, Curves]], path: Path) -> None:
    mpl.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axis, (title, (label, curves)) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for colour, (name, losses) in zip(COLOURS, curves.items(), strict=False):
            axis.plot(losses, label=name, color=colour)
        axis.set(title=title, xlabel="step", ylabel=label, ylim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    for name, circuit in circuits().items():
        (PICTURES / f"{name}.svg").write_text(circuit.draw("svg", width=100), encoding="utf-8")
    draw(
        {
            "two half moons": ("cross entropy", moons()),
            "8 qubits turned over, depth 6": ("mean of (<Z> + 1)²", turned_over()),
        },
        PICTURES / "learning.png",
    )


if __name__ == "__main__":
    main()
