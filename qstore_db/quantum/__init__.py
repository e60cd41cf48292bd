"""Quantum circuits: built, run exactly on this machine, and differentiated."""

from qstore_db.quantum.angles import Angle, data, parameter
from qstore_db.quantum.channels import Channel
from qstore_db.quantum.circuit import Circuit, Specs
from qstore_db.quantum.density import density_matrix
from qstore_db.quantum.encodings import amplitude_states, encode, encoded_states, encoding, iqp_features
from qstore_db.quantum.kernel import quantum_kernel
from qstore_db.quantum.metric import Metric, natural
from qstore_db.quantum.observables import PauliString, PauliSum, Projector, pauli
from qstore_db.quantum.program import Program
from qstore_db.quantum.readout_noise import read_through
from qstore_db.quantum.sampling import Estimates, Samples, estimate, sample
from qstore_db.quantum.simulator import expectations, state
from qstore_db.quantum.trajectories import Trajectories, trajectory_expectations

__all__ = [
    "Angle",
    "Channel",
    "Circuit",
    "Estimates",
    "Metric",
    "PauliString",
    "PauliSum",
    "Program",
    "Projector",
    "Samples",
    "Specs",
    "Trajectories",
    "amplitude_states",
    "data",
    "density_matrix",
    "encode",
    "encoded_states",
    "encoding",
    "estimate",
    "expectations",
    "iqp_features",
    "natural",
    "parameter",
    "pauli",
    "quantum_kernel",
    "read_through",
    "sample",
    "state",
    "trajectory_expectations",
]
