"""What drawings in SVG are made of. Coordinates are (n, 2) in the drawing's own units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


class Scale:
    """From a plane to a drawing of a given width, the same on both axes; y grows downwards."""

    def __init__(self, points: Points, width: float, margin: float, flattest: float = 0.0) -> None:
        """points: (n, 2), n at least 1: what must fit. The height is at least `flattest` of the width."""
        low, high = points.min(axis=0), points.max(axis=0)
        spread = max(float(high[0] - low[0]), float(high[1] - low[1]) / 2.0, 1e-12)
        self._factor = (width - 2 * margin) / spread
        self._middle = (low + high) / 2.0
        drawn = float(high[1] - low[1]) * self._factor + 2 * margin
        self.width = width
        self.height = max(drawn, flattest * width)

    def all(self, points: Points) -> Points:
        """(n, 2) drawing units."""
        moved = (points.reshape(-1, 2) - self._middle) * self._factor
        placed: Points = moved * np.array([1, -1]) + np.array([self.width, self.height]) / 2.0
        return placed


def dots(points: Points) -> str:
    """Path data of many dots, which keeps a page small: a line of no length with a round cap is a dot."""
    return "".join(f"M{x:.0f} {y:.0f}h0" for x, y in points.tolist())


def lines(starts: Points, ends: Points) -> str:
    """Path data of many lines."""
    pairs = np.hstack([starts, ends]).tolist()
    return "".join(f"M{a:.0f} {b:.0f}L{c:.0f} {d:.0f}" for a, b, c, d in pairs)


def corners(points: Points) -> str:
    """What a polygon's `points` says."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points.tolist())


def star(x: float, y: float, radius: float) -> str:
    """Path data of a star with five points."""
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    radii = np.where(np.arange(10) % 2 == 0, radius, radius * 0.42)
    ends = zip((x + radii * np.cos(angles)).tolist(), (y + radii * np.sin(angles)).tolist(), strict=True)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in ends) + "Z"


def hull(points: Points) -> Points:
    """The convex hull of (n, 2) points, counter-clockwise. Source: Andrew's monotone chain."""
    ordered = sorted(map(tuple, points.tolist()))
    if len(ordered) < 3:
        return points

    def chain(line: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
        kept: list[tuple[float, ...]] = []
        for x, y in line:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-2:]
                if (bx - ax) * (y - ay) > (by - ay) * (x - ax):
                    break
                kept.pop()
            kept.append((x, y))
        return kept[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]))
