"""To and from Qiskit. A qubit keeps its number; in Qiskit's arrays, qubit 0 is the least significant bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qstore_db.errors import ArgumentError, ConfigurationError
from qstore_db.quantum.angles import Angle, Symbol
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.convert.symbols import affine, names_of, not_affine
from qstore_db.quantum.gates import GATES
from qstore_db.quantum.operations import Apply, Measure, Reset, Unitary

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


def to_qiskit(circuit: Circuit) -> QuantumCircuit:
    """The same gates on the same qubits: what `reverse_bits()` of it gives is the state in the order used here.

    Parameters are Qiskit's, of the same names; data slots are the elements of a ParameterVector `x`. Each
    measurement has a classical bit of its own, in their order. Raises ArgumentError for channels, which Qiskit's
    circuits do not hold.
    """
    qiskit = load_qiskit()
    names = names_of(circuit)
    slots = qiskit.circuit.ParameterVector("x", circuit.n_slots)
    symbols: dict[Symbol, Any] = {
        symbol: slots[symbol] if isinstance(symbol, int) else qiskit.circuit.Parameter(name)
        for symbol, name in names.items()
    }
    measured = sum(isinstance(operation, Measure) for operation in circuit.operations)
    made: QuantumCircuit = qiskit.QuantumCircuit(circuit.n_qubits, measured)
    bit = 0
    for operation in circuit.operations:
        if isinstance(operation, Apply):
            turned = [_expression(angle, symbols) for angle in operation.angles]
            getattr(made, operation.name)(*turned, *operation.qubits)
        elif isinstance(operation, Unitary):
            # There, the first qubit of a matrix is its least significant one.
            made.unitary(operation.matrix, operation.qubits[::-1])
        elif isinstance(operation, Measure):
            made.measure(operation.qubits[0], bit)
            bit += 1
        elif isinstance(operation, Reset):
            made.reset(operation.qubits[0])
        else:
            raise ArgumentError(
                f"channel {operation.channel.kind!r} cannot go to Qiskit, whose circuits hold none",
                subject="circuit",
            )
    return made


def from_qiskit(circuit: QuantumCircuit) -> Circuit:
    """What a Qiskit circuit does, up to a global phase.

    Gates that are unknown here arrive as what they are defined by; barriers and delays are left out, and so are the
    classical bits that measurements write to.

    Raises ArgumentError for what depends on classical bits, angles that are not affine in their parameters, and
    what has no definition.
    """
    load_qiskit()
    return _appended(Circuit(circuit.num_qubits), circuit, tuple(range(circuit.num_qubits)))


def load_qiskit() -> Any:
    """Raises ConfigurationError without Qiskit."""
    try:
        import qiskit
        import qiskit.circuit
    except ImportError as error:
        raise ConfigurationError(
            'circuits of Qiskit need qiskit: pip install "qstore-db[qiskit]"', subject="qiskit"
        ) from error
    return qiskit


def _expression(angle: Angle, symbols: dict[Symbol, Any]) -> Any:
    """A number, or Qiskit's expression."""
    terms = [symbols[symbol] if factor == 1.0 else factor * symbols[symbol] for symbol, factor in angle.terms]
    if not terms:
        return angle.constant
    return sum(terms[1:], terms[0]) + (angle.constant or 0)


def _angle(value: Any) -> Angle:
    from qiskit.circuit import ParameterExpression

    if not isinstance(value, ParameterExpression):
        return Angle(float(value))
    slopes = {each.name: value.gradient(each) for each in value.parameters}
    if any(isinstance(slope, ParameterExpression) for slope in slopes.values()):
        raise not_affine(value)
    constant = value.bind(dict.fromkeys(value.parameters, 0)).numeric()
    return affine(float(constant), {name: float(slopes[name]) for name in sorted(slopes)})


def _appended(made: Circuit, circuit: QuantumCircuit, places: tuple[int, ...]) -> Circuit:
    """`circuit` behind `made`, its qubit i on places[i]."""
    number = dict(zip(circuit.qubits, places, strict=True))
    for instruction in circuit.data:
        made = _with(made, instruction.operation, tuple(number[qubit] for qubit in instruction.qubits))
    return made


def _with(made: Circuit, operation: Any, qubits: tuple[int, ...]) -> Circuit:
    from qiskit import circuit as parts
    from qiskit.circuit import library

    name = operation.name
    if isinstance(operation, (parts.ControlFlowOp, parts.Store)):
        raise ArgumentError(
            f"{name} depends on classical bits, and circuits here have none", subject="circuit"
        )
    if isinstance(operation, (parts.Barrier, parts.Delay, library.IGate, library.GlobalPhaseGate)):
        return made
    if isinstance(operation, parts.Measure):
        return made.measure(*qubits)
    if isinstance(operation, parts.Reset):
        return made.reset(*qubits)
    # The name alone does not tell what it is: anybody's gate may be called rx.
    standard = library.get_standard_gate_name_mapping().get(name)
    if name in GATES and standard is not None and operation.base_class is standard.base_class:
        return made.gate(name, qubits, *map(_angle, operation.params))
    if isinstance(operation, library.UnitaryGate) and len(qubits) <= 2:
        return made.unitary(operation.to_matrix(), *qubits[::-1])
    if operation.definition is None:
        raise ArgumentError(
            f"{name} is unknown here, and nothing says what it is made of: decompose the circuit first",
            subject="circuit",
        )
    return _appended(made, operation.definition, qubits)
