"""What is read from a state: Pauli strings, sums of them, projectors and probabilities."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError

_FACTOR: Final = re.compile(r"([XYZ])(\d+)")


@dataclass(frozen=True, slots=True)
class PauliString:
    """A product of X, Y and Z on different qubits; without any, the identity. Made by `pauli`."""

    factors: tuple[tuple[int, str], ...] = ()
    """(qubit, letter), qubits rising."""

    @property
    def qubits(self) -> tuple[int, ...]:
        return tuple(qubit for qubit, _ in self.factors)

    def word(self, n_qubits: int) -> str:
        """All letters from qubit 0 on, as `ZIX`."""
        letters = dict(self.factors)
        return "".join(letters.get(qubit, "I") for qubit in range(n_qubits))

    def masks(self, n_qubits: int) -> tuple[int, int]:
        """Which bits of an index it flips, and which ones give a sign.

        P|b> = i^(number of Y) (-1)^(number of ones in b & sign) |b ^ flip>.
        """
        flip = sign = 0
        for qubit, letter in self.factors:
            bit = 1 << (n_qubits - 1 - qubit)
            flip |= bit if letter in "XY" else 0
            sign |= bit if letter in "YZ" else 0
        return flip, sign

    def __mul__(self, factor: float) -> PauliSum:
        return PauliSum(((float(factor), self),))

    def __add__(self, other: PauliString | PauliSum) -> PauliSum:
        return self * 1.0 + other

    def __sub__(self, other: PauliString | PauliSum) -> PauliSum:
        return self * 1.0 - other

    def __neg__(self) -> PauliSum:
        return self * -1.0

    def __matmul__(self, other: PauliString) -> PauliString:
        """The product on different qubits. Raises ArgumentError where they share one."""
        if shared := set(self.qubits) & set(other.qubits):
            raise ArgumentError(f"both have a factor on qubit {min(shared)}", subject="qubit")
        return PauliString(tuple(sorted(self.factors + other.factors)))

    def __str__(self) -> str:
        return " ".join(f"{letter}{qubit}" for qubit, letter in self.factors) or "I"

    __rmul__ = __mul__


@dataclass(frozen=True, slots=True)
class PauliSum:
    """Real factors times Pauli strings."""

    terms: tuple[tuple[float, PauliString], ...]
    """Each string once."""

    def __mul__(self, factor: float) -> PauliSum:
        return PauliSum(tuple((its * float(factor), string) for its, string in self.terms))

    def __add__(self, other: PauliString | PauliSum) -> PauliSum:
        factors: dict[PauliString, float] = {}
        for its, string in self.terms + (other * 1.0).terms:
            factors[string] = factors.get(string, 0.0) + its
        return PauliSum(tuple((its, string) for string, its in factors.items()))

    def __sub__(self, other: PauliString | PauliSum) -> PauliSum:
        return self + other * -1.0

    def __neg__(self) -> PauliSum:
        return self * -1.0

    def __str__(self) -> str:
        return " + ".join(f"{factor:g} {string}" for factor, string in self.terms)

    __rmul__ = __mul__


@dataclass(frozen=True, slots=True)
class Projector:
    """|bits><bits| on `qubits`: the probability that measuring them gives these bits."""

    qubits: tuple[int, ...]
    bits: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.qubits) != len(self.bits) or not set(self.bits) <= {0, 1}:
            raise ArgumentError(f"bits {self.bits} do not fit qubits {self.qubits}", subject="bits")
        if len(set(self.qubits)) != len(self.qubits):
            raise ArgumentError(f"qubits {self.qubits} are not distinct", subject="qubits")

    def holds(self, outcomes: NDArray[np.int64], n_qubits: int) -> NDArray[np.bool_]:
        """Which basis states of all qubits, by their index, have these bits."""
        kept = np.ones(outcomes.shape, bool)
        for qubit, bit in zip(self.qubits, self.bits, strict=True):
            kept &= (outcomes >> (n_qubits - 1 - qubit) & 1) == bit
        return kept

    def __str__(self) -> str:
        return f"|{''.join(map(str, self.bits))}><...| on {', '.join(map(str, self.qubits))}"


Observable: TypeAlias = "PauliString | PauliSum | Projector"


def pauli(text: str) -> PauliString:
    """A Pauli string by its factors, as `pauli("Z0 X2")`; `pauli("")` and `pauli("I")` are the identity."""
    factors: dict[int, str] = {}
    for part in text.split() if text != "I" else ():
        found = _FACTOR.fullmatch(part)
        if found is None or int(found[2]) in factors:
            raise ArgumentError(
                f"{text!r:.80} is no Pauli string: letters X, Y, Z, each with a qubit of its own, as 'Z0 X2'",
                subject="pauli",
            )
        factors[int(found[2])] = found[1]
    return PauliString(tuple(sorted(factors.items())))


def check_observables(observables: Sequence[Observable], n_qubits: int) -> None:
    """Raises ArgumentError for one that reaches beyond the qubits, or is none."""
    for observable in observables:
        if not isinstance(observable, (PauliString, PauliSum, Projector)):
            raise ArgumentError(f"{observable!r:.80} is no observable", subject="observables")
        for string in strings_of([observable]):
            if string.qubits and string.qubits[-1] >= n_qubits:
                raise ArgumentError(f"{observable} needs more than {n_qubits} qubits", subject="observables")
        if isinstance(observable, Projector) and not set(observable.qubits) <= set(range(n_qubits)):
            raise ArgumentError(f"{observable} needs more than {n_qubits} qubits", subject="observables")


def strings_of(observables: Iterable[Observable]) -> list[PauliString]:
    """The Pauli strings that occur, each once; projectors have none."""
    found: dict[PauliString, None] = {}
    for observable in observables:
        if isinstance(observable, PauliString):
            found[observable] = None
        elif isinstance(observable, PauliSum):
            found |= dict.fromkeys(string for _, string in observable.terms)
    return list(found)


def measured_together(observables: Iterable[Observable], n_qubits: int) -> list[str]:
    """Bases, as few as a greedy search finds, in which all can be read: one circuit for each.

    A basis is a letter for each qubit (Z where nobody asks); strings share one where they agree on every qubit.
    """
    bases: list[dict[int, str]] = []
    for wanted in _wanted(observables):
        for basis in bases:
            if all(basis.get(qubit, letter) == letter for qubit, letter in wanted.items()):
                basis.update(wanted)
                break
        else:
            bases.append(dict(wanted))
    return ["".join(basis.get(qubit, "Z") for qubit in range(n_qubits)) for basis in bases]


def _wanted(observables: Iterable[Observable]) -> Iterator[dict[int, str]]:
    for observable in observables:
        if isinstance(observable, Projector):
            yield dict.fromkeys(observable.qubits, "Z")
        else:
            yield from (dict(string.factors) for string in strings_of([observable]))


def terms_of(observable: Observable) -> list[tuple[float, PauliString]]:
    """The Pauli strings that it is a sum of, with their factors; a projector on k qubits has 2^k."""
    if isinstance(observable, PauliString):
        return [(1.0, observable)]
    if isinstance(observable, PauliSum):
        return list(observable.terms)
    return _projected(observable)


def _projected(projector: Projector) -> list[tuple[float, PauliString]]:
    """|b><b| is the product of (1 + Z) / 2 or (1 - Z) / 2 of each qubit."""
    terms: list[tuple[float, tuple[tuple[int, str], ...]]] = [(1.0, ())]
    for qubit, bit in zip(projector.qubits, projector.bits, strict=True):
        sign = -0.5 if bit else 0.5
        terms = [
            *((0.5 * factor, its) for factor, its in terms),
            *((sign * factor, (*its, (qubit, "Z"))) for factor, its in terms),
        ]
    return [(factor, PauliString(tuple(sorted(its)))) for factor, its in terms]
