"""Gradients and values by circuits alone: shots, parameter shifts, simultaneous perturbation."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qstore_db.errors import ArgumentError
from qstore_db.layers import CircuitLayer, QuantumLayer
from qstore_db.quantum import Circuit, Projector, pauli

X = torch.tensor([[0.3, 0.9], [1.1, -0.4]])


def layer(**options: Any) -> QuantumLayer:
    return QuantumLayer(2, 1, measurement_bases=("Z", "X"), init="normal", seed=4, **options)


def gradients(of: QuantumLayer, x: Tensor = X) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    weights = torch.tensor([0.5, -1.0, 2.0, 0.7])
    by_parameter, by_input = torch.autograd.grad((of(x) @ weights).sum(), (of.quantum_params, x))
    return by_parameter, by_input


def test_means_of_many_shots_are_close_to_the_exact_values() -> None:
    exact, sampled = layer()(X), layer(shots=100_000)(X)
    # The standard error of a mean of 100,000 values of +-1 is 0.0032.
    assert 0 < (sampled - exact).abs().max() < 0.02
    assert set(np.unique(layer(shots=1)(X).detach().numpy())) == {-1.0, 1.0}


def test_shots_are_the_same_by_the_same_seed_and_others_in_the_next_call() -> None:
    first, second = layer(shots=50), layer(shots=50)
    values = first(X)
    assert torch.equal(values, second(X))
    assert not torch.equal(values, first(X))
    assert torch.equal(copy.deepcopy(first)(X), first(X))


def test_all_kinds_of_observables_are_read_from_shots() -> None:
    circuit = Circuit(2).ry(0, "a").cx(0, 1).ry(1, 0.4)
    observables = [pauli("X0 X1"), pauli("Z0 Z1") * 0.5 + pauli("Y0"), Projector((1, 0), (1, 0)), pauli("")]
    found = [
        CircuitLayer(circuit, observables, shots=shots, init="normal", seed=3)(torch.zeros(1, 0))
        for shots in (200_000, None)
    ]
    assert torch.allclose(*found, atol=0.02)
    assert found[0][0, 3] == 1.0


def test_shifted_circuits_give_the_exact_gradient() -> None:
    for exact, shifted in zip(gradients(layer()), gradients(layer(gradient="parameter_shift")), strict=True):
        assert torch.allclose(exact, shifted, atol=1e-5)


def test_shifts_of_shots_are_close_to_the_exact_gradient() -> None:
    for exact, sampled in zip(gradients(layer()), gradients(layer(shots=100_000)), strict=True):
        assert torch.allclose(exact, sampled, atol=0.1)


@pytest.mark.parametrize("shots", [None, 500])
def test_simultaneous_perturbation_is_right_on_average(shots: int | None) -> None:
    spsa, exact = layer(gradient="spsa", shots=shots), gradients(layer())
    draws = [gradients(spsa) for _ in range(500)]
    for place in (0, 1):
        found = torch.stack([draw[place] for draw in draws])
        spread = found.std(dim=0) / len(draws) ** 0.5
        # Five standard errors, and the bias of a step of 0.1.
        assert ((found.mean(dim=0) - exact[place]).abs() < 5 * spread + 0.02).all()


@pytest.mark.parametrize("gradient", ["parameter_shift", "spsa"])
def test_gradients_of_amplitudes_by_circuits(gradient: str) -> None:
    def made(gradient: str) -> QuantumLayer:
        return QuantumLayer(2, 1, encoding="amplitude", input_grad=True, gradient=gradient, seed=1)

    def slope(of: QuantumLayer) -> Tensor:
        x = torch.tensor([[0.3, 0.5, -0.2, 0.9]], requires_grad=True)
        (found,) = torch.autograd.grad(of(x)[:, 0].sum(), x)
        return found

    exact, other = slope(made("adjoint")), made(gradient)
    draws = 1 if gradient == "parameter_shift" else 800
    found = torch.stack([slope(other) for _ in range(draws)])
    spread = found.std(dim=0, correction=0) / draws**0.5
    assert ((found.mean(dim=0) - exact).abs() < 5 * spread + 1e-4).all()


@pytest.mark.parametrize("options", [{"shots": 100}, {"gradient": "spsa"}], ids=["shots", "spsa"])
def test_sampled_gradients_cannot_be_differentiated_again(options: dict[str, Any]) -> None:
    its = layer(**options)
    (slope,) = torch.autograd.grad(its(X).sum(), its.quantum_params, create_graph=True)
    with pytest.raises(ArgumentError, match="first derivatives only"):
        slope.sum().backward()


def test_the_gradient_of_amplitudes_by_shifts_must_be_asked_for() -> None:
    options: dict[str, Any] = {"encoding": "amplitude", "gradient": "parameter_shift", "seed": 1}
    x = torch.rand(1, 4, requires_grad=True)
    with pytest.raises(ArgumentError, match="input_grad=True"):
        QuantumLayer(2, **options)(x)
    QuantumLayer(2, **options)(x.detach()).sum().backward()
    without = QuantumLayer(2, **options, input_grad=False)(x)
    without.sum().backward()
    assert x.grad is None
