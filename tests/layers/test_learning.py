"""Layers learn: gradients everywhere but in dead parameters, a plain training loop, and diagnostics that say
why not."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from qstore_db.layers import (
    CircuitLayer,
    QuantumFeatureExtractor,
    QuantumLayer,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
    gradient_variance,
)
from qstore_db.quantum import Circuit, pauli
from qstore_db.testing.pairwise import pairwise

OPTIONS = pairwise(
    {
        "n_qubits": [1, 2, 4],
        "entanglement": ["linear", "circular", "full"],
        "encoding": ["angle", "amplitude", "iqp", "reuploading"],
        "ansatz": ["hardware_efficient", "rz_ry", "full_rotation"],
        "measurement_bases": [("Z",), ("X",), ("Y",), ("Z", "X", "Y")],
    }
)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_one_sample_moves_all_parameters_but_the_dead(options: dict[str, object]) -> None:
    layer = QuantumLayer(**options, init="normal", seed=0).double()
    width = 1 << layer.circuit.n_qubits if options["encoding"] == "amplitude" else layer.circuit.n_qubits
    x = torch.rand(1, width, dtype=torch.float64) + 0.2
    values = layer(x)
    (values @ torch.randn(values.shape[1], dtype=torch.float64)).sum().backward()
    assert layer.quantum_params.grad is not None
    still = layer.quantum_params.grad.abs() < 1e-12
    names = layer.circuit.parameters
    assert {name for name, its in zip(names, still.tolist(), strict=True) if its} == set(
        layer.dead_parameters()
    )


def test_reading_z_leaves_the_last_turns_about_z_dead() -> None:
    assert QuantumLayer(3, 2).dead_parameters() == ("theta_1_0_z", "theta_1_1_z", "theta_1_2_z")
    assert QuantumLayer(3, 2, ansatz="rz_ry").dead_parameters() == ()
    assert QuantumLayer(3, 2, measurement_bases=("Z", "X")).dead_parameters() == ()


def test_pooling_makes_dead_what_only_dropped_wires_see() -> None:
    model = QuantumSequential(
        QuantumFeatureExtractor(2, 1, entanglement=(), measurement_bases=None),
        QuantumPooling(2, 2),
        QuantumReadout(1, 2),
    )
    assert model.dead_parameters() == ("0.theta_0_1_y", "0.theta_0_1_z")


def test_a_plain_training_loop_learns() -> None:
    torch.manual_seed(0)
    x = torch.rand(64, 2) * 3
    y = (x[:, 0] > x[:, 1]).long()
    model = nn.Sequential(nn.Linear(2, 4), QuantumLayer(4), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert (model(x).argmax(dim=1) == y).float().mean() > 0.9


def test_the_fused_model_learns() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 16).abs()
    y = (x[:, :8].sum(dim=1) > x[:, 8:].sum(dim=1)).long()
    model = QuantumSequential(
        QuantumFeatureExtractor(4, 2, measurement_bases=None), QuantumPooling(4), QuantumReadout(2, 2)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.nll_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_variance_of_a_gradient_is_that_of_its_formula() -> None:
    layer = CircuitLayer(Circuit(1).ry(0, "a").rz(0, "dead"), [pauli("Z0")])
    found = gradient_variance(layer, samples=2_000, seed=1)
    assert found.names == ("a", "dead")
    # The derivative is -sin(a), whose square is 1/2 on average.
    assert 0.45 < found.variances[0] < 0.55
    assert found.variances[1] < 1e-20
    assert found.mean == pytest.approx(found.variances.mean())
    again = gradient_variance(layer, samples=2_000, seed=1)
    assert (again.variances == found.variances).all()


def test_gradients_vanish_as_random_circuits_grow() -> None:
    small, large = (gradient_variance(QuantumLayer(n, 8), samples=30).mean for n in (2, 8))
    assert large < small / 5


def test_layers_without_torch_say_what_to_install() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import qstore_db\n"
        "try: qstore_db.QuantumLayer\n"
        "except qstore_db.errors.ConfigurationError as error: print(error)"
    )
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert 'pip install "qstore-db[torch]"' in answer.stdout


def test_a_turn_about_z_of_the_ground_state_is_dead() -> None:
    layer = CircuitLayer(Circuit(1).rz(0, "first").ry(0, "second").rz(0, "third"), [pauli("X0")])
    assert layer.dead_parameters() == ("first",)
