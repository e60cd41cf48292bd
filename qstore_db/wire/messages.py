"""Messages: what a frame says.

The head is a msgpack array `[kind, id, op, body]`. Arrays do not go through msgpack: where one stands in the body,
the head has an extension of type ARRAY with its dtype and shape, and its numbers are the next attachment, in the
order in which the extensions stand in the head.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from math import prod
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import ProtocolError
from qstore_db.wire.frames import HEADER, Bytes, Frame, aligned, frame_of
from qstore_db.wire.limits import Limits

ARRAY: Final = 1
"""Type of the extension that stands for an array: u8 dtype, u8 number of dimensions, u32 each dimension."""
DTYPES: Final[Mapping[int, np.dtype[Any]]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i8"),
    4: np.dtype("u1"),
}
"""All numbers are little-endian, as every machine that this runs on has them."""
MAX_DIMENSIONS: Final = 2
_SHAPES: Final = tuple(struct.Struct(f">{n}I") for n in range(MAX_DIMENSIONS + 1))
MAX_ID: Final = (1 << 63) - 1
_CONTAINER: Final = 80
_VALUE: Final = 40
"""Bytes of memory that an empty map or list takes, and a number or a text besides its characters."""
_CONTAINERS: Final = frozenset({dict, list})
_HELD: Final = _CONTAINERS | {str, bool, int, float, bytes, np.ndarray, type(None)}
_TEXT: Final = frozenset({str})
_CODES: Final = {dtype: code for code, dtype in DTYPES.items()}


class Kind(IntEnum):
    """What a message is for."""

    HELLO = 1
    """First of each side: version, token, limits."""
    REQUEST = 2
    RESPONSE = 3
    """The answer to the request of that id, whole."""
    ERROR = 4
    """The request of that id failed; with id 0 the connection did."""
    EVENT = 5
    CANCEL = 6
    """The request of that id is no longer wanted."""
    CHUNK = 7
    """A part of a stream that belongs to the request of that id."""
    END = 8
    """The stream is complete."""
    WINDOW = 9
    """So many more bytes of a stream may be sent."""
    PING = 10
    PONG = 11
    GOAWAY = 12
    """No request after the one of that id will be served on this connection."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Arrays in `body` are read-only views of the frame they came in."""

    kind: Kind
    id: int
    """Of the request that it belongs to, chosen by who asked; 0 for none."""
    op: str = ""
    """What is asked for, as `db.query`; empty but in requests and events."""
    body: Any = None
    """None, bool, int, float, str, bytes, lists and maps with str keys of these, and arrays."""
    nbytes: int = field(default=0, compare=False)
    """Of one that was decoded: about what it takes in memory, which may be 80 times its length."""


def encode(message: Message) -> list[Bytes]:
    """The pieces of the message's frame. Arrays must be of a dtype in DTYPES, contiguous ones are not copied.

    Raises TypeError for anything else that a body cannot hold: that is a mistake of the caller's.
    """
    attachments: list[Bytes] = []
    head: bytes = _packer(attachments).pack([message.kind, message.id, message.op, message.body])
    return frame_of(head, attachments)


def packed_size(body: object) -> tuple[int, int]:
    """Bytes that a body takes in a head, and in attachments. Raises TypeError as `encode` does."""
    attachments: list[Bytes] = []
    head: bytes = _packer(attachments).pack(body)
    return len(head), sum(aligned(len(attachment)) for attachment in attachments)


def fits(frame: list[Bytes], limits: Limits) -> bool:
    """Whether a frame that `encode` made is within limits."""
    total, head = HEADER.unpack(frame[0])
    return bool(head <= limits.head and total - aligned(HEADER.size + head) <= limits.attachments)


def _packer(attachments: list[Bytes]) -> msgpack.Packer:
    def attach(value: object) -> object:
        if not isinstance(value, np.ndarray) or value.dtype not in _CODES or value.ndim > MAX_DIMENSIONS:
            raise TypeError(f"a message cannot hold a {type(value).__name__}: {value!r:.80}")
        attachments.append(np.ascontiguousarray(value).data.cast("B") if value.size else b"")
        return msgpack.ExtType(ARRAY, _reference(value))

    return msgpack.Packer(default=attach)


