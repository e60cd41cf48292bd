"""Classical data as quantum states.

| kind | circuit | on features |
|---|---|---|
| `angle` | RY(x_i) on qubit i | n qubits for n |
| `iqp` | H, RZ(x_i), RZZ(x_i x_j), all `repeats` times | n qubits for n, which become n (n + 1) / 2 |
| `basis` | X where bit i is 1 | n qubits for n bits |
| `reuploading` | RY(x_i) before each of `layers` | n qubits for n |
| `amplitude` | amplitudes x / |x|, padded with zeros | log2(n) qubits for n |

Feature i is on qubit i, and amplitude i is that of basis state i. Qubits beyond the features stay in |0>.
Sources: Havlicek et al. (2019), arXiv:1804.11326 (IQP); Perez-Salinas et al. (2020), arXiv:1907.02085.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import ArgumentError, VectorError
from qstore_db.quantum.angles import data
from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.memory import check_memory
from qstore_db.quantum.plain import Reals, States
from qstore_db.quantum.simulator import state
from qstore_db.quantum.state_preparation import prepared

Kind: TypeAlias = Literal["angle", "iqp", "basis", "reuploading", "amplitude"]
KINDS: Final = ("angle", "iqp", "basis", "reuploading", "amplitude")


class Options(TypedDict, total=False):
    """How to encode."""

    n_qubits: int | None
    """As many as are needed, without it."""
    repeats: int | None
    """Of `iqp` only: how often; once without it."""
    layers: Sequence[Circuit]
    """Of `reuploading` only: what comes after each encoding of the data."""


def encode(x: ArrayLike, kind: Kind = "angle", **options: Unpack[Options]) -> Circuit:
    """A circuit that prepares one sample, with its numbers put in. Parameters of `layers` stay open.

    x: (n_features,), finite; radians for `angle`, `iqp` and `reuploading`; 0 or 1 for `basis`; real or complex for
    `amplitude`, whose norm is lost, and of a complex x the global phase. Raises VectorError for an x that cannot be
    encoded, and ArgumentError for unknown kinds, options of another kind, and more features than the qubits hold.
    """
    values = _values(x, 1, "x", is_complex=kind == "amplitude")
    if kind == "amplitude":
        _no_other_options(kind, options)
        return prepared(amplitude_states(values[np.newaxis], options.get("n_qubits"))[0])
    if kind == "basis":
        circuit = Circuit(_qubits_for(len(values), kind, options))
        for qubit in np.flatnonzero(_bits(values)).tolist():
            circuit = circuit.x(qubit)
        return circuit
    circuit = encoding(kind, len(values), **options)
    return circuit.bind(data=iqp_features(values) if kind == "iqp" else values)


def encoding(kind: Kind, n_features: int, **options: Unpack[Options]) -> Circuit:
    """The same with data slots instead of numbers, for `angle`, `reuploading` and `iqp`.

    Slot i reads feature i; of `iqp`, the slots read what `iqp_features` makes. Raises ArgumentError for `basis` and
    `amplitude`, whose gates do not turn by the data: see `amplitude_states`.
    """
    n_qubits = _qubits_for(n_features, kind, options)
    if kind == "angle":
        return _angles(Circuit(n_qubits), n_features)
    if kind == "iqp":
        return _iqp(n_qubits, n_features, options.get("repeats"))
    if kind == "reuploading":
        circuit, layers = Circuit(n_qubits), options.get("layers", ())
        if not layers:
            raise ArgumentError("reuploading needs layers=[circuit, ...]", subject="layers")
        for layer in layers:
            circuit = _angles(circuit, n_features).compose(layer)
        return circuit
    raise ArgumentError(f"{kind} encoding has no data slots: encode each sample", subject="kind")


def encoded_states(x: ArrayLike, kind: Kind = "angle", **options: Unpack[Options]) -> States | Reals:
    """(batch, 2^n) states of x (batch, n_features), as `encode` prepares them; no parameters may be open."""
    if kind == "amplitude":
        _no_other_options(kind, options)
        return amplitude_states(x, options.get("n_qubits"))
    values = _values(x, 2, "x")
    if kind == "basis":
        n_qubits = _qubits_for(values.shape[1], kind, options)
        check_memory(n_qubits, len(values), copies=1, dtype=np.float64)
        ones = _bits(values).astype(np.int64) << np.arange(n_qubits - 1, n_qubits - 1 - values.shape[1], -1)
        found = np.zeros((len(values), 1 << n_qubits))
        found[np.arange(len(values)), ones.sum(axis=1)] = 1.0
        return found
    circuit = encoding(kind, values.shape[1], **options)
    return state(circuit, data=iqp_features(values) if kind == "iqp" else values)


def amplitude_states(
    x: ArrayLike, n_qubits: int | None = None, on_zero: Literal["error", "ground"] = "error"
) -> States | Reals:
    """(batch, 2^n) states x / |x|, padded with zeros: float64 for real x, complex128 for complex.

    x: (batch, width). n_qubits: as many as hold the width, without it. A row of zeros has no direction: VectorError
    names it, or with on_zero="ground" it becomes |0...0>. The norm of x is lost; its sign is in the state, though
    no measurement shows it. Raises VectorError also for values that are not finite, and ArgumentError for an x that
    is wider than 2^n_qubits.
    """
    if on_zero not in ("error", "ground"):
        raise ArgumentError(f"on_zero={on_zero!r:.80} must be 'error' or 'ground'", subject="on_zero")
    values = _values(x, 2, "x", is_complex=True)
    width = values.shape[1]
    needed = max(1, (width - 1).bit_length())
    size = needed if n_qubits is None else _counted("n_qubits", n_qubits)
    if size < needed:
        raise ArgumentError(
            f"{width} amplitudes need n_qubits={needed}, not {size}: reduce x or use more", subject="n_qubits"
        )
    check_memory(size, len(values), dtype=values.dtype)
    largest = np.abs(values).max(axis=1, keepdims=True)
    zero = np.flatnonzero(largest == 0.0)
    if len(zero) and on_zero == "error":
        raise no_direction(zero)
    found = np.zeros((len(values), 1 << size), values.dtype)
    # Divided by the largest first: squares of very small and very large values would not be numbers of this size.
    found[:, :width] = values / np.where(largest == 0.0, 1.0, largest)
    found[zero, 0] = 1.0
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def no_direction(rows: NDArray[np.intp]) -> VectorError:
    """The error for rows of x that are all zero."""
    one = len(rows) == 1
    return VectorError(
        f"{_rows(rows)} of x {'is' if one else 'are'} all zero and {'has' if one else 'have'} no direction; leave "
        f"{'it' if one else 'them'} out, or use on_zero='ground'",
        subject="x",
    )


def not_finite(rows: NDArray[np.intp]) -> VectorError:
    """The error for rows of x with NaN or infinity."""
    return VectorError(
        f"{_rows(rows)} of x {'has' if len(rows) == 1 else 'have'} values that are not finite", subject="x"
    )


def iqp_features(x: ArrayLike) -> Reals:
    """(..., n (n + 1) / 2): what the slots of an IQP circuit read for x (..., n).

    First each x_i, then the products x_i x_j for i < j, in lexicographic order. The Jacobian times a direction v is
    v_i and x_i v_j + x_j v_i; transposed, gradients g of the features give x_i the gradient g_i + sum_j g_ij x_j.
    """
    values = _values(x, np.ndim(x), "x")
    first, second = np.triu_indices(values.shape[-1], 1)
    return np.concatenate([values, values[..., first] * values[..., second]], axis=-1)


def _angles(circuit: Circuit, n_features: int) -> Circuit:
    for qubit in range(n_features):
        circuit = circuit.ry(qubit, data(qubit))
    return circuit


def _iqp(n_qubits: int, n_features: int, repeats: int | None) -> Circuit:
    circuit = Circuit(n_qubits)
    first, second = np.triu_indices(n_features, 1)
    for _ in range(1 if repeats is None else _counted("repeats", repeats)):
        for qubit in range(n_features):
            circuit = circuit.h(qubit)
        for qubit in range(n_features):
            circuit = circuit.rz(qubit, data(qubit))
        for slot, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True), n_features):
            circuit = circuit.rzz(i, j, data(slot))
    return circuit


def _qubits_for(n_features: int, kind: str, options: Options) -> int:
    _no_other_options(kind, options)
    needed, n_qubits = _counted("n_features", n_features), options.get("n_qubits")
    size = needed if n_qubits is None else _counted("n_qubits", n_qubits)
    if needed > size:
        raise ArgumentError(
            f"{n_features} features need n_qubits={n_features} in {kind} encoding, not {size}",
            subject="n_qubits",
        )
    return size


def _no_other_options(kind: str, options: Options) -> None:
    if kind not in KINDS:
        raise ArgumentError(f"kind={kind!r:.80} is unknown; there are: {', '.join(KINDS)}", subject="kind")
    if unknown := set(options) - set(Options.__annotations__):
        raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
    for name, owner in (("repeats", "iqp"), ("layers", "reuploading")):
        if options.get(name) is not None and kind != owner:
            raise ArgumentError(f"{name} is an option of {owner} encoding, not of {kind}", subject=name)


def _values(x: ArrayLike, ndim: int, name: str, *, is_complex: bool = False) -> NDArray[Any]:
    """float64, or complex128 where that is allowed and given."""
    try:
        given = np.asarray(x)
        values = given.astype(np.complex128 if np.iscomplexobj(given) else np.float64)
    except (TypeError, ValueError):
        raise VectorError(
            f"{name} must be numbers of {ndim} dimensions, not {x!r:.80}", subject=name
        ) from None
    if np.iscomplexobj(values) and not is_complex:
        raise VectorError(f"{name} must be real: amplitude encoding alone takes complex values", subject=name)
    if values.ndim != ndim or values.shape[-1] == 0:
        raise VectorError(f"{name} of shape {values.shape} given, not of {ndim} dimensions", subject=name)
    finite = np.isfinite(values)
    if not finite.all():
        if ndim == 2:
            raise not_finite(np.flatnonzero(~finite.all(axis=1)))
        raise VectorError(f"{name} has values that are not finite", subject=name)
    return values


def _bits(values: Reals) -> NDArray[np.bool_]:
    if not np.isin(values, (0.0, 1.0)).all():
        raise VectorError("basis encoding takes bits: x has values other than 0 and 1", subject="x")
    bits: NDArray[np.bool_] = values == 1.0
    return bits


def _counted(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ArgumentError(f"{name}={value!r:.80} must be an integer from 1 on", subject=name)
    return int(value)


def _rows(rows: NDArray[np.intp]) -> str:
    listed = ", ".join(map(str, rows[:10])) + (f" and {len(rows) - 10} more" if len(rows) > 10 else "")
    return f"row{'s' if len(rows) > 1 else ''} {listed}"
