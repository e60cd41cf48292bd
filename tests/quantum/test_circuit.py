"""Circuits are values: what is made from them, and what is refused, by name."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import ArgumentError
from qstore_db.quantum import Angle, Channel, Circuit, data, parameter, plain
from qstore_db.testing import circuits as drawn
from qstore_db.testing.circuits import same_but_for_phase, unitary_of

CLOSE = 1e-12
THREE = Circuit(3).h(0).ry(1, "theta").rx(2, data(1)).cx(0, 2).u(1, "phi", 0.5, "theta")


# What is made from a circuit


@settings(max_examples=40)
@given(circuit=drawn.circuits(n_qubits=st.integers(1, 5)), draw=st.data())
def test_numbers_that_are_bound_give_what_numbers_at_the_run_give(
    circuit: Circuit, draw: st.DataObject
) -> None:
    parameters = draw.draw(drawn.parameters_for(circuit))
    inputs = draw.draw(drawn.data_for(circuit, st.just(1)))
    wanted = plain.run(circuit, parameters, inputs)[0]
    bound = circuit.bind(parameters, inputs[0])
    assert bound.parameters == ()
    assert bound.n_slots == 0
    assert np.abs(bound.state() - wanted).max() < CLOSE
    by_name = circuit.bind(dict(zip(circuit.parameters, parameters, strict=True)))
    assert by_name.parameters == ()
    assert by_name.n_slots == circuit.n_slots
    assert np.abs(by_name.state(data=inputs)[0] - wanted).max() < CLOSE


def test_some_parameters_may_stay_open() -> None:
    bound = THREE.bind({"theta": 0.4})
    assert bound.parameters == ("phi",)
    assert bound.bind({"phi": 0.1}) == THREE.bind({"phi": 0.1, "theta": 0.4})
    assert THREE.bind(data=[0.0, 0.7]).parameters == ("theta", "phi")


@settings(max_examples=60)
@given(circuit=drawn.circuits(n_qubits=st.integers(1, 5), symbols=False))
def test_a_circuit_and_its_inverse_do_nothing(circuit: Circuit) -> None:
    size = 1 << circuit.n_qubits
    assert np.abs(unitary_of(circuit.compose(circuit.inverse())) - np.eye(size)).max() < CLOSE
    assert np.abs(unitary_of(circuit.inverse().compose(circuit)) - np.eye(size)).max() < CLOSE


@given(circuit=drawn.circuits(n_qubits=st.integers(1, 4)))
def test_an_inverse_keeps_parameters_and_slots(circuit: Circuit) -> None:
    inverse = circuit.inverse()
    assert set(inverse.parameters) == set(circuit.parameters)
    assert inverse.n_slots == circuit.n_slots
    # A gate without a named inverse, as sx, becomes a matrix: so twice, gates may be others, and do the same.
    values = dict.fromkeys(circuit.parameters, 0.3)
    numbers = np.full(circuit.n_slots, 0.7)
    assert same_but_for_phase(
        unitary_of(circuit.bind(values, numbers)), unitary_of(inverse.inverse().bind(values, numbers))
    )


@settings(max_examples=40)
@given(
    first=drawn.circuits(n_qubits=st.just(3), symbols=False),
    second=drawn.circuits(n_qubits=st.integers(1, 3), symbols=False),
    places=st.permutations(range(3)),
)
def test_a_composed_circuit_acts_on_the_qubits_it_was_put_on(
    first: Circuit, second: Circuit, places: list[int]
) -> None:
    places = places[: second.n_qubits]
    start = first.state().reshape(1, -1)
    wanted = plain.applied(start, unitary_of(second), places)[0]
    assert np.abs(first.compose(second, places).state() - wanted).max() < CLOSE


def test_composed_circuits_share_parameters_of_one_name() -> None:
    assert THREE.compose(Circuit(1).rz(0, "phi").rz(0, "new"), [2]).parameters == ("theta", "phi", "new")


def test_composing_without_places_puts_qubit_on_qubit() -> None:
    assert THREE.compose(Circuit(2).cx(1, 0)) == THREE.cx(1, 0)


# What it is made of


def test_specs_count_gates_and_the_longest_path() -> None:
    specs = THREE.noise(Channel("bit_flip", 0.1), 0).ccx(0, 1, 2).measure(1).reset(1).specs()
    assert specs.n_qubits == 3
    assert (specs.n_parameters, specs.n_slots) == (2, 2)
    assert specs.gates == {
        "h": 1, "ry": 1, "rx": 1, "cx": 1, "u": 1, "noise": 1, "ccx": 1, "measure": 1, "reset": 1,
    }  # fmt: skip
    assert specs.two_qubit_gates == 1
    assert specs.depth == 6


def test_an_empty_circuit_has_a_depth_of_nothing() -> None:
    assert Circuit(2).specs().depth == 0
    assert Circuit(2).parameters == ()
    assert np.array_equal(Circuit(2).state(), [1, 0, 0, 0])


def test_parameters_come_in_the_order_of_their_first_use() -> None:
    circuit = Circuit(1).rx(0, "b").ry(0, parameter("a") + parameter("b")).rz(0, "c")
    assert circuit.parameters == ("b", "a", "c")
    assert circuit.bind([1.0, 2.0, 3.0]) == Circuit(1).rx(0, 1.0).ry(0, 3.0).rz(0, 3.0)


def test_slots_that_are_skipped_are_still_columns() -> None:
    assert Circuit(1).rx(0, data(4)).n_slots == 5


# Values


def test_a_method_gives_a_new_circuit_and_leaves_the_old_one() -> None:
    before = Circuit(1).h(0)
    after = before.x(0)
    assert (len(before), len(after)) == (1, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.n_qubits = 2  # type: ignore[misc]


@given(circuit=drawn.circuits(channels=True))
def test_equal_circuits_are_one_key_and_copies_are_equal(circuit: Circuit) -> None:
    again = Circuit(circuit.n_qubits, tuple(circuit.operations))
    for other in (again, pickle.loads(pickle.dumps(circuit)), copy.deepcopy(circuit)):
        assert other == circuit
        assert hash(other) == hash(circuit)
        assert len({circuit, other}) == 1
    assert circuit.h(0) != circuit


def test_a_circuit_that_was_looked_at_still_equals_one_that_was_not() -> None:
    looked_at = Circuit(1).ry(0, "a")
    assert looked_at.parameters == ("a",)
    assert looked_at.steps == looked_at.operations
    assert looked_at == Circuit(1).ry(0, "a")
    assert pickle.loads(pickle.dumps(looked_at)) == looked_at


def test_numbers_of_numpy_are_the_same_as_those_of_python() -> None:
    circuit = Circuit(3).crx(np.int64(2), np.int32(0), np.float32(0.5))
    assert circuit == Circuit(3).crx(2, 0, 0.5)
    assert {type(qubit) for qubit in circuit.operations[0].qubits} == {int}


# Angles


def test_angles_are_added_and_scaled() -> None:
    a, x = parameter("a"), data(2)
    assert 2 * a - x / 4 + 1 == Angle(1.0, (("a", 2.0), (2, -0.25)))
    assert 1 - a == Angle(1.0, (("a", -1.0),))
    assert a - a == Angle()
    assert (a * 0).is_constant
    assert str(2 * a - x / 4 + 1) == "2 a - 0.25 x[2] + 1"
    assert [str(each) for each in (-a, Angle(-0.5), a - 0.5, Angle())] == ["-a", "-0.5", "a - 0.5", "0"]


@settings(max_examples=60)
@given(first=drawn.angles(), second=drawn.angles(), factor=st.floats(-3, 3))
def test_the_value_of_a_combination_is_the_combination_of_values(
    first: Angle, second: Angle, factor: float
) -> None:
    def value(angle: Angle) -> float:
        found = angle.replaced(lambda symbol: 0.3 + len(symbol) if isinstance(symbol, str) else 0.7 * symbol)
        assert found.is_constant
        return found.constant

    assert math.isclose(
        value(first + second * factor), value(first) + value(second) * factor, abs_tol=1e-9, rel_tol=1e-9
    )


# What is refused


@pytest.mark.parametrize(
    ("subject", "call", "message"),
    [
        ("n_qubits", lambda: Circuit(0), "n_qubits=0 must be an integer from 1 on"),
        ("n_qubits", lambda: Circuit(2.0), "n_qubits=2.0 must"),  # type: ignore[arg-type]
        ("qubit", lambda: Circuit(2).h(2), "qubit 2 is not there: the circuit has 0 to 1"),
        ("qubit", lambda: Circuit(2).h(-1), "qubit -1 is not there"),
        ("qubit", lambda: Circuit(2).h(True), "qubit True is not there"),
        ("qubit", lambda: Circuit(2).cx(1, 1), r"qubits \(1, 1\) are not distinct"),
        ("qubit", lambda: Circuit(2).measure(0, 0), "not distinct"),
        ("qubit", lambda: Circuit(2).noise(Channel("bit_flip", 0.1), 5), "qubit 5 is not there"),
        ("angle", lambda: Circuit(1).rx(0, math.nan), "an angle of nan is not finite"),
        ("angle", lambda: Circuit(1).rx(0, [1.0, 2.0]), "an angle is a number in radians"),  # type: ignore[arg-type]
        ("angle", lambda: parameter("a") * math.inf, "inf is not finite"),
        ("name", lambda: parameter(""), "must be a text"),
        ("name", lambda: Circuit(1).rx(0, ""), "must be a text"),
        ("slot", lambda: data(-1), "a data slot is a column of the input from 0 on, not -1"),
        ("matrix", lambda: Circuit(1).unitary([[1, 0], [0, 2]], 0), "not unitary"),
        ("matrix", lambda: Circuit(2).unitary(np.eye(2), 0, 1), r"shape \(2, 2\) is no gate on 2 qubits"),
        ("matrix", lambda: Circuit(3).unitary(np.eye(8), 0, 1, 2), "no gate on 3 qubits"),
        ("matrix", lambda: Circuit(1).unitary([[math.nan, 0], [0, 1]], 0), "not unitary"),
        ("name", lambda: Circuit(1).gate("hadamard", [0]), "gate 'hadamard' is unknown; there are: x, y"),
        ("rx", lambda: Circuit(1).gate("rx", [0]), "rx takes 1 qubits and 1 angles, not 1 and 0"),
        ("kind", lambda: Channel("thermal", 0.1), "channel 'thermal' is unknown"),
        ("strength", lambda: Channel("bit_flip", 1.1), "strength=1.1 must be from 0 to 1"),
        ("strength", lambda: Channel("bit_flip", math.nan), "strength=nan must be from 0 to 1"),
        ("qubits", lambda: THREE.compose(Circuit(2), [1]), "a circuit of 2 qubits cannot be put on 1"),
        ("qubit", lambda: Circuit(1).compose(Circuit(2)), "qubit 1 is not there"),
        ("circuit", lambda: Circuit(1).measure(0).inverse(), "a measure has no inverse"),
        ("circuit", lambda: Circuit(1).noise(Channel("bit_flip", 0.1)).inverse(), "a noise has no inverse"),
        ("circuit", lambda: Circuit(1).measure(0).state(), "a circuit with measure has no state vector"),
        ("parameters", lambda: THREE.bind({"tehta": 1.0}), "parameter 'tehta' is unknown; there are: theta, phi"),
        ("parameters", lambda: THREE.bind([1.0]), r"parameters of shape \(1,\) given; the circuit has 2"),
        ("parameters", lambda: THREE.state({"theta": 1.0}, [0, 0]), "no value for parameter 'phi'"),
        ("parameters", lambda: THREE.bind([1.0, math.nan]), "not finite"),
        ("parameters", lambda: THREE.bind(["a", "b"]), "parameters must be numbers"),
        ("theta", lambda: THREE.bind({"theta": math.inf}), "theta has values that are not finite"),
        ("theta", lambda: THREE.bind({"theta": "phi"}), "theta must be numbers"),  # type: ignore[dict-item]
        ("theta", lambda: THREE.bind({"theta": [1.0, 2.0]}), "'theta' must be one number"),  # type: ignore[dict-item]
        ("data", lambda: THREE.bind(data=[0.1]), r"data of shape \(1,\) given; the circuit reads 2 columns"),
        ("data", lambda: THREE.bind(data=np.zeros((3, 2))), r"data of shape \(3, 2\) given"),
        ("data", lambda: THREE.state([1, 2], [math.nan, 0]), "data has values that are not finite"),
        ("data", lambda: THREE.state([1, 2]), r"data of shape \(0,\) given; the circuit reads 2 columns"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_name(subject: str, call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as refused:
        call()
    assert refused.value.subject == subject
