"""Compiled circuits against the plain path: the same values and gradients, whatever circuit and batch."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError
from qstore_db.quantum import Circuit, Program, Projector, adjoint, data, parameter, pauli
from qstore_db.quantum.gates import GATES
from qstore_db.quantum.kernels import engine
from qstore_db.quantum.observables import Observable
from qstore_db.testing.circuits import circuits, data_for, observables, parameters_for, some_circuit

BOUNDS = {np.float64: 1e-12, np.float32: 3e-6}
"""Per layer of operations, of values and of gradients relative to the largest."""
READ: tuple[Observable, ...] = (
    pauli("Z0"),
    pauli("Z1"),
    pauli("X0 Z2"),
    pauli("Y1 Y2"),
    0.5 * pauli("Z0 Z2") - pauli("X1"),
    Projector((2, 0), (1, 0)),
)


def some_states(batch: int, n_qubits: int, seed: int, *, real: bool = False) -> NDArray[Any]:
    generator = np.random.default_rng(seed)
    drawn: NDArray[Any] = generator.normal(size=(batch, 1 << n_qubits))
    if not real:
        drawn = drawn + 1j * generator.normal(size=drawn.shape)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def check(
    circuit: Circuit,
    read: tuple[Observable, ...] | list[Observable],
    parameters: NDArray[Any],
    inputs: NDArray[Any],
    dtype: type[np.floating[Any]] = np.float64,
    states: NDArray[Any] | None = None,
    seed: int = 0,
) -> None:
    weights = np.random.default_rng(seed).normal(size=(len(inputs), len(read)))
    wide = None if states is None else states.astype(np.complex128)
    true = adjoint.gradients(circuit, read, parameters, inputs, weights, wide)
    program = Program(circuit, read, dtype)
    arrays = [np.ascontiguousarray(each, dtype) for each in (parameters, inputs, weights)]
    values = program.values(*arrays[:2], states)
    found = program.gradients(*arrays, states)
    assert values.dtype == dtype
    bound = BOUNDS[dtype] * (4 + circuit.specs().depth)
    scale = 1 + sum(abs(factor) for each in read for factor, _ in getattr(each, "terms", ()))
    np.testing.assert_allclose(values, true.values, rtol=0, atol=bound * scale)
    np.testing.assert_array_equal(found.values, values)
    for name in ("parameters", "data", "states"):
        expected, got = getattr(true, name), getattr(found, name)
        if expected is None:
            assert got is None
        elif expected.size:
            if states is not None and not np.iscomplexobj(states) and name == "states":
                expected, got = expected.real, got.real
            largest = 1 + np.abs(expected).max() + np.abs(weights).sum()
            np.testing.assert_allclose(got, expected, rtol=0, atol=bound * scale * largest)


@given(st.data())
@settings(max_examples=60)
def test_any_circuit_gives_what_the_plain_path_gives(draw: st.DataObject) -> None:
    circuit = draw.draw(circuits(max_operations=24))
    batch = draw.draw(st.sampled_from([1, 2, 9, 17]))
    inputs = draw.draw(data_for(circuit, st.just(batch)))
    states = None
    if draw.draw(st.booleans()):
        states = some_states(batch, circuit.n_qubits, 3, real=draw.draw(st.booleans()))
    read = draw.draw(observables(circuit.n_qubits))
    dtype = draw.draw(st.sampled_from([np.float64, np.float32]))
    check(circuit, read, draw.draw(parameters_for(circuit)), inputs, dtype, states)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("batch", [1, 5, 40])
def test_every_gate_shared_and_by_sample(batch: int, dtype: type[np.floating[Any]]) -> None:
    generator = np.random.default_rng(1)
    for name, gate in GATES.items():
        count = getattr(gate, "n_angles", int(hasattr(gate, "generator")))
        for symbols in ([parameter(f"a{i}") for i in range(count)], [data(i) + "b" for i in range(count)]):
            qubits = [int(qubit) for qubit in generator.permutation(7)[: gate.n_qubits]]
            circuit = Circuit(7).gate(name, qubits, *symbols)
            parameters = generator.normal(size=len(circuit.parameters))
            inputs = generator.normal(size=(batch, circuit.n_slots))
            check(circuit, READ, parameters, inputs, dtype, some_states(batch, 7, 2))
            check(circuit, READ, parameters, inputs, dtype)


@pytest.mark.parametrize("n_qubits", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("batch", [1, 33])
def test_long_circuits_of_all_gates(n_qubits: int, batch: int) -> None:
    circuit = some_circuit(n_qubits, 80, seed=n_qubits)
    generator = np.random.default_rng(5)
    read = [pauli(f"Z{qubit}") for qubit in range(n_qubits)]
    parameters = generator.normal(size=len(circuit.parameters))
    check(circuit, read, parameters, generator.normal(size=(batch, circuit.n_slots)))


def test_a_plane_larger_than_the_cache_is_turned_in_blocks() -> None:
    n_qubits = 13
    circuit = Circuit(n_qubits)
    for layer in range(2):
        for qubit in range(n_qubits):
            circuit = circuit.ry(qubit, f"y{layer}_{qubit}").rz(qubit, f"z{layer}_{qubit}")
        for qubit in range(n_qubits - 1):
            circuit = circuit.cx(qubit, qubit + 1)
    parameters = np.random.default_rng(0).normal(size=len(circuit.parameters))
    for batch in (1, 9):
        check(circuit, [pauli("Z0"), pauli("Z12"), pauli("X3 Y7")], parameters, np.zeros((batch, 0)))


def test_threads_share_a_program_and_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(engine, "_cores", lambda: 3)
    engine._pool.cache_clear()
    circuit = some_circuit(4, 30, seed=1)
    program = Program(circuit, READ)
    generator = np.random.default_rng(2)
    parameters = generator.normal(size=len(circuit.parameters))
    inputs = [generator.normal(size=(size, circuit.n_slots)) for size in (1, 7, 8, 25, 100)] * 4
    alone = [
        adjoint.gradients(circuit, READ, parameters, each, np.ones((len(each), len(READ)))) for each in inputs
    ]

    def run(each: NDArray[Any]) -> Any:
        return program.gradients(parameters, each, np.ones((len(each), len(READ))))

    with ThreadPoolExecutor(4) as threads:
        for true, found in zip(alone, threads.map(run, inputs), strict=True):
            np.testing.assert_allclose(found.values, true.values, atol=1e-12)
            np.testing.assert_allclose(found.parameters, true.parameters, atol=1e-10)
            np.testing.assert_allclose(found.data, true.data, atol=1e-11)
    engine._pool.cache_clear()


def test_without_compiled_code_the_plain_path_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from qstore_db.quantum import program

    monkeypatch.setattr(program, "_is_compiled", lambda: False)
    circuit = some_circuit(3, 12, seed=4)
    check(circuit, READ, np.ones(len(circuit.parameters)), np.ones((2, circuit.n_slots)), np.float32)


@pytest.mark.parametrize("compiled", [True, False])
def test_other_shapes_are_refused_by_name(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code would read beyond them."""
    from qstore_db.quantum import program

    monkeypatch.setattr(program, "_is_compiled", lambda: compiled)
    its = Program(Circuit(2).ry(0, "a").ry(1, data(1)), [pauli("Z0"), pauli("Z1")])
    right = {"parameters": np.ones(1), "data": np.ones((3, 2)), "weights": np.ones((3, 2))}
    wrong = {
        "parameters": (np.ones(0), np.ones(2), np.ones((1, 1))),
        "data": (np.ones(2), np.ones((3, 1)), np.array(1.0)),
        "weights": (np.ones((2, 2)), np.ones((3, 1))),
        "states": (np.ones((3, 2)), np.ones((2, 4)), np.ones(4)),
    }
    for name, arrays in wrong.items():
        for array in arrays:
            with pytest.raises(ArgumentError) as caught:
                its.gradients(**{**right, name: array})  # type: ignore[arg-type]
            assert caught.value.subject == name


