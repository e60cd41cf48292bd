"""The circuits that layers are made of: how data come in, and what is trained.

An ansatz is `depth` layers, each of rotations on every qubit, followed by CNOTs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Final, TypeAlias

from qstore_db.errors import ArgumentError
from qstore_db.layers.arguments import one_of, whole
from qstore_db.quantum import Circuit, encodings

Entanglement: TypeAlias = "str | Sequence[tuple[int, int]]"
ROTATIONS: Final = {"hardware_efficient": "yz", "rz_ry": "zy", "full_rotation": "xyz"}
"""The axes of each ansatz, in the order in which its rotations act."""
ENTANGLEMENTS: Final = ("linear", "circular", "full")
ENCODINGS: Final = ("angle", "amplitude", "iqp", "reuploading")


def cnots(entanglement: Entanglement, n_qubits: int) -> list[tuple[int, int]]:
    """(control, target) of a layer, in order.

    linear: (i, i + 1). circular: linear and (n - 1, 0), but for two qubits only (0, 1). full: all i < j. Or
    the pairs themselves.
    """
    if isinstance(entanglement, str):
        one_of("entanglement", entanglement, ENTANGLEMENTS)
        if entanglement == "full":
            return list(combinations(range(n_qubits), 2))
        chain = [(qubit, qubit + 1) for qubit in range(n_qubits - 1)]
        return [*chain, (n_qubits - 1, 0)] if entanglement == "circular" and n_qubits > 2 else chain
    return [_pair(each, n_qubits) for each in _listed(entanglement)]


def ansatz(
    n_qubits: int, depth: int, entanglement: Entanglement, kind: str = "hardware_efficient", prefix: str = ""
) -> list[Circuit]:
    """One circuit a layer. Parameters: theta_{layer}_{qubit}_{axis}, in that order, with `prefix` before."""
    one_of("ansatz", kind, ROTATIONS)
    whole("depth", depth)
    pairs, layers = cnots(entanglement, n_qubits), []
    for layer in range(depth):
        circuit = Circuit(n_qubits)
        for qubit in range(n_qubits):
            for axis in ROTATIONS[kind]:
                circuit = circuit.gate(f"r{axis}", (qubit,), f"{prefix}theta_{layer}_{qubit}_{axis}")
        for control, target in pairs:
            circuit = circuit.cx(control, target)
        layers.append(circuit)
    return layers


def encoded(encoding: str, layers: Iterable[Circuit], n_qubits: int) -> Circuit:
    """Data and trained layers: as `quantum.encodings` has them, and nothing for "amplitude", as the state to begin
    with is the data."""
    one_of("encoding", encoding, ENCODINGS)
    if encoding == "reuploading":
        return encodings.encoding("reuploading", n_qubits, layers=tuple(layers))
    if encoding == "angle":
        circuit = encodings.encoding("angle", n_qubits)
    elif encoding == "iqp":
        circuit = encodings.encoding("iqp", n_qubits)
    else:
        circuit = Circuit(n_qubits)
    for layer in layers:
        circuit = circuit.compose(layer)
    return circuit


def _listed(entanglement: Entanglement) -> list[object]:
    try:
        return list(entanglement)
    except TypeError:
        raise ArgumentError(
            f"entanglement={entanglement!r:.80} must be a name or pairs of qubits", subject="entanglement"
        ) from None


def _pair(pair: object, n_qubits: int) -> tuple[int, int]:
    if isinstance(pair, Sequence) and len(pair) == 2:
        control, target = pair
        if (
            type(control) is type(target) is int
            and control != target
            and {control, target} <= set(range(n_qubits))
        ):
            return control, target
    raise ArgumentError(
        f"entanglement pair {pair!r:.80} must be two different qubits from 0 to {n_qubits - 1}",
        subject="entanglement",
    )
