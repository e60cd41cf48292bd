"""Observables: how they are written, combined, measured together and refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.errors import ArgumentError
from qstore_db.quantum import Circuit, PauliString, PauliSum, Projector, expectations, pauli
from qstore_db.quantum.gates import word_matrix
from qstore_db.quantum.observables import Observable, measured_together
from qstore_db.testing import circuits as drawn

CLOSE = 1e-12


@given(string=drawn.pauli_strings(5))
def test_a_string_reads_back_as_it_is_written(string: PauliString) -> None:
    assert pauli(str(string)) == string
    assert pauli(" ".join(reversed(str(string).split()))) == string


@given(string=drawn.pauli_strings(4), circuit=drawn.circuits(n_qubits=st.just(4), symbols=False))
def test_a_string_is_the_product_of_its_matrices(string: PauliString, circuit: Circuit) -> None:
    state = circuit.state()
    wanted = np.vdot(state, word_matrix(string.word(4)) @ state).real
    assert abs(expectations(circuit, [string])[0] - wanted) < CLOSE


@given(
    first=drawn.pauli_sums(3),
    second=drawn.pauli_sums(3),
    circuit=drawn.circuits(n_qubits=st.just(3), symbols=False),
)
def test_sums_are_sums(first: PauliSum, second: PauliSum, circuit: Circuit) -> None:
    values = expectations(circuit, [first, second, first + second, first - 2 * second, -first])
    a, b = values[:2]
    assert np.abs(values[2:] - [a + b, a - 2 * b, -a]).max() < 100 * CLOSE


def test_strings_are_combined_into_sums() -> None:
    mixed = 2 * pauli("Z0") - pauli("X1") + pauli("Z0") * 0.5
    assert mixed == PauliSum(((2.5, pauli("Z0")), (-1.0, pauli("X1"))))
    assert str(mixed) == "2.5 Z0 + -1 X1"
    assert pauli("Z2") @ pauli("X0") == pauli("X0 Z2")


@given(projector=drawn.projectors(4), circuit=drawn.circuits(n_qubits=st.just(4), symbols=False))
def test_a_projector_is_the_probability_of_its_bits(projector: Projector, circuit: Circuit) -> None:
    probs = circuit.probs().reshape((2,) * 4)
    index: list[Any] = [slice(None)] * 4
    for qubit, bit in zip(projector.qubits, projector.bits, strict=True):
        index[qubit] = bit
    assert abs(expectations(circuit, [projector])[0] - probs[tuple(index)].sum()) < CLOSE


@given(observables=drawn.observables(4))
def test_each_observable_is_read_in_one_of_the_bases(observables: list[Observable]) -> None:
    bases = measured_together(observables, 4)
    strings = [
        string
        for each in observables
        if not isinstance(each, Projector)
        for string in ([each] if isinstance(each, PauliString) else [string for _, string in each.terms])
    ]
    for string in strings:
        assert any(all(basis[qubit] == letter for qubit, letter in string.factors) for basis in bases)
    for each in observables:
        if isinstance(each, Projector):
            assert any(all(basis[qubit] == "Z" for qubit in each.qubits) for basis in bases)


def test_what_agrees_on_every_qubit_is_measured_together() -> None:
    assert measured_together([pauli("Z0"), pauli("Z1"), Projector((2,), (1,))], 3) == ["ZZZ"]
    assert measured_together([pauli("Z0"), pauli("X0"), pauli("X1")], 2) == ["ZX", "XZ"]


@pytest.mark.parametrize(
    ("subject", "call", "message"),
    [
        ("pauli", lambda: pauli("Z0 X0"), "'Z0 X0' is no Pauli string"),
        ("pauli", lambda: pauli("A0"), "no Pauli string"),
        ("pauli", lambda: pauli("Z"), "no Pauli string"),
        ("qubit", lambda: pauli("Z0") @ pauli("X0"), "both have a factor on qubit 0"),
        ("bits", lambda: Projector((0, 1), (1,)), "do not fit"),
        ("bits", lambda: Projector((0,), (2,)), "do not fit"),
        ("qubits", lambda: Projector((0, 0), (1, 1)), "not distinct"),
        ("observables", lambda: expectations(Circuit(1), [pauli("Z1")]), "Z1 needs more than 1 qubits"),
        ("observables", lambda: expectations(Circuit(1), [Projector((1,), (0,))]), "more than 1 qubits"),
        ("observables", lambda: expectations(Circuit(1), ["Z0"]), "'Z0' is no observable"),  # type: ignore[list-item]
    ],
)
def test_what_is_no_observable_is_refused_by_name(
    subject: str, call: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message) as refused:
        call()
    assert refused.value.subject == subject
