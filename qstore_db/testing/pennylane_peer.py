"""The same circuits in PennyLane, to compare with; written out gate by gate, so that nothing of ours is trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pennylane as qml
from pennylane import math

from qstore_db.quantum import Circuit, PauliString, PauliSum
from qstore_db.quantum.angles import Angle
from qstore_db.quantum.observables import Observable
from qstore_db.quantum.operations import Apply, Unitary

GATES: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "x": qml.PauliX,
        "y": qml.PauliY,
        "z": qml.PauliZ,
        "h": qml.Hadamard,
        "s": qml.S,
        "sdg": lambda wires: qml.adjoint(qml.S(wires)),
        "t": qml.T,
        "tdg": lambda wires: qml.adjoint(qml.T(wires)),
        "sx": qml.SX,
        "cx": qml.CNOT,
        "cy": qml.CY,
        "cz": qml.CZ,
        "ch": qml.CH,
        "swap": qml.SWAP,
        "iswap": qml.ISWAP,
        "ccx": qml.Toffoli,
        "rx": qml.RX,
        "ry": qml.RY,
        "rz": qml.RZ,
        "p": qml.PhaseShift,
        "u": qml.U3,
        "crx": qml.CRX,
        "cry": qml.CRY,
        "crz": qml.CRZ,
        "cp": qml.ControlledPhaseShift,
        "rxx": qml.IsingXX,
        "ryy": qml.IsingYY,
        "rzz": qml.IsingZZ,
    }
)
"""By the name here; angles first, then the wires."""
_PAULIS: Final = MappingProxyType({"X": qml.PauliX, "Y": qml.PauliY, "Z": qml.PauliZ})


def apply(circuit: Circuit, parameters: Any, data: Any) -> None:
    """Queues the gates. parameters: (n_parameters,). data: (n_slots,). Of whatever PennyLane differentiates."""
    values = dict(zip(circuit.parameters, parameters, strict=True))
    kind = math.get_interface(parameters)

    def number(angle: Angle) -> Any:
        # Of one kind all of them: PennyLane does not mix arrays of numpy with those that are differentiated.
        total: Any = math.asarray(np.float64(angle.constant), like=kind)
        for symbol, factor in angle.terms:
            total = total + factor * (values[symbol] if isinstance(symbol, str) else data[symbol])
        return total

    for operation in circuit.operations:
        if isinstance(operation, Apply):
            GATES[operation.name](*map(number, operation.angles), wires=operation.qubits)
        else:
            assert isinstance(operation, Unitary)
            qml.QubitUnitary(operation.matrix, wires=operation.qubits)


def observable(wanted: Observable) -> Any:
    if isinstance(wanted, PauliString):
        factors = [_PAULIS[letter](qubit) for qubit, letter in wanted.factors]
        return reduce(lambda first, second: first @ second, factors, qml.Identity(0))
    if isinstance(wanted, PauliSum):
        return qml.sum(*(qml.s_prod(factor, observable(string)) for factor, string in wanted.terms))
    return qml.Projector(wanted.bits, wires=wanted.qubits)
