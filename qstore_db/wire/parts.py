"""Bodies too large for one frame, in parts.

A part is a map like the whole. What several parts hold under the same name is joined in the order in which they
came: lists, or arrays along their first axis. Anything else stands in one part only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qstore_db.errors import ArgumentError, ProtocolError
from qstore_db.wire.frames import ALIGNMENT
from qstore_db.wire.limits import MIB, Limits
from qstore_db.wire.messages import packed_size

PART = Limits(head=MIB // 4, attachments=MIB)
"""What a part is filled up to. Smaller than a frame may be, so that windows are kept in small steps."""
_NAME = 32
"""Bytes of a head that come with each value beside its name, at most."""
_AROUND = 256
"""Bytes of a head around a body, at most: kind, id, op, and the fields that a request adds to its first part."""


def parts_of(body: Mapping[str, Any], limits: Limits) -> Iterator[dict[str, Any]]:
    """The body in parts, each within `limits` as a message. Raises ArgumentError naming a value that no part
    can hold."""
    room = limits.head - _AROUND
    full = Limits(min(PART.head, room), min(PART.attachments, limits.attachments) // ALIGNMENT * ALIGNMENT)
    part: dict[str, Any] = {}
    head = attachments = 0
    for name, value in _values(body, full.attachments):
        more, attached = packed_size(value)
        more += _NAME + len(name.encode())
        if more > room or attached > limits.attachments:
            raise ArgumentError(
                f"a value of {name} takes {max(more, attached):,} bytes, more than one frame holds",
                subject=name,
            )
        again = isinstance(value, np.ndarray) and name in part
        if part and (again or head + more > full.head or attachments + attached > full.attachments):
            yield part
            part, head, attachments = {}, 0, 0
        if isinstance(value, list) and name in part:
            part[name] += value
        else:
            part[name] = value
        head, attachments = head + more, attachments + attached
    yield part


def _values(body: Mapping[str, Any], nbytes: int) -> Iterator[tuple[str, Any]]:
    """The least values that parts can be made of: elements of lists, and rows of arrays beyond `nbytes`."""
    for name, value in body.items():
        if isinstance(value, list) and value:
            yield from ((name, [element]) for element in value)
        elif isinstance(value, np.ndarray) and value.nbytes > nbytes and value.ndim:
            rows = max(nbytes // (value.nbytes // len(value)), 1)
            yield from ((name, value[start : start + rows]) for start in range(0, len(value), rows))
        else:
            yield name, value


def joined(parts: Sequence[object]) -> dict[str, Any]:
    """The body of which these are the parts. Raises ProtocolError where they do not fit together."""
    if len(parts) == 1 and isinstance(parts[0], dict):
        return parts[0]
    found: dict[str, list[Any]] = {}
    for part in parts:
        if not isinstance(part, dict):
            raise ProtocolError(f"a part of a body must be a map, not a {type(part).__name__}")
        for name, value in part.items():
            found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else _join(name, values) for name, values in found.items()}


def _join(name: str, values: list[Any]) -> Any:
    if all(isinstance(value, list) for value in values):
        return [element for value in values for element in value]
    if all(isinstance(value, np.ndarray) for value in values):
        first = values[0]
        if first.ndim and all(v.dtype == first.dtype and v.shape[1:] == first.shape[1:] for v in values):
            return np.concatenate(values)
    raise ProtocolError(f"the parts of {name} do not fit together")
