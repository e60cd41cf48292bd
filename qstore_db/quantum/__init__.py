"""Quantum circuits: built, run exactly on this machine, and differentiated."""

from qstore_db.quantum.angles import Angle, data, parameter
from qstore_db.quantum.channels import Channel
from qstore_db.quantum.circuit import Circuit, Specs
from qstore_db.quantum.observables import PauliString, PauliSum, Projector, pauli
from qstore_db.quantum.program import Program
from qstore_db.quantum.simulator import expectations, state

__all__ = [
    "Angle",
    "Channel",
    "Circuit",
    "PauliString",
    "PauliSum",
    "Program",
    "Projector",
    "Specs",
    "data",
    "expectations",
    "parameter",
    "pauli",
    "state",
]
