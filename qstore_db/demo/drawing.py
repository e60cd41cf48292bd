"""Drawings of the report: inline SVG that takes its colours from the page's style sheet."""

from __future__ import annotations

from html import escape
from typing import Final

import numpy as np

from qstore_db.demo.beyond import Comparison
from qstore_db.demo.dataset import CLASSES
from qstore_db.demo.projection import Projection
from qstore_db.pictures import svg
from qstore_db.records import Match

_WIDTH: Final = 480
_MARGIN: Final = 14


def neighbourhood(projection: Projection, found: tuple[Match, ...], title: str) -> str:
    """The query's surroundings on two axes, with the results of one search marked by shape and colour."""
    place = svg.Scale(np.vstack([projection.points, projection.query]), _WIDTH, _MARGIN)
    well = projection.points[projection.of(projection.case.well)]
    same = np.array([label == projection.case.label for label in projection.labels])
    parts = [
        f'<svg class="map" viewBox="0 0 {_WIDTH} {place.height:.0f}" role="img" aria-label="{escape(title)}">',
        _dots(place.all(projection.points[~same]), 1.5, "other"),
        _dots(place.all(projection.points[same]), 1.5, "same"),
        f'<polygon class="well-area" points="{svg.corners(place.all(svg.hull(well)))}"/>',
        _dots(place.all(well), 2.2, "well"),
    ]
    points = projection.points[projection.of(tuple(match.id for match in found))]
    for (x, y), match in zip(place.all(points).tolist(), found, strict=True):
        name = escape(str(match.metadata["class"]))
        if match.metadata["class"] == projection.case.label:
            mark = f'<circle class="right" cx="{x:.1f}" cy="{y:.1f}" r="5">'
            parts.append(f"{mark}<title>{name}</title></circle>")
        else:
            cross = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
            parts.append(f'<path class="wrong" d="{cross}"><title>{name}</title></path>')
    x, y = place.all(np.array([projection.query]))[0].tolist()
    parts.append(f'<path class="query" d="{svg.star(x, y, 11)}"><title>the query</title></path></svg>')
    return "".join(parts)


def legend(label: str, well: int) -> str:
    """What the marks of `neighbourhood` mean."""
    marks = (
        (f'<path class="query" d="{svg.star(9, 9, 9)}"/>', "the query"),
        ('<circle cx="9" cy="9" r="7" class="well-area"/>', f"the well: its {well} nearest"),
        ('<circle cx="9" cy="9" r="6" class="right"/>', f"found, and of its class ({label})"),
        ('<path d="M4 4l10 10m0 -10l-10 10" class="wrong"/>', "found, but of another class"),
        ('<path d="M9 9h0" stroke-width="7" class="dots same"/>', f"other records of class {label}"),
        ('<path d="M9 9h0" stroke-width="7" class="dots other"/>', "records of other classes"),
    )
    items = "".join(
        f'<li><svg viewBox="0 0 18 18" aria-hidden="true">{mark}</svg>{escape(text)}</li>'
        for mark, text in marks
    )
    return f'<ul class="legend">{items}</ul>'


def classes(comparison: Comparison) -> str:
    """Far precision by class: an open dot for plain ranks, a filled one for tunnelling, a line between them."""
    row, left, right = 26, 88, 46
    width, height = 460, row * len(CLASSES) + 34
    span = width - left - right

    def at(value: float) -> float:
        return left + span * value

    parts = [
        f'<svg class="classes" viewBox="0 0 {width} {height}" role="img" aria-label="Far precision by class">'
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = at(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="4" x2="{x:.1f}" y2="{height - 28}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 10}" text-anchor="middle">{tick:g}</text>')
    for i, name in enumerate(CLASSES):
        cases = [case for case in comparison.cases if case.label == name]
        plain = sum(case.plain_share for case in cases) / max(len(cases), 1)
        tunnel = sum(case.tunnel_share for case in cases) / max(len(cases), 1)
        y = row * i + row / 2 + 4
        trend = "gain" if tunnel >= plain else "loss"
        parts.append(
            f'<text class="name" x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
        )
        parts.append(
            f'<line class="{trend}" x1="{at(plain):.1f}" y1="{y:.1f}" x2="{at(tunnel):.1f}" y2="{y:.1f}"/>'
            f'<circle class="plain" cx="{at(plain):.1f}" cy="{y:.1f}" r="5"/>'
            f'<circle class="tunnel" cx="{at(tunnel):.1f}" cy="{y:.1f}" r="5"/>'
            f'<text class="figure {trend}" x="{width - 4}" y="{y + 4:.1f}" text-anchor="end">'
            f"{tunnel - plain:+.2f}</text>"
        )
    return "".join([*parts, "</svg>"])


def _dots(points: svg.Points, radius: float, kind: str) -> str:
    return f'<path class="dots {kind}" stroke-width="{2 * radius:g}" d="{svg.dots(points)}"/>'
