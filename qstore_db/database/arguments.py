"""User arguments, checked and turned into what engines take. Every refusal names the parameter and its value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from qstore_db.engines.base import CollectionSpec, IndexKind, Put, StorageKind
from qstore_db.errors import ArgumentError, VectorError
from qstore_db.records import (
    Contexts,
    Metric,
    Superposition,
    Vectors,
    as_matrix,
    as_vector,
    check_id,
    check_matrix,
    check_metadata,
)
from qstore_db.records.vector import check_dimension

MAX_TOP_K = 100_000
MAX_NAME_BYTES = 200
ATOMIC_RECORDS = 10_000
"""insert_many and upsert_many are all or nothing up to this many records, and in pieces of it beyond."""


def check_spec(
    name: str, dimension: int, metric: str, index: str, storage: str, target_recall: float
) -> CollectionSpec:
    check_choice("index", index, get_args(IndexKind))
    check_choice("storage", storage, get_args(StorageKind))
    recall = check_number("target_recall", target_recall, 0.5, 1.0)
    return CollectionSpec(
        check_name(name),
        check_dimension(dimension),
        Metric.parse(metric),
        index,  # type: ignore[arg-type]
        storage,  # type: ignore[arg-type]
        recall,
    )


def check_name(name: object) -> str:
    if not isinstance(name, str) or not name or not name.isprintable() or "/" in name:
        raise ArgumentError(
            f"collection name {name!r} must be a non-empty printable string without '/'", subject="collection"
        )
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ArgumentError(f"collection name takes more than {MAX_NAME_BYTES} bytes", subject="collection")
    return name


def check_choice(parameter: str, value: object, choices: Sequence[str]) -> str:
    if value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ArgumentError(f"{parameter}={value!r} is unknown; use one of {allowed}", subject=parameter)
    return str(value)


def check_number(parameter: str, value: object, low: float, high: float) -> float:
    """A finite real number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentError(f"{parameter}={value!r} must be a number", subject=parameter)
    number = float(value)
    if not math.isfinite(number) or not low <= number <= high:
        span = f"from {low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
        raise ArgumentError(f"{parameter}={value!r} must be finite and {span}", subject=parameter)
    return number


def check_count(parameter: str, value: object, high: int) -> int:
    """An integer from 1 to `high`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= high:
        raise ArgumentError(f"{parameter}={value!r} must be an integer from 1 to {high}", subject=parameter)
    return int(value)


def check_expiry(expires_at: object) -> float | None:
    if expires_at is None:
        return None
    stamp = getattr(expires_at, "timestamp", None)
    if callable(stamp):
        expires_at = stamp()
    return check_number("expires_at", expires_at, 0.0, math.inf)


def check_query(vector: ArrayLike, spec: CollectionSpec, what: str = "vector") -> Vectors:
    query = as_vector(vector, what=what)
    check_matrix(query, dimension=spec.dimension, metric=spec.metric, collection=spec.name, what=what)
    return query


def check_queries(vectors: ArrayLike, spec: CollectionSpec, what: str) -> Vectors:
    queries = as_matrix(vectors, what=what)
    check_matrix(queries, dimension=spec.dimension, metric=spec.metric, collection=spec.name, what=what)
    return queries


def check_ids(ids: Iterable[object]) -> list[str]:
    if isinstance(ids, (str, bytes)):
        raise ArgumentError(f"ids={ids!r} must be a sequence of strings", subject="ids")
    return [check_id(id) for id in ids]


def puts(
    spec: CollectionSpec,
    ids: Sequence[object],
    vectors: ArrayLike,
    contexts: Sequence[Contexts] | None,
    metadata: Sequence[Mapping[str, Any] | None] | None,
    expires_at: Sequence[object] | None,
    *,
    exclusive: bool,
) -> Iterator[list[Put]]:
    """Checked records in atomic pieces. Lengths and vectors are checked as a whole before the first piece."""
    names = check_ids(ids)
    if len(names) == 0:
        return
    matrix = as_matrix(vectors)
    check_matrix(matrix, dimension=spec.dimension, metric=spec.metric, collection=spec.name, what="vectors")
    if len(matrix) != len(names):
        raise VectorError(f"{len(names)} ids come with {len(matrix)} vectors", subject="vectors")
    for parameter, column in (("contexts", contexts), ("metadata", metadata), ("expires_at", expires_at)):
        if column is not None and len(column) != len(names):
            raise ArgumentError(
                f"{len(names)} ids come with {len(column)} entries of {parameter}", subject=parameter
            )
    rows = [
        Put(
            name,
            matrix[i],
            Superposition() if contexts is None else Superposition.parse(contexts[i]),
            {} if metadata is None else check_metadata(metadata[i]),
            None if expires_at is None else check_expiry(expires_at[i]),
            exclusive,
        )
        for i, name in enumerate(names)
    ]
    for start in range(0, len(rows), ATOMIC_RECORDS):
        yield rows[start : start + ATOMIC_RECORDS]
