"""Memory that a thread keeps between runs: aligned, its own, bounded, and never read before it is written."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from qstore_db.quantum import Circuit, Program, adjoint, data, pauli
from qstore_db.quantum.kernels import planes as kept
from qstore_db.quantum.kernels.planes import planes

SINGLE = np.dtype(np.float32)


def address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


@pytest.mark.parametrize("size", [16, 1024, 1 << 14])
@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float64)])
def test_planes_are_aligned_and_apart(size: int, dtype: np.dtype[np.floating]) -> None:
    found = planes(5, size, dtype)
    assert found.shape[0] == 5
    assert found.shape[1] >= size
    assert found.dtype == dtype
    assert [address(each) % 64 for each in found] == [0] * 5
    found[:] = np.arange(5)[:, None]
    assert [set(each) for each in found.tolist()] == [{0}, {1}, {2}, {3}, {4}]


def test_memory_is_used_again_by_its_own_thread_alone() -> None:
    first = planes(3, 4096, SINGLE)
    assert address(planes(5, 1024, SINGLE)) == address(first)
    there: list[np.ndarray] = []
    other = threading.Thread(target=lambda: there.append(planes(3, 4096, SINGLE)))
    other.start()
    other.join()
    assert not np.shares_memory(there[0], first)


def test_what_is_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_MOST_KEPT", 1 << 16)
    monkeypatch.setattr(kept, "_kept", kept._Kept())
    small, large = planes(3, 1024, SINGLE), planes(3, 1 << 16, SINGLE)
    assert large.nbytes > 1 << 16
    assert not np.shares_memory(planes(3, 1 << 16, SINGLE), large)
    assert address(planes(3, 1024, SINGLE)) == address(small)


@pytest.mark.parametrize(("n_qubits", "batch"), [(2, 3), (5, 40), (9, 2), (9, 20)])
def test_what_an_earlier_run_left_is_never_read(n_qubits: int, batch: int) -> None:
    circuit = Circuit(n_qubits)
    for qubit in range(n_qubits):
        circuit = circuit.ry(qubit, data(qubit)).rz(qubit, f"a{qubit}").rx(qubit, f"b{qubit}")
    circuit = circuit.cx(0, 1).rzz(0, 1, "c").rxx(0, 1, "d")
    read = [pauli("Z0"), pauli("X1"), pauli("Y0 Z1")]
    numbers = np.random.default_rng(0)
    parameters = numbers.normal(size=len(circuit.parameters))
    inputs, weights = numbers.normal(size=(batch, n_qubits)), numbers.normal(size=(batch, 3))
    program, true = Program(circuit, read), adjoint.gradients(circuit, read, parameters, inputs, weights)
    planes(5, 1 << 14, np.dtype(np.float64))[:] = np.nan
    np.testing.assert_allclose(program.values(parameters, inputs), true.values, atol=1e-12)
    planes(5, 1 << 14, np.dtype(np.float64))[:] = np.nan
    found = program.gradients(parameters, inputs, weights)
    np.testing.assert_allclose(found.parameters, true.parameters, atol=1e-11)
    np.testing.assert_allclose(found.data, true.data, atol=1e-12)
