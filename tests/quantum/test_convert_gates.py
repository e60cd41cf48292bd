"""Gates and channels of Cirq and Qiskit, and what they are here."""

from __future__ import annotations

from typing import Any

import cirq
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from qiskit import QuantumCircuit, quantum_info
from qiskit.circuit.library import get_standard_gate_name_mapping

from qstore_db.quantum import Channel, Circuit
from qstore_db.quantum.channels import CHANNELS
from qstore_db.quantum.convert import (
    from_cirq,
    from_qiskit,
    to_cirq,
)
from qstore_db.quantum.gates import GATES
from qstore_db.quantum.operations import Noise, name_of
from qstore_db.testing import circuits as drawn
from qstore_db.testing.circuits import same_but_for_phase, unitary_of

CLOSE = 1e-12
# Cirq has one gate for P(pi) and Z, and none for u.
SAME_IN_CIRQ = [name for name in GATES if name not in ("p", "cp", "u")]


@settings(max_examples=30)
@given(circuit=drawn.circuits(channels=True, gates=SAME_IN_CIRQ))
def test_operations_keep_their_names_and_places_through_cirq(circuit: Circuit) -> None:
    back = from_cirq(to_cirq(circuit), cirq.LineQubit.range(circuit.n_qubits))
    assert shape(back) == shape(circuit)
    noise = [step.channel for step in circuit.operations if isinstance(step, Noise)]
    assert sorted(map(repr, noise)) == sorted(
        repr(step.channel) for step in back.operations if isinstance(step, Noise)
    )


def shape(circuit: Circuit) -> list[Any]:
    """Cirq may change the order of what lies side by side, so this has none."""
    return sorted((step.qubits, name_of(step)) for step in circuit.operations)


STANDARD = get_standard_gate_name_mapping()


@pytest.mark.parametrize("name", sorted(STANDARD.keys() - {"measure", "reset", "delay"}))
def test_every_standard_gate_of_qiskit_is_understood(name: str) -> None:
    gate = STANDARD[name]
    circuit = QuantumCircuit(max(1, gate.num_qubits))
    circuit.append(gate, range(gate.num_qubits))
    values = {each.name: 0.3 + 0.4 * place for place, each in enumerate(circuit.parameters)}
    wanted = circuit.assign_parameters(values)
    found = from_qiskit(circuit)
    found = found.bind({each: values[each] for each in found.parameters})
    assert same_but_for_phase(unitary_of(found), quantum_info.Operator(wanted.reverse_bits()).data)


def test_a_gate_of_qiskit_that_only_bears_a_known_name_is_what_it_is_defined_as() -> None:
    inner = QuantumCircuit(1, name="rx")
    inner.h(0)
    outer = QuantumCircuit(2)
    outer.append(inner.to_gate(), [1])
    assert from_qiskit(outer) == Circuit(2).h(1)


def test_a_gate_of_qiskit_that_waits_for_a_zero_does() -> None:
    circuit = QuantumCircuit(2)
    circuit.crx(0.3, 0, 1, ctrl_state=0)
    assert same_but_for_phase(
        unitary_of(from_qiskit(circuit)), quantum_info.Operator(circuit.reverse_bits()).data
    )


@pytest.mark.parametrize(
    "gate",
    [
        cirq.FSimGate(0.3, 0.8),
        cirq.CSWAP,
        cirq.CCZ**0.3,
        cirq.X**0.3,
        cirq.Z**-0.7,
        cirq.YPowGate(exponent=0.4, global_shift=0.2),
        cirq.ControlledGate(cirq.XPowGate(exponent=0.4, global_shift=0.2)),
        cirq.ControlledGate(cirq.ZPowGate(exponent=0.4)),
        cirq.ControlledGate(cirq.rx(0.4), control_values=[0]),
        cirq.ControlledGate(cirq.rx(0.4), num_controls=2),
        cirq.CX**0.3,
        cirq.H**0.2,
        cirq.ISWAP**0.5,
        cirq.XX**0.3,
        cirq.PhasedXZGate(x_exponent=0.1, z_exponent=0.2, axis_phase_exponent=0.3),
        cirq.QuantumFourierTransformGate(3),
    ],
    ids=str,
)
def test_a_gate_of_cirq_is_understood(gate: cirq.Gate) -> None:
    circuit = cirq.Circuit(gate(*cirq.LineQubit.range(cirq.num_qubits(gate))))
    assert same_but_for_phase(unitary_of(from_cirq(circuit)), cirq.unitary(circuit))


@pytest.mark.parametrize(
    "gate",
    [cirq.X, cirq.Y, cirq.Z, cirq.H, cirq.CX, cirq.CZ, cirq.SWAP, cirq.XX, cirq.ZZ, cirq.CCZ],
    ids=str,
)
def test_a_power_of_a_gate_of_cirq_may_be_a_symbol(gate: cirq.Gate) -> None:
    qubits = cirq.LineQubit.range(cirq.num_qubits(gate))
    circuit = cirq.Circuit((gate ** sympy.Symbol("a"))(*qubits))
    found = from_cirq(circuit)
    assert found.parameters == ("a",)
    resolved = cirq.resolve_parameters(circuit, {"a": 0.37})
    assert same_but_for_phase(unitary_of(found.bind([0.37])), cirq.unitary(resolved))


def test_qubits_of_cirq_come_in_the_order_that_is_given() -> None:
    a, b, c = cirq.NamedQubit.range(3, prefix="q")
    circuit = cirq.Circuit(cirq.CX(c, a))
    assert from_cirq(circuit) == Circuit(2).cx(1, 0)
    assert from_cirq(circuit, [c, b, a]) == Circuit(3).cx(0, 2)


def test_a_circuit_of_circuits_in_cirq_is_taken_apart() -> None:
    q = cirq.LineQubit.range(2)
    inner = cirq.FrozenCircuit(cirq.H(q[0]), cirq.CX(*q))
    assert from_cirq(cirq.Circuit(cirq.CircuitOperation(inner))) == Circuit(2).h(0).cx(0, 1)


@pytest.mark.parametrize("kind", CHANNELS)
def test_a_channel_means_the_same_in_cirq(kind: str) -> None:
    circuit = Circuit(1).noise(Channel(kind, 0.3), 0)
    superoperator = sum(np.kron(each, each.conj()) for each in Channel(kind, 0.3).kraus())
    theirs = sum(np.kron(each, each.conj()) for each in cirq.kraus(next(to_cirq(circuit).all_operations())))
    assert np.abs(superoperator - theirs).max() < CLOSE
    assert from_cirq(to_cirq(circuit)) == circuit
