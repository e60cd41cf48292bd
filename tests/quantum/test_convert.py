"""Circuits go to other libraries and come back as what they were; what does not fit is refused by name."""

from __future__ import annotations

import sys
from typing import Any

import cirq
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, qasm3, quantum_info
from qiskit.circuit import Gate, Parameter

from qstore_db.errors import ArgumentError, ConfigurationError
from qstore_db.quantum import Channel, Circuit, data, parameter
from qstore_db.quantum.convert import (
    from_cirq,
    from_openqasm,
    from_qiskit,
    to_cirq,
    to_openqasm,
    to_qiskit,
)
from qstore_db.testing import circuits as drawn
from qstore_db.testing.circuits import same_but_for_phase, unitary_of

CLOSE = 1e-12
OPENQASM = 1e-8
"""Its writer rounds numbers to simple fractions of pi that are within 1e-9."""
SYMBOLIC = (
    Circuit(3)
    .h(0)
    .rx(0, "theta")
    .ry(1, 2 * parameter("theta") - 0.5)
    .crz(2, 0, parameter("phi") + data(1) / 2 + 0.25)
    .rxx(2, 1, data(0))
    .u(1, "theta", data(1), "phi")
    .unitary([[0, 1], [1j, 0]], 2)
)


def there_and_back(route: str, circuit: Circuit) -> Circuit:
    if route == "cirq":
        return from_cirq(to_cirq(circuit), cirq.LineQubit.range(circuit.n_qubits))
    if route == "qiskit":
        return from_qiskit(to_qiskit(circuit))
    return from_openqasm(to_openqasm(circuit))


@pytest.mark.parametrize("route", ["cirq", "qiskit", "openqasm"])
@settings(max_examples=25)
@given(circuit=drawn.circuits(n_qubits=st.integers(1, 4), max_operations=8))
def test_a_circuit_comes_back_as_what_it_was(route: str, circuit: Circuit) -> None:
    back = there_and_back(route, circuit)
    assert set(back.parameters) == set(circuit.parameters)
    assert back.n_slots == circuit.n_slots
    values = dict(zip(circuit.parameters, np.linspace(0.3, 2.9, len(circuit.parameters)), strict=True))
    inputs = np.linspace(-1.1, 1.7, circuit.n_slots)
    expected, found = (unitary_of(its.bind(values, inputs)) for its in (circuit, back))
    assert same_but_for_phase(expected, found, OPENQASM if route == "openqasm" else CLOSE)


def test_operations_come_back_from_qiskit_exactly() -> None:
    circuit = SYMBOLIC.measure(2).reset(1).ccx(2, 0, 1).iswap(1, 2)
    assert from_qiskit(to_qiskit(circuit)) == circuit


def test_parameters_are_symbols_of_the_library() -> None:
    values = {"theta": 0.4, "phi": -1.3}
    inputs = [0.7, 2.1]
    wanted = SYMBOLIC.state(values, inputs)

    slots = {f"x[{slot}]": value for slot, value in enumerate(inputs)}
    resolved = cirq.resolve_parameters(to_cirq(SYMBOLIC), values | slots)
    assert (
        np.abs(cirq.Simulator(dtype=np.complex128).simulate(resolved).final_state_vector - wanted).max()
        < CLOSE
    )

    qiskit = to_qiskit(SYMBOLIC)
    assigned = qiskit.assign_parameters(values | slots)
    found = quantum_info.Statevector(assigned.reverse_bits()).data
    assert np.abs(found - wanted).max() < CLOSE

    program = qasm3.loads(to_openqasm(SYMBOLIC)).assign_parameters(values | {"x_0": 0.7, "x_1": 2.1})
    assert same_but_for_phase(quantum_info.Statevector(program.reverse_bits()).data, wanted)


def test_what_the_libraries_write_reads_like_the_circuit() -> None:
    circuit = Circuit(2).ry(0, 2 * parameter("a") + 1).rx(1, data(0))
    assert [str(operation) for operation in to_qiskit(circuit).parameters] == ["a", "x[0]"]
    exponent = next(iter(to_cirq(circuit).all_operations())).gate.exponent
    assert exponent == (2 * sympy.Symbol("a") + 1) / sympy.pi
    assert "ry(1 + 2*a) q[0];" in to_openqasm(circuit)
    assert "input float[64] x_0;" in to_openqasm(circuit)


