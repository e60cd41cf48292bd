"""Rastrigin's and Ackley's functions as tables of trials: an optimum at almost every lattice point, one global."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.data import Integers
from benchmarks.far import Values
from benchmarks.trials import Trials

HALF_WIDTH = 2.5
"""The functions are searched within this distance of the middle: five lattice points an axis."""
_REACH = 3
_STEPS = 200


@dataclass(frozen=True, slots=True)
class Function:
    """A test function whose global optimum, of score 0, is the origin."""

    name: str
    score: Callable[[Values], Values]
    """(n, d) points to (n,) scores, at most 0."""
    slope: Callable[[Values], Values]
    """The gradient of the score: (n, d)."""
    step: Callable[[int], float]
    """How far along the slope climbing goes at a time, by the number of dimensions."""

    def random(self, dimension: int, count: int, seed: int) -> Trials:
        return self._at(np.random.default_rng([seed, dimension]).random((count, dimension)), seed)

    def grid(self, dimension: int, count: int, seed: int) -> Trials:
        """At most `count` points of a full grid, at the middles of equal cells."""
        side = math.floor(count ** (1.0 / dimension) + 1e-9)
        axis = (np.arange(side) + 0.5) / side
        return self._at(np.stack(np.meshgrid(*[axis] * dimension), -1).reshape(-1, dimension), seed)

    def climb(self, points: Values) -> Values:
        """Where small steps up the slope end: (n, d)."""
        step = self.step(points.shape[1])
        for _ in range(_STEPS):
            points = points + step * self.slope(points)
        return points

    def _at(self, points: Values, seed: int) -> Trials:
        """The middle is shifted by the seed, or grids would hit the optimum, or miss it, by design."""
        dimension = points.shape[1]
        shift = np.random.default_rng([seed, 1]).uniform(-0.5, 0.5, dimension)
        own = (2.0 * points - 1.0) * HALF_WIDTH - shift
        lattice, heights = _optima(self, dimension)
        inside = (np.abs(lattice + shift) <= HALF_WIDTH).all(axis=1)
        number = np.full((2 * _REACH + 1,) * dimension, -1, np.int64)
        number[_cells(lattice[inside])] = np.arange(int(inside.sum()))
        return Trials(
            f"{self.name}, {dimension} parameters",
            points.astype(np.float32),
            self.score(own),
            number[_cells(self.climb(own))],
            heights[inside],
            0.0,
        )


@functools.cache
def _optima(function: Function, dimension: int) -> tuple[Values, Values]:
    """The lattice points that have an optimum of their own, (m, d), and its score, (m,)."""
    lattice = np.array(list(itertools.product(range(-_REACH, _REACH + 1), repeat=dimension)), np.float64)
    tops = function.climb(lattice)
    own = (np.rint(tops) == lattice).all(axis=1)
    return lattice[own], function.score(tops[own])


def _cells(points: Values) -> tuple[Integers, ...]:
    """The place of the nearest lattice point on every axis."""
    return tuple(np.clip(np.rint(points), -_REACH, _REACH).astype(np.int64).T + _REACH)


def _rastrigin(x: Values) -> Values:
    return -np.asarray((x**2 - 10.0 * np.cos(2.0 * np.pi * x) + 10.0).sum(axis=1))


def _rastrigin_slope(x: Values) -> Values:
    return -np.asarray(2.0 * x + 20.0 * np.pi * np.sin(2.0 * np.pi * x))


def _ackley(x: Values) -> Values:
    funnel = -20.0 * np.exp(-0.2 * np.sqrt((x**2).mean(axis=1)))
    return -np.asarray(funnel - np.exp(np.cos(2.0 * np.pi * x).mean(axis=1)) + 20.0 + np.e)


def _ackley_slope(x: Values) -> Values:
    d = x.shape[1]
    r = np.maximum(np.sqrt((x**2).mean(axis=1, keepdims=True)), 1e-9)
    waves = np.exp(np.cos(2.0 * np.pi * x).mean(axis=1, keepdims=True))
    return -np.asarray((4.0 * np.exp(-0.2 * r) * x / r + 2.0 * np.pi * waves * np.sin(2.0 * np.pi * x)) / d)


FUNCTIONS = (
    Function("Rastrigin", _rastrigin, _rastrigin_slope, lambda _: 0.002),
    Function("Ackley", _ackley, _ackley_slope, lambda dimension: 0.006 * dimension),
)
