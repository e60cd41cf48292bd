"""Metadata values: what may be stored, with types kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from qstore_db.errors import IdError, MetadataError

Scalar: TypeAlias = "str | int | float | bool | None"
Value: TypeAlias = "Scalar | list[Value] | dict[str, Value]"
Metadata: TypeAlias = "dict[str, Value]"

MAX_DEPTH = 16
MAX_ID_BYTES = 128
_INT64 = 1 << 63


def check_id(id: object) -> str:
    """A record id: 1 to 128 bytes of UTF-8. Raises IdError."""
    if not isinstance(id, str):
        raise IdError(f"record id {id!r} must be a string, got {type(id).__name__}", subject=str(id))
    try:
        size = len(id.encode())
    except UnicodeEncodeError:
        raise IdError(f"record id {id!r} is not valid Unicode", subject=ascii(id)) from None
    if not 1 <= size <= MAX_ID_BYTES:
        raise IdError(
            f"record id {id[:40]!r}{'...' if len(id) > 40 else ''} takes {size} bytes of UTF-8, "
            f"1 to {MAX_ID_BYTES} are allowed",
            subject=id[:40],
        )
    return str(id)


def check_metadata(metadata: Mapping[str, object] | None) -> Metadata:
    """A deep copy in plain Python types; NumPy scalars become their Python kin. Raises MetadataError with the path.

    Keys are strings without "." (which separates levels in filters) and without a leading "$"; integers fit
    int64; floats are finite; nesting ends at 16 levels.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise MetadataError(f"metadata must be a mapping, got {type(metadata).__name__}", subject="metadata")
    return _mapping(metadata, "", 1)


def _mapping(values: Mapping[object, object], path: str, depth: int) -> Metadata:
    if depth > MAX_DEPTH:
        raise MetadataError(f"metadata at {path!r} is nested deeper than {MAX_DEPTH} levels", subject=path)
    out: Metadata = {}
    for key, value in values.items():
        where = f"{path}.{key}" if path else str(key)
        if not isinstance(key, str) or not key or "." in key or key[0] == "$":
            raise MetadataError(
                f"metadata key {key!r} must be a non-empty string without '.' and without a leading '$'",
                subject=where,
            )
        _text(key, where)
        out[key] = _value(value, where, depth)
    return out


def _value(value: object, path: str, depth: int) -> Value:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, np.generic):
        value = value.item()
        if isinstance(value, bool):
            return value
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise MetadataError(f"metadata {path!r} holds {value}, which does not fit 64 bits", subject=path)
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise MetadataError(
                f"metadata {path!r} holds {value}; use None for a missing number", subject=path
            )
        return float(value)
    if isinstance(value, Mapping):
        return _mapping(value, path, depth + 1)
    if isinstance(value, (list, tuple, np.ndarray)):
        if depth >= MAX_DEPTH:
            raise MetadataError(f"metadata at {path!r} is nested deeper than {MAX_DEPTH} levels", subject=path)
        return [_value(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise MetadataError(
        f"metadata {path!r} holds a {type(value).__name__}; allowed are str, int, float, bool, None, "
        "lists and nested mappings",
        subject=path,
    )


def _text(value: str, path: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise MetadataError(f"metadata {path!r} is not valid Unicode", subject=path) from None
    return str(value)
