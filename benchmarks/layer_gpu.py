"""The Torch path of a quantum layer on a GPU, against what memory moves; on the processor where there is none."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import product

import torch

from benchmarks.harness import Bar, Options, Panel, Report, Spread, number
from qstore_db.layers.ansatz import ansatz, encoded
from qstore_db.quantum import Circuit, pauli
from qstore_db.quantum.torch_path import TorchProgram

QUESTION = "How fast is the Torch path of a layer on a GPU, against the bytes that it moves?"
DEPTH = 2
LIMIT = 0.5
"""Of the device's memory, for the states that a backward pass keeps."""


def run(options: Options) -> Report:
    report = Report("layer_gpu", QUESTION)
    has_gpu = torch.cuda.is_available()
    if not has_gpu:
        report.skipped["GPU"] = "this machine has none"
    device = torch.device("cuda" if has_gpu else "cpu")
    shapes = (
        product((8, 10, 12, 14, 16, 18, 20), (256, 4_096, 65_536)) if has_gpu else product((8, 10), (256,))
    )
    report.settings = {
        "device": torch.cuda.get_device_name() if has_gpu else "processor",
        "circuit": f"angle encoding, {DEPTH} layers of RY, RZ on each qubit and a chain of CNOT; <Z> of each",
        "dtype": "complex64",
    }
    seconds = 0.01 if options.quick else 0.5
    bandwidth = _bandwidth(device, options.pick(256, 16) << 20, seconds)
    report.row(what="copy", gb_per_s=bandwidth / 1e9)
    bars: list[Bar] = []
    for n_qubits, batch in [(3, 16)] if options.quick else list(shapes):
        circuit = encoded("angle", ansatz(n_qubits, DEPTH, "linear"), n_qubits)
        state = 8 * batch << n_qubits
        if state * (len(circuit) + 2) > LIMIT * _memory(device):
            report.row(
                n_qubits=n_qubits, batch=batch, given_up="what a backward pass keeps does not fit the memory"
            )
            continue
        forward, both = _times(circuit, batch, device, seconds)
        # Each gate would read and write every state once.
        ideal = 2 * state * len(circuit) / bandwidth
        report.row(
            n_qubits=n_qubits, batch=batch, forward_ms=1e3 * forward, both_ms=1e3 * both, ideal_ms=1e3 * ideal
        )
        report.figure(
            f"{n_qubits} qubits, batch {batch:,}: forward, forward + backward; forward / bytes over bandwidth",
            f"{number(1e3 * forward)}, {number(1e3 * both)} ms; {number(forward / ideal)}",
        )
        bars.append(Bar(f"{n_qubits} qubits, batch {batch:,}", Spread.of([1e3 * forward])))
    report.panels.append(Panel("forward", "ms", bars))
    return report


def _times(circuit: Circuit, batch: int, device: torch.device, seconds: float) -> tuple[float, float]:
    program = TorchProgram(circuit, [pauli(f"Z{qubit}") for qubit in range(circuit.n_qubits)])
    parameters = torch.randn(len(circuit.parameters), device=device, requires_grad=True)
    data = torch.randn(batch, circuit.n_slots, device=device)

    def forward() -> None:
        with torch.no_grad():
            program.values(parameters, data)

    def both() -> None:
        torch.autograd.grad(program.values(parameters, data).sum(), parameters)

    return _median(forward, device, seconds), _median(both, device, seconds)


def _bandwidth(device: torch.device, nbytes: int, seconds: float) -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.zeros(nbytes // 4, device=device)
    target = torch.empty_like(source)
    return 2 * nbytes / _median(lambda: target.copy_(source), device, seconds)


def _median(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    taken: list[float] = []
    call()
    until = time.perf_counter() + seconds
    while not taken or time.perf_counter() < until:
        _wait(device)
        started = time.perf_counter()
        call()
        _wait(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info()[1])
    return 8 << 30
