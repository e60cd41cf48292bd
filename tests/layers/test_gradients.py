"""First and second derivatives of every layer, by its parameters and by its input, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from qstore_db.layers import (
    AdaptiveLayer,
    CircuitLayer,
    DecodingLayer,
    EncodingLayer,
    QuantumAwareNormalization,
    QuantumFeatureExtractor,
    QuantumLayer,
    QuantumNonlinearity,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
    function,
)
from qstore_db.quantum import Circuit, data, pauli
from qstore_db.testing.pairwise import pairwise

QUANTUM = pairwise(
    {
        "n_qubits": [1, 2, 3],
        "depth": [1, 2],
        "entanglement": ["linear", "circular", "full", ()],
        "encoding": ["angle", "amplitude", "iqp", "reuploading"],
        "ansatz": ["hardware_efficient", "rz_ry", "full_rotation"],
        "measurement_bases": [("Z",), ("X",), ("Z", "X", "Y")],
        "gradient": ["auto", "adjoint", "parameter_shift"],
        "init": ["small", "uniform", "normal"],
        "backend": [None, "simulator", "mock"],
        "compiled": [True, False],
    }
)


def check(layer: nn.Module, x: Tensor) -> None:
    """Against finite differences, by everything that can be trained and by the input."""
    layer(x)  # makes what depends on the width
    layer = layer.double()
    names = [name for name, _ in layer.named_parameters()]
    values = [each.detach().clone().requires_grad_() for each in layer.parameters()]
    x = x.double().requires_grad_()

    def call(x: Tensor, *values: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))
        return found

    assert gradcheck(call, (x, *values))
    assert gradgradcheck(call, (x, *values), fast_mode=True)


def uniform(*shape: int) -> Tensor:
    """Inputs on which nothing is degenerate, the same in every run."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 1.6 + 0.2


@pytest.mark.parametrize("options", QUANTUM, ids=lambda options: "-".join(map(str, options.values())))
def test_a_quantum_layer_with_any_two_options(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "_COMPILED", options["compiled"])
    options = {name: value for name, value in options.items() if name != "compiled"}
    layer = QuantumLayer(**options, input_grad=True, seed=1)
    width = 1 << layer.circuit.n_qubits if options["encoding"] == "amplitude" else layer.circuit.n_qubits
    check(layer, uniform(2, width))


BASES = [("Z",), ("X",), ("Y",), ("Z", "X", "Y")]
INITS = ["small", "uniform", "normal"]
TOPOLOGIES = ["linear", "circular", "full", ((1, 0),)]
Made = tuple[nn.Module, Tensor]


def extractor(**options: Any) -> Made:
    layer = QuantumFeatureExtractor(2, **options, seed=1).double()
    if options["reduce"] == "pca":
        layer.encoding.fit(uniform(7, 6).double())
    return layer, uniform(2, 4 if options["reduce"] == "error" else 6)


def encoding(width: int, **options: Any) -> Made:
    layer = EncodingLayer(4, **options).double()
    if options["reduce"] == "pca":
        layer.fit(uniform(7, width).double())
    return layer, uniform(2, min(width, 4) if options["reduce"] == "error" else width)


def nonlinearity(bases: tuple[str, ...], **options: Any) -> Made:
    return QuantumNonlinearity(2, measurement_bases=bases, **options), uniform(3, 2 * len(bases))


def normalization(training: bool, **options: Any) -> Made:
    return QuantumAwareNormalization(2, **options).train(training), uniform(4, 2)


def sequential(entanglement: Any, pool_size: int, end: str, output: str, unused: str) -> Made:
    kept = 4 // pool_size
    last: Any = QuantumReadout(kept, 3 if kept > 1 else 1, output=output, unused=unused, seed=2)
    if end != "readout":
        last = QuantumFeatureExtractor(kept, 1, (), tuple(end), seed=2)
    first = QuantumFeatureExtractor(4, 1, entanglement, None, init="normal", seed=1)
    return QuantumSequential(first, QuantumPooling(4, pool_size), last), uniform(2, 16)


