"""Waiting for what another thread or process will bring about."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds after which what should have come about on a busy machine has not."""


def settled(holds: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Return as soon as `holds()`; fail after `patience` seconds."""
    until = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < until, f"still not so after {patience:g} s"
        time.sleep(0.01)
