"""Keys of requests: what may be sent twice is applied once for its key."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_MILLISECOND = 1_000_000
_TIME_BYTES, _RANDOM_BYTES = 6, 10


def draw_key(clock: Callable[[], int] = time.time_ns) -> bytes:
    """16 bytes that no other request has: the time in milliseconds, then 80 random bits.

    Keys that are drawn at about the same time are neighbours in the server's table, so a commit of many writes few
    of its pages. Nothing else depends on the clock: one that is wrong or set back costs some of this speed.
    """
    milliseconds = clock() // _MILLISECOND % (1 << 8 * _TIME_BYTES)
    return milliseconds.to_bytes(_TIME_BYTES, "big") + os.urandom(_RANDOM_BYTES)
