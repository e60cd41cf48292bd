"""To and from Cirq: qubit i is `cirq.LineQubit(i)`, and there too qubit 0 is the most significant bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qstore_db.errors import ArgumentError, ConfigurationError
from qstore_db.quantum.angles import Angle, Symbol
from qstore_db.quantum.channels import Channel
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.convert.symbols import affine, names_of, not_affine
from qstore_db.quantum.operations import Apply, Measure, Noise, Unitary

if TYPE_CHECKING:
    import cirq

_CHANNELS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "amplitude_damping": ("AmplitudeDampingChannel", "gamma"),
        "phase_damping": ("PhaseDampingChannel", "gamma"),
        "depolarising": ("DepolarizingChannel", "p"),
        "bit_flip": ("BitFlipChannel", "p"),
        "phase_flip": ("PhaseFlipChannel", "p"),
    }
)
"""Cirq's class, and what it calls the strength, which means the same."""


def to_cirq(circuit: Circuit) -> cirq.Circuit:
    """The same gates; `u` as P, RY, P. Parameters are symbols of sympy, data slots those named `x[0]`, `x[1]`, ...

    Qubits that nothing acts on get an identity, so that states have the same size there. The i-th measurement has
    the key `m<i>`.
    """
    module = load_cirq()
    fixed, turning, names = _fixed(module), _turning(module), names_of(circuit)
    qubits = module.LineQubit.range(circuit.n_qubits)
    used = {qubit for operation in circuit.operations for qubit in operation.qubits}
    made: cirq.Circuit = module.Circuit(module.I(each) for each in qubits if each.x not in used)
    measured = 0
    for step in circuit.steps:
        if isinstance(step, Apply):
            name = step.name
            gate = fixed[name] if name in fixed else turning[name](_expression(step.angles[0], names))
        elif isinstance(step, Unitary):
            gate = module.MatrixGate(step.matrix)
        elif isinstance(step, Noise):
            gate = _channel(module, step.channel)
        elif isinstance(step, Measure):
            gate = module.MeasurementGate(1, f"m{measured}")
            measured += 1
        else:
            gate = module.ResetChannel()
        made.append(gate(*(qubits[qubit] for qubit in step.qubits)))
    return made


def from_cirq(circuit: cirq.AbstractCircuit, qubits: Sequence[cirq.Qid] | None = None) -> Circuit:
    """What a Cirq circuit does, up to a global phase.

    qubits: which are qubit 0, 1, ...; without it all that occur, sorted. Gates that are unknown here arrive by
    their matrices where these are numbers for one or two qubits, and otherwise as what Cirq decomposes them into.
    The keys of measurements are not kept.

    Raises ArgumentError for operations under a classical condition, inverted measurements, angles that are not
    affine in their symbols, and what is neither a gate nor a channel here.
    """
    module = load_cirq()
    order = sorted(circuit.all_qubits()) if qubits is None else list(qubits)
    if missing := sorted(circuit.all_qubits() - set(order)):
        raise ArgumentError(f"{missing[0]} is not among the qubits given", subject="qubits")
    if larger := [qubit for qubit in order if qubit.dimension != 2]:
        raise ArgumentError(f"{larger[0]} has {larger[0].dimension} levels, not 2", subject="qubits")
    reader = _Reader(module, {qubit: place for place, qubit in enumerate(order)})
    made = Circuit(len(order))
    for operation in circuit.all_operations():
        made = reader.appended(made, operation)
    return made


def load_cirq() -> Any:
    """Raises ConfigurationError without Cirq."""
    try:
        import cirq
    except ImportError as error:
        raise ConfigurationError(
            'circuits of Cirq need cirq-core: pip install "qstore-db[cirq]"', subject="cirq"
        ) from error
    return cirq


