"""The circuits in the layer guide are drawn as layers are now."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_pictures_of_layers_are_their_circuits() -> None:
    circuits = runpy.run_path(str(ROOT / "tools" / "draw_layers.py"))["circuits"]()
    assert circuits.keys() == {"layer", "fused"}
    for name, circuit in circuits.items():
        kept = (ROOT / "docs" / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
        assert kept == circuit.draw("svg", width=100), "run python tools/draw_layers.py"
