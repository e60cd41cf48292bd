"""A simulator in a process of its own, that can be given up when it takes too long or too much memory."""

from __future__ import annotations

import multiprocessing
import statistics
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from benchmarks.simulators.base import Numbers, Simulator, Task

SECONDS = 60.0
GIB = 16
Call = Literal["forward", "gradient", "step"]


class GaveUp(Exception):  # noqa: N818 - what happened, not an error of ours
    """A simulator did not answer within `SECONDS`, or took `GIB` of memory; the text says which."""


class Process:
    """One simulator and one task."""

    def __init__(self, simulator: type[Simulator], task: Task) -> None:
        """Begins to make it ready."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._worker = context.Process(target=_work, args=(theirs, simulator, task), daemon=True)
        self._worker.start()
        theirs.close()

    def wait(self) -> None:
        """Until it is ready. Raises GaveUp."""
        self._answer()

    def results(self, call: Call) -> tuple[Numbers, ...]:
        """What it computes, to be compared. Raises GaveUp."""
        self._pipe.send(("results", call, 0.0))
        found: tuple[Numbers, ...] = self._answer()
        return found

    def seconds(self, call: Call, budget: float) -> float:
        """Of one call: the median of as many as fit into the budget. Raises GaveUp."""
        self._pipe.send(("seconds", call, budget))
        found: float = self._answer()
        return found

    @property
    def peak_bytes(self) -> int:
        """The most memory that it has taken so far."""
        status = Path(f"/proc/{self._worker.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def close(self) -> None:
        self._pipe.close()
        self._worker.kill()
        self._worker.join()

    def _answer(self) -> Any:
        until = time.monotonic() + SECONDS
        while not self._pipe.poll(0.05):
            if time.monotonic() > until:
                self.close()
                raise GaveUp(f"over {SECONDS:g} s")
            if _resident(self._worker.pid) > GIB << 30:
                self.close()
                raise GaveUp(f"over {GIB} GiB")
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            self.close()
            raise GaveUp("ended by the system") from None
        if kind == "error":
            self.close()
            raise RuntimeError(value)
        return value


def _resident(pid: int | None) -> int:
    """Bytes of memory of a process; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096
    except (OSError, IndexError):
        return 0


def _work(pipe: Connection, simulator: type[Simulator], task: Task) -> None:
    try:
        ready = simulator(task)
        pipe.send(("ready", None))
        while True:
            try:
                what, name, budget = pipe.recv()
            except EOFError:
                return
            call: Callable[[], Any] = getattr(ready, name)
            if what == "results":
                found = call()
                pipe.send(("results", found if isinstance(found, tuple) else (found,)))
            else:
                pipe.send(("seconds", _seconds(call, budget)))
    except Exception:  # noqa: BLE001 - whatever a simulator raises is the parent's to report
        pipe.send(("error", traceback.format_exc()))


def _seconds(call: Callable[[], Any], budget: float) -> float:
    taken: list[float] = []
    until = time.perf_counter() + budget
    while not taken or time.perf_counter() < until:
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
