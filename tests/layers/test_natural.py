"""Natural gradients of whole models."""

from __future__ import annotations

from weakref import ref

import numpy as np
import pytest
import torch
from torch import nn

from qstore_db.errors import ArgumentError
from qstore_db.layers import (
    NaturalGradient,
    QuantumFeatureExtractor,
    QuantumLayer,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
)
from qstore_db.quantum import Channel, Metric, natural


def test_gradients_of_circuits_become_natural_and_others_stay() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), QuantumLayer(3, 2, seed=1), nn.Linear(3, 1)).double()
    natural_gradient, x = NaturalGradient(model, damping=0.01), torch.rand(5, 2, dtype=torch.float64)
    model(x).square().mean().backward()
    layer = model[1]
    assert isinstance(layer, QuantumLayer)
    assert layer.quantum_params.grad is not None
    before, classical = layer.quantum_params.grad.clone(), [p.grad.clone() for p in model[0].parameters()]
    natural_gradient.apply()
    metric = Metric(layer.circuit)(layer.quantum_params.detach().numpy(), model[0](x).detach().numpy())
    np.testing.assert_allclose(layer.quantum_params.grad, natural(before.numpy(), metric, 0.01), rtol=1e-6)
    assert all(torch.equal(p.grad, its) for p, its in zip(model[0].parameters(), classical, strict=True))


def test_it_learns_what_the_plain_gradient_does_not_in_as_many_steps() -> None:
    target = torch.tensor([[-0.95, 0.9, -0.9]])

    def left(use_natural: bool) -> float:
        layer = QuantumLayer(3, 2, seed=0)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
        turned = NaturalGradient(layer) if use_natural else None
        loss = torch.zeros(())
        for _ in range(60):
            optimizer.zero_grad()
            loss = (layer(torch.zeros(1, 3)) - target).square().sum()
            loss.backward()
            if turned is not None:
                turned.apply()
            optimizer.step()
        return loss.item()

    assert left(True) < 0.1 * left(False)


def test_fused_circuits_count_as_one() -> None:
    model = QuantumSequential(
        QuantumFeatureExtractor(3, depth=1, measurement_bases=None, seed=1),
        QuantumPooling(3, 3),
        QuantumFeatureExtractor(1, depth=1, measurement_bases=None, seed=2),
        QuantumReadout(1, n_classes=2, seed=3),
    )
    natural_gradient, x = NaturalGradient(model), torch.rand(4, 8)
    model(x)[:, 0].sum().backward()
    before = torch.cat([each.grad for each in model.quantum_parameters()]).numpy()
    natural_gradient.apply()
    after = torch.cat([each.grad for each in model.quantum_parameters()]).numpy()
    states = nn.functional.normalize(x.double(), dim=1).numpy()
    metric = Metric(model.circuit)(model.get_quantum_parameters().astype(float), states[:, :0], states)
    np.testing.assert_allclose(after, natural(before, metric), rtol=1e-3, atol=1e-3)


def test_angles_that_are_not_trained_have_no_part() -> None:
    model = QuantumSequential(
        QuantumFeatureExtractor(2, depth=1, measurement_bases=None, seed=1), QuantumReadout(2, 2, seed=2)
    ).double()
    readout, x = model.layers[1], torch.rand(3, 4, dtype=torch.float64)
    assert isinstance(readout, QuantumReadout)
    readout.quantum_params.requires_grad_(False)
    natural_gradient = NaturalGradient(model)
    model(x)[:, 0].sum().backward()
    first = model.quantum_parameters()[0]
    assert first.grad is not None
    before = first.grad.numpy().copy()
    natural_gradient.apply()
    angles = torch.cat([each.detach() for each in model.quantum_parameters()]).numpy()
    states = nn.functional.normalize(x, dim=1).numpy()
    metric = Metric(model.circuit)(angles, states[:, :0], states)[:4, :4]
    np.testing.assert_allclose(first.grad, natural(before, metric), rtol=1e-8)
    assert readout.quantum_params.grad is None


def test_several_batches_of_one_step_are_taken_together() -> None:
    layer = QuantumLayer(2, 1, seed=0)
    natural_gradient, x = NaturalGradient(layer), torch.rand(6, 2)
    for part in x.split(3):
        layer(part).sum().backward()
    natural_gradient.apply()
    apart = layer.quantum_params.grad
    layer.zero_grad()
    layer(x).sum().backward()
    natural_gradient.apply()
    torch.testing.assert_close(layer.quantum_params.grad, apart)


def test_a_model_goes_on_without_it_and_keeps_nothing() -> None:
    layer = QuantumLayer(2, 1)
    natural_gradient = NaturalGradient(layer)
    gone = ref(natural_gradient)
    x = torch.rand(3, 2)
    layer(x)
    del natural_gradient
    assert gone() is None
    held = ref(x)
    layer(x)
    del x
    assert held() is None


@pytest.mark.parametrize("damping", [0, -1.0, float("nan"), "much", True])
def test_damping_must_be_above_zero(damping: object) -> None:
    with pytest.raises(ArgumentError, match="damping"):
        NaturalGradient(QuantumLayer(2), damping)  # type: ignore[arg-type]


def test_models_without_circuits_or_pure_states_are_refused() -> None:
    with pytest.raises(ArgumentError, match="no circuit"):
        NaturalGradient(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="pure states"):
        NaturalGradient(QuantumLayer(2, noise=Channel("depolarising", 0.1)))


def test_a_second_call_without_a_run_is_refused() -> None:
    layer = QuantumLayer(2, 1)
    natural_gradient = NaturalGradient(layer)
    layer(torch.rand(3, 2)).sum().backward()
    natural_gradient.apply()
    with pytest.raises(ArgumentError, match="not been run"):
        natural_gradient.apply()


def test_nothing_is_kept_where_no_gradient_is_asked_for() -> None:
    layer = QuantumLayer(2, 1)
    natural_gradient = NaturalGradient(layer)
    with torch.no_grad():
        layer(torch.rand(3, 2))
    layer(torch.zeros(1, 2)).sum().backward()
    natural_gradient.apply()
    again = QuantumLayer(2, 1)
    again.load_state_dict(layer.state_dict())
    fresh = NaturalGradient(again)
    again(torch.zeros(1, 2)).sum().backward()
    fresh.apply()
    torch.testing.assert_close(layer.quantum_params.grad, again.quantum_params.grad)
