"""To the circuits of IonQ's API, in its gate set `qis`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from qstore_db.errors import ArgumentError
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.gates import Matrix
from qstore_db.quantum.operations import Apply, Operation, Unitary, moved, name_of

_PI: Final = np.pi

_KNOWN: Final[Mapping[str, str]] = MappingProxyType(
    {name: name for name in ("x", "y", "z", "h", "s", "t", "rx", "ry", "rz", "swap")}
    | {"sdg": "si", "tdg": "ti", "sx": "v", "cx": "cnot", "rxx": "xx", "ryy": "yy", "rzz": "zz"}
)
"""Gates that IonQ has too, under another name or the same."""


_MADE_OF: Final[Mapping[str, Callable[..., Circuit]]] = MappingProxyType(
    {
        "p": lambda theta: Circuit(1).rz(0, theta),
        "u": lambda theta, phi, lam: Circuit(1).rz(0, lam).ry(0, theta).rz(0, phi),
        "cy": lambda: Circuit(2).sdg(1).cx(0, 1).s(1),
        "cz": lambda: Circuit(2).h(1).cx(0, 1).h(1),
        "ch": lambda: Circuit(2).ry(1, -_PI / 4).cz(0, 1).ry(1, _PI / 4),
        "iswap": lambda: Circuit(2).rxx(0, 1, -_PI / 2).ryy(0, 1, -_PI / 2),
        "crx": lambda theta: Circuit(2).rx(1, theta / 2).h(1).rzz(0, 1, -theta / 2).h(1),
        "cry": lambda theta: Circuit(2).ry(1, theta / 2).cx(0, 1).ry(1, -theta / 2).cx(0, 1),
        "crz": lambda theta: Circuit(2).rz(1, theta / 2).rzz(0, 1, -theta / 2),
        "cp": lambda theta: Circuit(2).rz(0, theta / 2).rz(1, theta / 2).rzz(0, 1, -theta / 2),
        "ccx": lambda: (
            Circuit(3).h(2).cp(1, 2, _PI / 2).cx(0, 1).cp(1, 2, -_PI / 2).cx(0, 1).cp(0, 2, _PI / 2).h(2)
        ),
    }
)
"""The others, of gates that IonQ has; up to a global phase."""


def to_ionq(circuit: Circuit) -> dict[str, Any]:
    """`{"gateset": "qis", "qubits": n, "circuit": [...]}`, as a job's `input` takes it; angles in radians.

    A qubit keeps its number. In the integers that IonQ gives results by, qubit 0 is the least significant bit: they
    are to be read from the other end. Gates that IonQ lacks are put together from others, up to a global phase. All
    qubits are measured at the end.

    Raises ArgumentError for circuits with symbols (bind them first), channels, measurements in the middle and
    resets, and for two-qubit gates given by a matrix.
    """
    if circuit.parameters or circuit.n_slots:
        raise ArgumentError(
            f"IonQ takes numbers only: bind {', '.join([*circuit.parameters, 'the data'][:3])} first",
            subject="circuit",
        )
    lines = [_line(step) for operation in circuit.operations for step in _known(operation)]
    return {"gateset": "qis", "qubits": circuit.n_qubits, "circuit": lines}


def _known(operation: Operation) -> list[Apply]:
    """The operation in gates that IonQ has."""
    if isinstance(operation, Unitary) and len(operation.qubits) == 1:
        made = Circuit(1).u(0, *_euler(operation.matrix))
    elif not isinstance(operation, Apply):
        remedy = "give it by named gates" if isinstance(operation, Unitary) else "run it on this machine"
        raise ArgumentError(f"a {name_of(operation)} cannot go to IonQ: {remedy}", subject="circuit")
    elif operation.name in _KNOWN:
        return [operation]
    else:
        made = _MADE_OF[operation.name](*operation.angles)
    return [step for part in made.operations for step in _known(moved(part, operation.qubits))]


def _line(operation: Apply) -> dict[str, Any]:
    line: dict[str, Any] = {"gate": _KNOWN[operation.name]}
    if operation.name == "cx":
        line |= {"control": operation.qubits[0], "target": operation.qubits[1]}
    elif len(operation.qubits) == 1:
        line["target"] = operation.qubits[0]
    else:
        line["targets"] = list(operation.qubits)
    if operation.angles:
        line["rotation"] = operation.angles[0].constant
    return line


def _euler(matrix: Matrix) -> tuple[float, float, float]:
    """The angles by which `u` is this (2, 2) unitary up to a global phase."""
    (a, b), (c, d) = matrix
    theta = 2 * np.arctan2(abs(c), abs(a))
    phi = np.angle(c) - np.angle(a)
    # By entries that are not small: the phase of one that is nearly zero says nothing.
    lam = np.angle(d) - np.angle(c) if abs(a) >= abs(c) else np.angle(-b) - np.angle(a)
    return float(theta), float(phi), float(lam)
