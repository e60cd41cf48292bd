"""Boxes and signs on wires as SVG that needs nothing else, and reads on light and on dark ground."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from qstore_db.pictures.wires import Column, Element, Mark, columns_of, wrapped

_LETTER: Final = 7.5
"""Of a fixed-width font of 12 units; `textLength` makes any font keep to it."""
_WIRE: Final = 40
_BOX: Final = 26
_ROW: Final = 24
"""Between rows of a drawing that was wrapped."""
_GREY: Final = "#757b85"


def wires_svg(names: Sequence[str], elements: Iterable[Element], width: int, title: str) -> str:
    """The drawing, with rows that break where text of `width` characters would."""
    head = (max(map(len, names)) + 1) * _LETTER + 6
    rows = wrapped(columns_of(elements, len(names)), width)
    high = _WIRE * len(names) + _ROW
    wide = max(head + sum(map(_width, row)) + 12 for row in rows)
    drawn = [_row(names, row, head, place * high, wide) for place, row in enumerate(rows)]
    tall = high * len(rows) - _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{tall:.0f}" '
        f'viewBox="0 0 {wide:.0f} {tall:.0f}" role="img" aria-label="{escape(title)}" '
        'style="max-width:100%;height:auto" font-family="ui-monospace,Menlo,Consolas,monospace" font-size="12" '
        f'text-anchor="middle">{"".join(drawn)}</svg>'
    )


def _width(column: Column) -> float:
    return max(_mark_width(mark) for element in column for mark in element.marks) + 14


def _mark_width(mark: Mark) -> float:
    return max(_BOX, len(mark.text) * _LETTER + 12)


def _row(names: Sequence[str], columns: Sequence[Column], head: float, top: float, wide: float) -> str:
    parts = []
    for wire, name in enumerate(names):
        y = top + _WIRE * (wire + 0.5)
        parts.append(
            f'<text x="{head - 6:.1f}" y="{y + 4:.1f}" text-anchor="end" fill="{_GREY}">{escape(name)}</text>'
            f'<path d="M{head:.1f} {y:.1f}H{wide - 4:.1f}" stroke="{_GREY}"/>'
        )
    left = head
    for column in columns:
        middle = left + _width(column) / 2
        parts += [_element(element, middle, top) for element in column]
        left += _width(column)
    return "".join(parts)


def _element(element: Element, x: float, top: float) -> str:
    def y(wire: int) -> float:
        return top + _WIRE * (wire + 0.5)

    line = ""
    if element.high > element.low:
        way = f"M{x:.1f} {y(element.low):.1f}V{y(element.high):.1f}"
        line = f'<path d="{way}" stroke="{element.colour}" stroke-width="2"/>'
    marks = "".join(_mark(mark, x, y(mark.wire), element.colour) for mark in element.marks)
    return f"<g><title>{escape(element.title)}</title>{line}{marks}</g>"


def _mark(mark: Mark, x: float, y: float, colour: str) -> str:
    if mark.shape == "dot":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
    if mark.shape == "cross":
        return f'<path d="M{x - 6:.1f} {y - 6:.1f}l12 12m0 -12l-12 12" stroke="{colour}" stroke-width="2.5"/>'
    if mark.shape == "plus":
        return (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="10" fill="{colour}"/>'
            f'<path d="M{x - 6:.1f} {y:.1f}h12m-6 -6v12" stroke="#fff" stroke-width="2"/>'
        )
    wide = _mark_width(mark)
    return (
        f'<rect x="{x - wide / 2:.1f}" y="{y - _BOX / 2:.1f}" width="{wide:.1f}" height="{_BOX}" rx="4" '
        f'fill="{colour}"/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}" fill="#fff" textLength="{len(mark.text) * _LETTER:.1f}" '
        f'lengthAdjust="spacingAndGlyphs">{escape(mark.text)}</text>'
    )
