"""The quantum layer beside other Torch modules of the same circuit, and a whole training step."""

from __future__ import annotations

from itertools import product

from benchmarks.cells import CALLS, Cells, mean
from benchmarks.harness import Gate, Options, Report, number
from benchmarks.simulators.base import Simulator, Task
from benchmarks.simulators.layers import OurLayer, PennylaneLayer, TorchLayer
from benchmarks.simulators.process import Call

QUESTION = (
    "How fast is a quantum layer in Torch, beside PennyLane's and plain Torch, and a training step with it?"
)
MAKERS: tuple[type[Simulator], ...] = (OurLayer, PennylaneLayer, TorchLayer)
MEASURED: tuple[Call, ...] = ("forward", "gradient", "step")
NEEDED = {4: 10.0, 8: 20.0}
"""Times PennyLane's training step, by qubits, at a batch of 32."""


def run(options: Options) -> Report:
    report = Report("layer_speed", QUESTION)
    report.settings["training step"] = "Linear(16, n), the layer, Linear(n, 10), cross entropy, Adam"
    cells = Cells.measured(report, options, MAKERS, MEASURED)
    _judge(report, cells)
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
    single = Task(4, 2, 1, "float32")
    if (single, "forward") in cells.times:
        ms = cells.ms(single, "forward")
        report.figure("4 qubits, depth 2, one sample, forward", f"{ms:.3f} ms", Gate(ms, 0.3, above=False))
    report.panels += cells.panels(Task(8, 2, 32, "float32"))
