"""To and from OpenQASM 3, by Qiskit's writer and reader."""

from __future__ import annotations

import re
from typing import Any, Final

from qstore_db.errors import ArgumentError, ConfigurationError
from qstore_db.quantum.angles import Symbol
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.convert.qiskit import from_qiskit, load_qiskit, to_qiskit
from qstore_db.quantum.convert.symbols import check_names, renamed

_SLOT: Final = re.compile(r"x_(\d+)", re.ASCII)


def to_openqasm(circuit: Circuit) -> str:
    """A program in OpenQASM 3. Parameters are inputs of the same names, data slots the inputs `x_0`, `x_1`, ...

    Gates that the language lacks are defined in the program. Numbers within 1e-9 of a simple fraction of pi are
    written as that. Raises ArgumentError for channels, and for parameters whose names OpenQASM cannot hold or that
    would come back as slots.
    """
    load_qiskit()
    from qiskit import qasm3

    check_names(circuit, _SLOT)
    plain = renamed(circuit, lambda symbol: symbol if isinstance(symbol, str) else f"x_{symbol}")
    text: str = qasm3.dumps(to_qiskit(plain))
    for name in plain.parameters:
        # The writer gives another name to what is none in OpenQASM, or has a meaning there.
        if f"input float[64] {name};\n" not in text:
            raise ArgumentError(
                f"parameter {name!r} cannot be called so in OpenQASM: rename it", subject=name
            )
    return text


def from_openqasm(text: str) -> Circuit:
    """What a program does, up to a global phase; see `from_qiskit`. Inputs `x_0`, `x_1`, ... are data slots.

    Raises ArgumentError with what the reader said for what is no OpenQASM 3, or more than it knows.
    """
    parse, errors = _reader()
    try:
        circuit = parse(text)
    except errors as error:
        raise ArgumentError(
            f"this is no OpenQASM 3 that can be read: {str(error) or 'wrong grammar'}", subject="text"
        ) from error

    def symbol(name: Symbol) -> Symbol:
        slot = _SLOT.fullmatch(str(name))
        return int(slot[1]) if slot else name

    return renamed(from_qiskit(circuit), symbol)


def _reader() -> tuple[Any, tuple[type[Exception], ...]]:
    """What reads, and what it raises for what it does not understand."""
    load_qiskit()
    try:
        from openqasm3.parser import QASM3ParsingError
        from qiskit_qasm3_import import ConversionError, parse
    except ImportError as error:
        raise ConfigurationError(
            'reading OpenQASM needs qiskit-qasm3-import: pip install "qstore-db[qiskit]"',
            subject="qiskit-qasm3-import",
        ) from error
    return parse, (QASM3ParsingError, ConversionError)
