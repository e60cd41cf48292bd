"""What layers are given, checked: each error names the argument. Of what Torch and Keras layers have alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qstore_db.config import DatabaseConfig
from qstore_db.errors import ArgumentError
from qstore_db.quantum.circuit import MAX_QUBITS

BACKENDS = (None, "simulator", "mock")
"""All are the exact simulator."""
INITS = ("small", "uniform", "normal")


def one_of(name: str, value: Any, known: Iterable[Any]) -> None:
    if not any(value is its or value == its for its in known):
        raise ArgumentError(
            f"{name}={value!r:.80} is unknown; there are: {', '.join(map(repr, known))}", subject=name
        )


def whole(name: str, value: Any, least: int = 1) -> None:
    if type(value) is not int or value < least:
        raise ArgumentError(f"{name}={value!r:.80} must be an integer from {least} on", subject=name)


def seed(given: Any) -> None:
    """None draws one."""
    if given is not None and (type(given) is not int or not 0 <= given < 2**63):
        raise ArgumentError(f"seed={given!r:.80} must be an integer from 0 on, or None", subject="seed")


def share(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
        raise ArgumentError(f"{name}={value!r:.80} must be from 0 to 1", subject=name)


def qubits(n_qubits: Any) -> None:
    whole("n_qubits", n_qubits)
    if n_qubits > MAX_QUBITS:
        raise ArgumentError(
            f"n_qubits={n_qubits} is too large: the state of one sample takes {_size(16 << n_qubits)} of memory; "
            f"{MAX_QUBITS} at most",
            subject="n_qubits",
        )


def bases(measurement_bases: Any) -> tuple[str, ...]:
    """Raises ArgumentError for none, for unknown letters, and for one that comes twice."""
    try:
        letters = tuple(measurement_bases)
    except TypeError:
        letters = ()
    if not letters or len(set(letters)) != len(letters) or not set(letters) <= {"X", "Y", "Z"}:
        raise ArgumentError(
            f"measurement_bases={measurement_bases!r:.80} must be one or more of 'X', 'Y', 'Z', each once",
            subject="measurement_bases",
        )
    return letters


def backend(config: Any, given: Any) -> str | None:
    """The name of the backend; `config` is a DatabaseConfig."""
    if config is not None and given is not None:
        raise ArgumentError("give config or backend, not both", subject="backend")
    if config is not None and not isinstance(config, DatabaseConfig):
        raise ArgumentError(f"config={config!r:.80} must be a DatabaseConfig", subject="config")
    one_of("backend", given, BACKENDS)
    return None if given is None else str(given)


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} PiB"
