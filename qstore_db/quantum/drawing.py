"""Circuits as text and as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from qstore_db.errors import ArgumentError
from qstore_db.pictures.wires import Element, Mark, Shape, wires_text
from qstore_db.pictures.wires_svg import wires_svg
from qstore_db.quantum.operations import Apply, Noise, Operation, name_of

if TYPE_CHECKING:
    from qstore_db.quantum.circuit import Circuit

_LEAST_WIDTH: Final = 20
_LONGEST: Final = 40
"""Characters of a label; of a longer one the end is cut off."""

# White on each has a contrast of 4.5 at least, and each on a black page one of 3.5.
_FIXED: Final = "#626c7a"
_TRAINED: Final = "#3b6fe0"
_DATA: Final = "#0f7d74"
_NO_GATE: Final = "#a15c07"

_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {"sdg": "S†", "tdg": "T†", "sx": "√X", "iswap": "iSWAP", "reset": "|0⟩"}
)
"""Of other gates the label is the name in capitals."""
_BOX: Final[Shape] = "box"
_SIGNS: Final[Mapping[str, tuple[Shape, ...]]] = MappingProxyType(
    {
        "cx": ("dot", "plus"),
        "cy": ("dot", "box"),
        "cz": ("dot", "dot"),
        "ch": ("dot", "box"),
        "swap": ("cross", "cross"),
        "crx": ("dot", "box"),
        "cry": ("dot", "box"),
        "crz": ("dot", "box"),
        "cp": ("dot", "box"),
        "ccx": ("dot", "dot", "plus"),
    }
)
"""Of others there is a box on each qubit."""


def draw(circuit: Circuit, style: str, width: int) -> str:
    """See `Circuit.draw`."""
    if type(width) is not int or width < _LEAST_WIDTH:
        raise ArgumentError(f"width={width!r:.80} must be an integer from {_LEAST_WIDTH} on", subject="width")
    names = [f"q{qubit}" for qubit in range(circuit.n_qubits)]
    elements = [_element(operation) for operation in circuit.operations]
    if style == "text":
        return wires_text(names, elements, width)
    if style == "svg":
        return wires_svg(names, elements, width, caption(circuit))
    raise ArgumentError(f"style={style!r:.80} is unknown; there are: text, svg", subject="style")


def caption(circuit: Circuit) -> str:
    """What it is made of, in a line."""
    counts = {
        "qubit": circuit.n_qubits,
        "operation": len(circuit),
        "parameter": len(circuit.parameters),
        "data slot": circuit.n_slots,
    }
    return "Circuit: " + ", ".join(f"{count} {what}{'s' * (count != 1)}" for what, count in counts.items())


def html(circuit: Circuit) -> str:
    """The picture and its caption, for notebooks."""
    return f"<figure>{circuit.draw('svg')}<figcaption>{escape(caption(circuit))}</figcaption></figure>"


def _element(operation: Operation) -> Element:
    label, qubits, name = _short(_label(operation)), operation.qubits, name_of(operation)
    shapes = _SIGNS.get(name, (_BOX,) * len(qubits))
    # Which qubit of a matrix is which cannot be seen otherwise; iSWAP and the turns by two letters are symmetric.
    texts = [
        f"{label} {place}" if name == "unitary" and len(qubits) > 1 else label for place in range(len(qubits))
    ]
    marks = tuple(
        Mark(qubit, shape, text if shape == "box" else "")
        for qubit, shape, text in zip(qubits, shapes, texts, strict=True)
    )
    return Element(marks, _colour(operation), f"{name} on {', '.join(f'q{qubit}' for qubit in qubits)}")


def _label(operation: Operation) -> str:
    name = name_of(operation)
    if isinstance(operation, Noise):
        return f"{operation.channel.kind.replace('_', ' ')} {operation.channel.strength:.4g}"
    if not isinstance(operation, Apply):
        return _LABELS.get(name, name)
    # A control is a sign of its own.
    shown = name.removeprefix("c") if name in _SIGNS else name
    angles = ", ".join(map(str, operation.angles))
    return _LABELS.get(name, shown.upper()) + (f"({angles})" if angles else "")


def _colour(operation: Operation) -> str:
    """By what may change it: nothing, training, the input; what is no gate has one of its own."""
    if not isinstance(operation, Apply):
        return _FIXED if name_of(operation) == "unitary" else _NO_GATE
    symbols = [symbol for angle in operation.angles for symbol, _ in angle.terms]
    if any(isinstance(symbol, int) for symbol in symbols):
        return _DATA
    return _TRAINED if symbols else _FIXED


def _short(text: str) -> str:
    """In one line, whatever a parameter is called, and not too long."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
