"""What every benchmark program shares: interleaved rounds, ratios by pair, gates, and the report they fill.

Peers are timed in alternating rounds of one run, and compared round by round: on a machine that is shared or
changes its clock rate, two figures of the same half minute can be compared, and two of different hours cannot.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Options:
    """What a program may depend on."""

    quick: bool
    """Tiny sizes, to see that a program works; such figures mean nothing."""
    data: Path | None
    """Folder of the full Fashion-MNIST; None: what `qstore_db.demo.dataset.load` finds."""
    scratch: Path
    """An empty folder on the disk to be measured."""
    seconds: float = 60.0
    """How long a program that watches a load over time keeps it up."""

    def pick(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of some figures."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        return cls(statistics.median(figures), min(figures), max(figures))

    def as_data(self) -> dict[str, float]:
        return {
            "median": round_to(self.median),
            "min": round_to(self.low),
            "max": round_to(self.high),
        }


@dataclass(frozen=True, slots=True)
class Gate:
    """A figure that has to be reached. `above`: at least `need`, otherwise at most."""

    value: float
    need: float
    above: bool = True

    @property
    def met(self) -> bool:
        return self.value >= self.need if self.above else self.value <= self.need

    def __str__(self) -> str:
        return f"{'>=' if self.above else '<='} {self.need:g} {'met' if self.met else 'missed'}"

    def as_data(self) -> dict[str, Any]:
        need = f"{'>=' if self.above else '<='} {self.need:g}"
        return {"value": round_to(self.value), "need": need, "met": self.met}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a plot, with the least and greatest of its rounds."""

    label: str
    value: Spread


@dataclass(frozen=True, slots=True)
class Panel:
    """One part of a program's plot."""

    title: str
    unit: str
    bars: Sequence[Bar]


@dataclass(slots=True)
class Report:
    """What a program found. `rows` is everything measured; `figures` is what the README's table shows of it."""

    program: str
    question: str
    settings: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    claims: list[dict[str, str]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    panels: list[Panel] = field(default_factory=list)

    def row(self, **measured: Any) -> None:
        self.rows.append(
            {
                key: value.as_data()
                if isinstance(value, Spread)
                else round_to(value)
                if isinstance(value, float)
                else value
                for key, value in measured.items()
            }
        )

    def figure(self, what: str, shown: str, gate: Gate | None = None) -> None:
        """A line of the table, printed at once."""
        self.figures.append(
            {
                "what": what,
                "shown": shown,
                "gate": None if gate is None else gate.as_data(),
            }
        )
        print(
            f"  {what}: {shown}" + ("" if gate is None else f"   gate: {gate}"),
            flush=True,
        )

    def claim(self, id: str, verdict: str, figure: str) -> None:
        """The answer to a claim of earlier systems; it becomes the claim's row in docs/claims.md."""
        self.claims.append({"id": id, "verdict": verdict, "figure": figure})

    def as_data(self) -> dict[str, Any]:
        return {
            "program": self.program,
            "question": self.question,
            "settings": self.settings,
            "figures": self.figures,
            "claims": self.claims,
            "skipped": self.skipped,
            "rows": self.rows,
        }


def interleave(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The figure of every contender in every round, A B C A B C ...; a first round warms up and is dropped."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, measure in contenders.items():
            figure = measure()
            if number:
                figures[name].append(figure)
    return figures


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours divided by theirs, round by round."""
    return Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])


def paired_bootstrap(difference: NDArray[np.float64], draws: int = 10_000) -> tuple[float, float]:
    """The 95 % interval of the mean of paired differences (m,), by resampling pairs."""
    rng = np.random.default_rng(7)
    m = len(difference)
    means = difference[rng.integers(0, m, (draws, m))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def gain(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> list[float]:
    """Mean of the differences of two figures, taken case by case, and its 95 % interval: [mean, low, high]."""
    difference = ours - theirs
    return [round_to(value) for value in (float(difference.mean()), *paired_bootstrap(difference))]


def compared(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> str:
    """The means of two figures and their difference case by case, for a person."""
    mean, low, high = gain(ours, theirs)
    return f"{ours.mean():.3f} / {theirs.mean():.3f}; {mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def round_to(value: float, digits: int = 4) -> float:
    """Rounded to significant digits: more would be noise in a committed file."""
    return float(f"{value:.{digits}g}")


def number(value: float) -> str:
    """A figure for a person: thousands with commas, small ones with three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
