"""Noise right before readout as a map of observables: exact, against the density matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qstore_db.quantum import (
    Channel,
    Circuit,
    PauliSum,
    Projector,
    density,
    density_matrix,
    expectations,
    pauli,
    read_through,
    simulator,
)
from qstore_db.quantum.channels import CHANNELS
from qstore_db.quantum.readout_noise import absorbed

CIRCUIT = Circuit(3).ry(0, 0.8).ry(1, 1.7).rx(2, -0.6).cx(0, 1).rz(1, 0.7).cx(1, 2).h(0).rx(1, 0.3)
OBSERVABLES = [
    pauli("Z0"),
    pauli("X0 Y1 Z2"),
    0.5 * pauli("Z1 Z2") - 2.0 * pauli("Y2") + pauli(""),
    Projector((2, 0), (1, 0)),
]


def terms(total: PauliSum) -> dict[str, float]:
    return {str(string): factor for factor, string in total.terms}


def by_density(circuit: Circuit, observables: Any) -> Any:
    return density.expectations(density_matrix(circuit)[np.newaxis], observables)[0]


@pytest.mark.parametrize("kind", CHANNELS)
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_reading_through_a_channel_is_reading_after_it(kind: str, strength: float) -> None:
    channel = Channel(kind, strength)
    wanted = by_density(CIRCUIT.noise(channel), OBSERVABLES)
    through = [read_through(observable, channel, 0, 1, 2) for observable in OBSERVABLES]
    np.testing.assert_allclose(expectations(CIRCUIT, through), wanted, atol=1e-12)


def test_damping_maps_letters_as_the_books_have_it() -> None:
    g = 0.3
    damped = terms(read_through(pauli("Z0"), Channel("amplitude_damping", g)))
    assert damped == pytest.approx({"Z0": 1 - g, "I": g}, abs=1e-15)
    for letter in "XY":
        damped = terms(read_through(pauli(f"{letter}1"), Channel("amplitude_damping", g)))
        assert damped == pytest.approx({f"{letter}1": np.sqrt(1 - g)}, abs=1e-15)
    assert terms(read_through(pauli("Z0"), Channel("phase_damping", g))) == {"Z0": 1.0}
    assert terms(read_through(pauli("Y0"), Channel("depolarising", g))) == pytest.approx(
        {"Y0": 1 - 4 * g / 3}
    )


def test_the_channel_is_on_what_is_read_or_on_the_qubits_named() -> None:
    flip = Channel("bit_flip", 0.25)
    assert terms(read_through(pauli("Z0 Z2"), flip)) == pytest.approx({"Z0 Z2": 0.25})
    assert terms(read_through(pauli("Z0 Z2"), flip, 0, 1)) == pytest.approx({"Z0 Z2": 0.5})


def test_only_what_no_gate_follows_is_taken_into_the_observables() -> None:
    noise, damping = Channel("depolarising", 0.2), Channel("amplitude_damping", 0.4)
    pure = CIRCUIT.noise(noise).noise(damping, 0, 1).reset(2).measure(0)
    left, observables = absorbed(pure, OBSERVABLES)
    assert left == CIRCUIT
    np.testing.assert_allclose(expectations(CIRCUIT, observables), by_density(pure, OBSERVABLES), atol=1e-12)
    mixed = CIRCUIT.noise(noise).cx(0, 1).noise(damping)
    left, observables = absorbed(mixed, OBSERVABLES)
    assert left == CIRCUIT.noise(noise, 0, 1).cx(0, 1)
    np.testing.assert_allclose(by_density(left, observables), by_density(mixed, OBSERVABLES), atol=1e-12)


def test_expectations_with_noise_at_the_end_need_no_density_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = Circuit(14).h(0).cx(0, 13).noise(Channel("amplitude_damping", 0.4)).measure(*range(14))
    monkeypatch.delattr(simulator.density, "run")
    assert expectations(circuit, [pauli("Z13"), pauli("X0 X13")]) == pytest.approx([0.4, 0.0], abs=1e-12)


def test_observables_that_would_become_too_many_strings_are_read_from_the_density_matrix() -> None:
    circuit = Circuit(9).noise(Channel("amplitude_damping", 0.4)).x(0).noise(Channel("bit_flip", 0.1))
    everything = pauli(" ".join(f"Z{qubit}" for qubit in range(9)))
    assert expectations(circuit, [everything])[0] == pytest.approx(-(0.8**9), abs=1e-12)
