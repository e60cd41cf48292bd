"""User arguments, checked and turned into what engines take. Every refusal names the parameter and its value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar, get_args

import numpy as np

from qstore_db.config import DatabaseConfig
from qstore_db.engines.base import CollectionSpec, IndexKind, StorageKind
from qstore_db.errors import ArgumentError, ConfigurationError
from qstore_db.records import Metric, Vectors, check_id, check_matrix
from qstore_db.records.vector import check_dimension

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine

MAX_NAME_BYTES = 200
_S = TypeVar("_S", bound=str)


def check_spec(
    name: str, dimension: int, metric: str, index: str, storage: str, target_recall: float
) -> CollectionSpec:
    return CollectionSpec(
        check_name(name),
        check_dimension(dimension),
        Metric.parse(metric),
        check_choice("index", index, get_args(IndexKind)),
        check_choice("storage", storage, get_args(StorageKind)),
        check_number("target_recall", target_recall, 0.5, 1.0),
    )


def check_name(name: object, kind: str = "collection") -> str:
    if not isinstance(name, str) or not name or not name.isprintable() or "/" in name:
        raise ArgumentError(
            f"{kind} name {name!r} must be a non-empty printable string without '/'", subject=kind
        )
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ArgumentError(f"{kind} name takes more than {MAX_NAME_BYTES} bytes", subject=kind)
    return name


def check_choice(parameter: str, value: object, choices: Sequence[_S]) -> _S:
    for choice in choices:
        if value == choice:
            return choice
    allowed = ", ".join(repr(choice) for choice in choices)
    raise ArgumentError(f"{parameter}={value!r} is unknown; use one of {allowed}", subject=parameter)


def check_flag(parameter: str, value: object) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{parameter}={value!r} must be True or False", subject=parameter)
    return bool(value)


def check_number(parameter: str, value: object, low: float, high: float) -> float:
    """A finite real number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentError(f"{parameter}={value!r} must be a number", subject=parameter)
    try:
        number = float(value)
    except OverflowError:  # an int beyond every float
        number = math.inf
    if not math.isfinite(number) or not low <= number <= high:
        raise ArgumentError(f"{parameter}={value!r} must be finite{_span(low, high)}", subject=parameter)
    return number


def _span(low: float, high: float) -> str:
    if math.isfinite(low) and math.isfinite(high):
        return f" and from {low:g} to {high:g}"
    return f" and at least {low:g}" if math.isfinite(low) else ""


def check_count(parameter: str, value: object, high: int | None = None) -> int:
    """An integer of at least 1 and at most `high`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < 1 or (high is not None and value > high):  # type: ignore[operator]
        span = "of at least 1" if high is None else f"from 1 to {high}"
        raise ArgumentError(f"{parameter}={value!r} must be an integer {span}", subject=parameter)
    return int(value)  # type: ignore[call-overload,no-any-return]


def check_since(since: object) -> int:
    """An op sequence, or 0 for all of them."""
    whole = isinstance(since, (int, np.integer)) and not isinstance(since, bool)
    if not whole or not 0 <= since < 1 << 63:  # type: ignore[operator]
        raise ArgumentError(f"since={since!r} must be an op sequence, 0 at least", subject="since")
    return int(since)  # type: ignore[call-overload,no-any-return]


def check_expiry(expires_at: object) -> float | None:
    if expires_at is None:
        return None
    stamp = getattr(expires_at, "timestamp", None)
    return check_number("expires_at", stamp() if callable(stamp) else expires_at, 0.0, math.inf)


def check_vectors(vectors: Vectors, spec: CollectionSpec, what: str) -> Vectors:
    """Vectors, (d,) or (n, d), that fit a collection."""
    check_matrix(vectors, dimension=spec.dimension, metric=spec.metric, collection=spec.name, what=what)
    return vectors


def check_ids(ids: Iterable[object]) -> list[str]:
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise ArgumentError(f"ids={ids!r} must be a sequence of strings", subject="ids")
    return [check_id(id) for id in ids]


def check_able(engine: EmbeddedEngine, call: str, capability: str) -> None:
    if not getattr(engine.capabilities, capability):
        raise ConfigurationError(
            f"{call} needs an engine with the capability {capability!r}, which {type(engine).__name__} lacks; "
            "the embedded engine has it",
            subject=capability,
        )


def check_contexts_enabled(config: DatabaseConfig) -> None:
    if not config.enable_superposition:
        raise ConfigurationError(
            "contexts are switched off here; open the database with enable_superposition=True",
            subject="enable_superposition",
        )
