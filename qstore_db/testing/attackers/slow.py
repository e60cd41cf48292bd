"""Peers that take their time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np

from qstore_db.testing.attackers.peer import PATIENCE, Outcome, Peer, Target, hello_of
from qstore_db.wire.limits import MIB
from qstore_db.wire.messages import Kind, Message, encode

Part: TypeAlias = Literal["greeting", "header", "head", "attachment"]

_SKIPPED: Mapping[Part, int] = {"greeting": 0, "header": 0, "head": 8, "attachment": 8192}
_BATCH = 64


def say_nothing(target: Target, *, greeted: bool = False, patience: float = PATIENCE) -> Outcome:
    """Connect, and wait. greeted: come in as a client before."""
    with Peer(target) as peer:
        if greeted:
            peer.greet()
        peer.listen(patience)
        return peer.outcome()


def drip(
    target: Target,
    part: Part,
    *,
    interval: float = 0.2,
    attachment: int = 16_384,
    patience: float = PATIENCE,
) -> Outcome:
    """One byte every `interval` seconds: of a greeting, or, once let in, of a request from that part on.

    attachment: bytes that the request carries; `part="attachment"` sends the first 8 KiB of the frame at once.
    """
    with Peer(target) as peer:
        message = hello_of(target)
        if part != "greeting":
            peer.greet()
            body = {"vector": np.zeros(attachment, np.uint8)}
            message = Message(Kind.REQUEST, 1, "db.query", body)
        frame = b"".join(map(bytes, encode(message)))
        deadline = time.monotonic() + patience
        peer.send(frame[: _SKIPPED[part]])
        for byte in frame[_SKIPPED[part] :]:
            if time.monotonic() > deadline or not peer.send(bytes([byte])):
                break
            peer.listen(interval)
        peer.listen(max(deadline - time.monotonic(), 0.0))
        return peer.outcome()


def never_read(
    target: Target, request: Message | None = None, *, patience: float = PATIENCE, limit: int = 256 * MIB
) -> Outcome:
    """Ask again and again, and take no answer: for `patience` seconds or `limit` bytes of questions.

    request: what is asked, with rising ids. The longer its answers, the sooner the server has too many of them.
    A server stops reading, or ends the connection; in neither case does its memory grow without end.
    """
    if request is None:
        request = Message(Kind.REQUEST, 1, "db.count", {})
    numbers = itertools.count(1)
    with Peer(target, receive_buffer=4096) as peer:
        peer.greet()
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0 and peer.outcome().sent < limit:
            some = [
                Message(request.kind, n, request.op, request.body) for n in itertools.islice(numbers, _BATCH)
            ]
            if not peer.send(b"".join(bytes(piece) for each in some for piece in encode(each)), left):
                break
        return peer.outcome()
