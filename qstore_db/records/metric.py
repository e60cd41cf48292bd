"""The three metrics and how each turns a squared distance into what users read.

Search runs on one quantity, d², whatever the metric, so that ranking and tunnelling need no cases:

| metric | d² | distance | similarity |
|---|---|---|---|
| cosine | 2 (1 - cos) | 1 - cos | cos |
| l2 | squared Euclidean | d² | 1 / (1 + d) |
| dot | 2 (max_dot - dot) | -dot | dot |

`max_dot` is a stored statistic of the collection. It shifts every d² alike, so no order depends on it; where
a query's products exceed it, d² falls below zero and the order still holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError

Floats = NDArray[np.float64]


class Metric(StrEnum):
    """How two vectors are compared; fixed when a collection is created."""

    COSINE = "cosine"
    L2 = "l2"
    DOT = "dot"

    @classmethod
    def parse(cls, name: str) -> Metric:
        try:
            return cls(name)
        except ValueError:
            raise ArgumentError(
                f"metric={name!r} is unknown; use one of {', '.join(repr(m.value) for m in cls)}",
                subject="metric",
            ) from None


@dataclass(frozen=True, slots=True)
class Geometry:
    """A metric with the statistic it needs: conversions between d², distance and similarity."""

    metric: Metric
    max_dot: float = 0.0

    def squared(self, raw: Floats) -> Floats:
        """d² from an engine's raw values: squared Euclidean (cosine, l2) or the negated dot product."""
        if self.metric is Metric.DOT:
            return 2.0 * (self.max_dot + raw)
        return raw

    def reaching(self, vectors: NDArray[np.float32]) -> Geometry:
        """The same, with max_dot at least the largest product of any of `vectors` (m, d) with another.

        Longer ones may have come since it was measured, and between those every d² would be 0.
        """
        if self.metric is not Metric.DOT:
            return self
        squares = np.einsum("md,md->m", vectors, vectors, dtype=np.float64)
        return replace(self, max_dot=max(self.max_dot, float(squares.max(initial=0.0))))

    def distance(self, raw: Floats) -> Floats:
        """What `Match.distance` holds, from an engine's raw values."""
        return raw / 2.0 if self.metric is Metric.COSINE else raw

    def similarity(self, raw: Floats) -> Floats:
        """What `Match.similarity` holds, from an engine's raw values."""
        if self.metric is Metric.COSINE:
            return 1.0 - raw / 2.0
        if self.metric is Metric.L2:
            return 1.0 / (1.0 + np.sqrt(np.maximum(raw, 0.0)))
        return -raw
