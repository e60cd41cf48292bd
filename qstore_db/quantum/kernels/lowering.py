"""From a circuit to few, fast steps, by algebra that leaves expectation values as they are.

- Every gate with an angle is a product of turns exp(-i theta/2 P) about Pauli strings that commute, of which its
  generator is the sum; global phases are dropped.
- The gates on a qubit before anything joins it to another make its own state, and the start is their product.
- Turns about Z, with angles that all samples share, are gathered in diagonals, turns about Y in layers, and what
  only moves amplitudes (X, CX, swap, CCX) in permutations. A turn about X becomes one about Y between two about Z.
- A step moves back past others on other qubits, or past diagonals if it is one, to join the last of its kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError
from qstore_db.quantum.angles import Angle
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.gates import GATES, Gate, Matrix, Turn, word_matrix
from qstore_db.quantum.observables import PauliString
from qstore_db.quantum.operations import Apply, Unitary

Sources: TypeAlias = NDArray[np.int32]

_AS_TURN = {
    "z": ("rz", math.pi),
    "s": ("rz", math.pi / 2),
    "sdg": ("rz", -math.pi / 2),
    "t": ("rz", math.pi / 4),
    "tdg": ("rz", -math.pi / 4),
    "sx": ("rx", math.pi / 2),
    "cz": ("cp", math.pi),
}
"""Fixed gates that are turns by an angle, but for a global phase."""


@dataclass(slots=True)
class Rotation:
    """exp(-i angle/2 P)"""

    flip: int
    sign: int
    ys: int
    angle: Angle

    @property
    def touched(self) -> int:
        return self.flip | self.sign


@dataclass(slots=True)
class Layer:
    """Turns about Y by angles that all samples share."""

    angles: dict[int, Angle]
    """By bit."""

    @property
    def touched(self) -> int:
        return sum(1 << bit for bit in self.angles)


@dataclass(slots=True)
class Diagonal:
    """Turns about products of Z by angles that all samples share."""

    angles: dict[int, Angle]
    """By mask."""

    @property
    def touched(self) -> int:
        touched = 0
        for mask in self.angles:
            touched |= mask
        return touched


@dataclass(slots=True)
class Permutation:
    """Amplitude i becomes what amplitude sources[i] was."""

    sources: Sources
    touched: int


@dataclass(slots=True)
class One:
    """A fixed gate on one qubit."""

    bit: int
    matrix: Matrix

    @property
    def touched(self) -> int:
        return 1 << self.bit


@dataclass(slots=True)
class Two:
    """A fixed gate on two qubits; `high` is the bit of the first."""

    high: int
    low: int
    matrix: Matrix

    @property
    def touched(self) -> int:
        return 1 << self.high | 1 << self.low


Step: TypeAlias = "Rotation | Layer | Diagonal | Permutation | One | Two"
Link: TypeAlias = "tuple[int, Angle] | Matrix"
"""Of a chain: a turn about X, Y or Z (0, 1, 2), or a fixed gate."""


@dataclass(slots=True)
class Lowered:
    """A circuit as few steps."""

    n_qubits: int
    chains: list[list[Link]]
    """Of each qubit, what makes its own state at the start."""
    steps: list[Step] = field(default_factory=list)

    def joins_two(self) -> bool:
        """Whether there is a fixed gate on two qubits that is no permutation."""
        return any(isinstance(step, Two) for step in self.steps)


def lowered(circuit: Circuit, *, from_states: bool) -> Lowered:
    """from_states: the circuit begins with states that are given, and no qubit has one of its own.

    Raises ArgumentError for circuits with noise, measurements or resets.
    """
    n_qubits = circuit.n_qubits
    result = Lowered(n_qubits, [[] for _ in range(n_qubits)])
    alone = set() if from_states else set(range(n_qubits))
    for step in elementary(circuit):
        touched = [qubit for qubit in range(n_qubits) if step.touched >> (n_qubits - 1 - qubit) & 1]
        if len(touched) == 1 and touched[0] in alone and not isinstance(step, Permutation):
            result.chains[touched[0]].append(_link(step))
            continue
        alone -= set(touched)
        for simple in _without_x(step):
            _join(result.steps, simple)
    return result


def elementary(circuit: Circuit) -> Iterator[Rotation | Permutation | One | Two]:
    """Gate by gate: turns about Pauli strings, permutations and fixed gates; none is joined to another.

    Raises ArgumentError for circuits with noise, measurements or resets.
    """
    n_qubits = circuit.n_qubits

    def bit(qubit: int) -> int:
        return n_qubits - 1 - qubit

    for operation in circuit.steps:
        if isinstance(operation, Unitary):
            if len(operation.qubits) == 1:
                yield One(bit(operation.qubits[0]), operation.matrix)
            else:
                yield Two(bit(operation.qubits[0]), bit(operation.qubits[1]), operation.matrix)
            continue
        if not isinstance(operation, Apply):
            raise ArgumentError(
                f"a circuit with {type(operation).__name__.lower()} has no state vector: run it as a density "
                "matrix or as trajectories",
                subject="circuit",
            )
        for name, qubits, angles in _spelt(operation):
            gate = GATES[name]
            if isinstance(gate, Turn):
                yield from _rotations(gate, qubits, angles[0], n_qubits)
            elif name == "h":
                assert isinstance(gate, Gate)
                yield One(bit(qubits[0]), gate.matrix)
            else:
                yield _permutation(name, [bit(qubit) for qubit in qubits], n_qubits)


def _spelt(operation: Apply) -> list[tuple[str, tuple[int, ...], tuple[Angle, ...]]]:
    """In turns, H, X, CX, swap and CCX."""
    name, qubits = operation.name, operation.qubits
    if name in _AS_TURN:
        turn, angle = _AS_TURN[name]
        return [(turn, qubits, (Angle(angle),))]
    if name == "y":  # i X Z
        return [("rz", qubits, (Angle(math.pi),)), ("x", qubits, ())]
    if name == "cy":
        target = qubits[1:]
        half = Angle(math.pi / 2)
        return [("rz", target, (-half,)), ("cx", qubits, ()), ("rz", target, (half,))]
    if name == "ch":  # H = RY(pi/4) Z RY(-pi/4)
        target, quarter = qubits[1:], Angle(math.pi / 4)
        return [("ry", target, (-quarter,)), ("cp", qubits, (Angle(math.pi),)), ("ry", target, (quarter,))]
    if name == "iswap":
        return [("swap", qubits, ()), ("rzz", qubits, (Angle(math.pi / 2),))]
    return [(name, qubits, operation.angles)]


def _rotations(gate: Turn, qubits: tuple[int, ...], angle: Angle, n_qubits: int) -> Iterator[Rotation]:
    for letters, factor in _strings(gate):
        string = PauliString(tuple(sorted((qubits[place], letter) for place, letter in letters)))
        flip, sign = string.masks(n_qubits)
        yield Rotation(flip, sign, sum(letter == "Y" for _, letter in letters), angle * factor)


def _strings(gate: Turn) -> list[tuple[list[tuple[int, str]], float]]:
    """The Pauli strings that twice the generator is a sum of, but the identity."""
    found: list[tuple[list[tuple[int, str]], float]] = []
    for index in range(1, 4**gate.n_qubits):
        word = "".join("IXYZ"[index >> 2 * place & 3] for place in range(gate.n_qubits))
        factor = 2.0 * float(np.trace(word_matrix(word) @ gate.generator).real) / (1 << gate.n_qubits)
        if factor != 0.0:
            found.append(([(place, letter) for place, letter in enumerate(word) if letter != "I"], factor))
    return found


def _permutation(name: str, bits: list[int], n_qubits: int) -> Permutation:
    index = np.arange(1 << n_qubits, dtype=np.int32)
    touched = sum(1 << bit for bit in bits)
    if name == "swap":
        differ = (index >> bits[0] ^ index >> bits[1]) & 1
        return Permutation(index ^ (differ << bits[0] | differ << bits[1]), touched)
    assert name in ("x", "cx", "ccx"), name
    controls = np.ones_like(index)
    for bit in bits[:-1]:
        controls &= index >> bit & 1
    return Permutation(index ^ controls << bits[-1], touched)


def _link(step: Step) -> Link:
    if isinstance(step, One):
        return step.matrix
    assert isinstance(step, Rotation)
    return (0 if not step.sign else 2 if not step.flip else 1), step.angle


def _without_x(step: Step) -> list[Step]:
    """Shared turns about Y and Z of one qubit as layers and diagonals; those about X as both."""
    if not isinstance(step, Rotation) or _reads_data(step.angle):
        return [step]
    if step.flip == 0:
        return [Diagonal({step.sign: step.angle})]
    if step.flip & (step.flip - 1) or step.sign & ~step.flip:
        return [step]
    bit = step.flip.bit_length() - 1
    if step.ys:
        return [Layer({bit: step.angle})]
    quarter = Angle(math.pi / 2)
    return [Diagonal({step.flip: quarter}), Layer({bit: step.angle}), Diagonal({step.flip: -quarter})]


def _reads_data(angle: Angle) -> bool:
    return any(isinstance(symbol, int) for symbol, _ in angle.terms)


def _join(steps: list[Step], step: Step) -> None:
    for place in range(len(steps) - 1, -1, -1):
        if _merged(steps[place], step):
            return
        if not _commute(steps[place], step):
            break
    steps.append(step)


def _commute(first: Step, second: Step) -> bool:
    return not first.touched & second.touched or (_is_diagonal(first) and _is_diagonal(second))


def _is_diagonal(step: Step) -> bool:
    return isinstance(step, Diagonal) or (isinstance(step, Rotation) and step.flip == 0)


def _merged(there: Step, step: Step) -> bool:
    """Whether `there` has taken up the step that would come right behind it."""
    if isinstance(there, Layer) and isinstance(step, Layer):
        for bit, angle in step.angles.items():
            there.angles[bit] = there.angles[bit] + angle if bit in there.angles else angle
    elif isinstance(there, Diagonal) and isinstance(step, Diagonal):
        for mask, angle in step.angles.items():
            there.angles[mask] = there.angles[mask] + angle if mask in there.angles else angle
    elif isinstance(there, Permutation) and isinstance(step, Permutation):
        there.sources = there.sources[step.sources]
        there.touched |= step.touched
    elif isinstance(there, One) and isinstance(step, One) and there.bit == step.bit:
        there.matrix = step.matrix @ there.matrix
    else:
        return False
    return True
