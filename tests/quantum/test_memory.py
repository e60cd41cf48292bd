"""What does not fit is refused before it is allocated, with what it needs and what there is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qstore_db.errors import ArgumentError
from qstore_db.quantum import (
    Channel,
    Circuit,
    Program,
    Projector,
    amplitude_states,
    data,
    density_matrix,
    encoded_states,
    expectations,
    memory,
    pauli,
    plain,
    sample,
    torch_path,
    trajectory_expectations,
)
from qstore_db.quantum.kernels import engine
from qstore_db.quantum.memory import available_bytes, check_memory, state_bytes
from qstore_db.quantum.observables import Observable
from qstore_db.quantum.torch_density import DensityProgram
from qstore_db.quantum.torch_path import TorchProgram

TURNED = Circuit(5).ry(0, data(0))
NOISY = TURNED.noise(Channel("amplitude_damping", 0.1)).cx(0, 1)
WIDE = Circuit(7).compose(NOISY)
ROWS = np.zeros((7, 1))
READ: list[Observable] = [pauli("Z0") - 0.5 * pauli("X1 Y3"), Projector((1, 0), (0, 1))]


def test_bytes_are_those_of_the_array() -> None:
    assert state_bytes(5, 7, dtype=np.complex64) == np.empty((7, 1 << 5), np.complex64).nbytes
    assert state_bytes(5, 7, 3) == 3 * np.empty((7, 1 << 5), np.complex128).nbytes


@pytest.mark.parametrize(
    "run",
    [
        lambda: Circuit(25).state(),
        lambda: Circuit(200).probs(),
        lambda: expectations(Circuit(25), [pauli("Z0")]),
        lambda: plain.run(Circuit(25), np.empty(0), np.empty((1, 0))),
        lambda: sample(Circuit(25), 10),
        lambda: trajectory_expectations(Circuit(25), [pauli("Z0")], 2),
        lambda: density_matrix(Circuit(25)),
        lambda: amplitude_states(np.ones((1, 2)), n_qubits=25),
        lambda: encoded_states(np.ones((1, 25)), "basis"),
        lambda: Program(Circuit(25), [pauli("Z0")]).values(np.empty(0), np.empty((1, 0))),
        lambda: Program(Circuit(25), []).gradients(np.empty(0), np.empty((1, 0)), np.empty((1, 0))),
        lambda: TorchProgram(Circuit(25), [pauli("Z0")]),
    ],
)
def test_more_than_24_qubits_are_refused_with_their_size(run: Callable[[], Any]) -> None:
    with pytest.raises(ArgumentError, match=r"n_qubits=\d+.* takes [\d.e+]+ \w*iB") as caught:
        run()
    assert caught.value.subject == "n_qubits"


@pytest.mark.parametrize(
    "run",
    [
        lambda: Circuit(9).h(0).state(),
        lambda: TURNED.probs(data=ROWS),
        lambda: expectations(TURNED, [pauli("Z0")], data=ROWS),
        lambda: plain.run(Circuit(5), np.empty(0), ROWS),
        lambda: sample(Circuit(9), 10),
        lambda: trajectory_expectations(TURNED, [pauli("Z0")], 1, data=ROWS),
        lambda: density_matrix(NOISY, data=ROWS[0]),
        lambda: NOISY.probs(data=ROWS),
        lambda: amplitude_states(np.ones((9, 5)), n_qubits=7),
        lambda: Program(Circuit(9).h(0), READ[:1]).values(np.empty(0), np.empty((1, 0))),
        lambda: Program(Circuit(9).h(0), READ[:1]).gradients(np.empty(0), np.empty((1, 0)), np.ones((1, 1))),
        lambda: TorchProgram(Circuit(9).h(0), READ[:1]).values(torch.empty(0), torch.empty(1, 0)),
        lambda: DensityProgram(NOISY, READ[:1]).values(torch.empty(0), torch.zeros(1, 1)),
    ],
)
def test_states_beyond_the_available_memory_are_refused(
    run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of_a_rich_machine = run()
    assert run_of_a_rich_machine is not None
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 << 10)
    monkeypatch.setattr(memory, "_ALWAYS_THERE", 0)
    with pytest.raises(ArgumentError, match=r"need [\d.]+ \wiB .* 3 KiB are available") as caught:
        run()
    assert caught.value.subject == "n_qubits"


@pytest.mark.parametrize(
    ("run", "n_qubits", "batch"),
    [
        (lambda: Circuit(13).h(0).ry(12, data(0)).ccx(2, 0, 9).probs(data=ROWS), 13, 7),
        (lambda: expectations(Circuit(13).ry(12, data(0)).cx(3, 9), READ, data=ROWS), 13, 7),
        (lambda: expectations(WIDE.noise(Channel("bit_flip", 0.1)).h(3), READ, data=ROWS), 7, 7 << 7),
        (lambda: density_matrix(WIDE.rzz(3, 1, 0.5), data=ROWS), 7, 7 << 7),
        (lambda: trajectory_expectations(WIDE.measure(0), READ, 200, data=ROWS), 7, 7 * 200),
    ],
)
def test_a_run_takes_no_more_memory_than_was_looked_for(
    run: Callable[[], Any], n_qubits: int, batch: int
) -> None:
    tracemalloc.start()
    try:
        run()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= state_bytes(n_qubits, batch, memory.COPIES)


@pytest.mark.parametrize(
    ("dtype", "batch", "lanes", "threads"),
    [(np.float64, 1, 1, 1), (np.float64, 7, 8, 1), (np.float32, 40, 16, 2), (np.float64, 40, 8, 2)],
)
def test_the_compiled_engine_asks_for_what_its_threads_take(
    dtype: type[np.floating[Any]],
    batch: int,
    lanes: int,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_cores", lambda: 2)
    monkeypatch.setattr(engine, "_WORTH_A_THREAD", 1)
    asked: list[int] = []
    monkeypatch.setattr(engine, "check_bytes", lambda needed, *_: asked.append(needed))
    number, size = np.dtype(dtype).itemsize, 1 << 6
    # A diagonal of Z on each qubit alone is summed sample by sample, one of ZZ over all of them.
    for circuit, summed in (
        (Circuit(6).ry(0, "a").cx(0, 1).rz(1, "b").ry(1, "c"), 0),
        (Circuit(6).ry(0, "a").rzz(0, 1, "b").ry(1, "c"), size * 8),
    ):
        run = engine.Engine(circuit, [pauli("X1")], np.dtype(dtype), from_states=False)
        parameters, inputs = np.ones(3, dtype), np.zeros((batch, 0), dtype)
        run.values(parameters, inputs, None)
        run.gradients(parameters, inputs, np.ones((batch, 1), dtype), None)
        plane, shared = size * lanes * number, 2 * size * number
        assert asked == [threads * 3 * plane + shared, threads * (5 * plane + summed) + shared]
        asked.clear()


def test_samples_lie_side_by_side_only_where_a_plane_of_them_is_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = np.linspace(-1.0, 1.0, 16)[:, np.newaxis]
    circuit = Circuit(9).ry(0, data(0)).cx(0, 8).rz(8, "a").ry(3, "b")
    run = engine.Engine(circuit, READ, np.dtype(np.float64), from_states=False)
    side_by_side = run.values(np.ones(2), inputs, None)
    assert run._plan(16).low == 0
    monkeypatch.setattr(engine, "_LARGEST_PLANE", 64 << 8)
    assert run._plan(16).low > 0
    np.testing.assert_allclose(run.values(np.ones(2), inputs, None), side_by_side, atol=1e-14)


def test_threads_are_woken_for_work_that_is_worth_it_and_for_no_more_than_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_cores", lambda: 4)
    circuit = Circuit(8).ry(0, data(0)).cx(0, 7).rz(7, "a").ry(3, "b")
    run = engine.Engine(circuit, READ, np.dtype(np.float64), from_states=False)
    assert run._plan(32).threads == 1
    assert run._plan(32, 3).threads == 1
    assert 1 < run._plan(4_000).threads <= run._plan(4_000, 3).threads
    assert run._plan(1_000_000).threads == 4
    monkeypatch.setattr(engine, "_WORTH_A_THREAD", 1)
    assert [run._plan(batch).threads for batch in (0, 1, 8, 9, 17)] == [1, 1, 1, 2, 3]


def test_a_recorded_run_asks_for_what_it_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch_path, "check_bytes", lambda needed, *_: asked.append(needed))
    program = TorchProgram(Circuit(3).rx(0, "a").ccx(0, 1, 2).rzz(0, 1, "b"), [pauli("Z0")])
    angles, inputs = torch.ones(2), torch.zeros(5, 0)
    program.values(angles, inputs)
    torch.func.vjp(program.values, angles, inputs)
    assert asked == [
        state_bytes(3, 5, memory.COPIES, np.complex64),
        state_bytes(3, 5, memory.COPIES + 3, np.complex64),
    ]


def test_a_density_matrix_beyond_10_qubits_is_refused_with_its_size_and_the_way_out() -> None:
    with pytest.raises(ArgumentError, match=r"n_qubits=11: .* takes 64 MiB.* trajectories") as caught:
        density_matrix(Circuit(11))
    assert caught.value.subject == "n_qubits"


def test_what_is_free_is_read_from_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "meminfo"
    page.write_text("MemTotal:       8000 kB\nMemFree:         100 kB\nMemAvailable:   2048 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", page)
    assert available_bytes() == 2 << 20
    with pytest.raises(ArgumentError, match="2 MiB are available"):
        check_memory(20)


def test_where_nobody_says_what_is_free_only_the_qubits_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    check_memory(24, batch=1 << 20)
    with pytest.raises(ArgumentError):
        check_memory(25)