class _Reader:
    """Puts operations of Cirq behind a circuit."""

    def __init__(self, module: Any, places: Mapping[Any, int]) -> None:
        self._cirq = module
        self._places = places
        self._fixed = {gate: name for name, gate in _fixed(module).items()}

    def appended(self, made: Circuit, operation: Any) -> Circuit:
        module, operation = self._cirq, operation.untagged
        if module.control_keys(operation):
            raise ArgumentError(
                f"{operation} depends on a measurement: it cannot come here", subject="circuit"
            )
        gate, qubits = operation.gate, tuple(self._places[qubit] for qubit in operation.qubits)
        if isinstance(gate, module.IdentityGate):
            return made
        if isinstance(gate, module.MeasurementGate):
            if any(gate.full_invert_mask()) or gate.confusion_map:
                raise ArgumentError(
                    f"{operation} changes what was measured: measure plainly", subject="circuit"
                )
            return made.measure(*qubits)
        if isinstance(gate, module.ResetChannel):
            return made.reset(*qubits)
        if channel := self._channel(gate):
            return made.noise(channel, *qubits)
        if name := self._fixed.get(gate):
            return made.gate(name, qubits)
        if turn := self._turn(gate):
            return made.gate(turn[0], qubits, turn[1])
        if gate is not None and len(qubits) <= 2 and module.has_unitary(gate):
            return made.unitary(module.unitary(gate), *qubits)
        parts = module.decompose_once(operation, default=None)
        if parts is None:
            raise ArgumentError(f"{operation} is neither a gate nor a channel here", subject="circuit")
        for part in parts:
            made = self.appended(made, part)
        return made

    def _turn(self, gate: Any) -> tuple[str, Angle] | None:
        """The name here and the angle of a gate that turns, up to a global phase."""
        module, control = self._cirq, ""
        if (
            isinstance(gate, module.ControlledGate)
            and gate.num_controls() == 1
            and gate.control_values.is_trivial
        ):
            control, gate = "c", gate.sub_gate
        if not isinstance(gate, module.EigenGate):
            return None
        halved = gate.global_shift == -0.5
        # Under a control the phase is none of the whole, so only exactly these gates have a name then.
        names = {
            module.XPowGate: "rx" if halved or not control else None,
            module.YPowGate: "ry" if halved or not control else None,
            module.ZPowGate: "rz" if halved else "p" if not control or gate.global_shift == 0 else None,
        }
        if not control:
            names |= {
                module.CZPowGate: "cp",
                module.XXPowGate: "rxx",
                module.YYPowGate: "ryy",
                module.ZZPowGate: "rzz",
            }
        name = next((name for kind, name in names.items() if isinstance(gate, kind)), None)
        return None if name is None else (control + name, _angle(gate.exponent))

    def _channel(self, gate: Any) -> Channel | None:
        module = self._cirq
        for kind, (name, strength) in _CHANNELS.items():
            if isinstance(gate, getattr(module, name)):
                # One that acts on several qubits at once has no strength of each: it is not what it is called here.
                return Channel(kind, getattr(gate, strength)) if gate.num_qubits() == 1 else None
        if isinstance(gate, module.AsymmetricDepolarizingChannel):
            shares = {word: share for word, share in gate.error_probabilities.items() if share}
            if set(shares) <= {"I", "Y"}:
                return Channel("bit_phase_flip", shares.get("Y", 0.0))
        return None


def _fixed(module: Any) -> dict[str, Any]:
    return {
        "x": module.X, "y": module.Y, "z": module.Z, "h": module.H, "s": module.S, "sdg": module.S**-1,
        "t": module.T, "tdg": module.T**-1, "sx": module.X**0.5,
        "cx": module.CNOT, "cy": module.Y.controlled(), "cz": module.CZ, "ch": module.H.controlled(),
        "swap": module.SWAP, "iswap": module.ISWAP, "ccx": module.TOFFOLI,
    }  # fmt: skip


def _turning(module: Any) -> dict[str, Callable[[Any], Any]]:
    """What makes the gate from an angle, a number or of sympy."""

    def power(kind: Any, shift: float) -> Callable[[Any], Any]:
        return lambda theta: kind(exponent=_half_turns(theta), global_shift=shift)

    return {
        "rx": module.rx,
        "ry": module.ry,
        "rz": module.rz,
        "p": power(module.ZPowGate, 0.0),
        "crx": lambda theta: module.rx(theta).controlled(),
        "cry": lambda theta: module.ry(theta).controlled(),
        "crz": lambda theta: module.rz(theta).controlled(),
        "cp": power(module.CZPowGate, 0.0),
        "rxx": power(module.XXPowGate, -0.5),
        "ryy": power(module.YYPowGate, -0.5),
        "rzz": power(module.ZZPowGate, -0.5),
    }


def _channel(module: Any, channel: Channel) -> Any:
    if channel.kind == "bit_phase_flip":
        return module.asymmetric_depolarize(p_y=channel.strength)
    return getattr(module, _CHANNELS[channel.kind][0])(channel.strength)


def _half_turns(theta: Any) -> Any:
    if isinstance(theta, float):
        return theta / np.pi
    import sympy

    return theta / sympy.pi


def _expression(angle: Angle, names: Mapping[Symbol, str]) -> Any:
    """A number, or sympy's expression, with whole numbers as integers: these cancel, and look better."""
    if angle.is_constant:
        return angle.constant
    import sympy

    def tidy(number: float) -> float | int:
        return int(number) if number.is_integer() else number

    return sympy.Add(
        *(sympy.Symbol(names[symbol]) * tidy(factor) for symbol, factor in angle.terms), tidy(angle.constant)
    )


def _angle(half_turns: Any) -> Angle:
    """The angle of an exponent in Cirq."""
    import sympy

    if not isinstance(half_turns, sympy.Basic):
        return Angle(float(half_turns) * np.pi)
    turned = sympy.expand(half_turns * sympy.pi)
    symbols = sorted(turned.free_symbols, key=str)
    slopes = {str(symbol): sympy.diff(turned, symbol) for symbol in symbols}
    if any(slope.free_symbols for slope in slopes.values()):
        raise not_affine(half_turns)
    constant = turned.subs(dict.fromkeys(symbols, 0))
    return affine(float(constant), {name: float(slope) for name, slope in slopes.items()})
