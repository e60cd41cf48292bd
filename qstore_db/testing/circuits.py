"""Hypothesis strategies for circuits, their numbers and what is read from them; and how circuits compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import ArrayLike, NDArray

from qstore_db.quantum import (
    Angle,
    Channel,
    Circuit,
    PauliString,
    PauliSum,
    Projector,
    data,
    parameter,
    plain,
)
from qstore_db.quantum.channels import CHANNELS
from qstore_db.quantum.gates import GATES, Composite, Matrix, Turn
from qstore_db.quantum.observables import Observable

NAMES = ("a", "b", "theta_0")
SLOTS = 3
_TURNS = st.sampled_from([0.0, np.pi / 4, np.pi / 2, np.pi, -np.pi / 2, 2 * np.pi]) | st.floats(-7.0, 7.0)
_FACTORS = st.sampled_from([1.0, -1.0, 0.5, 2.0]) | st.floats(0.1, 3.0)


def angles(symbols: bool = True) -> st.SearchStrategy[Angle]:
    """Numbers, parameters, data slots, and affine combinations of up to three of these."""
    number = st.builds(Angle, _TURNS)
    if not symbols:
        return number
    symbol = st.sampled_from([*map(parameter, NAMES), *map(data, range(SLOTS))])
    several = st.lists(st.builds(Angle.__mul__, symbol, _FACTORS), min_size=1, max_size=3)
    affine = st.builds(_sum, number, several)
    return number | symbol | affine


def _n_angles(name: str) -> int:
    gate = GATES[name]
    return gate.n_angles if isinstance(gate, Composite) else int(isinstance(gate, Turn))


def _sum(first: Angle, others: Sequence[Angle]) -> Angle:
    return sum(others, start=first)


def some_unitary(size: int, seed: int) -> Matrix:
    """(size, size), spread evenly over all unitaries. Source: Mezzadri (2007), arXiv:math-ph/0609050."""
    generator = np.random.default_rng(seed)
    parts = generator.normal(size=(2, size, size))
    q, r = np.linalg.qr(parts[0] + 1j * parts[1])
    phases = np.diagonal(r) / np.abs(np.diagonal(r))
    matrix: Matrix = q * phases
    return matrix


def unitaries(n_qubits: int) -> st.SearchStrategy[Matrix]:
    """(2^n, 2^n), spread evenly over all unitaries."""
    return st.integers(0, 2**32 - 1).map(lambda seed: some_unitary(1 << n_qubits, seed))


@st.composite
def circuits(
    draw: st.DrawFn,
    *,
    n_qubits: st.SearchStrategy[int] | None = None,
    max_operations: int = 12,
    symbols: bool = True,
    unitary: bool = True,
    channels: bool = False,
    gates: Sequence[str] = tuple(GATES),
) -> Circuit:
    """Circuits of 1 to 8 qubits, or as many as `n_qubits` draws, over `gates`.

    symbols: whether angles may be parameters and data slots, which several gates share. unitary: whether gates may
    be given by matrices. channels: whether there may be noise, measurements in the middle and resets.
    """
    circuit = Circuit(draw(st.integers(1, 8) if n_qubits is None else n_qubits))
    fitting = [name for name in gates if GATES[name].n_qubits <= circuit.n_qubits]
    kinds = [*(["unitary"] if unitary else []), *(["noise", "measure", "reset"] if channels else [])]
    for _ in range(draw(st.integers(0, max_operations))):
        name = draw(st.sampled_from(fitting + kinds))
        order = draw(st.permutations(range(circuit.n_qubits)))
        if name == "unitary":
            wide = draw(st.integers(1, min(2, circuit.n_qubits)))
            circuit = circuit.unitary(draw(unitaries(wide)), *order[:wide])
        elif name == "noise":
            kind = draw(st.sampled_from(CHANNELS))
            circuit = circuit.noise(Channel(kind, draw(st.floats(0.0, 1.0))), order[0])
        elif name in ("measure", "reset"):
            circuit = getattr(circuit, name)(order[0])
        else:
            turned = [draw(angles(symbols)) for _ in range(_n_angles(name))]
            circuit = circuit.gate(name, order[: GATES[name].n_qubits], *turned)
    return circuit


def parameters_for(circuit: Circuit) -> st.SearchStrategy[NDArray[np.float64]]:
    """(n_parameters,)"""
    return npst.arrays(np.float64, len(circuit.parameters), elements=st.floats(-4.0, 4.0))


def data_for(
    circuit: Circuit, batch: st.SearchStrategy[int] | None = None
) -> st.SearchStrategy[NDArray[np.float64]]:
    """(batch, n_slots); 1 to 3 samples, or as many as `batch` draws."""
    samples = st.integers(1, 3) if batch is None else batch
    return samples.flatmap(
        lambda count: npst.arrays(np.float64, (count, circuit.n_slots), elements=st.floats(-4.0, 4.0))
    )


def pauli_strings(n_qubits: int) -> st.SearchStrategy[PauliString]:
    """Any, the identity among them."""
    letters = st.dictionaries(st.integers(0, n_qubits - 1), st.sampled_from("XYZ"), max_size=n_qubits)
    return letters.map(lambda factors: PauliString(tuple(sorted(factors.items()))))


def pauli_sums(n_qubits: int) -> st.SearchStrategy[PauliSum]:
    strings = st.lists(pauli_strings(n_qubits), min_size=1, max_size=4, unique=True)
    factors = st.sampled_from([1.0, -1.0, 0.5]) | st.floats(-3.0, 3.0)
    return strings.flatmap(
        lambda chosen: st.lists(factors, min_size=len(chosen), max_size=len(chosen)).map(
            lambda drawn: PauliSum(tuple(zip(drawn, chosen, strict=True)))
        )
    )


@st.composite
def projectors(draw: st.DrawFn, n_qubits: int) -> Projector:
    """On at least one qubit, in any order."""
    wide = draw(st.integers(1, n_qubits))
    qubits = draw(st.permutations(range(n_qubits)))[:wide]
    bits = draw(st.lists(st.integers(0, 1), min_size=wide, max_size=wide))
    return Projector(tuple(qubits), tuple(bits))


def observables(n_qubits: int, max_size: int = 4) -> st.SearchStrategy[list[Observable]]:
    """One to `max_size` Pauli strings, sums of them and projectors."""
    any_kind = pauli_strings(n_qubits) | pauli_sums(n_qubits) | projectors(n_qubits)
    return st.lists(any_kind, min_size=1, max_size=max_size)


def some_circuit(n_qubits: int, n_operations: int, seed: int) -> Circuit:
    """Over all gates that fit, each about as often, half of the angles numbers and the others affine."""
    generator = np.random.default_rng(seed)
    fitting = [name for name, gate in GATES.items() if gate.n_qubits <= n_qubits] + ["unitary"]
    symbols = [*map(parameter, NAMES), *map(data, range(SLOTS))]
    circuit = Circuit(n_qubits)
    rounds = -(-n_operations // len(fitting))
    places = np.concatenate([generator.permutation(len(fitting)) for _ in range(rounds)])[:n_operations]
    for place in places.tolist():
        name, order = fitting[place], generator.permutation(n_qubits)
        if name == "unitary":
            wide = int(generator.integers(1, min(2, n_qubits) + 1))
            circuit = circuit.unitary(some_unitary(1 << wide, int(generator.integers(2**32))), *order[:wide])
            continue
        turned = [Angle(generator.uniform(-np.pi, np.pi)) for _ in range(_n_angles(name))]
        for which in range(len(turned)):
            if generator.random() < 0.5:
                turned[which] += symbols[generator.integers(len(symbols))] * generator.uniform(-2, 2)
        circuit = circuit.gate(name, order[: GATES[name].n_qubits], *turned)
    return circuit


def unitary_of(circuit: Circuit) -> Matrix:
    """(2^n, 2^n): what a circuit of gates without symbols does to every state."""
    size = 1 << circuit.n_qubits
    columns = plain.run(circuit, np.zeros(0), np.zeros((size, 0)), np.eye(size, dtype=np.complex128))
    return columns.T


def same_but_for_phase(first: ArrayLike, second: ArrayLike, tolerance: float = 1e-12) -> bool:
    """Whether states or unitaries are equal up to one phase."""
    first, second = np.asarray(first), np.asarray(second)
    overlap = np.vdot(first, second)
    return bool(np.abs(second - first * overlap / abs(overlap)).max() < tolerance)
