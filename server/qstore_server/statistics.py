"""What the server counts about itself. No I/O and no lock: an observation takes less than a microsecond.

Each number has one thread that writes it: the event loop's, or the worker's that it is about. Any thread may read
at any time, since a reader copies before it looks: what it sees is at most the observation in the making short.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any, Final

from qstore_db.errors import ArgumentError

UNKNOWN: Final = "unknown"
"""Where ops are counted that the server does not have: a peer's inventions must not become metrics."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")

Reading = float | Mapping[str, float]
"""What a gauge says: one number, or one for each lane."""


def decades(*mantissas: float) -> tuple[float, ...]:
    """Bounds from 50 us to 60 s, in seconds: these mantissas (1 to 10) in every decade."""
    every = (float(f"{mantissa}e{exponent}") for exponent in range(-5, 2) for mantissa in mantissas)
    return (*(bound for bound in every if 50e-6 <= bound < 60), 60.0)


LATENCIES: Final = decades(1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8)
"""Ten steps a decade, none above 28 %, by the preferred numbers: 1, 2 and 5 are among them."""
SIZES: Final = tuple(float(1 << power) for power in range(11))
"""1, 2, 4 ... 1024."""


class Histogram:
    """How often values fell between fixed bounds: a value counts at the first bound that is not below it."""

    __slots__ = ("_counts", "_greatest", "_least", "_sum", "bounds")

    def __init__(self, bounds: tuple[float, ...] = LATENCIES) -> None:
        self.bounds = bounds
        """Ascending, all above 0; what is greater than the last has a place of its own."""
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._least = math.inf
        self._greatest = 0.0

    def observe(self, value: float) -> None:
        """`value` is not negative: durations come from a monotonic clock."""
        self._sum += value
        if value > self._greatest:
            self._greatest = value
        if value < self._least:
            self._least = value
        # The count comes last: who sees it finds the value in the sum and between the extremes.
        self._counts[bisect_left(self.bounds, value)] += 1

    @property
    def count(self) -> int:
        return sum(self._counts)

    @property
    def sum(self) -> float:
        return self._sum

    def cumulative(self) -> list[tuple[float, int]]:
        """For each bound, and infinity at last, how many values were not above it."""
        return list(zip((*self.bounds, math.inf), accumulate(self._counts.copy()), strict=True))

    def quantile(self, q: float) -> float | None:
        """About the smallest value that a share `q` in [0, 1] of all does not exceed; None before the first.

        It lies between the same two bounds as that value, so under LATENCIES it is less than 28 % off from 50 us to
        60 s, less than 50 us below; and never outside of what was observed.
        """
        if not 0 <= q <= 1:
            raise ArgumentError(f"q={q!r} must be from 0 to 1", subject="q")
        cumulative = self.cumulative()
        count = cumulative[-1][1]
        if not count:
            return None
        rank = max(1, math.ceil(q * count))
        place = bisect_left(cumulative, rank, key=lambda pair: pair[1])
        below = cumulative[place - 1][1] if place else 0
        low = self.bounds[place - 1] if place else 0.0
        high = min(cumulative[place][0], self._greatest)
        share = (rank - below) / (cumulative[place][1] - below)
        return min(max(low + (high - low) * share, self._least), high)

    def as_data(self) -> dict[str, Any]:
        """Plain data, in the unit of the values."""
        return {
            "count": self.count,
            "sum": self._sum,
            "p50": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "p99": self.quantile(0.99),
            "max": self._greatest if self.count else None,
        }


def _count(meaning: str) -> int:
    started: int = field(default=0, metadata={"meaning": meaning})
    return started


@dataclass(slots=True)
class Counts:
    """Numbers that only rise; whoever does what one of them counts adds to it."""

    connections_opened: int = _count("Connections accepted.")
    connections_closed: int = _count("Connections that ended, by either side.")
    received_bytes: int = _count("Bytes read from connections.")
    sent_bytes: int = _count("Bytes written to connections.")
    connections_dropped: int = _count("Connections ended because the peer was too slow.")
    protocol_errors: int = _count("Connections ended because the peer sent what is no message.")
    cancellations: int = _count("Requests that their sender no longer wanted.")
    deadlines_missed: int = _count("Requests whose deadline passed before their answer.")
    authentication_failures: int = _count("Tokens that were refused.")


class Operation:
    """What is known about one op."""

    __slots__ = ("_errors", "latency")

    def __init__(self) -> None:
        self.latency = Histogram()
        """Seconds until the answer, errors included: a request that timed out took its time."""
        self._errors: dict[str, int] = {}

    def answered(self, seconds: float, code: str | None) -> None:
        self.latency.observe(seconds)
        if code is not None:
            self._errors[code] = self._errors.get(code, 0) + 1

    @property
    def errors(self) -> dict[str, int]:
        """How many answers were errors, by their code."""
        return self._errors.copy()

    def as_data(self) -> dict[str, Any]:
        latency = self.latency.as_data()
        times = {f"{name}_ms": _milliseconds(latency[name]) for name in ("p50", "p95", "p99", "max")}
        return {"count": latency["count"], "errors": self.errors, **times}


class Statistics:
    """All that the server counts, and gauges that are read when somebody looks.

    `ops` are the names that the server answers to. Codes of errors and reasons of refusals are the server's own
    words, so that they are few; a peer's word must never become one.
    """

    def __init__(self, ops: Iterable[str]) -> None:
        self.counts = Counts()
        self.batches = Histogram(SIZES)
        """Queries that shared one search."""
        self._operations = {op: Operation() for op in (*ops, UNKNOWN)}
        self._unknown = self._operations[UNKNOWN]
        self._refused: dict[str, int] = {}
        self._gauges: dict[str, Callable[[], Reading]] = {}

    def answered(self, op: str, seconds: float, code: str | None) -> None:
        """A request was answered `seconds` after it arrived; `code` is the error's, None for a success."""
        self._operations.get(op, self._unknown).answered(seconds, code)

    def batch(self, size: int) -> None:
        """So many queries shared one search."""
        self.batches.observe(size)

    def refused(self, reason: str) -> None:
        """A connection was not accepted; `reason` is one short word, as `full`."""
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def gauge(self, name: str, read: Callable[[], Reading]) -> None:
        """Show what `read` returns under `name`, as `queued_requests`, whenever somebody looks."""
        if not _NAME.fullmatch(name) or name in self._gauges:
            raise ArgumentError(f"gauge {name!r} must be a new name in snake case", subject=name)
        self._gauges[name] = read

    @property
    def operations(self) -> dict[str, Operation]:
        """Those that were asked for at least once."""
        return {op: found for op, found in self._operations.items() if found.latency.count}

    @property
    def refusals(self) -> dict[str, int]:
        """How many connections were not accepted, by reason."""
        return self._refused.copy()

    def gauges(self) -> dict[str, Reading]:
        """What all gauges say now; called by the thread that owns what they read."""
        return {name: read() for name, read in self._gauges.items()}

    def as_data(self) -> dict[str, Any]:
        """Plain data, the gauges among it; called by the thread that owns what those read."""
        gauges = {name: dict(now) if isinstance(now, Mapping) else now for name, now in self.gauges().items()}
        return {
            **asdict(self.counts),
            "connections_refused": self.refusals,
            "gauges": gauges,
            "batches": self.batches.as_data(),
            "operations": {op: found.as_data() for op, found in self.operations.items()},
        }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
