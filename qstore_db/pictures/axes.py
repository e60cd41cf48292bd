"""A walk on matplotlib axes, the `plot` extra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import ConfigurationError
from qstore_db.pictures.walk import BEYOND, EDGES, QUERY, TITLE, WALKED, WELL, WalkPicture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY: Final = (0.45, 0.48, 0.52)
_AMBER: Final = "#c27c0e"
_BLUE: Final = "#2f62d9"


def plot_walk(picture: WalkPicture, ax: Axes | None = None) -> Axes:
    """Draw on `ax`, or on new axes of a new figure, and return them.

    Raises ConfigurationError without matplotlib.
    """
    lines, pyplot = _matplotlib()
    drawn: Axes = ax if ax is not None else pyplot.subplots(figsize=(8.0, 6.0), layout="constrained")[1]
    if len(picture.edges):  # a legend cannot show a collection of none
        colours = np.empty((len(picture.edges), 4))
        colours[:, :3] = _GREY
        colours[:, 3] = 0.1 + 0.6 * picture.weights
        ends = picture.points[picture.edges]
        drawn.add_collection(lines(ends, colors=colours, linewidths=0.8, label=EDGES, zorder=1))

    def scatter(chosen: NDArray[np.bool_], label: str, least: float, order: int, colour: Any) -> None:
        x, y = picture.points[chosen].T
        area = least + 60.0 * picture.size[chosen] ** 2
        drawn.scatter(
            x, y, s=area, color=colour, edgecolors="white", linewidths=0.4, label=label, zorder=order
        )

    scatter(~picture.inside & ~picture.beyond, WALKED, 6.0, 2, _GREY)
    scatter(picture.inside, WELL, 12.0, 3, _AMBER)
    scatter(picture.beyond, BEYOND, 30.0, 4, _BLUE)
    x, y = picture.query.tolist()
    drawn.scatter(
        [x],
        [y],
        s=260.0,
        marker="*",
        color="black",
        edgecolors="white",
        linewidths=0.8,
        label=QUERY,
        zorder=5,
    )
    drawn.set_aspect("equal", adjustable="datalim")
    drawn.set_xticks([])
    drawn.set_yticks([])
    drawn.set_xlabel(f"two directions that keep {picture.kept:.0%} of the variance")
    drawn.set_title(TITLE)
    drawn.legend(fontsize="small", loc="best")
    return drawn


def _matplotlib() -> tuple[Any, Any]:
    """LineCollection and pyplot."""
    try:
        from matplotlib import pyplot as plt
        from matplotlib.collections import LineCollection
    except ImportError as error:
        raise ConfigurationError(
            'plots need matplotlib: pip install "qstore-db[plot]"', subject="matplotlib"
        ) from error
    return LineCollection, plt
