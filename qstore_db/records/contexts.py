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
        given: dict[str, float] = {}
        for entry_name, entry_weight in _pairs(contexts):
            name = _name(entry_name)
            if name in given:
                raise ContextError(f"context {name!r} is named twice", subject=name)
            weight = _real(entry_weight)
            if not 0.0 <= weight < math.inf:  # NaN fails this too
                raise ContextError(
                    f"weight {entry_weight!r} of context {name!r} must be a finite number >= 0", subject=name
                )
            given[name] = weight
        present = {name: weight for name, weight in given.items() if weight}
        if given and not present:
            raise ContextError("all context weights are zero, which describes no state", subject="contexts")
        if len(present) > MAX_CONTEXTS:
            raise ContextError(
                f"{len(present)} contexts given, at most {MAX_CONTEXTS} are allowed", subject="contexts"
            )
        return cls(tuple(present), tuple(present.values()))

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
        """(name, Born weight) of each context, in the order given."""
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
            return cls((_name(context),), (1.0,))
        if not isinstance(context, Mapping) or not context:
            raise ContextError(
                "context must be a name, a mapping of names to weights, or of names to (weight, phase) pairs",
                subject="context",
            )
        weights: dict[str, float] = {}
        phases: dict[str, float] = {}
        for name, value in context.items():
            if not isinstance(value, (tuple, list)):
                weights[name] = value
            elif len(value) == 2 and math.isfinite(_real(value[1])):
                weights[name], phases[name] = value[0], _real(value[1])
            else:
                raise ContextError(
                    f"context {name!r} needs (weight, phase in radians), got {value!r}", subject=str(name)
                )
        if phases and len(phases) < len(weights):
            raise ContextError(
                "context mixes weights and (weight, phase) pairs; give a phase to all or to none",
                subject="context",
            )
        state = Superposition.parse(weights)
        return cls(
            state.names, state.weights, tuple(phases[name] for name in state.names) if phases else None
        )

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


def _pairs(contexts: object) -> Iterable[tuple[object, object]]:
    if isinstance(contexts, Mapping):
        return contexts.items()
    if isinstance(contexts, str) or not isinstance(contexts, Iterable):
        raise ContextError(
            f"contexts must be (name, weight) pairs or a mapping, got {type(contexts).__name__}",
            subject="contexts",
        )
    return (_pair(entry) for entry in contexts)


def _pair(entry: object) -> tuple[object, object]:
    if not isinstance(entry, (tuple, list)) or len(entry) != 2:
        raise ContextError(f"context {entry!r} is not a (name, weight) pair", subject="contexts")
    return entry[0], entry[1]


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ContextError(f"context name {name!r} must be a non-empty string", subject="contexts")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ContextError(f"context name {name!r} is not valid Unicode", subject="contexts") from None
    if size > MAX_NAME_BYTES:
        raise ContextError(
            f"context name {name[:40]!r}... takes {size} bytes of UTF-8, "
            f"at most {MAX_NAME_BYTES} are allowed",
            subject=name[:40],
        )
    return str.__str__(name)


def _real(value: object) -> float:
    """`value` as a float: NaN for what is no real number (a bool is none), infinity where it overflows."""
    if isinstance(value, bool) or not isinstance(value, (float, int, np.floating, np.integer)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf
