"""What is read, and what becomes of it: of what Torch and Keras layers have alike.

Each class is the arguments of a layer, named as the layer names them, and checks them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qstore_db.errors import ArgumentError
from qstore_db.layers import arguments
from qstore_db.quantum import Circuit, Projector

NONLINEARITIES: Final = ("amplitude_damping", "phase_damping", "parametric")
POOLINGS: Final = ("partial_trace", "measurement", "amplitude_damping")
OUTPUTS: Final = ("log_probs", "probs")
UNUSED: Final = ("renormalise", "penalise", "extra_class")
LEAST: Final = 1e-30
"""Below this a probability is taken for it, so that its logarithm has a gradient that is a number."""


@dataclass(frozen=True, slots=True)
class Nonlinearity:
    """Arguments of `QuantumNonlinearity`."""

    n_qubits: int
    nonlinearity_type: str
    strength: float
    measurement_bases: tuple[str, ...]

    def __post_init__(self) -> None:
        arguments.qubits(self.n_qubits)
        arguments.one_of("nonlinearity_type", self.nonlinearity_type, NONLINEARITIES)
        arguments.share("strength", self.strength)
        if self.nonlinearity_type == "phase_damping" and self.measurement_bases == ("Z",):
            raise ArgumentError(
                "phase damping does nothing to Z: measurement_bases must have X or Y",
                subject="measurement_bases",
            )

    @property
    def width(self) -> int:
        return self.n_qubits * len(self.measurement_bases)

    def line(self) -> tuple[list[float], list[float]]:
        """Of damping: the factor of each column, and what is added to it."""
        damps = self.nonlinearity_type == "amplitude_damping"
        shrunk, along_z = math.sqrt(1.0 - self.strength), 1.0 - self.strength if damps else 1.0
        is_z = [letter == "Z" for letter in self.measurement_bases for _ in range(self.n_qubits)]
        return [along_z if z else shrunk for z in is_z], [self.strength if z and damps else 0.0 for z in is_z]

    def turn(self) -> list[tuple[float, float]]:
        """Of "parametric": slope and shift of each column to begin with, radians."""
        return [(float(self.strength), -math.pi / 2)] * self.width


@dataclass(frozen=True, slots=True)
class Pooling:
    """Arguments of `QuantumPooling`. Without `strength`, that of "amplitude_damping" is 0.1."""

    n_qubits: int
    pool_size: int
    pooling_type: str
    strength: float | None

    def __post_init__(self) -> None:
        arguments.qubits(self.n_qubits)
        arguments.whole("pool_size", self.pool_size)
        arguments.one_of("pooling_type", self.pooling_type, POOLINGS)
        if self.pool_size > self.n_qubits:
            raise ArgumentError(
                f"pool_size={self.pool_size} is more than {self.n_qubits} qubits", subject="pool_size"
            )
        if self.strength is not None:
            arguments.share("strength", self.strength)
            if self.pooling_type != "amplitude_damping":
                raise ArgumentError(f"pooling_type={self.pooling_type!r} has no strength", subject="strength")

    @property
    def groups(self) -> int:
        return self.n_qubits // self.pool_size

    @property
    def kept(self) -> list[int]:
        """The qubits that a partial trace keeps."""
        return [self.pool_size * group for group in range(self.groups)]

    @property
    def lost(self) -> float:
        """How much of its energy a qubit loses before it is read."""
        if self.pooling_type != "amplitude_damping":
            return 0.0
        return 0.1 if self.strength is None else self.strength


@dataclass(frozen=True, slots=True)
class Readout:
    """Arguments of `QuantumReadout`."""

    n_qubits: int
    n_classes: int
    readout_type: str
    output: str
    unused: str

    def __post_init__(self) -> None:
        arguments.qubits(self.n_qubits)
        arguments.whole("n_classes", self.n_classes)
        arguments.one_of("readout_type", self.readout_type, ("computational",))
        arguments.one_of("output", self.output, OUTPUTS)
        arguments.one_of("unused", self.unused, UNUSED)
        states = 1 << self.n_qubits
        if self.n_classes > states:
            raise ArgumentError(
                f"n_classes={self.n_classes} is more than the {states} basis states of {self.n_qubits} qubits",
                subject="n_classes",
            )
        if self.unused == "extra_class" and self.n_classes == states:
            raise ArgumentError("unused='extra_class', but every basis state is a class", subject="unused")

    @property
    def width(self) -> int:
        return self.n_classes + (self.unused == "extra_class")

    def circuit(self, prefix: str = "") -> Circuit:
        """A turn of every qubit, with `prefix` before every parameter's name."""
        circuit = Circuit(self.n_qubits)
        for qubit in range(self.n_qubits):
            circuit = circuit.ry(qubit, f"{prefix}readout_theta_{qubit}")
        return circuit

    def classes_on(self, qubits: Sequence[int]) -> list[Projector]:
        """Class c is the basis state c of these qubits, the first the most significant."""
        places = tuple(qubits)
        last = len(places) - 1
        return [
            Projector(places, tuple(c >> (last - place) & 1 for place in range(len(places))))
            for c in range(self.n_classes)
        ]
