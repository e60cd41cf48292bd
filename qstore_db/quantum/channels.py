"""Noise on one qubit, by its Kraus operators.

depolarising(p) applies each Pauli with probability p / 3 (Qiskit Aer's parameter is 4 p / 3).
Source: Nielsen and Chuang (2010), section 8.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError
from qstore_db.quantum.gates import PAULIS, Matrix


def _amplitude_damping(strength: float) -> list[Matrix]:
    stay = np.diag([1, np.sqrt(1 - strength)]).astype(np.complex128)
    return [stay, np.array([[0, np.sqrt(strength)], [0, 0]], np.complex128)]


def _phase_damping(strength: float) -> list[Matrix]:
    stay = np.diag([1, np.sqrt(1 - strength)]).astype(np.complex128)
    return [stay, np.diag([0, np.sqrt(strength)]).astype(np.complex128)]


_DAMPING: Final[Mapping[str, Callable[[float], list[Matrix]]]] = MappingProxyType(
    {"amplitude_damping": _amplitude_damping, "phase_damping": _phase_damping}
)
_PAULIS_OF: Final[Mapping[str, str]] = MappingProxyType(
    {"depolarising": "XYZ", "bit_flip": "X", "phase_flip": "Z", "bit_phase_flip": "Y"}
)
CHANNELS: Final = (*_DAMPING, *_PAULIS_OF)
UNITARY_MIXTURES: Final = frozenset(_PAULIS_OF)
"""Channels that apply a Pauli operator by chance, with probabilities that do not depend on the state."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Noise of a kind, at a strength from 0 to 1. Raises ArgumentError for others."""

    kind: str
    strength: float

    def __post_init__(self) -> None:
        if self.kind not in CHANNELS:
            raise ArgumentError(
                f"channel {self.kind!r:.80} is unknown; there are: {', '.join(CHANNELS)}", subject="kind"
            )
        if not isinstance(self.strength, (int, float)) or not 0.0 <= self.strength <= 1.0:
            raise ArgumentError(f"strength={self.strength!r} must be from 0 to 1", subject="strength")

    def kraus(self) -> NDArray[np.complex128]:
        """(k, 2, 2): rho becomes the sum of K rho K^dagger."""
        if self.kind in _DAMPING:
            return np.array(_DAMPING[self.kind](float(self.strength)))
        return np.array([np.sqrt(share) * PAULIS[letter] for letter, share in self.shares().items()])

    def shares(self) -> dict[str, float]:
        """Of a unitary mixture: with which probability it applies each Pauli operator, I among them."""
        letters = _PAULIS_OF[self.kind]
        return {"I": 1.0 - self.strength, **dict.fromkeys(letters, self.strength / len(letters))}
