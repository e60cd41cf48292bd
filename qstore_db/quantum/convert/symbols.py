"""What parameters and data slots are called in other libraries, and their expressions as angles."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from qstore_db.errors import ArgumentError
from qstore_db.quantum.angles import Angle, Symbol, data, parameter
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.operations import Apply

_SLOT: Final = re.compile(r"x\[(\d+)\]", re.ASCII)


def names_of(circuit: Circuit) -> dict[Symbol, str]:
    """Of each parameter and slot the name it bears elsewhere: its own, and `x[0]`, `x[1]`, ... for the slots.

    Raises ArgumentError for a parameter that is called like a slot.
    """
    check_names(circuit, _SLOT)
    slots: dict[Symbol, str] = {slot: f"x[{slot}]" for slot in range(circuit.n_slots)}
    return slots | {name: name for name in circuit.parameters}


def check_names(circuit: Circuit, slot: re.Pattern[str]) -> None:
    """Raises ArgumentError for a parameter that is called as slots are elsewhere."""
    for name in circuit.parameters:
        if slot.fullmatch(name):
            raise ArgumentError(
                f"parameter {name!r} is called like a data slot, and would come back as one: rename it",
                subject=name,
            )


def affine(constant: float, factors: Mapping[str, float]) -> Angle:
    """The angle of an expression, by the names of its symbols."""
    total = Angle(constant)
    for name, factor in factors.items():
        slot = _SLOT.fullmatch(name)
        total = total + (data(int(slot[1])) if slot else parameter(name)) * factor
    return total


def not_affine(expression: object) -> ArgumentError:
    return ArgumentError(
        f"angle {expression!s:.80} is no affine combination of its symbols: bind some of them first",
        subject="circuit",
    )


def renamed(circuit: Circuit, new: Callable[[Symbol], Symbol]) -> Circuit:
    """With other symbols in place of each."""

    def changed(angle: Angle) -> Angle:
        return Angle(angle.constant, tuple((new(symbol), factor) for symbol, factor in angle.terms))

    return Circuit(
        circuit.n_qubits,
        tuple(
            Apply(operation.name, operation.qubits, tuple(map(changed, operation.angles)))
            if isinstance(operation, Apply)
            else operation
            for operation in circuit.operations
        ),
    )
