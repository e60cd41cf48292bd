"""Trajectories have the mean that the density matrix says, and gradients where that has one."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from qstore_db.errors import ArgumentError, DifferentiationError
from qstore_db.quantum import (
    Channel,
    Circuit,
    Projector,
    adjoint,
    data,
    density,
    expectations,
    pauli,
    trajectories,
    trajectory_expectations,
)
from qstore_db.quantum.channels import CHANNELS, UNITARY_MIXTURES

OBSERVABLES = [pauli("Z0"), pauli("X0 Y1"), 0.5 * pauli("Z1 Z2") - pauli("Y2"), Projector((2, 0), (1, 0))]
START = Circuit(3).ry(0, 0.8).ry(1, "a").rx(2, data(0)).cx(0, 1).rz(1, 0.7)


def ended(circuit: Circuit) -> Circuit:
    return circuit.cx(1, 2).h(0).rx(1, 0.3).cry(0, 2, "b")


def agrees(circuit: Circuit, rows: Any, trajectories: int = 4000, seed: int = 1) -> None:
    found = trajectory_expectations(circuit, OBSERVABLES, trajectories, [0.4, 0.9], rows, seed=seed)
    exact = expectations(circuit, OBSERVABLES, [0.4, 0.9], rows)
    assert (np.abs(found.values - exact) <= 5 * found.errors + 1e-12).all()
    assert (found.errors < 0.05).all()


@pytest.mark.parametrize("kind", CHANNELS)
@pytest.mark.parametrize("strength", [0.15, 1.0])
def test_the_mean_is_that_of_the_density_matrix(kind: str, strength: float) -> None:
    noise = Channel(kind, strength)
    agrees(ended(START.noise(noise)).noise(noise, 2), [[0.3], [-1.1]])


def test_measurements_and_resets_have_the_mean_of_the_density_matrix() -> None:
    agrees(ended(START.measure(0, 1).rx(1, 0.4).reset(1).noise(Channel("amplitude_damping", 0.3))), [0.3])


def test_a_wrong_strength_would_be_noticed() -> None:
    noisy = ended(START.noise(Channel("amplitude_damping", 0.3)))
    found = trajectory_expectations(noisy, OBSERVABLES, 4000, [0.4, 0.9], [0.3], seed=1)
    other = ended(START.noise(Channel("amplitude_damping", 0.45)))
    exact = expectations(other, OBSERVABLES, [0.4, 0.9], [0.3])
    assert (np.abs(found.values - exact) > 5 * found.errors).any()


def test_outcomes_are_of_the_states_that_go_on() -> None:
    """A Bell pair: both halves give the same, and the state after them is what was found."""
    circuit = Circuit(3).h(0).cx(0, 1).measure(0, 1).cx(1, 2)
    found = trajectory_expectations(circuit, [pauli("Z2"), pauli("Z0 Z2")], 2000, seed=3)
    assert found.outcomes.shape == (2000, 2)
    np.testing.assert_array_equal(found.outcomes[:, 0], found.outcomes[:, 1])
    assert found.values[0] == pytest.approx(1 - 2 * found.outcomes[:, 0].mean(), abs=1e-12)
    assert found.values[1] == pytest.approx(1.0, abs=1e-12)
    assert abs(found.outcomes[:, 0].mean() - 0.5) < 5 * 0.5 / np.sqrt(2000)


def test_a_qubit_measured_twice_gives_the_same_and_a_reset_one_gives_0() -> None:
    circuit = Circuit(1).ry(0, 1.2).measure(0).measure(0).reset(0).measure(0)
    outcomes = trajectory_expectations(circuit, [pauli("Z0")], 500, seed=0).outcomes
    np.testing.assert_array_equal(outcomes[:, 0], outcomes[:, 1])
    assert 0 < outcomes[:, 0].mean() < 1
    assert not outcomes[:, 2].any()


def test_a_batch_has_its_own_trajectories_for_each_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = ended(START.measure(0).noise(Channel("depolarising", 0.3)))
    monkeypatch.setattr(trajectories, "_AT_ONCE", 100 * 16 * 8)
    found = trajectory_expectations(circuit, OBSERVABLES, 1500, [0.4, 0.9], [[0.3], [2.0]], seed=5)
    assert found.values.shape == found.errors.shape == (2, 4)
    assert found.outcomes.shape == (2, 1500, 1)
    exact = expectations(circuit, OBSERVABLES, [0.4, 0.9], [[0.3], [2.0]])
    assert (np.abs(found.values - exact) <= 5 * found.errors + 1e-12).all()


def test_the_same_seed_gives_the_same_trajectories() -> None:
    circuit = ended(START.noise(Channel("amplitude_damping", 0.3)))
    runs = [
        trajectory_expectations(circuit, OBSERVABLES, 50, [0.4, 0.9], [0.3], seed=seed).values
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()


def test_states_keep_norm_1_through_many_jumps() -> None:
    circuit = Circuit(2)
    for _ in range(200):
        circuit = circuit.ry(0, 0.7).cx(0, 1).noise(Channel("amplitude_damping", 0.6))
    states, _ = trajectories.run(circuit, np.empty(0), np.empty((50, 0)), np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(states, axis=1), 1.0, atol=1e-12)


MIXED = (
    ended(START.noise(Channel("depolarising", 0.2), 1))
    .noise(Channel("bit_phase_flip", 0.3), 0)
    .rx(0, data(1))
)


def slopes(circuit: Circuit, rows: Any, weights: Any) -> tuple[Any, Any]:
    """Of the density matrix's values times `weights`, by differences; for parameters and data."""

    def value(parameters: Any, inputs: Any) -> float:
        found = density.expectations(density.run(circuit, parameters, inputs), OBSERVABLES)
        return float((weights * found).sum())

    at, step = np.array([0.4, 0.9]), 1e-5
    by_parameter = [(value(at + d, rows) - value(at - d, rows)) / (2 * step) for d in step * np.eye(2)]
    by_data = np.zeros_like(rows)
    for place in np.ndindex(*rows.shape):
        d = np.zeros_like(rows)
        d[place] = step
        by_data[place] = (value(at, rows + d) - value(at, rows - d)) / (2 * step)
    return np.array(by_parameter), by_data