def decode(frame: Frame, limits: Limits) -> Message:
    """What a frame says. Raises ProtocolError, and nothing else, for whatever is no message."""
    try:
        return _decode(frame, limits)
    except ProtocolError:
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        OverflowError,
        RecursionError,
        MemoryError,
        struct.error,
    ) as error:
        raise ProtocolError(f"a head cannot be read: {str(error) or type(error).__name__}") from error


def _decode(frame: Frame, limits: Limits) -> Message:
    packed, found = bytes(frame.head), _Found(frame.attachments)
    head = msgpack.unpackb(
        packed,
        ext_hook=found.take_array,
        object_pairs_hook=found.take_map,
        list_hook=found.take_list,
        strict_map_key=True,
    )
    found.finish()
    if not isinstance(head, list) or len(head) != 4:
        raise ProtocolError("a head must be a list of kind, id, op and body")
    kind, id, op, body = head
    if type(kind) is not int or type(id) is not int or not 0 <= id <= MAX_ID or not isinstance(op, str):
        raise ProtocolError("a head must begin with a kind, an id from 0 to 2^63 - 1 and an op")
    # Fewer containers are not nested deeper; and msgpack's own extensions, all else that it makes, have type -1.
    if found.containers > limits.depth or b"\xff" in packed:
        _check(body, limits.depth)
    containers = found.containers - 1
    values = found.inside - containers - (len(head) - 1)
    nbytes = len(packed) + len(frame.attachments) + _CONTAINER * containers + _VALUE * values
    return Message(Kind(kind), id, op, body, nbytes)


class _Found:
    """Counts the containers of a head, and hands out the attachments of its frame one after the other."""

    def __init__(self, attachments: memoryview) -> None:
        self._content = attachments.toreadonly()
        self._at = 0
        self.containers = 0
        self.inside = 0
        """How much they hold, keys and containers among it."""

    def take_array(self, type: int, reference: bytes) -> NDArray[Any]:
        if type != ARRAY or len(reference) < 2 or reference[1] > MAX_DIMENSIONS:
            raise ProtocolError(f"an extension of type {type} and {len(reference)} bytes is not known")
        dtype = DTYPES[reference[0]]
        shape = _SHAPES[reference[1]].unpack(reference[2:])
        end = self._at + prod(shape) * dtype.itemsize
        if end > len(self._content):
            raise ProtocolError(f"an array of shape {shape} reaches beyond its frame")
        array: NDArray[Any] = np.ndarray(shape, dtype, self._content, self._at)
        self._at = aligned(end)
        return array

    def take_map(self, pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        """A map whose keys are distinct texts: of two equal ones msgpack would silently keep the last."""
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ProtocolError("a map has a key twice")
        if not _TEXT.issuperset(map(type, found)):
            raise ProtocolError("the keys of a map must be texts")
        self.containers += 1
        self.inside += 2 * len(found)
        return found

    def take_list(self, values: list[Any]) -> list[Any]:
        self.containers += 1
        self.inside += len(values)
        return values

    def finish(self) -> None:
        if self._at != len(self._content):
            raise ProtocolError(f"of {len(self._content)} bytes of attachments the head names {self._at}")


def _reference(array: NDArray[Any]) -> bytes:
    return bytes((_CODES[array.dtype], array.ndim)) + _SHAPES[array.ndim].pack(*array.shape)


def _check(body: Any, depth: int) -> None:
    """Nothing but what a message may hold, and not too deep."""
    level = [body]
    for _ in range(depth + 1):
        kinds = set(map(type, level))
        if not kinds <= _HELD:
            raise ProtocolError(f"a message cannot hold a {(kinds - _HELD).pop().__name__}")
        inner: list[Any] = []
        if not kinds.isdisjoint(_CONTAINERS):
            for value in level:
                if type(value) is dict:
                    inner += value.values()
                elif type(value) is list:
                    inner += value
        if not inner:
            return
        level = inner
    raise ProtocolError(f"a body is nested more than {depth} deep")
