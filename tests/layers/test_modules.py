"""What every layer promises as a Torch module."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qstore_db.errors import ArgumentError
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
)
from qstore_db.layers.base import QuantumModule
from qstore_db.quantum import Circuit, data, pauli


def fused(seed: int | None = None) -> QuantumSequential:
    return QuantumSequential(
        QuantumFeatureExtractor(3, 2, measurement_bases=None, seed=seed),
        QuantumPooling(3, 2),
        QuantumReadout(1, 2, seed=seed),
    )


CIRCUIT = Circuit(2).ry(0, "a").rx(1, data(0)).cx(0, 1)
MAKERS: dict[str, Callable[[], QuantumModule]] = {
    "quantum": lambda: QuantumLayer(4, seed=1),
    "quantum-amplitude": lambda: QuantumLayer(2, encoding="amplitude", measurement_bases=("X", "Y"), seed=1),
    "quantum-iqp": lambda: QuantumLayer(4, encoding="iqp", entanglement=[(0, 2)], seed=1),
    "extractor": lambda: QuantumFeatureExtractor(2, seed=1),
    "nonlinearity": lambda: QuantumNonlinearity(4),
    "parametric": lambda: QuantumNonlinearity(4, "parametric"),
    "pooling": lambda: QuantumPooling(4),
    "readout": lambda: QuantumReadout(2, 3, seed=1),
    "encoding": lambda: EncodingLayer(8),
    "decoding": lambda: DecodingLayer(),
    "sequential": lambda: fused(1),
    "adaptive": lambda: AdaptiveLayer(4, seed=1),
    "normalization": lambda: QuantumAwareNormalization(4).eval(),
    "circuit": lambda: CircuitLayer(CIRCUIT.ry(1, data(3)), [pauli("Z1")], seed=1),
}
each_layer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def rows(*shape: int) -> Tensor:
    return torch.rand(*shape, 4, generator=torch.Generator().manual_seed(0)) + 0.1


@each_layer
def test_columns_and_leading_dimensions(make: Callable[[], QuantumModule]) -> None:
    layer, x = make(), rows(2, 3)
    found = layer(x)
    assert found.shape[:-1] == (2, 3)
    assert found.shape[-1] == layer.output_dim or layer.output_dim is None
    assert found.dtype == torch.float32
    assert torch.allclose(layer(x[1, 2]), found[1, 2], atol=1e-6)
    assert layer(x[:0]).shape == (0, *found.shape[1:])


@each_layer
def test_a_copy_a_pickle_and_a_saved_state_give_the_same(make: Callable[[], QuantumModule]) -> None:
    layer, x = make(), rows(3)
    if layer.n_parameters:
        layer.set_quantum_parameters(np.linspace(-1, 1, layer.n_parameters))
    expected = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), expected)
    saved = io.BytesIO()
    torch.save(layer.state_dict(), saved)
    saved.seek(0)
    other = make()
    other.load_state_dict(torch.load(saved))
    assert torch.equal(other(x), expected)


@each_layer
def test_a_layer_is_made_anew_from_its_config(make: Callable[[], QuantumModule]) -> None:
    layer = make()
    again = type(layer).from_config(layer.get_config())
    again.train(layer.training)
    assert again.get_config() == layer.get_config()
    assert torch.equal(again(rows(3)), layer(rows(3)))


@each_layer
def test_quantum_parameters_are_read_and_set(make: Callable[[], QuantumModule]) -> None:
    layer = make()
    values = np.linspace(-3, 3, layer.n_parameters).astype(np.float32)
    before = layer.get_quantum_parameters()
    assert before.shape == (layer.n_parameters,)
    assert before.dtype == np.float32
    layer.set_quantum_parameters(values)
    assert np.array_equal(layer.get_quantum_parameters(), values)
    for wrong in (np.zeros(layer.n_parameters + 1), "a", np.full(layer.n_parameters + 1, np.nan)):
        with pytest.raises(ArgumentError, match="array"):
            layer.set_quantum_parameters(wrong)
    assert np.array_equal(layer.get_quantum_parameters(), values)


@each_layer
def test_a_compiled_layer_is_one_graph_and_gives_the_same(make: Callable[[], QuantumModule]) -> None:
    layer, x = make(), rows(3).requires_grad_()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    expected, found = layer(x), compiled(x)
    assert torch.allclose(found, expected, atol=1e-6)
    wanted = [x, *layer.parameters()]
    first = torch.autograd.grad(expected.square().sum(), wanted, allow_unused=True, materialize_grads=True)
    second = torch.autograd.grad(found.square().sum(), wanted, allow_unused=True, materialize_grads=True)
    for one, other in zip(first, second, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@each_layer
def test_under_autocast_all_is_computed_in_single_precision(make: Callable[[], QuantumModule]) -> None:
    layer, x = make(), rows(3)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.float32
        assert torch.equal(layer(x), expected)
        assert layer(x.bfloat16()).dtype == torch.float32


@each_layer
def test_in_double_precision_all_is_double(make: Callable[[], QuantumModule]) -> None:
    layer, x = make().double(), rows(3).double()
    assert layer(x).dtype == torch.float64


@each_layer
async def test_an_awaited_layer_gives_the_same_and_can_be_trained(make: Callable[[], QuantumModule]) -> None:
    layer, x = make(), rows(3).requires_grad_()
    found = await layer.forward_async(x)
    assert torch.equal(found, layer(x))
    assert found.requires_grad
    with torch.no_grad():
        assert (await layer.forward_async(x)).grad_fn is None


@each_layer
def test_inference_mode_leaves_nothing_behind_that_cannot_be_trained(
    make: Callable[[], QuantumModule],
) -> None:
    layer = make()
    with torch.inference_mode():
        layer(rows(3))
    layer(rows(3).requires_grad_()).sum().backward()


@pytest.mark.parametrize("make", [lambda: QuantumLayer(3), lambda: fused(), lambda: AdaptiveLayer(2)])
def test_torch_sets_the_seed_where_none_is_given(make: Callable[[], QuantumModule]) -> None:
    torch.manual_seed(7)
    first = make().state_dict()
    torch.manual_seed(7)
    second, third = make().state_dict(), make().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], third[name]) for name in first)


def test_a_seed_gives_the_same_layer_whatever_torch_was_set_to() -> None:
    first, second = QuantumLayer(3, seed=5), QuantumLayer(3, seed=5)
    assert torch.equal(first.quantum_params, second.quantum_params)
    assert not torch.equal(first.quantum_params, QuantumLayer(3, seed=6).quantum_params)


def test_initial_angles_are_as_their_names_say() -> None:
    def angles(init: str) -> np.ndarray:
        return QuantumLayer(8, 16, init=init, seed=0).get_quantum_parameters()

    assert 0.05 < np.abs(angles("small")).max() <= 0.1
    assert 3.0 < np.abs(angles("uniform")).max() <= np.pi
    assert 0.8 < angles("normal").std() < 1.2


def test_parameters_are_in_the_order_of_layer_qubit_and_gate() -> None:
    names = QuantumLayer(2, 2).circuit.parameters
    assert names == tuple(
        f"theta_{layer}_{qubit}_{axis}" for layer in (0, 1) for qubit in (0, 1) for axis in "yz"
    )
    assert QuantumLayer(2, 1, ansatz="rz_ry").circuit.parameters[:2] == ("theta_0_0_z", "theta_0_0_y")
    full = QuantumLayer(2, 3, ansatz="full_rotation")
    assert full.n_parameters == 3 * 2 * 3
    assert full.circuit.parameters[:3] == ("theta_0_0_x", "theta_0_0_y", "theta_0_0_z")
    assert QuantumReadout(2, 4).circuit.parameters == ("readout_theta_0", "readout_theta_1")


@pytest.mark.parametrize(
    ("n_qubits", "entanglement", "expected"),
    [
        (1, "circular", []),
        (2, "circular", [(0, 1)]),
        (3, "circular", [(0, 1), (1, 2), (2, 0)]),
        (3, "linear", [(0, 1), (1, 2)]),
        (3, "full", [(0, 1), (0, 2), (1, 2)]),
        (3, [(2, 0), (1, 0)], [(2, 0), (1, 0)]),
    ],
)
def test_entanglement_is_by_these_gates(
    n_qubits: int, entanglement: object, expected: list[tuple[int, int]]
) -> None:
    circuit = QuantumLayer(n_qubits, 1, entanglement=entanglement).circuit
    assert [gate.qubits for gate in circuit.operations if len(gate.qubits) == 2] == expected


def test_specs_say_what_a_sample_costs() -> None:
    specs = QuantumLayer(3, 2, measurement_bases=("Z", "X"), gradient="parameter_shift").specs()
    assert dict(specs.gates) == {"ry": 9, "rz": 6, "cx": 4}
    assert (specs.circuits, specs.shots) == (2, None)
    assert specs.gradient_circuits == 2 * 15 * 2
    assert QuantumLayer(3, gradient="parameter_shift", input_grad=False).specs().gradient_circuits == 2 * 12
    assert QuantumLayer(3, gradient="spsa", shots=10).specs().gradient_circuits == 2
    assert QuantumLayer(3).specs().gradient_circuits == 0
    assert fused().specs().circuits == 1
    assert QuantumPooling(4).specs().circuits == 0


def test_what_was_fitted_is_saved_and_loaded() -> None:
    layer, x = EncodingLayer(2, "pca"), rows(6)
    layer.fit(x)
    other = EncodingLayer(2, "pca")
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))


def test_repr_shows_what_was_asked_for() -> None:
    assert "n_qubits=4, depth=2, entanglement='linear'" in repr(QuantumLayer(4))
    assert "QuantumPooling(n_qubits=3, pool_size=2" in repr(fused())


def test_layers_are_modules_like_others() -> None:
    model = nn.Sequential(nn.Linear(4, 3), QuantumLayer(3), nn.Linear(3, 1))
    model(rows(5)).sum().backward()
    assert all(each.grad is not None for each in model.parameters())
