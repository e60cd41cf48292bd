"""Channels are those of Cirq and PennyLane, and whole noisy circuits give Cirq's density matrices."""

from __future__ import annotations

from typing import Any

import cirq
import numpy as np
import pennylane as qml
import pytest

from qstore_db.errors import ArgumentError
from qstore_db.quantum import Channel, Circuit, Projector, data, density, density_matrix, expectations, pauli
from qstore_db.quantum.channels import CHANNELS, UNITARY_MIXTURES

CIRQ: dict[str, Any] = {
    "amplitude_damping": cirq.amplitude_damp,
    "phase_damping": cirq.phase_damp,
    "depolarising": cirq.depolarize,
    "bit_flip": cirq.bit_flip,
    "phase_flip": cirq.phase_flip,
    "bit_phase_flip": lambda p: cirq.asymmetric_depolarize(p_y=p),
}
PENNYLANE: dict[str, Any] = {
    "amplitude_damping": lambda p: qml.AmplitudeDamping(p, 0),
    "phase_damping": lambda p: qml.PhaseDamping(p, 0),
    "depolarising": lambda p: qml.DepolarizingChannel(p, 0),
    "bit_flip": lambda p: qml.BitFlip(p, 0),
    "phase_flip": lambda p: qml.PhaseFlip(p, 0),
    "bit_phase_flip": lambda p: qml.PauliError("Y", p, 0),
}
STRENGTHS = (0.0, 0.13, 0.7, 1.0)


def action(kraus: Any) -> np.ndarray[Any, Any]:
    """What operators do to a matrix: unlike the operators themselves, unique."""
    return np.sum([np.kron(np.asarray(each), np.asarray(each).conj()) for each in kraus], axis=0)


@pytest.mark.parametrize("kind", CHANNELS)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_channel_does_what_cirqs_and_pennylanes_do(kind: str, strength: float) -> None:
    ours = action(Channel(kind, strength).kraus())
    np.testing.assert_allclose(ours, action(cirq.kraus(CIRQ[kind](strength))), atol=1e-12)
    if strength < 1.0 or kind in UNITARY_MIXTURES:  # at 1 PennyLane's damping is off by the 1e-7 it adds
        theirs = PENNYLANE[kind](strength).kraus_matrices()
        np.testing.assert_allclose(ours, action(theirs), atol=1e-12)


@pytest.mark.parametrize("kind", sorted(UNITARY_MIXTURES))
def test_shares_of_a_mixture_are_probabilities(kind: str) -> None:
    shares = Channel(kind, 0.3).shares()
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-15)
    assert shares["I"] == 0.7


def random_circuits(n_qubits: int, seed: int, *, with_resets: bool) -> tuple[Circuit, cirq.Circuit]:
    """The same gates, channels, measurements and resets anywhere, in ours and in Cirq."""
    rng = np.random.default_rng(seed)
    ours, qubits = Circuit(n_qubits), cirq.LineQubit.range(n_qubits)
    theirs = cirq.Circuit(cirq.I(qubit) for qubit in qubits)
    for _ in range(40):
        first, second = (int(qubit) for qubit in rng.choice(n_qubits, 2, replace=False))
        theta, choice = float(rng.uniform(-3, 3)), int(rng.integers(9))
        if choice == 0:
            ours, gate = ours.h(first), cirq.H(qubits[first])
        elif choice == 1:
            ours, gate = ours.rx(first, theta), cirq.rx(theta)(qubits[first])
        elif choice == 2:
            ours, gate = ours.ry(first, theta), cirq.ry(theta)(qubits[first])
        elif choice == 3:
            ours, gate = ours.rz(first, theta), cirq.rz(theta)(qubits[first])
        elif choice == 4:
            ours, gate = ours.cx(first, second), cirq.CNOT(qubits[first], qubits[second])
        elif choice == 5:
            ours, gate = (
                ours.rzz(first, second, theta),
                cirq.ZZPowGate(exponent=theta / np.pi, global_shift=-0.5)(qubits[first], qubits[second]),
            )
        elif choice == 6 and with_resets:
            ours, gate = ours.reset(first), cirq.reset(qubits[first])
        else:
            kind, strength = str(rng.choice(CHANNELS)), float(rng.uniform(0, 0.5))
            ours = ours.noise(Channel(kind, strength), first)
            gate = CIRQ[kind](strength)(qubits[first])
        theirs.append(gate)
    return ours, theirs