@pytest.mark.parametrize("write", [to_cirq, to_qiskit, to_openqasm])
def test_a_parameter_that_is_called_like_a_slot_is_refused(write: Any) -> None:
    name = "x_3" if write is to_openqasm else "x[3]"
    with pytest.raises(ArgumentError, match="called like a data slot") as refused:
        write(Circuit(1).rx(0, name))
    assert refused.value.subject == name


@pytest.mark.parametrize("name", ["two words", "pi", "gate", "x", "1st", "x[0] "])
def test_a_name_that_openqasm_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="cannot be called so in OpenQASM") as refused:
        to_openqasm(Circuit(1).rx(0, name))
    assert refused.value.subject == name


def test_qiskit_and_openqasm_refuse_channels() -> None:
    noisy = Circuit(1).noise(Channel("bit_flip", 0.1))
    for write in (to_qiskit, to_openqasm):
        with pytest.raises(ArgumentError, match="'bit_flip' cannot go to Qiskit"):
            write(noisy)


def test_angles_that_are_not_affine_are_refused() -> None:
    a, b = sympy.symbols("a b")
    for exponent in (a * b, a**2, sympy.sin(a)):
        with pytest.raises(ArgumentError, match="no affine combination"):
            from_cirq(cirq.Circuit(cirq.Z(cirq.LineQubit(0)) ** exponent))
    first, second = Parameter("a"), Parameter("b")
    for angle in (first * second, first.sin()):
        circuit = QuantumCircuit(1)
        circuit.rx(angle, 0)
        with pytest.raises(ArgumentError, match="no affine combination"):
            from_qiskit(circuit)


def test_what_depends_on_measurements_is_refused() -> None:
    q = cirq.LineQubit(0)
    with pytest.raises(ArgumentError, match="depends on a measurement"):
        from_cirq(cirq.Circuit(cirq.measure(q, key="m"), cirq.X(q).with_classical_controls("m")))
    with pytest.raises(ArgumentError, match="measure plainly"):
        from_cirq(cirq.Circuit(cirq.measure(q, key="m", invert_mask=(True,))))
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.if_test((0, 1)):
        circuit.x(0)
    with pytest.raises(ArgumentError, match="if_else depends on classical bits"):
        from_qiskit(circuit)


def test_what_nobody_knows_is_refused() -> None:
    a, b = cirq.LineQubit.range(2)
    with pytest.raises(ArgumentError, match="neither a gate nor a channel"):
        from_cirq(cirq.Circuit(cirq.asymmetric_depolarize(p_x=0.1)(a)))
    with pytest.raises(ArgumentError, match="neither a gate nor a channel"):
        from_cirq(cirq.Circuit(cirq.depolarize(0.1, n_qubits=2)(a, b)))
    with pytest.raises(ArgumentError, match=r"q\(1\) is not among the qubits"):
        from_cirq(cirq.Circuit(cirq.CX(a, b)), [a])
    with pytest.raises(ArgumentError, match="3 levels"):
        from_cirq(cirq.Circuit(cirq.IdentityGate(qid_shape=(3,))(cirq.LineQid(0, 3))))
    circuit = QuantumCircuit(1)
    circuit.append(Gate("mystery", 1, []), [0])
    with pytest.raises(ArgumentError, match="mystery is unknown here"):
        from_qiskit(circuit)


@pytest.mark.parametrize("text", ["nonsense", "OPENQASM 3.0; qubit q; foo q;", "OPENQASM 3.0; def f() {}"])
def test_what_is_no_openqasm_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="no OpenQASM 3 that can be read") as refused:
        from_openqasm(text)
    assert refused.value.subject == "text"


@pytest.mark.parametrize(
    ("missing", "extra", "call"),
    [
        ("cirq", "cirq", lambda: to_cirq(Circuit(1))),
        ("cirq", "cirq", lambda: from_cirq(cirq.Circuit())),
        ("qiskit", "qiskit", lambda: to_qiskit(Circuit(1))),
        ("qiskit", "qiskit", lambda: from_qiskit(QuantumCircuit(1))),
        ("qiskit", "qiskit", lambda: to_openqasm(Circuit(1))),
        ("qiskit_qasm3_import", "qiskit", lambda: from_openqasm("OPENQASM 3.0; qubit q;")),
    ],
)
def test_a_missing_library_is_told_with_the_command_that_installs_it(
    missing: str, extra: str, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError, match=rf'pip install "qstore-db\[{extra}\]"'):
        call()
