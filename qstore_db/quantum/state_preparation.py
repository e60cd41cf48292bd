"""A circuit of RY, RZ and CNOT that prepares a given state from |0...0>: amplitude encoding for hardware.

Qubit by qubit from the most significant one, each turned by an angle for every value of those before it. Such a
multiplexed rotation over k controls is 2^k rotations and 2^k CNOTs along a Gray code. A real state of n qubits
takes 2^n - 2 CNOTs, a complex one twice as many.
Source: Moettoenen, Vartiainen, Bergholm and Salomaa (2005), arXiv:quant-ph/0407010.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qstore_db.quantum.angles import Angle
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.operations import Apply

Reals = NDArray[np.float64]


def prepared(amplitudes: Reals | NDArray[np.complex128]) -> Circuit:
    """amplitudes: (2^n,), real or complex, of norm 1 and n from 1 on.

    A real state comes out with its signs, a complex one up to a global phase.
    """
    if (
        len(amplitudes) > 2 and not amplitudes[len(amplitudes) // 2 :].any()
    ):  # padding: qubit 0 stays as it is
        rest = prepared(amplitudes[: len(amplitudes) // 2])
        return Circuit(rest.n_qubits + 1).compose(rest, range(1, rest.n_qubits + 1))
    n_qubits = len(amplitudes).bit_length() - 1
    is_complex = bool(np.iscomplexobj(amplitudes) and amplitudes.imag.any())
    sizes = np.abs(amplitudes) if is_complex else amplitudes.real.astype(np.float64)
    turns = [("ry", _turns(sizes, n_qubits))]
    if is_complex:
        phases: Reals = np.angle(amplitudes).astype(np.float64)
        turns.append(("rz", _phases(phases, n_qubits)))
    return Circuit(
        n_qubits,
        tuple(
            gate
            for name, by_qubit in turns
            for qubit, angles in enumerate(by_qubit)
            for gate in _multiplexed(name, angles, qubit)
        ),
    )


def _turns(amplitudes: Reals, n_qubits: int) -> list[Reals]:
    """Of each qubit, (2^qubit,): the RY angle that splits each subtree's norm; at the leaves with the signs."""
    angles: list[Reals] = []
    for _ in range(n_qubits):
        zero, one = amplitudes.reshape(-1, 2).T
        angles.append(2.0 * np.arctan2(one, zero))
        amplitudes = np.hypot(zero, one)
    return angles[::-1]


def _phases(phases: Reals, n_qubits: int) -> list[Reals]:
    """Of each qubit, (2^qubit,): the RZ angle between its halves, whose mean is left to the qubit before."""
    angles: list[Reals] = []
    for _ in range(n_qubits):
        zero, one = phases.reshape(-1, 2).T
        angles.append(one - zero)
        phases = 0.5 * (zero + one)
    return angles[::-1]


def _multiplexed(name: str, angles: Reals, qubit: int) -> Iterator[Apply]:
    """The rotation of `qubit` by angles[j] where the qubits before it are in |j>."""
    if (angles == angles[0]).all():  # nothing to tell apart: padding, uniform states
        if angles[0] != 0.0:
            yield Apply(name, (qubit,), (Angle(float(angles[0])),))
        return
    # Before the rotation of a Gray code g, the CNOTs so far have turned its sign where g & j has an odd number of
    # ones: angles are the Walsh-Hadamard transform of the rotations, and it is its own inverse up to 2^k.
    rotations = _walsh_hadamard(angles) / len(angles)
    codes = [step ^ step >> 1 for step in range(len(angles))]
    for code, following in zip(codes, [*codes[1:], 0], strict=True):
        yield Apply(name, (qubit,), (Angle(float(rotations[code])),))
        yield Apply("cx", (qubit - (code ^ following).bit_length(), qubit))


def _walsh_hadamard(values: Reals) -> Reals:
    """sum_j (-1)^(number of ones in i & j) values[j] for each i."""
    apart = 1
    while apart < len(values):
        first, second = np.moveaxis(values.reshape(-1, 2, apart), 1, 0)
        values = np.stack([first + second, first - second], axis=1).reshape(-1)
        apart *= 2
    return values
