"""The quantum layer beside other Torch modules of the same circuit, and a whole training step."""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from itertools import product

import torch

from benchmarks.cells import CALLS, Cells, mean
from benchmarks.harness import Gate, Options, Report, number
from benchmarks.simulators.base import Simulator, Task
from benchmarks.simulators.layers import OurLayer, PennylaneLayer, TorchLayer
from benchmarks.simulators.process import Call, Process
from qstore_db.layers import QuantumLayer

QUESTION = (
    "How fast is a quantum layer in Torch, beside PennyLane's and plain Torch, and a training step with it?"
)
MAKERS: tuple[type[Simulator], ...] = (OurLayer, PennylaneLayer, TorchLayer)
MEASURED: tuple[Call, ...] = ("forward", "gradient", "step")
NEEDED = {4: 10.0, 8: 20.0}
"""Times PennyLane's training step, by qubits, at a batch of 32."""
SINGLE = Task(4, 2, 1, "float32")


def run(options: Options) -> Report:
    report = Report("layer_speed", QUESTION)
    report.settings["training step"] = "Linear(16, n), the layer, Linear(n, 10), cross entropy, Adam"
    cells = Cells.measured(report, options, MAKERS, MEASURED)
    _judge(report, cells)
    _small(report, cells, options.pick(256, 32))
    _reach(report, options)
    return report


def _judge(report: Report, cells: Cells) -> None:
    for dtype, call in product(("float32", "float64"), MEASURED):
        for peer in (PennylaneLayer.name, TorchLayer.name):
            large = [(task, ratio) for task, ratio in cells.ratios(call, dtype, (peer,)) if task.batch >= 32]
            if not large:
                continue
            task, least = min(large, key=lambda each: each[1])
            average = mean(ratio for _, ratio in large)
            shape = f"{task.n_qubits} qubits, depth {task.depth}, batch {task.batch}"
            gated = peer == PennylaneLayer.name and call != "step"
            where = f"{dtype}, {CALLS[call]}, batch >= 32: times {peer}"
            report.figure(
                f"{where}, least cell", f"{number(least)} ({shape})", Gate(least, 10) if gated else None
            )
            report.figure(f"{where}, mean", number(average), Gate(average, 30) if gated else None)
    for task, ratio in cells.ratios("step", "float32", (PennylaneLayer.name,)):
        if task.batch == 32 and task.depth == 2 and task.n_qubits in NEEDED:
            what = f"training step, {task.n_qubits} qubits, depth 2, batch 32: times PennyLane"
            report.figure(what, number(ratio), Gate(ratio, NEEDED[task.n_qubits]))
    report.panels += cells.panels(Task(8, 2, 32, "float32"))


def _small(report: Report, cells: Cells, many: int) -> None:
    """4 qubits, depth 2, one sample: C-10, and C-11 beside the gradient that needs no shifts."""
    ms = cells.ms(SINGLE, "forward")
    report.figure("4 qubits, depth 2, one sample, forward", f"{ms:.3f} ms", Gate(ms, 0.3, above=False))
    batch = cells.ms(Task(4, 2, many, "float32"), "forward")
    report.claim(
        "C-10",
        "holds" if ms < 1 else "refuted",
        f"forward pass of QuantumLayer(4, depth=2) in Torch: {ms:.3f} ms for one sample, {batch:.3f} ms for {many}",
    )
    taken, circuits = _shifts(0.5)
    adjoint = cells.ms(SINGLE, "gradient")
    text = f"one sample: {taken:.3f} ms by {circuits} shifted circuits, {adjoint:.3f} ms by the adjoint"
    report.figure("4 qubits, depth 2, forward + backward", text)
    report.claim(
        "C-11",
        "holds" if taken <= 2 else "refuted",
        f"forward + backward of QuantumLayer(4, depth=2), {text}",
    )


def _shifts(seconds: float) -> tuple[float, int]:
    """Milliseconds of a forward and backward pass by parameter shift, and its circuits."""
    layer = QuantumLayer(4, depth=2, gradient="parameter_shift")
    x = torch.rand(1, 4).requires_grad_()

    def both() -> float:
        started = time.perf_counter()
        layer(x).sum().backward()
        return time.perf_counter() - started

    both()
    until, taken = time.perf_counter() + seconds, [both()]
    while time.perf_counter() < until:
        taken.append(both())
    return 1e3 * statistics.median(taken), layer.specs().gradient_circuits


def _reach(report: Report, options: Options) -> None:
    """C-24: time and memory of forward + backward as qubits grow."""
    shown: list[str] = []
    for n_qubits in (3,) if options.quick else (4, 8, 12, 16, 20, 22):
        with closing(Process(OurLayer, Task(n_qubits, 2, 8, "float32"))) as process:
            process.wait()
            process.results("gradient")
            ms, mib = 1e3 * process.seconds("gradient", 0.5), process.peak_bytes / 2**20
        report.row(n_qubits=n_qubits, depth=2, batch=8, ms=ms, mib=mib)
        shown.append(f"{n_qubits} qubits {number(ms)} ms, {number(mib)} MiB")
    text = "; ".join(shown)
    report.figure("forward + backward, depth 2, batch 8: time, and the most memory of the process", text)
    report.claim(
        "C-24",
        "corrected",
        f"forward + backward of QuantumLayer in Torch, depth 2, batch 8, on a processor: {text}. Tensors on other "
        "devices go through Torch itself; no GPU was at hand to measure that",
    )
