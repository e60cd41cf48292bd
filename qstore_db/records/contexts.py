"""Superposition contexts: |psi> = sum_c sqrt(w_c) |c>, and how a query reads them.

A query in context c sees a record with the Born probability p = |<c|psi>|^2 = w_c. A superposed query
adds probabilities (no phases) or amplitudes (phases), see `ContextQuery.probabilities`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import ContextError

Contexts: TypeAlias = "Iterable[tuple[str, float]] | Mapping[str, float] | None"
ContextLike: TypeAlias = "str | Mapping[str, float] | Mapping[str, tuple[float, float]] | None"

MAX_CONTEXTS = 64
MAX_NAME_BYTES = 128
ABSENT = 1e-12
"""A probability below this counts as "not in that context at all"."""
SOFT_FLOOR = 1.0 / 60.0
"""What `soft=True` grants to a record outside the queried context: p = (1 - 1/60) w + 1/60."""


@dataclass(frozen=True, slots=True)
class Superposition:
    """The contexts of one record. `raw` holds the weights as given, `weights` sums to 1."""

    names: tuple[str, ...] = ()
    raw: tuple[float, ...] = ()

    @classmethod
    def parse(cls, contexts: Contexts) -> Superposition:
        """Checked contexts; entries of weight zero are dropped. Raises ContextError naming the entry."""
        if contexts is None:
            return cls()
        names: list[str] = []
        raw: list[float] = []
        given = 0
        seen: set[str] = set()
        for name, weight in _pairs(contexts):
            given += 1
            _check_name(name)
            if name in seen:
                raise ContextError(f"context {name!r} is named twice", subject=name)
            seen.add(name)
            value = _weight(name, weight)
            if value > 0.0:
                names.append(name)
                raw.append(value)
        if given and not names:
            raise ContextError("all context weights are zero; give none at all for a record without contexts")
        if len(names) > MAX_CONTEXTS:
            raise ContextError(f"{len(names)} contexts given, at most {MAX_CONTEXTS} fit one record")
        return cls(tuple(names), tuple(raw))

    @property
    def weights(self) -> tuple[float, ...]:
        """Born weights, summing to 1. Scaled by the largest first, so that no sum overflows."""
        if not self.raw:
            return ()
        peak = max(self.raw)
        scaled = [w / peak for w in self.raw]
        total = math.fsum(scaled)
        return tuple(w / total for w in scaled)

    def pairs(self) -> tuple[tuple[str, float], ...]:
        return tuple(zip(self.names, self.weights, strict=True))


@dataclass(frozen=True, slots=True)
class ContextQuery:
    """The context side of a query: one name, or a superposition of several with or without phases."""

    names: tuple[str, ...]
    weights: tuple[float, ...]
    phases: tuple[float, ...] | None = None

    @classmethod
    def parse(cls, context: ContextLike) -> ContextQuery | None:
        """None for a plain query. Raises ContextError naming the entry."""
        if context is None:
            return None
        if isinstance(context, str):
            _check_name(context)
            return cls((context,), (1.0,))
        if not isinstance(context, Mapping) or not context:
            raise ContextError(
                "context must be a name, a mapping of names to weights, or of names to (weight, phase) pairs",
                subject="context",
            )
        phased = {isinstance(v, (tuple, list)) for v in context.values()}
        if phased == {True, False}:
            raise ContextError("context mixes weights and (weight, phase) pairs; give a phase to all or to none")
        phases: list[float] = []
        plain: dict[str, float] = {}
        for name, value in context.items():
            if isinstance(value, (tuple, list)):
                if len(value) != 2 or not _is_real(value[1]) or not math.isfinite(value[1]):
                    raise ContextError(f"context {name!r} needs (weight, phase in radians)", subject=str(name))
                plain[name] = value[0]
                if _weight(name, value[0]) > 0.0:
                    phases.append(float(value[1]))
            else:
                plain[name] = value
        state = Superposition.parse(plain)
        return cls(state.names, state.weights, tuple(phases) if phased == {True} else None)

    def probabilities(self, record_weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """p of each record, (m,) float64 in [0, 1], from its Born weights (m, len(names)).

        Without phases: sum_c v_c w_c. With phases: |sum_c sqrt(v_c w_c) exp(-i phase_c)|^2, which is AND at
        equal phases and XOR at pi. Values below 1e-12 become 0. Both are at most 1 (Cauchy-Schwarz).
        """
        v = np.asarray(self.weights)
        if self.phases is None:
            p = record_weights @ v
        else:
            amplitudes = np.sqrt(record_weights * v) @ np.exp(-1j * np.asarray(self.phases))
            p = np.abs(amplitudes) ** 2
        p = np.minimum(p, 1.0)
        return np.where(p < ABSENT, 0.0, p)


def soften(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every record a little inside every context: p = (1 - 1/60) w + 1/60."""
    return (1.0 - SOFT_FLOOR) * probabilities + SOFT_FLOOR


def _pairs(contexts: Iterable[tuple[str, float]] | Mapping[str, float]) -> Iterable[tuple[str, float]]:
    if isinstance(contexts, str) or not isinstance(contexts, Iterable):
        raise ContextError("contexts must be (name, weight) pairs or a mapping", subject="contexts")
    if isinstance(contexts, Mapping):
        yield from contexts.items()
        return
    for entry in contexts:
        if not isinstance(entry, (tuple, list)) or len(entry) != 2:
            raise ContextError(f"context {entry!r} is not a (name, weight) pair", subject="contexts")
        yield entry[0], entry[1]


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise ContextError(f"context name {name!r} must be a non-empty string", subject="contexts")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ContextError(f"context name {name!r} is not valid Unicode", subject="contexts") from None
    if size > MAX_NAME_BYTES:
        raise ContextError(f"context name {name[:40]!r}... takes {size} bytes, at most {MAX_NAME_BYTES} fit")


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _weight(name: str, weight: float) -> float:
    if not _is_real(weight) or not math.isfinite(weight) or weight < 0:
        raise ContextError(f"weight {weight!r} of context {name!r} must be finite and >= 0", subject=str(name))
    return float(weight)