CASES: list[tuple[Callable[..., Made], dict[str, list[Any]]]] = [
    (
        extractor,
        {
            "depth": [1, 2],
            "entanglement": TOPOLOGIES,
            "measurement_bases": BASES,
            "backend": [None, "simulator", "mock"],
            "reduce": ["error", "truncate", "linear", "pca"],
            "init": INITS,
        },
    ),
    (
        encoding,
        {
            "width": [3, 6],
            "reduce": ["error", "truncate", "linear", "pca"],
            "on_zero": ["error", "ground"],
        },
    ),
    (
        nonlinearity,
        {
            "bases": [*BASES, ("Z", "X")],
            "nonlinearity_type": ["amplitude_damping", "phase_damping", "parametric"],
            "strength": [0.0, 0.3],
        },
    ),
    (
        lambda **options: (QuantumPooling(5, **options), uniform(2, 5)),
        {"pool_size": [1, 2, 5], "pooling_type": ["partial_trace", "measurement", "amplitude_damping"]},
    ),
    (
        lambda **options: (QuantumReadout(2, **options, seed=1), uniform(2, 4)),
        {
            "n_classes": [1, 3],
            "output": ["log_probs", "probs"],
            "unused": ["renormalise", "penalise", "extra_class"],
            "init": INITS,
        },
    ),
    (
        lambda **options: (AdaptiveLayer(2, **options, seed=1), uniform(2, 2)),
        {"depth": [1, 2], "entanglement": TOPOLOGIES, "measurement_bases": BASES, "init": INITS},
    ),
    (normalization, {"training": [True, False], "limit": [3.0, 0.5], "momentum": [0.1, 1.0]}),
    (
        sequential,
        {
            "entanglement": ["linear", "circular", "full", ((1, 0),)],
            "pool_size": [1, 2],
            "end": ["readout", "Z", "XY"],
            "output": ["log_probs", "probs"],
            "unused": ["renormalise", "penalise", "extra_class"],
        },
    ),
    (
        lambda width, output_dim: (DecodingLayer(output_dim), uniform(2, width)),
        {"width": [1, 3], "output_dim": [None, 2]},
    ),
    (
        lambda gradient, init: (
            CircuitLayer(
                shared_circuit(), [pauli("Z0 X1") + pauli("Y1")], gradient=gradient, init=init, seed=1
            ),
            uniform(2, 2),
        ),
        {"gradient": ["auto", "adjoint", "parameter_shift"], "init": INITS},
    ),
]


def possible(options: dict[str, Any]) -> bool:
    """Damping of the phase is refused where only Z is read."""
    return (options.get("nonlinearity_type"), options.get("bases")) != ("phase_damping", ("Z",))


LAYERS = [
    pytest.param(make, options, id="-".join(map(str, (number, *options.values()))))
    for number, (make, table) in enumerate(CASES)
    for options in pairwise(table)
    if possible(options)
]


def shared_circuit() -> Circuit:
    """With parameters in several gates, controlled turns, and angles of data and parameters together."""
    circuit = Circuit(2).h(0).crx(0, 1, "a").rzz(0, 1, data(1)).u(1, "a", data(0), "b")
    return circuit.cry(1, 0, data(0)).cp(0, 1, "c").rx(0, "b").iswap(0, 1).ryy(0, 1, "c")


@pytest.mark.parametrize(("make", "options"), LAYERS)
def test_any_other_layer_with_any_two_options(make: Callable[..., Made], options: dict[str, Any]) -> None:
    layer, x = make(**options)
    check(layer.double(), x.double())


def test_derivatives_of_the_third_order_are_there_too() -> None:
    layer = CircuitLayer(Circuit(1).ry(0, "a"), [pauli("Z0")]).double()
    angle = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    value = torch.func.functional_call(layer, {"quantum_params": angle}, (torch.zeros(1, 0),)).sum()
    derivatives = [value]
    for _ in range(3):
        derivatives += torch.autograd.grad(derivatives[-1].sum(), angle, create_graph=True)
    expected = [angle.cos(), -angle.sin(), -angle.cos(), angle.sin()]
    for found, wanted in zip(derivatives, expected, strict=True):
        assert torch.allclose(found, wanted.reshape(found.shape), atol=1e-12)


def test_a_second_derivative_mixes_parameters_and_input() -> None:
    layer = QuantumLayer(1, 1, entanglement=(), seed=1).double()
    x = torch.tensor([[0.4]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x).sum(), layer.quantum_params, create_graph=True)
    (mixed,) = torch.autograd.grad(slope[0], x)
    assert mixed.item() == pytest.approx(-torch.cos(x + layer.quantum_params[0]).item(), abs=1e-12)


def test_a_graph_outlives_the_layer_that_made_it() -> None:
    x = uniform(1, 2).requires_grad_()
    value = QuantumLayer(2, seed=1)(x).sum()
    value.backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
