"""Bytes that are no messages, or none that should be believed."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast

import msgpack

from qstore_db.testing.attackers.peer import PATIENCE, Outcome, Peer, Target
from qstore_db.wire.frames import HEADER, frame_of
from qstore_db.wire.limits import MIB
from qstore_db.wire.messages import ARRAY, MAX_ID, Kind, Message, encode

Then: TypeAlias = Literal["silence", "fin", "rst"]

GIB = 1 << 30

CLAIMS: Mapping[str, tuple[int, int]] = {
    "4 GiB": (4 * GIB - 8, 16),
    "a head of 2 MiB": (2 * MIB + 8, 2 * MIB),
    "a head of 4 GiB": (4 * GIB - 8, 4 * GIB - 16),
    "attachments of 1 GiB": (GIB, 16),
}
"""Lengths of a frame and its head beyond all limits."""
EARLY_CLAIMS: Mapping[str, tuple[int, int]] = {
    **CLAIMS,
    "a head of 5 KiB": (5 * 1024, 5 * 1024 - 8),
    "attachments": (32, 8),
}
"""Those beyond what a peer may send that has not been let in."""
CONTRADICTIONS: Mapping[str, tuple[int, int]] = {
    "no length": (0, 0),
    "no head": (16, 0),
    "less than the lengths themselves": (4, 1),
    "a head beyond the frame": (16, 100),
    "no multiple of eight": (23, 8),
    "no room to fill the head up": (8 + 12, 12),
}
"""Lengths of a frame and its head that cannot be."""


def _packed(value: Any) -> bytes:
    return cast("bytes", msgpack.packb(value))


_SMALL = [int(Kind.REQUEST), 1, "db.count"]
HEADS: Mapping[str, bytes] = {
    "no msgpack": b"\xc1",
    "nothing after the first byte": b"\x94",
    "more than one value": _packed([*_SMALL, {}]) + b"\xc0",
    "no array": _packed({"kind": 2}),
    "an array of three": _packed(_SMALL),
    "a kind that does not exist": _packed([99, 1, "", None]),
    "a kind that is true": _packed([True, 1, "", None]),
    "a negative id": _packed([2, -1, "db.count", {}]),
    "an id above 2^63 - 1": _packed([2, MAX_ID + 1, "db.count", {}]),
    "an op that is a number": _packed([2, 1, 7, {}]),
    "a key twice": b"\x94\x02\x01\xa8db.count" + b"\x82" + 2 * b"\xaacollection\xa7default",
    "a key that is a number": _packed([*_SMALL, {1: 2}]),
    "a key that is a map": b"\x94\x02\x01\xa8db.count" + b"\x81\x80\xc0",
    "text that is no UTF-8": b"\x94\x02\x01\xa8db.count" + b"\x81\xa1\xff\xc0",
    "a timestamp": _packed([*_SMALL, {"at": msgpack.Timestamp(1)}]),
    "an extension that does not exist": _packed([*_SMALL, {"x": msgpack.ExtType(77, b"")}]),
    "an array without its numbers": _packed(
        [*_SMALL, {"x": msgpack.ExtType(ARRAY, struct.pack(">BBI", 1, 1, 1 << 31))}]
    ),
    "an array of three dimensions": _packed(
        [*_SMALL, {"x": msgpack.ExtType(ARRAY, struct.pack(">BB3I", 1, 3, 0, 0, 0))}]
    ),
    "an array of an unknown dtype": _packed(
        [*_SMALL, {"x": msgpack.ExtType(ARRAY, struct.pack(">BBI", 200, 1, 0))}]
    ),
    "a text that claims 4 GiB": b"\x94\x02\x01\xdb\xff\xff\xff\xff",
    "an array that claims 2^32 values": b"\x94\x02\x01\xa8db.count\xdd\xff\xff\xff\xff",
    "a map that claims 2^32 keys": b"\x94\x02\x01\xa8db.count\xdf\xff\xff\xff\xff",
}
"""Heads of well-formed frames that say nothing which is allowed."""


def send_bytes(target: Target, data: bytes, *, greeted: bool = True, patience: float = PATIENCE) -> Outcome:
    """Send `data`, and wait for the server to do something about it. greeted: come in as a client before."""
    with Peer(target) as peer:
        if greeted:
            peer.greet()
        peer.send(data, patience)
        peer.listen(patience)
        return peer.outcome()


def send_garbage(
    target: Target, *, seed: int = 0, nbytes: int = 4096, greeted: bool = False, patience: float = PATIENCE
) -> Outcome:
    """Random bytes, the same for the same seed."""
    return send_bytes(target, random.Random(seed).randbytes(nbytes), greeted=greeted, patience=patience)


def claim(
    target: Target, total: int, head: int, *, greeted: bool = True, patience: float = PATIENCE
) -> Outcome:
    """The lengths of a frame that never comes: see `CLAIMS` and `CONTRADICTIONS`."""
    return send_bytes(target, HEADER.pack(total, head), greeted=greeted, patience=patience)


def send_head(
    target: Target, head: bytes, attachments: bytes = b"", *, greeted: bool = True, patience: float = PATIENCE
) -> Outcome:
    """A frame with whatever head: see `HEADS`."""
    pieces = frame_of(head, [attachments] if attachments else [])
    return send_bytes(target, b"".join(map(bytes, pieces)), greeted=greeted, patience=patience)


def nest(
    target: Target, depth: int = 100_000, *, greeted: bool = True, patience: float = PATIENCE
) -> Outcome:
    """A request whose body is an array in an array in an array ..."""
    head = _packed(_SMALL)[1:]
    return send_head(target, b"\x94" + head + b"\x91" * depth + b"\xc0", greeted=greeted, patience=patience)


def amplify(target: Target, *, nbytes: int = MIB, times: int = 1, patience: float = PATIENCE) -> Outcome:
    """Requests whose heads, of `nbytes` each, become a hundred times as much in memory: of empty maps.

    They are messages like any other. A server has to count what they take before it takes them, and answers
    that they are no use.
    """
    start = _packed([*_SMALL, None])[:-1]
    with Peer(target) as peer:
        peer.greet()
        for number in range(1, times + 1):
            head = start.replace(b"\x02\x01", b"\x02" + _packed(number), 1)
            maps = nbytes - len(head) - 5
            head += b"\xdd" + struct.pack(">I", maps) + b"\x80" * maps
            if not peer.send(b"".join(map(bytes, frame_of(head, []))), patience):
                break
        peer.listen(patience, lambda: len(peer.messages) > times)
        peer.ping(patience)
        return peer.outcome()


def stop_midway(
    target: Target,
    then: Then = "silence",
    *,
    after: int | None = None,
    greeted: bool = True,
    patience: float = PATIENCE,
) -> Outcome:
    """The beginning of a frame, `after` bytes of it (None: all but the last), and then nothing more."""
    frame = b"".join(map(bytes, encode(Message(Kind.REQUEST, 1, "db.count", {}))))
    with Peer(target) as peer:
        if greeted:
            peer.greet()
        peer.send(frame[: len(frame) - 1 if after is None else after], patience)
        if then == "rst":
            peer.reset()
        elif then == "fin":
            peer.finish()
        peer.listen(patience)
        return peer.outcome()
