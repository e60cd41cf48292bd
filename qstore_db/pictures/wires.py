"""Boxes and signs on parallel wires, as circuits are drawn: what is where, and the drawing in characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Shape: TypeAlias = Literal["box", "dot", "plus", "cross"]
_SIGNS = {"dot": "●", "plus": "⊕", "cross": "×"}


@dataclass(frozen=True, slots=True)
class Mark:
    """What an element shows on one wire."""

    wire: int
    shape: Shape
    text: str = ""
    """Of a box."""

    @property
    def sign(self) -> str:
        return f"┤{self.text}├" if self.shape == "box" else _SIGNS[self.shape]


@dataclass(frozen=True, slots=True)
class Element:
    """Marks on different wires, joined by a line."""

    marks: tuple[Mark, ...]
    colour: str
    title: str

    @property
    def low(self) -> int:
        return min(mark.wire for mark in self.marks)

    @property
    def high(self) -> int:
        return max(mark.wire for mark in self.marks)

    @property
    def width(self) -> int:
        """In characters, with one of wire on each side."""
        return 2 + max(len(mark.sign) for mark in self.marks)


Column: TypeAlias = list[Element]


def columns_of(elements: Iterable[Element], n_wires: int) -> list[Column]:
    """Each element as far left as it fits behind those before it; what a line passes over is not free."""
    columns: list[Column] = []
    ends = [0] * n_wires
    for element in elements:
        span = range(element.low, element.high + 1)
        place = max(ends[wire] for wire in span)
        if place == len(columns):
            columns.append([])
        columns[place].append(element)
        for wire in span:
            ends[wire] = place + 1
    return columns


def wrapped(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """In rows of at most `width` characters, one column at least in each."""
    rows: list[list[Column]] = [[]]
    used = 0
    for column in columns:
        wide = max(element.width for element in column)
        if rows[-1] and used + wide > width:
            rows.append([])
            used = 0
        rows[-1].append(column)
        used += wide
    return rows


def wires_text(names: Sequence[str], elements: Iterable[Element], width: int) -> str:
    """The drawing in lines of at most `width` characters, or as long as one element needs."""
    longest = max(map(len, names))
    heads = [f"{name:>{longest}} ─" for name in names]
    rows = wrapped(columns_of(elements, len(names)), width - len(heads[0]))
    return "\n\n".join("\n".join(_row(heads, row)) for row in rows)


def _row(heads: Sequence[str], columns: Sequence[Column]) -> list[str]:
    """A line for each wire, and where something is joined one between each two."""
    wires, gaps = list(heads), [" " * len(heads[0]) for _ in heads[1:]]
    for column in columns:
        wide = max(element.width for element in column)
        on = {mark.wire: mark.sign for element in column for mark in element.marks}
        joined = {wire for element in column for wire in range(element.low, element.high)}
        for wire in range(len(wires)):
            crossed = "┼" if wire in joined and wire - 1 in joined else "─"
            wires[wire] += _centred(on.get(wire, crossed), wide, "─")
            if wire < len(gaps):
                gaps[wire] += _centred("│" if wire in joined else " ", wide, " ")
    if not any(gap.strip() for gap in gaps):
        return wires
    between = [line for wire, gap in zip(wires, gaps, strict=False) for line in (wire, gap.rstrip())]
    return [*between, wires[-1]]


def _centred(sign: str, width: int, filler: str) -> str:
    """With the middle of the sign at the same place for all of a column."""
    before = width // 2 - len(sign) // 2
    return filler * before + sign + filler * (width - before - len(sign))