@pytest.mark.parametrize("n_qubits", [2, 3, 4, 6])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("with_resets", [False, True])
def test_noisy_circuits_give_cirqs_density_matrices(n_qubits: int, seed: int, with_resets: bool) -> None:
    ours, theirs = random_circuits(n_qubits, seed, with_resets=with_resets)
    simulator = cirq.DensityMatrixSimulator(dtype=np.complex128)
    wanted = simulator.simulate(theirs).final_density_matrix
    found = density_matrix(ours)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_allclose(ours.probs(), np.diag(wanted).real, atol=1e-12)
    qubits = cirq.LineQubit.range(n_qubits)
    observables = [
        pauli("X0 Y1"),
        0.7 * pauli("Z1") - 0.2 * pauli("Y0") + pauli(""),
        Projector((1, 0), (0, 1)),
    ]
    words = [
        cirq.X(qubits[0]) * cirq.Y(qubits[1]),
        0.7 * cirq.Z(qubits[1]) - 0.2 * cirq.Y(qubits[0]) + cirq.PauliString(),
    ]
    order = {qubit: place for place, qubit in enumerate(qubits)}
    values = [word.expectation_from_density_matrix(wanted, order).real for word in words]
    chance = np.diag(wanted).real.reshape(2, 2, -1)[1, 0].sum()
    np.testing.assert_allclose(expectations(ours, observables), [*values, chance], atol=1e-12)
    np.testing.assert_allclose(
        density.expectations(found[np.newaxis], observables)[0], [*values, chance], atol=1e-12
    )


def test_a_measurement_in_the_middle_is_the_mean_over_its_outcomes() -> None:
    ours = Circuit(2).ry(0, 0.8).cx(0, 1).measure(1).h(0).rx(1, 0.4)
    qubits = cirq.LineQubit.range(2)
    theirs = cirq.Circuit(
        cirq.ry(0.8)(qubits[0]),
        cirq.CNOT(*qubits),
        cirq.phase_damp(1.0)(qubits[1]),
        cirq.H(qubits[0]),
        cirq.rx(0.4)(qubits[1]),
    )
    wanted = cirq.DensityMatrixSimulator(dtype=np.complex128).simulate(theirs).final_density_matrix
    np.testing.assert_allclose(density_matrix(ours), wanted, atol=1e-12)


def test_a_batch_is_its_samples_one_by_one() -> None:
    noise = Channel("amplitude_damping", 0.2)
    circuit = Circuit(3).ry(0, data(0)).noise(noise).cx(0, 2).rzz(1, 2, data(1)).rx(2, "a").cry(0, 1, data(0))
    rows = np.random.default_rng(0).normal(size=(4, 2))
    batch = density_matrix(circuit, [0.3], rows)
    assert batch.shape == (4, 8, 8)
    for row, matrix in zip(rows, batch, strict=True):
        np.testing.assert_allclose(density_matrix(circuit, [0.3], row), matrix, atol=1e-14)


def test_without_noise_the_matrix_is_that_of_the_state() -> None:
    circuit = Circuit(3).u(0, 0.3, 0.5, -0.8).iswap(0, 2).ch(2, 1).unitary(np.diag([1, 1j]), 1)
    state = circuit.state()
    np.testing.assert_allclose(density_matrix(circuit), np.outer(state, state.conj()), atol=1e-14)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), "0.1"])
def test_a_strength_that_is_no_probability_is_refused(strength: Any) -> None:
    with pytest.raises(ArgumentError) as caught:
        Channel("bit_flip", strength)
    assert caught.value.subject == "strength"
