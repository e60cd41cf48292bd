"""What a simulation needs in memory, looked at before any of it is allocated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike

from qstore_db.errors import ArgumentError
from qstore_db.quantum.circuit import MAX_QUBITS

COPIES: Final = 6
"""States alive at once: measured, 3.0 while a gate is applied, 5.2 while a sum of Pauli strings is read."""
_ALWAYS_THERE: Final = 16 << 20
"""Bytes for which nobody looks: reading what is free takes longer than a small circuit."""
_MEMINFO: Final = Path("/proc/meminfo")


def state_bytes(n_qubits: int, batch: int = 1, copies: int = 1, dtype: DTypeLike = np.complex128) -> int:
    """Of `batch` states of 2^n_qubits amplitudes, held `copies` times."""
    return (batch * copies * np.dtype(dtype).itemsize) << n_qubits


def available_bytes() -> int | None:
    """What can be allocated without swapping, as Linux estimates it; None where nobody says."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    fields: dict[str, Any] = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) << 10 if "MemAvailable" in fields else None


def check_memory(
    n_qubits: int, batch: int = 1, copies: int = COPIES, dtype: DTypeLike = np.complex128
) -> None:
    """Raises ArgumentError for more than 24 qubits, and for states that need more memory than is available."""
    if n_qubits > MAX_QUBITS:
        raise ArgumentError(
            f"n_qubits={n_qubits} is too many to simulate: {MAX_QUBITS} at most (one state of {n_qubits} takes "
            f"{in_words(state_bytes(n_qubits, dtype=dtype))})",
            subject="n_qubits",
        )
    check_bytes(state_bytes(n_qubits, batch, copies, dtype), n_qubits, batch)


def check_bytes(
    needed: int, n_qubits: int, batch: int = 1, available_there: Callable[[], int | None] | None = None
) -> None:
    """The same for what takes `needed` bytes to run `batch` states.

    available_there: asked where that is more than is always there; without it, the memory of this machine.
    """
    if needed <= _ALWAYS_THERE:
        return
    available = available_bytes() if available_there is None else available_there()
    if available is not None and needed > available:
        raise ArgumentError(
            f"n_qubits={n_qubits}: {batch} states need {in_words(needed)} with their working copies, and "
            f"{in_words(available)} are available; use fewer qubits or fewer samples at a time",
            subject="n_qubits",
        )


def in_words(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} PiB"