@pytest.mark.parametrize("n_qubits", [2, 7])
def test_no_samples_give_no_values(n_qubits: int) -> None:
    circuit = some_circuit(n_qubits, 30, seed=1)
    parameters = np.ones(len(circuit.parameters))
    found = Program(circuit, [pauli("Z0")]).gradients(
        parameters, np.ones((0, circuit.n_slots)), np.ones((0, 1))
    )
    assert found.values.shape == (0, 1)
    assert not found.parameters.any()
    assert found.data.shape == (0, circuit.n_slots)


CHILD = """
import os, signal, sys
import numpy as np
from qstore_db.errors import ArgumentError
from qstore_db.quantum import Circuit, Program, pauli
from qstore_db.quantum.kernels import engine

engine._WORTH_A_THREAD, engine._cores = 1, lambda: 2
program = Program(Circuit(3).ry(0, "a").cx(0, 1).cx(1, 2), [pauli("Z2")])
before = program.values(np.ones(1), np.ones((64, 0)))
assert engine._pool()._threads, "no thread has run"
child = os.fork()
if child == 0:
    signal.alarm(60)
    same = np.array_equal(program.values(np.ones(1), np.ones((64, 0))), before)
    os._exit(0 if same else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

NOWHERE = """
from numba.core.caching import CacheImpl

CacheImpl._locator_classes = []  # as where no folder may be written
import numpy as np
from qstore_db.quantum.kernels.diagonals import fill_table

cosines, sines = np.empty(2), np.empty(2)
fill_table(np.array([1]), np.array([np.pi]), cosines, sines)
assert abs(cosines[1] + 1) < 1e-15
"""


OTHER_SOURCES = """
import importlib, sys, tempfile
from pathlib import Path

sys.path.insert(0, tempfile.mkdtemp())
Path(sys.path[0], "kernel.py").write_text(
    "from qstore_db.quantum.kernels import lanes\\n"
    "@lanes.compiled\\n"
    "def twice(x):\\n"
    "    return 2 * x\\n"
)
import kernel
from qstore_db.quantum.kernels import lanes

def loaded():
    importlib.reload(kernel)
    assert kernel.twice(3) == 6
    return sum(kernel.twice.stats.cache_hits.values())

assert [loaded(), loaded()] == [0, 1]
lanes._SOURCES = "others"
assert [loaded(), loaded()] == [0, 1]
"""


@pytest.mark.parametrize(
    "program", [CHILD, NOWHERE, OTHER_SOURCES], ids=["forked", "no folder", "other sources"]
)
def test_in_a_process_of_its_own(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
