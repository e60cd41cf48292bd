"""Progress of long work: a bar on a terminal, silence elsewhere, or the caller's own function."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Progress: TypeAlias = "Callable[[int, int], None] | bool | None"
LONG_WORK = 20_000
"""Records from which on a bar is shown."""


@contextmanager
def progress_for(progress: Progress, total: int, label: str) -> Iterator[Callable[[int], None]]:
    """A function to call with each number of items done."""
    if callable(progress):
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            done += count
            progress(done, total)

        yield tell
        return
    if progress is False or not sys.stderr.isatty() or (progress is None and total < LONG_WORK):
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)
