"""Tables of simulators by circuit: measured side by side, given up where they take too long, and compared."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import product

import numpy as np

from benchmarks.harness import Bar, Options, Panel, Report, Spread, interleave
from benchmarks.peers import missing
from benchmarks.simulators.base import Simulator, Task
from benchmarks.simulators.process import Call, GaveUp, Process

SLOW = 2.0
"""Seconds of a first call from which on a peer is timed once instead of in rounds."""
TOLERANCE = {"float32": 2e-3, "float64": 1e-9}
CALLS: Mapping[Call, str] = {"forward": "forward", "gradient": "forward + backward", "step": "training step"}


CIRCUIT = "RY of the input, then layers of RY, RZ on each qubit and a chain of CNOT; <Z> of each qubit"


class Cells:
    """Seconds of each simulator for each task and call. The first simulator is ours."""

    def __init__(
        self,
        report: Report,
        makers: Sequence[type[Simulator]],
        calls: Sequence[Call],
        rounds: int,
        budget: float,
    ) -> None:
        """budget: seconds of each round."""
        self.ours = makers[0].name
        self.calls = calls
        self.times: dict[tuple[Task, Call], dict[str, list[float]]] = {}
        self._report = report
        self._rounds, self._budget = rounds, budget
        self._gone: dict[str, list[Task]] = {}
        self._makers: list[type[Simulator]] = []
        for maker in makers:
            if (why := missing(maker)) is None:
                self._makers.append(maker)
            else:
                report.skipped[maker.name] = why

    @classmethod
    def measured(
        cls, report: Report, options: Options, makers: Sequence[type[Simulator]], calls: Sequence[Call]
    ) -> Cells:
        """The whole table; two small cells for a quick run."""
        quick = options.quick
        dtypes = ("float32",) if quick else ("float32", "float64")
        qubits, depths, batches = ((4,), (2,), (1, 32)) if quick else ((4, 8, 12, 16), (2, 4), (1, 32, 256))
        rounds, budget = (1, 0.01) if quick else (3, 0.2)
        report.settings |= {
            "circuit": CIRCUIT,
            "rounds": rounds,
            "seconds_a_round": budget,
            "timed_once": f"what takes over {SLOW:g} s",
            "given_up": "after 60 s or 16 GiB, and then on all that is larger",
        }
        cells = cls(report, makers, calls, rounds, budget)
        for dtype, n_qubits, depth, batch in product(dtypes, qubits, depths, batches):
            cells.measure(Task(n_qubits, depth, batch, dtype))
        return cells

    def measure(self, task: Task) -> None:
        with ExitStack() as stack:
            running = {
                maker.name: stack.enter_context(closing(Process(maker, task)))
                for maker in self._makers
                if not any(_is_larger(task, given_up) for given_up in self._gone.get(maker.name, []))
            }
            for name in list(running):
                try:
                    running[name].wait()
                except GaveUp as reason:
                    self._give_up(task, name, str(reason))
                    del running[name]
            for call in self.calls:
                slow = self._compare(task, call, running)
                timers = {name: self._timer(its, call) for name, its in running.items()}
                quick = {name: timer for name, timer in timers.items() if name not in slow}
                seconds = interleave(quick, self._rounds) | {name: [timers[name]()] for name in slow}
                self.times[task, call] = seconds
                for name, its in seconds.items():
                    ms = Spread.of([1e3 * each for each in its])
                    self._report.row(simulator=name, call=call, ms=ms, **_described(task))

    def ratios(self, call: Call, dtype: str, peers: Iterable[str]) -> Iterator[tuple[Task, float]]:
        """Of each task that any of the peers finished, how many times longer than ours the fastest took."""
        names = list(peers)
        for (task, its), seconds in self.times.items():
            there = [float(np.median(seconds[name])) for name in names if name in seconds]
            if its == call and task.dtype == dtype and there:
                yield task, min(there) / float(np.median(seconds[self.ours]))

    def ms(self, task: Task, call: Call) -> float:
        """Ours."""
        return 1e3 * float(np.median(self.times[task, call][self.ours]))

    def panels(self, wanted: Task) -> list[Panel]:
        """Bars of every call of a task, or of the first one where that was not measured."""
        task = wanted if any(task == wanted for task, _ in self.times) else next(iter(self.times))[0]
        return [
            Panel(
                f"{task.n_qubits} qubits, depth {task.depth}, batch {task.batch}, {task.dtype}: {CALLS[call]}",
                "ms",
                [
                    Bar(name, Spread.of([1e3 * each for each in its]))
                    for name, its in self.times[task, call].items()
                ],
            )
            for call in self.calls
        ]

    def _timer(self, process: Process, call: Call) -> Callable[[], float]:
        return lambda: process.seconds(call, self._budget)

    def _compare(self, task: Task, call: Call, running: dict[str, Process]) -> list[str]:
        """Whether all give the same; whoever takes too long for one call is left out from here on. Returns who
        took `SLOW` seconds.
        """
        ours, slow = running[self.ours].results(call), list[str]()
        for name in list(running):
            started = time.perf_counter()
            try:
                theirs = running[name].results(call)
            except GaveUp as reason:
                self._give_up(task, name, f"{CALLS[call]} {reason}")
                del running[name]
                continue
            if time.perf_counter() - started > SLOW and name != self.ours:
                slow.append(name)
            if call == "step":
                continue
            for mine, other in zip(ours, theirs, strict=True):
                # Gradients of parameters are sums over the batch.
                np.testing.assert_allclose(other, mine, rtol=0, atol=TOLERANCE[task.dtype] * task.batch**0.5)
        return slow

    def _give_up(self, task: Task, name: str, why: str) -> None:
        self._gone.setdefault(name, []).append(task)
        self._report.row(simulator=name, given_up=why, **_described(task))


def mean(ratios: Iterable[float]) -> float:
    """Geometric."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs))


def _described(task: Task) -> dict[str, int | str]:
    return {"n_qubits": task.n_qubits, "depth": task.depth, "batch": task.batch, "dtype": task.dtype}


def _is_larger(task: Task, other: Task) -> bool:
    return (
        task.dtype == other.dtype
        and task.n_qubits >= other.n_qubits
        and task.depth >= other.depth
        and task.batch >= other.batch
    )
