"""Shots have the distribution that the state says, and what is estimated from them is unbiased."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from qstore_db.errors import ArgumentError
from qstore_db.quantum import Channel, Circuit, Projector, data, estimate, expectations, pauli, sample

CIRCUIT = Circuit(3).ry(0, 0.8).ry(1, "a").rx(2, data(0)).cx(0, 1).rz(1, 0.7).cx(1, 2).h(0)
NOISY = CIRCUIT.noise(Channel("amplitude_damping", 0.3), 1).cx(1, 0)
OBSERVABLES = [
    pauli("Z0"),
    0.5 * pauli("X0 X1") - 2.0 * pauli("Y2") + 0.25 * pauli(""),
    pauli("Z1 Z2") + pauli("Z0"),
    Projector((2, 0), (1, 0)),
    pauli("Y0 Z2"),
    pauli("I"),
]


@pytest.mark.parametrize("circuit", [CIRCUIT, NOISY], ids=["pure", "noisy"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_outcomes_have_the_probabilities_of_the_state(circuit: Circuit, seed: int) -> None:
    shots, probs = 20_000, circuit.probs([0.4], [1.1])
    samples = sample(circuit, shots, [0.4], [1.1], seed=seed)
    found = np.bincount(samples.outcomes, minlength=8)
    assert stats.chisquare(found, shots * probs).pvalue > 1e-6


def test_a_wrong_distribution_would_be_noticed() -> None:
    samples = sample(CIRCUIT, 20_000, [0.4], [1.1], seed=0)
    found = np.bincount(samples.outcomes, minlength=8)
    assert stats.chisquare(found, 20_000 * CIRCUIT.probs([0.45], [1.1])).pvalue < 1e-6


def test_bits_and_counts_are_of_the_same_shots_with_qubit_0_first() -> None:
    samples = sample(Circuit(3).x(0).h(2), 1000, seed=4)
    assert samples.bits.shape == (1000, 3)
    assert set(samples.counts) == {"100", "101"}
    assert samples.counts["101"] == samples.bits[:, 2].sum()
    assert sum(samples.counts.values()) == 1000
    assert samples.bits[:, 0].all()
    assert not samples.bits[:, 1].any()


def test_outcomes_of_probability_zero_never_come() -> None:
    assert sample(Circuit(4).x(3), 100_000, seed=0).counts == {"0001": 100_000}


def test_a_seed_gives_the_same_shots_and_a_generator_goes_on() -> None:
    first, again = (sample(CIRCUIT, 50, [0.4], [1.1], seed=7).outcomes for _ in range(2))
    np.testing.assert_array_equal(first, again)
    rng = np.random.default_rng(7)
    np.testing.assert_array_equal(sample(CIRCUIT, 50, [0.4], [1.1], seed=rng).outcomes, first)
    assert (sample(CIRCUIT, 50, [0.4], [1.1], seed=rng).outcomes != first).any()


@pytest.mark.parametrize("circuit", [CIRCUIT, NOISY], ids=["pure", "noisy"])
def test_estimates_are_unbiased_and_their_errors_are_what_they_say(circuit: Circuit) -> None:
    rng, runs, inputs = np.random.default_rng(11), 200, np.array([[0.3], [-1.2]])
    exact = expectations(circuit, OBSERVABLES, [0.4], inputs)
    found = [estimate(circuit, OBSERVABLES, 100, [0.4], inputs, seed=rng) for _ in range(runs)]
    values = np.array([each.values for each in found])
    spread = values.std(axis=0, ddof=1)
    assert (np.abs(values.mean(axis=0) - exact) <= 5 * spread / np.sqrt(runs) + 1e-12).all()
    said = np.sqrt(np.mean([each.errors**2 for each in found], axis=0))
    np.testing.assert_allclose(said, spread, rtol=0.35, atol=1e-12)


def test_what_agrees_on_every_qubit_shares_its_circuit_and_the_cost_is_reported() -> None:
    observables = [pauli("Z0"), pauli("Z1 Z2"), pauli("X0"), pauli("X0 Z1"), pauli("Y2 X0")]
    found = estimate(CIRCUIT, observables, 100, [0.4], np.zeros((5, 1)), seed=0)
    assert found.bases == ("ZZZ", "XZY")
    assert (found.circuits, found.shots) == (10, 1000)
    assert found.values.shape == found.errors.shape == (5, 5)


def test_one_sample_gives_one_row() -> None:
    found = estimate(CIRCUIT, OBSERVABLES, 100, [0.4], [0.2], seed=0)
    assert found.values.shape == (len(OBSERVABLES),)
    assert found.values[-1] == 1.0
    assert found.circuits == len(found.bases)


def test_shots_read_together_show_their_correlation() -> None:
    """Z0 - Z1 of a Bell pair is 0 in every shot, though neither alone is ever sure."""
    found = estimate(Circuit(2).h(0).cx(0, 1), [pauli("Z0") - pauli("Z1"), pauli("Z0")], 50, seed=0)
    assert found.values[0] == found.errors[0] == 0.0
    assert found.errors[1] > 0.1


@pytest.mark.parametrize("bad", [0, -1, 2.5, True, None, "many"])
def test_bad_numbers_of_shots_and_seeds_are_refused(bad: Any) -> None:
    with pytest.raises(ArgumentError) as caught:
        sample(Circuit(1), bad)
    assert caught.value.subject == "shots"
    if bad not in (0, None):
        with pytest.raises(ArgumentError) as caught:
            sample(Circuit(1), 1, seed=bad)
        assert caught.value.subject == "seed"


def test_samples_of_a_batch_and_observables_beyond_the_circuit_are_refused() -> None:
    with pytest.raises(ArgumentError, match="data"):
        sample(CIRCUIT, 10, [0.4], [[1.0], [2.0]])
    with pytest.raises(ArgumentError, match="more than 3 qubits"):
        estimate(CIRCUIT, [pauli("Z3")], 10, [0.4], [1.0])
