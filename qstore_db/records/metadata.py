"""Metadata values: what may be stored, with types kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from qstore_db.errors import IdError, MetadataError
from qstore_db.records.packing import pack

Scalar: TypeAlias = "str | int | float | bool | None"
Value: TypeAlias = "Scalar | list[Value] | dict[str, Value]"
Metadata: TypeAlias = "dict[str, Value]"

MAX_DEPTH = 16
MAX_ID_BYTES = 128
MAX_METADATA_BYTES = 512 << 10
"""Of one record, as msgpack. Half of what the head of a frame may take: a connection carries whatever is stored."""
INT64_MIN = -(1 << 63)
INT64_MAX = (1 << 63) - 1


def check_id(id: object) -> str:
    """A record id: 1 to 128 bytes of UTF-8. Raises IdError."""
    if not isinstance(id, str):
        raise IdError(f"record id {id!r} must be a string, got {type(id).__name__}", subject=repr(id)[:40])
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
    return str.__str__(id)


def check_metadata(metadata: Mapping[str, object] | None, id: str | None = None) -> Metadata:
    """A deep copy in plain Python types; NumPy values become their Python kin.

    Keys are strings without "." (which separates levels in filters) and without a leading "$"; integers fit
    int64; floats are finite; nesting ends at 16 levels, the outermost mapping counted. Raises MetadataError
    with the path to what breaks this.

    id: the record that it is to be stored for, whose `check_size` it must pass, too. None: what is stored already.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise MetadataError(f"metadata must be a mapping, got {type(metadata).__name__}", subject="metadata")
    try:
        values = _mapping(metadata, 1)
    except _RefusedError as refused:
        path = refused.path()
        raise MetadataError(f"metadata {path!r} {refused.reason}", subject=path) from None
    if id is not None:
        check_size(values, id)
    return values


def check_size(metadata: Metadata, id: str) -> None:
    """Raises MetadataError for more than MAX_METADATA_BYTES; its subject is the record."""
    size = len(pack(metadata))
    if size > MAX_METADATA_BYTES:
        raise MetadataError(
            f"the metadata of {id!r} takes {size:,} bytes, {MAX_METADATA_BYTES:,} are allowed; keep what is large "
            "in a file or another store, and its name here",
            subject=id,
        )


class _RefusedError(Exception):
    """Why a value cannot be stored. Each level adds its step on the way out: good values pay for no path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []

    def path(self) -> str:
        path = "".join(reversed(self.steps)).removeprefix(".")
        return path.encode("utf-8", "backslashreplace").decode()


def _mapping(values: Mapping[Any, object], depth: int) -> Metadata:
    if depth > MAX_DEPTH:
        raise _RefusedError(f"is nested deeper than {MAX_DEPTH} levels")
    out: Metadata = {}
    key: object = None
    try:
        for key, value in values.items():
            out[_key(key)] = _value(value, depth)
    except _RefusedError as refused:
        refused.steps.append(f".{key}")
        raise
    return out


def _sequence(values: Iterable[object], depth: int) -> list[Value]:
    if depth > MAX_DEPTH:
        raise _RefusedError(f"is nested deeper than {MAX_DEPTH} levels")
    out: list[Value] = []
    try:
        for value in values:
            out.append(_value(value, depth))  # noqa: PERF401  its length names the element that is refused
    except _RefusedError as refused:
        refused.steps.append(f"[{len(out)}]")
        raise
    return out


def _key(key: object) -> str:
    if not isinstance(key, str) or not key or "." in key or key[0] == "$":
        raise _RefusedError("must be a key that is a non-empty string without '.' and without a leading '$'")
    return _text(key)


def _value(value: object, depth: int) -> Value:
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise _RefusedError("holds an integer that does not fit 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _RefusedError(f"holds {value}; use None for a missing number")
        return float(value)
    if isinstance(value, Mapping):
        return _mapping(value, depth + 1)
    if isinstance(value, (list, tuple)):
        return _sequence(value, depth + 1)
    raise _RefusedError(
        f"holds a {type(value).__name__}; allowed are str, int, float, bool, None, lists and nested mappings"
    )


def _text(text: str) -> str:
    """An exact `str`, whatever subclass it came as, once it is known to be storable as UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _RefusedError("is not valid Unicode") from None
    return str.__str__(text)
