"""What one end of a connection accepts from the other."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
MAX_WINDOW = 1 << 40
"""Bytes of a stream that may be on their way. More is a mistake: no window is ever closed by so many."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one frame. One beyond them is refused by its first eight bytes, before anything is read of it."""

    head: int = MIB
    """Bytes of a head at most: msgpack makes up to 80 times as much of them in memory."""
    attachments: int = 16 * MIB
    """Bytes of all attachments of a frame together."""
    depth: int = 32
    """Containers within containers in a head."""


UNAUTHENTICATED = Limits(head=4096, attachments=0, depth=4)
"""What a peer that has not shown who it is may send."""
