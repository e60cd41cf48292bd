"""Circuits: what is done to which qubits, in order. Values that never change; every method gives a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import ArgumentError
from qstore_db.quantum.angles import Angle, AngleLike, Symbol, angle
from qstore_db.quantum.channels import Channel
from qstore_db.quantum.gates import GATES, Composite, Turn, is_unitary
from qstore_db.quantum.operations import (
    Apply,
    Measure,
    Noise,
    Operation,
    Reset,
    Unitary,
    inverted,
    moved,
    name_of,
    simple,
)

if TYPE_CHECKING:
    from qstore_db.quantum.plain import States

Values: TypeAlias = "Mapping[str, float] | ArrayLike"
"""Of parameters: by name, or in the order of `Circuit.parameters`."""
MAX_QUBITS = 24
"""More do not fit this machine's memory when amplitudes are simulated one by one."""


@dataclass(frozen=True, slots=True)
class Specs:
    """What a circuit is made of."""

    n_qubits: int
    n_parameters: int
    n_slots: int
    """Columns of the input."""
    gates: Mapping[str, int]
    """How many of each name."""
    two_qubit_gates: int
    depth: int
    """Operations on the longest path."""


@dataclass(frozen=True)
class Circuit:
    """Operations on `n_qubits` qubits that begin in |0...0>. Qubit 0 is the most significant bit.

        Circuit(2).h(0).ry(1, "theta").rx(0, data(0)).cx(0, 1)

    Raises ArgumentError for a number of qubits below 1, qubits that are not there or named twice, angles that are
    not finite, matrices that are not unitary.
    """

    n_qubits: int
    operations: tuple[Operation, ...] = ()

    def __post_init__(self) -> None:
        if type(self.n_qubits) is not int or self.n_qubits < 1:
            raise ArgumentError(
                f"n_qubits={self.n_qubits!r} must be an integer from 1 on", subject="n_qubits"
            )

    def __len__(self) -> int:
        return len(self.operations)

    # What it is made of

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of its parameters in the order of their first use, which is that of positional values."""
        return tuple(dict.fromkeys(symbol for symbol in self._symbols() if isinstance(symbol, str)))

    @cached_property
    def n_slots(self) -> int:
        """Columns that its input must have."""
        return 1 + max((symbol for symbol in self._symbols() if isinstance(symbol, int)), default=-1)

    @cached_property
    def steps(self) -> tuple[Operation, ...]:
        """The operations, with composed gates taken apart."""
        apart = (simple(each) if isinstance(each, Apply) else (each,) for each in self.operations)
        return tuple(step for steps in apart for step in steps)

    def specs(self) -> Specs:
        ready = [0] * self.n_qubits
        for operation in self.operations:
            level = 1 + max(ready[qubit] for qubit in operation.qubits)
            for qubit in operation.qubits:
                ready[qubit] = level
        return Specs(
            self.n_qubits,
            len(self.parameters),
            self.n_slots,
            dict(Counter(map(name_of, self.operations))),
            sum(len(operation.qubits) == 2 for operation in self.operations),
            max(ready),
        )

    # Others made from it

    def bind(self, parameters: Values | None = None, data: ArrayLike | None = None) -> Circuit:
        """With numbers for its parameters, for its input (one sample), or for both.

        parameters: by name, where some may be left out, or all in order. data: (n_slots,).
        """
        by_name = {} if parameters is None else self.named(parameters, partial=True)
        row = None if data is None else self.inputs(data, one=True)

        def value_of(symbol: Symbol) -> float | None:
            if isinstance(symbol, str):
                return by_name.get(symbol)
            return None if row is None else float(row[symbol])

        return self._with_angles(lambda its: its.replaced(value_of))

    def inverse(self) -> Circuit:
        """Raises ArgumentError for a circuit with channels, measurements or resets."""
        return Circuit(self.n_qubits, tuple(inverted(operation) for operation in reversed(self.operations)))

    def compose(self, other: Circuit, qubits: Sequence[int] | None = None) -> Circuit:
        """This one, then the other: its qubit i on qubits[i], or on the one of the same number without `qubits`."""
        places = self._places(range(other.n_qubits) if qubits is None else qubits)
        if len(places) != other.n_qubits:
            raise ArgumentError(
                f"a circuit of {other.n_qubits} qubits cannot be put on {len(places)}", subject="qubits"
            )
        return self._then(*(moved(operation, places) for operation in other.operations))

    # What it does

    def state(self, parameters: Values | None = None, data: ArrayLike | None = None) -> States:
        """(2^n,) amplitudes at the end, or (batch, 2^n) for data (batch, n_slots); complex128."""
        from qstore_db.quantum.simulator import state

        return state(self, parameters, data)

    def probs(self, parameters: Values | None = None, data: ArrayLike | None = None) -> NDArray[np.float64]:
        """(2^n,) or (batch, 2^n): how probable each outcome of measuring all qubits is, noise included."""
        from qstore_db.quantum.simulator import probabilities

        return probabilities(self, parameters, data)

    # How it looks

    def draw(self, style: str = "text", *, width: int = 100) -> str:
        """The circuit drawn, wrapped after `width` characters: as "text", or as "svg" that needs nothing else.

        In SVG, gates are green where the input turns them, blue where parameters alone do, and grey where nothing
        does; what is no gate is brown.
        """
        from qstore_db.quantum.drawing import draw

        return draw(self, style, width)

    def __str__(self) -> str:
        return self.draw()

    def _repr_svg_(self) -> str:
        return self.draw("svg")

    def _repr_html_(self) -> str:
        from qstore_db.quantum.drawing import html

        return html(self)

    # Values for it

    def named(self, parameters: Values, *, partial: bool = False) -> dict[str, float]:
        """Parameters by name. Raises ArgumentError for unknown, missing or too many ones, and for NaN."""
        if isinstance(parameters, Mapping):
            given = dict(parameters)
            for name in given:
                if name not in self.parameters:
                    raise ArgumentError(
                        f"parameter {name!r:.80} is unknown; there are: {', '.join(self.parameters)}",
                        subject="parameters",
                    )
            if not partial and (missing := [name for name in self.parameters if name not in given]):
                raise ArgumentError(f"no value for parameter {missing[0]!r}", subject="parameters")
            return {name: _number(name, value) for name, value in given.items()}
        return dict(zip(self.parameters, self.vector(parameters).tolist(), strict=True))

    def vector(self, parameters: Values | None) -> NDArray[np.float64]:
        """(n_parameters,) in the order of `parameters`."""
        if isinstance(parameters, Mapping):
            values = self.named(parameters)
            return np.array([values[name] for name in self.parameters])
        found = _numbers("parameters", () if parameters is None else parameters)
        if found.shape != (len(self.parameters),):
            raise ArgumentError(
                f"parameters of shape {found.shape} given; the circuit has {len(self.parameters)}",
                subject="parameters",
            )
        return found

    def inputs(self, data: ArrayLike | None, *, one: bool = False) -> NDArray[np.float64]:
        """(batch, n_slots), or (n_slots,) as it was given. `one`: only that."""
        found = _numbers("data", () if data is None else data)
        if found.ndim not in ((1,) if one else (1, 2)) or found.shape[-1] != self.n_slots:
            raise ArgumentError(
                f"data of shape {found.shape} given; the circuit reads {self.n_slots} columns", subject="data"
            )
        return found

    # Gates

    def x(self, qubit: int) -> Circuit:
        return self._apply("x", (qubit,))

    def y(self, qubit: int) -> Circuit:
        return self._apply("y", (qubit,))

    def z(self, qubit: int) -> Circuit:
        return self._apply("z", (qubit,))

    def h(self, qubit: int) -> Circuit:
        return self._apply("h", (qubit,))

    def s(self, qubit: int) -> Circuit:
        return self._apply("s", (qubit,))

    def sdg(self, qubit: int) -> Circuit:
        return self._apply("sdg", (qubit,))

    def t(self, qubit: int) -> Circuit:
        return self._apply("t", (qubit,))

    def tdg(self, qubit: int) -> Circuit:
        return self._apply("tdg", (qubit,))

    def sx(self, qubit: int) -> Circuit:
        """The square root of X."""
        return self._apply("sx", (qubit,))

    def rx(self, qubit: int, theta: AngleLike) -> Circuit:
        return self._apply("rx", (qubit,), theta)

    def ry(self, qubit: int, theta: AngleLike) -> Circuit:
        return self._apply("ry", (qubit,), theta)

    def rz(self, qubit: int, theta: AngleLike) -> Circuit:
        return self._apply("rz", (qubit,), theta)

    def p(self, qubit: int, theta: AngleLike) -> Circuit:
        """diag(1, exp(i theta))"""
        return self._apply("p", (qubit,), theta)

    def u(self, qubit: int, theta: AngleLike, phi: AngleLike, lam: AngleLike) -> Circuit:
        """P(phi) RY(theta) P(lam), as Qiskit has it; OpenQASM 3 up to a global phase."""
        return self._apply("u", (qubit,), theta, phi, lam)

    def cx(self, control: int, target: int) -> Circuit:
        return self._apply("cx", (control, target))

    def cy(self, control: int, target: int) -> Circuit:
        return self._apply("cy", (control, target))

    def cz(self, control: int, target: int) -> Circuit:
        return self._apply("cz", (control, target))

    def ch(self, control: int, target: int) -> Circuit:
        return self._apply("ch", (control, target))

    def swap(self, first: int, second: int) -> Circuit:
        return self._apply("swap", (first, second))

    def iswap(self, first: int, second: int) -> Circuit:
        return self._apply("iswap", (first, second))

    def crx(self, control: int, target: int, theta: AngleLike) -> Circuit:
        return self._apply("crx", (control, target), theta)

    def cry(self, control: int, target: int, theta: AngleLike) -> Circuit:
        return self._apply("cry", (control, target), theta)

    def crz(self, control: int, target: int, theta: AngleLike) -> Circuit:
        return self._apply("crz", (control, target), theta)

    def cp(self, control: int, target: int, theta: AngleLike) -> Circuit:
        return self._apply("cp", (control, target), theta)

    def rxx(self, first: int, second: int, theta: AngleLike) -> Circuit:
        """exp(-i theta / 2 X X), likewise ryy and rzz."""
        return self._apply("rxx", (first, second), theta)

    def ryy(self, first: int, second: int, theta: AngleLike) -> Circuit:
        return self._apply("ryy", (first, second), theta)

    def rzz(self, first: int, second: int, theta: AngleLike) -> Circuit:
        return self._apply("rzz", (first, second), theta)

    def ccx(self, control: int, second_control: int, target: int) -> Circuit:
        return self._apply("ccx", (control, second_control, target))

    def unitary(self, matrix: ArrayLike, *qubits: int) -> Circuit:
        """A gate on one or two qubits by its matrix, (2, 2) or (4, 4); the first qubit is the most significant."""
        given = np.asarray(matrix, np.complex128)
        if len(qubits) not in (1, 2) or given.shape != (1 << len(qubits),) * 2:
            raise ArgumentError(
                f"a matrix of shape {given.shape} is no gate on {len(qubits)} qubits", subject="matrix"
            )
        if not is_unitary(given):
            raise ArgumentError("the matrix is not unitary to 1e-9", subject="matrix")
        return self._then(Unitary.of(given, self._places(qubits)))

    def gate(self, name: str, qubits: Iterable[int], *angles: AngleLike) -> Circuit:
        """A gate by its name. Raises ArgumentError for unknown ones and wrong numbers of qubits or angles."""
        qubits, gate = tuple(qubits), GATES.get(name)
        if gate is None:
            raise ArgumentError(
                f"gate {name!r:.80} is unknown; there are: {', '.join(GATES)}", subject="name"
            )
        wanted = gate.n_angles if isinstance(gate, Composite) else int(isinstance(gate, Turn))
        if len(qubits) != gate.n_qubits or len(angles) != wanted:
            raise ArgumentError(
                f"{name} takes {gate.n_qubits} qubits and {wanted} angles, not {len(qubits)} and {len(angles)}",
                subject=name,
            )
        return self._apply(gate.name, qubits, *angles)

    # What is no gate

    def noise(self, channel: Channel, *qubits: int) -> Circuit:
        """The channel on each of the qubits; without any, on all."""
        places = self._places(qubits or range(self.n_qubits))
        return self._then(*(Noise((qubit,), channel) for qubit in places))

    def measure(self, *qubits: int) -> Circuit:
        """Measure each in the Z basis and go on with what came out."""
        return self._then(*(Measure((qubit,)) for qubit in self._places(qubits)))

    def reset(self, *qubits: int) -> Circuit:
        """Put each back to |0>."""
        return self._then(*(Reset((qubit,)) for qubit in self._places(qubits)))

    # Inside

    def _apply(self, name: str, qubits: tuple[int, ...], *angles: AngleLike) -> Circuit:
        return self._then(Apply(name, self._places(qubits), tuple(map(angle, angles))))

    def _then(self, *operations: Operation) -> Circuit:
        return Circuit(self.n_qubits, self.operations + operations)

    def _places(self, qubits: Iterable[int]) -> tuple[int, ...]:
        """Plain integers, whatever kind of integer was given."""
        qubits = tuple(qubits)
        for qubit in qubits:
            if (
                isinstance(qubit, bool)
                or not isinstance(qubit, (int, np.integer))
                or not 0 <= qubit < self.n_qubits
            ):
                raise ArgumentError(
                    f"qubit {qubit!r:.80} is not there: the circuit has 0 to {self.n_qubits - 1}",
                    subject="qubit",
                )
        if len(set(qubits)) != len(qubits):
            raise ArgumentError(f"qubits {qubits} are not distinct", subject="qubit")
        return tuple(int(qubit) for qubit in qubits)

    def _symbols(self) -> Iterable[Symbol]:
        for operation in self.operations:
            if isinstance(operation, Apply):
                for its in operation.angles:
                    yield from (symbol for symbol, _ in its.terms)

    def _with_angles(self, change: Callable[[Angle], Angle]) -> Circuit:
        return Circuit(
            self.n_qubits,
            tuple(
                Apply(operation.name, operation.qubits, tuple(map(change, operation.angles)))
                if isinstance(operation, Apply)
                else operation
                for operation in self.operations
            ),
        )


def _number(name: str, value: Any) -> float:
    found = _numbers(name, value)
    if found.ndim:
        raise ArgumentError(f"parameter {name!r} must be one number, not {value!r:.80}", subject=name)
    return float(found)


def _numbers(name: str, values: Any) -> NDArray[np.float64]:
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} must be numbers, not {values!r:.80}", subject=name) from None
    if not np.isfinite(found).all():
        raise ArgumentError(f"{name} has values that are not finite", subject=name)
    return found
