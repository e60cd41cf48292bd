"""What layers refuse, each with an error that names the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from qstore_db.config import DatabaseConfig
from qstore_db.errors import ArgumentError, VectorError
from qstore_db.layers import (
    CircuitLayer,
    DecodingLayer,
    EncodingLayer,
    QuantumAwareNormalization,
    QuantumFeatureExtractor,
    QuantumLayer,
    QuantumNonlinearity,
    QuantumPooling,
    QuantumReadout,
    gradient_variance,
)
from qstore_db.quantum import Circuit, pauli

MADE_WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: QuantumLayer(0), "n_qubits"),
    (lambda: QuantumLayer(2.0), "n_qubits"),
    (lambda: QuantumLayer(True), "n_qubits"),
    (lambda: QuantumLayer(2, 0), "depth"),
    (lambda: QuantumLayer(2, "2"), "depth"),
    (lambda: QuantumLayer(2, config=DatabaseConfig(), backend="mock"), "backend"),
    (lambda: QuantumLayer(2, config={"a": 1}), "config"),
    (lambda: QuantumLayer(2, backend="ionq"), "backend"),
    (lambda: QuantumLayer(2, entanglement="ring"), "entanglement"),
    (lambda: QuantumLayer(2, entanglement=[(0, 2)]), "entanglement"),
    (lambda: QuantumLayer(2, entanglement=[(1, 1)]), "entanglement"),
    (lambda: QuantumLayer(2, entanglement=[0, 1]), "entanglement"),
    (lambda: QuantumLayer(2, entanglement=7), "entanglement"),
    (lambda: QuantumLayer(2, encoding="angles"), "encoding"),
    (lambda: QuantumLayer(2, ansatz="ry"), "ansatz"),
    (lambda: QuantumLayer(2, measurement_bases=()), "measurement_bases"),
    (lambda: QuantumLayer(2, measurement_bases=("Z", "Z")), "measurement_bases"),
    (lambda: QuantumLayer(2, measurement_bases=("z",)), "measurement_bases"),
    (lambda: QuantumLayer(2, measurement_bases=None), "measurement_bases"),
    (lambda: QuantumLayer(2, gradient="backprop"), "gradient"),
    (lambda: QuantumLayer(2, gradient="adjoint", shots=10), "gradient"),
    (lambda: QuantumLayer(2, shots=0), "shots"),
    (lambda: QuantumLayer(2, init="zeros"), "init"),
    (lambda: QuantumLayer(2, input_grad="yes"), "input_grad"),
    (lambda: QuantumLayer(2, seed=-1), "seed"),
    (lambda: QuantumFeatureExtractor(2, reduce="mean"), "reduce"),
    (lambda: QuantumFeatureExtractor(2, backend="ionq"), "backend"),
    (lambda: QuantumNonlinearity(2, "relu"), "nonlinearity_type"),
    (lambda: QuantumNonlinearity(2, strength=1.5), "strength"),
    (lambda: QuantumNonlinearity(2, "phase_damping"), "measurement_bases"),
    (lambda: QuantumPooling(2, 3), "pool_size"),
    (lambda: QuantumPooling(2, 2, "max"), "pooling_type"),
    (lambda: QuantumPooling(2, 2, strength=0.1), "strength"),
    (lambda: QuantumReadout(2, 5), "n_classes"),
    (lambda: QuantumReadout(2, 4, "expectation"), "readout_type"),
    (lambda: QuantumReadout(2, 4, output="logits"), "output"),
    (lambda: QuantumReadout(2, 3, unused="drop"), "unused"),
    (lambda: QuantumReadout(2, 4, unused="extra_class"), "unused"),
    (lambda: EncodingLayer(0), "target_dim"),
    (lambda: EncodingLayer(4, on_zero="skip"), "on_zero"),
    (lambda: EncodingLayer(4).fit(torch.rand(3, 4)), "reduce"),
    (lambda: EncodingLayer(4, "pca").fit(torch.rand(1, 4)), "x"),
    (lambda: DecodingLayer(0), "output_dim"),
    (lambda: QuantumAwareNormalization(2, limit=4.0), "limit"),
    (lambda: CircuitLayer("h 0", []), "circuit"),
    (lambda: CircuitLayer(Circuit(1), [pauli("Z1")]), "observables"),
    (lambda: gradient_variance(QuantumLayer(1), 1), "samples"),
]


@pytest.mark.parametrize(("make", "subject"), MADE_WRONG)
def test_a_layer_that_makes_no_sense_is_not_made(make: Callable[[], object], subject: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        make()
    assert caught.value.subject == subject
    assert isinstance(caught.value, ValueError)


def test_too_many_qubits_are_refused_with_the_memory_that_they_would_take() -> None:
    with pytest.raises(ArgumentError, match=r"n_qubits=40 is too large.*16 TiB of memory; 24 at most"):
        QuantumLayer(40)


GIVEN_WRONG: list[tuple[Callable[[], torch.nn.Module], Any, str]] = [
    (lambda: QuantumLayer(2), torch.rand(3, 4), r"\(\.\.\., 2\) needed"),
    (lambda: QuantumLayer(2), torch.tensor(1.0), "x of shape"),
    (lambda: QuantumLayer(2), [[0.1, 0.2]], "torch tensor"),
    (lambda: QuantumLayer(2), torch.rand(1, 2, dtype=torch.complex64), "complex64"),
    (lambda: QuantumLayer(2).to("meta"), torch.rand(1, 2), "x is on cpu and the layer on meta"),
    (lambda: QuantumLayer(2, encoding="amplitude"), torch.rand(1, 5), "5 columns and 4 fit"),
    (lambda: EncodingLayer(4), torch.rand(1, 5), "reduce="),
    (lambda: EncodingLayer(4, "pca"), torch.rand(1, 5), "fit"),
    (lambda: EncodingLayer(4, "pca").fit(torch.rand(3, 6)), torch.rand(1, 5), "6"),
    (lambda: QuantumPooling(4), torch.rand(1, 12), "needed"),
    (lambda: QuantumNonlinearity(4), torch.rand(1, 12), "needed"),
    (lambda: QuantumAwareNormalization(4), torch.rand(1, 12), "needed"),
]


@pytest.mark.parametrize(("make", "x", "message"), GIVEN_WRONG)
def test_input_that_does_not_fit_is_refused(
    make: Callable[[], torch.nn.Module], x: Any, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()(x)


def test_states_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ArgumentError, match="states of shape"):
        CircuitLayer(Circuit(2).h(0), [pauli("Z0")])(torch.zeros(1, 0), torch.rand(1, 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("encoding", ["angle", "amplitude", "iqp"])
def test_values_that_are_not_finite_are_refused_by_their_row(value: float, encoding: str) -> None:
    x = torch.rand(3, 2)
    x[1, 0] = value
    with pytest.raises(VectorError, match="row 1 of x"):
        QuantumLayer(2, encoding=encoding)(x)


@pytest.mark.parametrize(
    "make", [lambda: QuantumFeatureExtractor(2), lambda: QuantumReadout(2, 2), lambda: EncodingLayer(4)]
)
def test_rows_of_zeros_are_refused_by_their_number(make: Callable[[], torch.nn.Module]) -> None:
    x = torch.rand(4, 4)
    x[2] = 0.0
    with pytest.raises(VectorError, match="row 2 of x is all zero"):
        make()(x)


def test_a_compiled_layer_refuses_the_same() -> None:
    compiled = torch.compile(QuantumFeatureExtractor(2, 1), fullgraph=True, backend="aot_eager")
    with pytest.raises(VectorError, match="row 0 of x is all zero"):
        compiled(torch.zeros(1, 4))
