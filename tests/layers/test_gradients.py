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


LAYERS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    **{
        f"extractor-{entanglement}-{bases}-{reduce}": lambda e=entanglement, b=bases, r=reduce: (
            QuantumFeatureExtractor(2, 1, e, tuple(b), reduce=r, seed=1),
            uniform(2, 4 if r == "error" else 6),
        )
        for entanglement, bases, reduce in [
            ("full", "ZXY", "error"),
            ("linear", "Z", "truncate"),
            ("circular", "Y", "linear"),
        ]
    },
    **{
        f"nonlinearity-{kind}-{bases}": lambda k=kind, b=bases: (
            QuantumNonlinearity(2, k, 0.3, measurement_bases=tuple(b)),
            uniform(3, 2 * len(b)),
        )
        for kind, bases in [
            ("amplitude_damping", "Z"),
            ("amplitude_damping", "XZ"),
            ("phase_damping", "ZX"),
            ("parametric", "Z"),
            ("parametric", "ZY"),
        ]
    },
    **{
        f"pooling-{kind}": lambda k=kind: (QuantumPooling(5, 2, k), uniform(2, 5))
        for kind in ("partial_trace", "measurement", "amplitude_damping")
    },
    **{
        f"readout-{output}-{unused}": lambda o=output, u=unused: (
            QuantumReadout(2, 3, output=o, unused=u, seed=1),
            uniform(2, 4),
        )
        for output in ("log_probs", "probs")
        for unused in ("renormalise", "penalise", "extra_class")
    },
    **{
        f"encoding-{reduce}-{on_zero}": lambda r=reduce, z=on_zero: (
            EncodingLayer(4, r, on_zero=z),
            uniform(2, 3 if r == "error" else 6),
        )
        for reduce in ("error", "truncate", "linear")
        for on_zero in ("error", "ground")
    },
    "encoding-pca": lambda: (
        EncodingLayer(2, "pca").double().fit(uniform(6, 4).double()),
        uniform(2, 4).double(),
    ),
    "decoding": lambda: (DecodingLayer(), uniform(2, 3)),
    "decoding-2": lambda: (DecodingLayer(2), uniform(2, 3)),
    "adaptive": lambda: (AdaptiveLayer(2, seed=1), uniform(2, 2)),
    "normalization": lambda: (QuantumAwareNormalization(2), uniform(4, 2)),
    "fused": lambda: (
        QuantumSequential(
            QuantumFeatureExtractor(3, 1, measurement_bases=None, seed=1),
            QuantumPooling(3, 2),
            QuantumReadout(1, 2, seed=2),
        ),
        uniform(2, 8),
    ),
    "fused-extractors": lambda: (
        QuantumSequential(
            QuantumFeatureExtractor(2, 1, measurement_bases=None, seed=1),
            QuantumPooling(2, 2),
            QuantumFeatureExtractor(1, 1, measurement_bases=("X", "Z"), seed=2),
        ),
        uniform(2, 4),
    ),
    **{
        f"circuit-{gradient}": lambda g=gradient: (
            CircuitLayer(shared_circuit(), [pauli("Z0 X1") + pauli("Y1")], gradient=g, seed=1),
            uniform(2, 2),
        )
        for gradient in ("adjoint", "parameter_shift")
    },
}


def shared_circuit() -> Circuit:
    """With parameters in several gates, controlled turns, and angles of data and parameters together."""
    circuit = Circuit(2).h(0).crx(0, 1, "a").rzz(0, 1, data(1)).u(1, "a", data(0), "b")
    return circuit.cry(1, 0, data(0)).cp(0, 1, "c").rx(0, "b").iswap(0, 1).ryy(0, 1, "c")


@pytest.mark.parametrize("name", LAYERS)
def test_any_other_layer(name: str) -> None:
    check(*LAYERS[name]())


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
