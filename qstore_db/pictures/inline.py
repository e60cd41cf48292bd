"""A walk as inline SVG. It brings its own colours, which read on light and on dark ground alike."""

from __future__ import annotations

from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.pictures import svg
from qstore_db.pictures.walk import BEYOND, EDGES, QUERY, TITLE, WALKED, WELL, WalkPicture

_WIDTH: Final = 640
_MARGIN: Final = 16
_FLATTEST: Final = 0.3
_BANDS: Final = 5
"""Edges of like weight and dots of like size are one path each, which keeps a page small."""
_AMBER: Final = "#c27c0e"
_BLUE: Final = "#4478e6"
_GREY: Final = "#8a8f98"


def walk_svg(picture: WalkPicture) -> str:
    """The drawing: edges below, then what was walked over, the well, the matches beyond it, the query."""
    scale = svg.Scale(np.vstack([picture.points, picture.query]), _WIDTH, _MARGIN, _FLATTEST)
    points = scale.all(picture.points)
    plain = ~picture.inside & ~picture.beyond
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {scale.height:.0f}" role="img" '
        f'aria-label="{escape(TITLE)}" style="display:block;width:100%;height:auto">'
    )
    parts = [
        head,
        *_edges(picture, points),
        *_passed(points[plain], picture.size[plain]),
    ]
    well = points[picture.inside]
    if len(well):
        area = svg.corners(svg.hull(well))
        parts.append(
            f'<polygon points="{area}" fill="{_AMBER}" fill-opacity="0.12" stroke="{_AMBER}" '
            'stroke-dasharray="4 3"/>'
        )
    parts += _named(picture, points, picture.inside, _AMBER, 2.5)
    parts += _named(picture, points, picture.beyond, _BLUE, 4.0)
    x, y = scale.all(picture.query)[0].tolist()
    parts.append(
        f'<path d="{svg.star(x, y, 11)}" fill="currentColor" stroke="{_GREY}">'
        f"<title>{QUERY}</title></path></svg>"
    )
    return "".join(parts)


def walk_legend() -> str:
    """What the marks of `walk_svg` mean, as a list."""
    marks = (
        (f'<path d="{svg.star(9, 9, 9)}" fill="currentColor"/>', QUERY),
        (f'<circle cx="9" cy="9" r="5" fill="{_AMBER}"/>', WELL),
        (f'<circle cx="9" cy="9" r="6" fill="{_BLUE}"/>', BEYOND),
        (f'<circle cx="9" cy="9" r="4" fill="{_GREY}"/>', WALKED),
        (f'<path d="M1 14L17 4" stroke="{_GREY}" stroke-width="2"/>', EDGES),
    )
    items = "".join(
        '<li style="display:flex;align-items:center;gap:.45em">'
        f'<svg viewBox="0 0 18 18" aria-hidden="true" style="width:1.1em;height:1.1em;flex:none">{mark}</svg>'
        f"{escape(text)}</li>"
        for mark, text in marks
    )
    return (
        '<ul style="display:flex;flex-wrap:wrap;gap:.3em 1.2em;margin:.6em 0;padding:0;list-style:none">'
        f"{items}</ul>"
    )


def _edges(picture: WalkPicture, points: svg.Points) -> list[str]:
    """Fainter where the weight is smaller."""
    bands = _bands(picture.weights)
    parts = []
    for band in range(_BANDS):
        chosen = picture.edges[bands == band]
        if len(chosen):
            ends = svg.lines(points[chosen[:, 0]], points[chosen[:, 1]])
            opacity = 0.12 + 0.5 * band / (_BANDS - 1)
            parts.append(f'<path d="{ends}" fill="none" stroke="{_GREY}" stroke-opacity="{opacity:.2f}"/>')
    return parts


def _passed(points: svg.Points, sizes: NDArray[np.float64]) -> list[str]:
    bands = _bands(sizes)
    return [
        f'<path d="{svg.dots(points[bands == band])}" fill="none" stroke="{_GREY}" '
        f'stroke-linecap="round" stroke-width="{2.5 + 5.5 * band / (_BANDS - 1):.1f}"/>'
        for band in range(_BANDS)
        if (bands == band).any()
    ]


def _named(
    picture: WalkPicture, points: svg.Points, chosen: NDArray[np.bool_], colour: str, least: float
) -> list[str]:
    """Circles that tell their record's id under the pointer."""
    return [
        f'<circle cx="{points[i, 0]:.1f}" cy="{points[i, 1]:.1f}" r="{least + 3 * picture.size[i]:.1f}" '
        f'fill="{colour}" stroke="#fff" stroke-opacity="0.7"><title>{escape(picture.names[i])}</title></circle>'
        for i in np.flatnonzero(chosen).tolist()
    ]


def _bands(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Of values in [0, 1] the band of each, 0 to `_BANDS` - 1."""
    return np.minimum((values * _BANDS).astype(np.intp), _BANDS - 1)