ROWS = np.array([[0.3, -0.8], [1.4, 0.5]])
WEIGHTS = np.array([[1.0, -0.5, 0.3, 2.0], [0.2, 0.4, -1.0, 0.1]])


def test_all_draws_weighted_by_their_probability_have_the_gradient_of_the_density_matrix() -> None:
    pure = trajectories.unravelled(MIXED)
    by_parameter, by_data = np.zeros(2), np.zeros_like(ROWS)
    for (first, p), (second, q) in product(
        [((0, 0), 0.8), ((1, 0), 0.2 / 3), ((1, 1), 0.2 / 3), ((0, 1), 0.2 / 3)],
        [((0, 0), 0.7), ((1, 1), 0.3)],
    ):
        rows = np.hstack([ROWS, np.tile([*first, *second], (2, 1))])
        found = adjoint.gradients(pure, OBSERVABLES, np.array([0.4, 0.9]), rows, WEIGHTS)
        by_parameter += p * q * found.parameters
        by_data += p * q * found.data[:, :2]
    wanted = slopes(MIXED, ROWS, WEIGHTS)
    np.testing.assert_allclose(by_parameter, wanted[0], atol=1e-8)
    np.testing.assert_allclose(by_data, wanted[1], atol=1e-8)


def test_gradients_by_trajectories_are_unbiased() -> None:
    rng, runs = np.random.default_rng(8), 60
    found = [
        trajectories.gradients(MIXED, OBSERVABLES, np.array([0.4, 0.9]), ROWS, WEIGHTS, 40, rng)
        for _ in range(runs)
    ]
    by_parameter, by_data = slopes(MIXED, ROWS, WEIGHTS)
    exact = density.expectations(density.run(MIXED, np.array([0.4, 0.9]), ROWS), OBSERVABLES)
    for name, wanted in (("parameters", by_parameter), ("data", by_data), ("values", exact)):
        values = np.array([getattr(each, name) for each in found])
        error = values.std(axis=0, ddof=1) / np.sqrt(runs)
        assert (np.abs(values.mean(axis=0) - wanted) <= 5 * error + 1e-8).all(), name


def test_draws_have_the_probabilities_of_the_channel() -> None:
    circuit = Circuit(2).noise(Channel("depolarising", 0.6), 0).noise(Channel("phase_flip", 0.3), 1)
    drawn = trajectories.draws(circuit, 20_000, np.random.default_rng(2))
    assert drawn.shape == (20_000, 4)
    for column, wanted in enumerate([0.4, 0.4, 0.0, 0.3]):
        assert abs(drawn[:, column].mean() - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / 20_000)
    assert abs((drawn[:, 0] * drawn[:, 1]).mean() - 0.2) <= 5 * np.sqrt(0.16 / 20_000)


@pytest.mark.parametrize(
    ("circuit", "subject"),
    [
        (START.noise(Channel("amplitude_damping", 0.1)), "amplitude_damping"),
        (START.noise(Channel("phase_damping", 0.1)), "phase_damping"),
        (START.measure(0), "measure"),
        (START.reset(0), "reset"),
    ],
)
def test_what_jumps_by_its_state_has_no_gradient(circuit: Circuit, subject: str) -> None:
    with pytest.raises(DifferentiationError, match="density matrix") as caught:
        trajectories.gradients(
            circuit, [pauli("Z0")], np.array([0.4]), ROWS[:, :1], np.ones((2, 1)), 3, np.random.default_rng(0)
        )
    assert caught.value.subject == subject


@pytest.mark.parametrize("kind", sorted(UNITARY_MIXTURES))
def test_every_mixture_unravels_into_an_ordinary_circuit(kind: str) -> None:
    noise = Channel(kind, 0.4)
    circuit = ended(START.noise(noise, 1))
    letters = {"I": (0, 0), "X": (1, 0), "Y": (1, 1), "Z": (0, 1)}
    mean = sum(
        share
        * expectations(trajectories.unravelled(circuit), OBSERVABLES, [0.4, 0.9], [0.3, *letters[letter]])
        for letter, share in noise.shares().items()
    )
    np.testing.assert_allclose(mean, expectations(circuit, OBSERVABLES, [0.4, 0.9], [0.3]), atol=1e-12)


@pytest.mark.parametrize("bad", [0, -3, 1.5, True])
def test_numbers_of_trajectories_below_one_are_refused(bad: Any) -> None:
    with pytest.raises(ArgumentError, match="trajectories") as caught:
        trajectory_expectations(Circuit(1), [pauli("Z0")], bad)
    assert caught.value.subject == "trajectories"
