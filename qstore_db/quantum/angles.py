"""Angles of gates: numbers, named parameters, data slots, and affine combinations of these."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from qstore_db.errors import ArgumentError

Symbol: TypeAlias = "str | int"
"""A string names a trainable parameter; an integer is the column of the input that a data slot reads."""


@dataclass(frozen=True, slots=True)
class Angle:
    """`constant` plus the sum of factor times symbol, in radians. Made by `parameter`, `data` and arithmetic."""

    constant: float = 0.0
    terms: tuple[tuple[Symbol, float], ...] = ()
    """Each symbol once, in the order in which it came."""

    @property
    def is_constant(self) -> bool:
        return not self.terms

    def replaced(self, value_of: Callable[[Symbol], float | None]) -> Angle:
        """With the symbols that `value_of` knows put in as numbers."""
        constant, left = self.constant, []
        for symbol, factor in self.terms:
            value = value_of(symbol)
            if value is None:
                left.append((symbol, factor))
            else:
                constant += factor * value
        return Angle(constant, tuple(left))

    def __add__(self, other: Angle | float) -> Angle:
        other = angle(other)
        factors = dict(self.terms)
        for symbol, factor in other.terms:
            factors[symbol] = factors.get(symbol, 0.0) + factor
        terms = tuple((symbol, factor) for symbol, factor in factors.items() if factor != 0.0)
        return Angle(self.constant + other.constant, terms)

    def __mul__(self, factor: float) -> Angle:
        factor = _number(factor)
        if factor == 0.0:
            return Angle()
        return Angle(self.constant * factor, tuple((symbol, its * factor) for symbol, its in self.terms))

    def __neg__(self) -> Angle:
        return self * -1.0

    def __sub__(self, other: Angle | float) -> Angle:
        return self + -angle(other)

    def __rsub__(self, other: float) -> Angle:
        return -self + other

    def __truediv__(self, divisor: float) -> Angle:
        return self * (1.0 / divisor)

    __radd__ = __add__
    __rmul__ = __mul__

    def __str__(self) -> str:
        text = ""
        for symbol, factor in self.terms:
            name = symbol if isinstance(symbol, str) else f"x[{symbol}]"
            size = name if abs(factor) == 1.0 else f"{abs(factor):.4g} {name}"
            text += f" {'-' if factor < 0 else '+'} {size}" if text else f"{'-' if factor < 0 else ''}{size}"
        if not text:
            return f"{self.constant:.4g}"
        return (
            text
            if self.constant == 0.0
            else f"{text} {'-' if self.constant < 0 else '+'} {abs(self.constant):.4g}"
        )


AngleLike: TypeAlias = "Angle | float | str"
"""What gates take: a string is the parameter of that name."""


def parameter(name: str) -> Angle:
    """A trainable parameter. The same name in several gates is the same parameter."""
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"the name of a parameter must be a text, not {name!r}", subject="name")
    return Angle(0.0, ((name, 1.0),))


def data(slot: int) -> Angle:
    """Column `slot` of the input, of each sample its own."""
    if type(slot) is not int or slot < 0:
        raise ArgumentError(f"a data slot is a column of the input from 0 on, not {slot!r}", subject="slot")
    return Angle(0.0, ((slot, 1.0),))


def angle(value: AngleLike) -> Angle:
    """Raises ArgumentError for what is no angle, and for numbers that are not finite."""
    if isinstance(value, Angle):
        return value
    if isinstance(value, str):
        return parameter(value)
    return Angle(_number(value))


def _number(value: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ArgumentError(
            f"an angle is a number in radians, a parameter's name or data(slot), not {value!r:.80}",
            subject="angle",
        ) from None
    if not math.isfinite(number):
        raise ArgumentError(f"an angle of {number} is not finite", subject="angle")
    return number
