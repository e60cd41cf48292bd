"""Layers with noise inside: values of density matrices, exactly where that is possible, and their gradients."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise as pairwise_in
from typing import Any

import cirq
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from qstore_db.errors import ArgumentError
from qstore_db.layers import CircuitLayer, QuantumLayer, function, gradient_variance
from qstore_db.layers.ansatz import ENCODINGS
from qstore_db.quantum import (
    Channel,
    Circuit,
    Projector,
    data,
    expectations,
    pauli,
    trajectory_expectations,
)
from qstore_db.quantum.channels import CHANNELS
from qstore_db.quantum.observables import Observable
from qstore_db.testing.pairwise import pairwise

DAMPED = Channel("amplitude_damping", 0.2)
FLIPPED = Channel("depolarising", 0.15)
LETTERS = {"X": cirq.X, "Y": cirq.Y, "Z": cirq.Z}
CIRQ: dict[str, Any] = {
    "amplitude_damping": cirq.amplitude_damp,
    "phase_damping": cirq.phase_damp,
    "depolarising": cirq.depolarize,
    "bit_flip": cirq.bit_flip,
    "phase_flip": cirq.phase_flip,
    "bit_phase_flip": lambda p: cirq.asymmetric_depolarize(p_y=p),
}


def rows(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 1.6 + 0.2


def of_cirq(angles: Tensor, x: Tensor, depth: int, noise: list[Channel]) -> list[float]:
    """<Z>, then <X>, of RY(x), and `depth` layers of RY, RZ, a chain of CNOTs and the noise."""
    qubits = cirq.LineQubit.range(len(x))
    turns, circuit = iter(angles.tolist()), cirq.Circuit()
    circuit.append(cirq.ry(its)(qubit) for its, qubit in zip(x.tolist(), qubits, strict=True))
    for _ in range(depth):
        for qubit in qubits:
            circuit.append([cirq.ry(next(turns))(qubit), cirq.rz(next(turns))(qubit)])
        circuit.append(cirq.CNOT(*pair) for pair in pairwise_in(qubits))
        for channel in noise:
            circuit.append(CIRQ[channel.kind](channel.strength)(qubit) for qubit in qubits)
    rho = cirq.DensityMatrixSimulator(dtype=np.complex128).simulate(circuit, qubit_order=qubits)
    places = {qubit: place for place, qubit in enumerate(qubits)}
    strings = [cirq.PauliString({qubit: LETTERS[letter]}) for letter in "ZX" for qubit in qubits]
    matrix = rho.final_density_matrix
    return [string.expectation_from_density_matrix(matrix, places).real for string in strings]


@pytest.mark.parametrize("kind", CHANNELS)
@pytest.mark.parametrize("depth", [1, 3])
def test_values_are_those_of_cirqs_density_matrices(kind: str, depth: int) -> None:
    noise = [Channel(kind, 0.17), DAMPED]
    layer = QuantumLayer(3, depth, measurement_bases=("Z", "X"), noise=noise, init="normal", seed=1).double()
    x = rows(4, 3)
    expected = [of_cirq(layer.quantum_params, each, depth, noise) for each in x]
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)


def test_a_circuit_keeps_its_channels_and_has_the_noise_at_its_end() -> None:
    inner = Circuit(3).ry(0, "a").h(1).noise(DAMPED, 0).ccx(0, 1, 2).rx(1, data(0)).measure(2).cry(2, 0, "b")
    read: list[Observable] = [
        pauli("Z0 X1"),
        pauli("Y1") * 2.0 - pauli("Z2"),
        Projector((2, 0), (1, 0)),
        pauli(""),
    ]
    layer = CircuitLayer(inner, read, noise=FLIPPED, init="normal", seed=2).double()
    angles, x = layer.quantum_params.detach().numpy(), rows(5, 1)
    expected = expectations(inner.noise(FLIPPED), read, angles, x.numpy())
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-12)


def test_states_to_begin_with_meet_noise_too() -> None:
    layer = QuantumLayer(2, 2, encoding="amplitude", noise=DAMPED, init="normal", seed=3).double()
    noisy = layer.circuit
    prepared = Circuit(2).ry(0, 0.7).cry(0, 1, 1.1)
    x = torch.from_numpy(prepared.state()).real[None]
    expected = expectations(
        prepared.compose(noisy), [pauli("Z0"), pauli("Z1")], layer.quantum_params.detach().numpy()
    )
    np.testing.assert_allclose(layer(x).detach().numpy()[0], expected, atol=1e-12)


NOISY = pairwise(
    {
        "n_qubits": [1, 2],
        "depth": [1, 2],
        "entanglement": ["full", ()],
        "encoding": list(ENCODINGS),
        "ansatz": ["hardware_efficient", "rz_ry", "full_rotation"],
        "measurement_bases": [("Z",), ("Y", "X")],
        "gradient": ["auto", "adjoint"],
        "noise": [FLIPPED, [DAMPED, FLIPPED], [Channel("phase_damping", 0.3)], []],
    }
)


@pytest.mark.parametrize("options", NOISY, ids=lambda options: "-".join(map(str, options.values())))
def test_noise_with_any_other_option_is_differentiable_twice(options: dict[str, Any]) -> None:
    layer = QuantumLayer(**options, init="normal", seed=1).double()
    n_qubits = options["n_qubits"]
    x = rows(2, 1 << n_qubits if options["encoding"] == "amplitude" else n_qubits).requires_grad_()

    def call(x: Tensor, angles: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(layer, {"quantum_params": angles}, (x,))
        return found

    inputs = x, layer.quantum_params.detach().clone().requires_grad_()
    assert gradcheck(call, inputs)
    assert gradgradcheck(call, inputs, fast_mode=True)


def wide(**options: Any) -> QuantumLayer:
    return QuantumLayer(11, 2, noise=FLIPPED, init="normal", seed=4, **options).double()


def test_more_than_10_qubits_are_means_over_trajectories() -> None:
    layer, x = wide(trajectories=400), rows(1, 11)
    angles = layer.quantum_params.detach().numpy()
    read = [pauli(f"Z{qubit}") for qubit in range(11)]
    other = trajectory_expectations(layer.circuit, read, 400, angles, x.numpy(), seed=0)
    # Values of one trajectory are in [-1, 1]: the standard error of each mean is 0.05 at most.
    np.testing.assert_allclose(layer(x).detach().numpy(), other.values, atol=0.35)
    clean = QuantumLayer(11, 2, init="normal", seed=4).double()
    assert (layer(x).abs().sum() < 0.9 * clean(x).abs().sum()).item()


def test_trajectories_are_the_same_by_the_same_seed_and_others_in_the_next_call() -> None:
    layer, x = wide(trajectories=3), rows(2, 11)
    twin, third = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    values = layer(x)
    assert torch.equal(values, twin(x))
    assert torch.equal(values, third(x))
    assert not torch.equal(values, layer(x))


def test_gradients_of_trajectories_are_those_of_the_draws() -> None:
    layer, x = wide(trajectories=2), rows(1, 11).requires_grad_()

    def call(x: Tensor) -> Tensor:
        found: Tensor = copy.deepcopy(layer)(x)  # which begins with the same draws
        return found[:, :3]

    assert gradcheck(call, (x,))
    assert gradgradcheck(call, (x,), fast_mode=True)


def test_one_layer_of_any_noise_is_exact_beyond_10_qubits() -> None:
    layer = QuantumLayer(12, 1, entanglement=(), noise=DAMPED, init="normal", seed=5).double()
    x = rows(2, 12)
    clean = QuantumLayer(12, 1, entanglement=(), init="normal", seed=5).double()(x)
    assert torch.allclose(layer(x), 0.8 * clean + 0.2, atol=1e-12)
    assert torch.equal(layer(x), layer(x))


def test_full_noise_leaves_nothing_to_learn() -> None:
    layer = QuantumLayer(2, 2, noise=Channel("depolarising", 0.75), seed=1)
    assert layer.dead_parameters() == layer.circuit.parameters
    assert gradient_variance(layer, 10).mean < 1e-20
    some = QuantumLayer(2, 2, noise=DAMPED, seed=1)
    assert some.dead_parameters() == QuantumLayer(2, 2, seed=1).dead_parameters()


def test_what_a_device_is_asked_for_has_no_noise() -> None:
    assert QuantumLayer(2, 2, noise=DAMPED).specs() == QuantumLayer(2, 2).specs()


def test_a_layer_made_anew_has_the_same_noise() -> None:
    layer = QuantumLayer(2, 2, noise=[DAMPED, FLIPPED], seed=1)
    again = QuantumLayer.from_config(layer.get_config())
    assert torch.equal(again(torch.ones(1, 2)), layer(torch.ones(1, 2)))
    assert pickle.loads(pickle.dumps(layer)).get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("n_qubits", "noise", "with_numba"), [(2, FLIPPED, True), (2, None, False), (11, FLIPPED, True)]
)
def test_a_compiled_graph_gives_the_same_with_noise_and_without_numba(
    n_qubits: int, noise: Channel | None, with_numba: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "_COMPILED", with_numba)
    bases = ("Z", "X", "Y")
    layer = QuantumLayer(n_qubits, 2, measurement_bases=bases, noise=noise, trajectories=2, seed=1)
    twin = copy.deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.ones(3, n_qubits)
    found, expected = compiled(x), twin(x)
    assert torch.allclose(found, expected, atol=1e-6)
    slopes = [
        torch.autograd.grad(values.square().sum(), its.quantum_params)[0]
        for values, its in ((found, layer), (expected, twin))
    ]
    assert torch.allclose(slopes[0], slopes[1], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "subject"),
    [
        ({"noise": "depolarising"}, "noise"),
        ({"noise": 0.1}, "noise"),
        ({"noise": [0.1]}, "noise"),
        ({"noise": DAMPED, "shots": 10}, "shots"),
        ({"noise": DAMPED, "gradient": "parameter_shift"}, "gradient"),
        ({"noise": DAMPED, "gradient": "spsa"}, "gradient"),
        ({"noise": FLIPPED, "trajectories": 0}, "trajectories"),
        ({"noise": DAMPED, "n_qubits": 11}, "noise"),
    ],
)
def test_noise_that_cannot_be_had_is_refused_by_name(options: dict[str, Any], subject: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        QuantumLayer(**{"n_qubits": 2, **options})
    assert caught.value.subject == subject


def test_rows_that_are_not_finite_are_named_before_they_are_repeated() -> None:
    x = torch.zeros(3, 11)
    x[2, 1] = torch.nan
    with pytest.raises(ValueError, match="row 2 of x"):
        wide(trajectories=5).float()(x)
