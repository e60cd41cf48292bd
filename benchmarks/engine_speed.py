"""The quantum engine beside other simulators: one layered circuit, forwards, and with all gradients."""

from __future__ import annotations

from contextlib import closing
from itertools import product

from benchmarks.cells import CALLS, Cells, mean
from benchmarks.harness import Gate, Options, Report, number
from benchmarks.simulators.base import Simulator, Task
from benchmarks.simulators.jax import Jax
from benchmarks.simulators.ours import Alone, Ours
from benchmarks.simulators.pennylane import DefaultQubit, Lightning
from benchmarks.simulators.process import Call, Process
from benchmarks.simulators.qulacs import Qulacs
from benchmarks.simulators.torch import Torch

QUESTION = "How fast are values and gradients of circuits, beside PennyLane, qulacs, JAX and plain Torch?"
MAKERS: tuple[type[Simulator], ...] = (Ours, Alone, DefaultQubit, Lightning, Qulacs, Jax, Torch)
"""Ours first: the others have to give the same."""
PENNYLANE = (DefaultQubit.name, Lightning.name)
FASTEST = (Qulacs.name, Jax.name)
PEERS = (*PENNYLANE, *FASTEST, Torch.name)
MEASURED: tuple[Call, ...] = ("forward", "gradient")


def run(options: Options) -> Report:
    report = Report("engine_speed", QUESTION)
    cells = Cells.measured(report, options, MAKERS, MEASURED)
    for dtype, call in product(("float32", "float64"), MEASURED):
        _judge(report, cells, dtype, call)
    _absolute(report, cells)
    if not options.quick:
        _memory(report)
    return report


def _judge(report: Report, cells: Cells, dtype: str, call: Call) -> None:
    where = f"{'complex64' if dtype == 'float32' else 'complex128'}, {CALLS[call]}"
    large = [(task, ratio) for task, ratio in cells.ratios(call, dtype, PENNYLANE) if task.batch >= 32]
    if large:
        task, least = min(large, key=lambda each: each[1])
        report.figure(
            f"{where}, batch >= 32: times PennyLane, least cell",
            f"{number(least)} ({_shape(task)})",
            Gate(least, 10),
        )
        average = mean(ratio for _, ratio in large)
        report.figure(f"{where}, batch >= 32: times PennyLane, mean", number(average), Gate(average, 30))
    best = [ratio for task, ratio in cells.ratios(call, dtype, FASTEST) if task.batch >= 32]
    if best:
        average = mean(best)
        report.figure(
            f"{where}, batch >= 32: times the best of qulacs and JAX, mean", number(average), Gate(average, 2)
        )
    single = [(task, ratio) for task, ratio in cells.ratios(call, dtype, PEERS) if task.batch == 1]
    if single:
        task, least = min(single, key=lambda each: each[1])
        report.figure(
            f"{where}, batch 1: times the best of all, least cell",
            f"{number(least)} ({_shape(task)})",
            Gate(least, 1),
        )
    threads = [
        ratio
        for task, ratio in cells.ratios(call, dtype, (Alone.name,))
        if task.n_qubits * task.batch >= 2048
    ]
    if threads:
        average = mean(threads)
        report.figure(f"{where}, large: two threads / one, mean", number(average), Gate(average, 1.6))


def _absolute(report: Report, cells: Cells) -> None:
    """Gates in milliseconds, and of forward + backward against forward."""
    single = Task(4, 2, 1, "float32")
    if (single, "forward") in cells.times:
        ms = cells.ms(single, "forward")
        report.figure("complex64: 4 qubits, depth 2, one sample", f"{ms:.3f} ms", Gate(ms, 0.1, above=False))
    largest = Task(16, 4, 256, "float32")
    for call, need in (("forward", 120.0), ("gradient", 450.0)):
        if (largest, call) in cells.times:
            ms = cells.ms(largest, call)  # type: ignore[arg-type]  # the two above
            what = f"complex64: 16 qubits, depth 4, batch 256, {CALLS[call]}"  # type: ignore[index]
            report.figure(what, f"{ms:.0f} ms", Gate(ms, need, above=False))
    shares = [
        (task, cells.ms(task, "gradient") / cells.ms(task, "forward"))
        for task, call in cells.times
        if call == "gradient" and task.n_qubits >= 8 and task.batch >= 32
    ]
    if shares:
        task, most = max(shares, key=lambda each: each[1])
        report.figure(
            "8 and more qubits, batch >= 32: forward + backward / forward, largest cell",
            f"{number(most)} ({_shape(task)}, {task.dtype})",
            Gate(most, 5, above=False),
        )
    report.panels += cells.panels(Task(8, 4, 256, "float32"))


def _memory(report: Report) -> None:
    """What a thread takes: two of them beside one, where states are large beside what any thread has."""
    task, peaks = Task(20, 4, 4, "float32"), []
    for maker in (Ours, Alone):
        with closing(Process(maker, task)) as process:
            process.wait()
            process.results("gradient")
            peaks.append(process.peak_bytes)
    states = (peaks[0] - peaks[1]) / (8 << task.n_qubits)
    what = "complex64: 20 qubits, depth 4, batch 4, forward + backward: memory of a further thread"
    report.figure(what, f"{number(states)} states", Gate(states, 3, above=False))


def _shape(task: Task) -> str:
    return f"{task.n_qubits} qubits, depth {task.depth}, batch {task.batch}"
