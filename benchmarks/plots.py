"""A program's panels as one PNG: horizontal bars, with a line from the least to the greatest round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Panel, number

OURS = "#3b6fb6"
THEIRS = "#b8b8b8"


def draw(title: str, panels: Sequence[Panel], path: Path) -> None:
    """Write `path`. Bars whose label starts with "qstore" are ours and stand out."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure

    heights = [0.9 + 0.32 * len(panel.bars) for panel in panels]
    figure = Figure(figsize=(9, sum(heights) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, panel in zip(axes, panels, strict=True):
        names = [bar.label for bar in panel.bars]
        values = [bar.value.median for bar in panel.bars]
        errors = [
            [max(0.0, bar.value.median - bar.value.low) for bar in panel.bars],
            [max(0.0, bar.value.high - bar.value.median) for bar in panel.bars],
        ]
        places = range(len(names))
        colours = [OURS if name.startswith("qstore") else THEIRS for name in names]
        axis.barh(places, values, xerr=errors, color=colours, ecolor="#444444", capsize=2)
        axis.set_yticks(places, names, fontsize=8)
        axis.invert_yaxis()
        axis.set_title(panel.title, fontsize=9, loc="left")
        axis.set_xlabel(panel.unit, fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        top = max([bar.value.high for bar in panel.bars], default=1.0)
        axis.set_xlim(0, top * 1.15 or 1.0)
        for place, bar in zip(places, panel.bars, strict=True):
            axis.text(
                bar.value.high + top * 0.01,
                place,
                number(bar.value.median),
                va="center",
                fontsize=7,
            )
    figure.savefig(path, dpi=110)
