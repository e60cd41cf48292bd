"""Frames: how messages are cut out of a stream of bytes.

A frame is its total length and the length of its head, two unsigned 32-bit integers, most significant byte first;
then the head, then the attachments, each begun at a multiple of eight bytes from the frame's start.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from qstore_db.errors import ProtocolError
from qstore_db.wire.limits import Limits

Bytes: TypeAlias = "bytes | bytearray | memoryview"

HEADER = struct.Struct(">II")
ALIGNMENT = 8
"""Numbers of an attachment can be used where they arrived."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame as it arrived. Both parts are views of one buffer that nobody else writes to."""

    head: memoryview
    attachments: memoryview
    """From the first multiple of eight behind the head on."""

    def __len__(self) -> int:
        return aligned(HEADER.size + len(self.head)) + len(self.attachments)


def frame_of(head: Bytes, attachments: Sequence[Bytes]) -> list[Bytes]:
    """The pieces of one frame, to be written one after the other; attachments are not copied."""
    start = aligned(HEADER.size + len(head))
    total = start + sum(aligned(len(attachment)) for attachment in attachments)
    if total >= 1 << 32:
        raise ProtocolError(f"a frame of {total} bytes cannot be written: its length has 32 bits")
    pieces: list[Bytes] = [HEADER.pack(total, len(head)), head]
    if gap := -len(head) % ALIGNMENT:
        pieces.append(bytes(gap))
    for attachment in attachments:
        if len(attachment):
            pieces.append(attachment)
        if gap := -len(attachment) % ALIGNMENT:
            pieces.append(bytes(gap))
    return pieces


class FrameReader:
    """Takes bytes as they come and gives whole frames. After a ProtocolError it must not be fed again.

    `limits` may be replaced between frames.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._header = bytearray()
        self._body = memoryview(b"")
        self._head = 0
        self._filled: int | None = None

    @property
    def claimed(self) -> int:
        """Bytes that the frame under way will take in all; 0 before its lengths are known."""
        return 0 if self._filled is None else HEADER.size + len(self._body)

    @property
    def came(self) -> int:
        """Bytes of the frame under way that are there, behind its lengths."""
        return self._filled or 0

    @property
    def under_way(self) -> bool:
        """Whether a frame has begun that is not complete."""
        return bool(self._header) or self._filled is not None

    def feed(self, data: Bytes) -> Iterator[Frame]:
        """The frames that `data` completes. All of them must be taken before the next call.

        Raises ProtocolError for lengths that contradict each other or exceed the limits.
        """
        rest = memoryview(data)
        lent = isinstance(data, bytes) and not self.under_way
        while len(rest):
            if self._filled is None:
                wanted = HEADER.size - len(self._header)
                self._header += rest[:wanted]
                rest = rest[wanted:]
                if len(self._header) < HEADER.size:
                    return
                size = self._begin()
                # Bytes that begin with a frame lie as aligned as a buffer would, and nobody writes to them: they
                # are kept instead of copied, unless a small frame would keep alive many that are not its own.
                if lent and size <= len(rest) and 2 * (HEADER.size + size) >= len(data):
                    self._body, rest = rest[:size], rest[size:]
                    yield self._complete()
                    continue
                # No bytearray, which is filled with zeros: memory that a peer only claims must not become resident.
                self._body = np.empty(size, np.uint8).data
            assert self._filled is not None
            taken = rest[: len(self._body) - self._filled]
            self._body[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rest = rest[len(taken) :]
            if self._filled == len(self._body):
                yield self._complete()

    def _begin(self) -> int:
        """Bytes to come behind a header that has."""
        total, head = HEADER.unpack(self._header)
        self._header.clear()
        start = aligned(HEADER.size + head)
        if head == 0 or total < start or total % ALIGNMENT:
            raise ProtocolError(f"a frame of {total} bytes with a head of {head} is none")
        if head > self.limits.head:
            raise ProtocolError(f"a head of {head} bytes is longer than the {self.limits.head} accepted")
        if total - start > self.limits.attachments:
            raise ProtocolError(
                f"attachments of {total - start} bytes are more than the {self.limits.attachments} accepted"
            )
        self._head, self._filled = head, 0
        return int(total) - HEADER.size

    def _complete(self) -> Frame:
        body, start = self._body, aligned(HEADER.size + self._head) - HEADER.size
        self._body, self._filled = memoryview(b""), None
        return Frame(body[: self._head], body[start:])


def aligned(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT
