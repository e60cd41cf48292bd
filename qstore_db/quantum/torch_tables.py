"""The matrices of all gates of a circuit at once, as Torch tensors: few operations for many gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qstore_db.quantum.circuit import Circuit
from qstore_db.quantum.gates import Matrix, Turn
from qstore_db.quantum.operations import Apply

Made: TypeAlias = NDArray[Any] | Callable[[], NDArray[Any]]
"""An array, or what makes it."""


def made(array: Made) -> NDArray[Any]:
    return array() if callable(array) else array


class Constants:
    """Arrays as tensors, each moved once to every device and precision that asks."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, torch.device, torch.dtype], Tensor] = {}

    def __call__(
        self,
        name: object,
        array: Made,
        device: torch.device,
        dtype: torch.dtype,
    ) -> Tensor:
        """array: made only where it is not there yet."""
        key = name, device, dtype
        if key not in self._made:
            # A tensor made under inference mode could never again be part of a gradient.
            with torch.inference_mode(False):
                self._made[key] = torch.tensor(made(array), device=device, dtype=dtype)
        return self._made[key]


@dataclass(frozen=True, slots=True, eq=False)
class _Turns:
    """Turned gates of one size: angles = constant + by_parameter @ parameters + by_slot @ data."""

    constant: NDArray[np.float64]
    by_parameter: NDArray[np.float64]
    by_slot: NDArray[np.float64]
    levels: NDArray[np.float64]
    """(gates, levels), filled up with zeros"""
    projectors: Matrix
    """(gates, levels, 2^k, 2^k), filled up with zeros"""


class Tables:
    """The matrices of a circuit by size and kind."""

    def __init__(
        self,
        circuit: Circuit,
        fixed: Mapping[int, Sequence[Matrix]],
        turns: Mapping[tuple[int, bool], Sequence[Apply]],
    ) -> None:
        self._fixed = {size: np.array(matrices) for size, matrices in fixed.items()}
        self._turns = {key: _of(circuit, gates) for key, gates in turns.items()}
        self._constants = Constants()

    def matrices(self, parameters: Tensor, data: Tensor) -> dict[tuple[int, bool | None], Tensor]:
        """By number of qubits and whether each sample has its own (None: fixed): (1 or batch, rows, 2^k, 2^k)."""
        device, real = parameters.device, parameters.dtype
        kind = torch.complex64 if real == torch.float32 else torch.complex128
        tensor = self._constants
        found: dict[tuple[int, bool | None], Tensor] = {
            (size, None): tensor(size, array, device, kind).unsqueeze(0)
            for size, array in self._fixed.items()
        }
        for (size, own), turns in self._turns.items():
            name = size, own
            angles = tensor((name, "constant"), turns.constant, device, real)
            angles = angles + tensor((name, "parameters"), turns.by_parameter, device, real) @ parameters
            angles = angles.unsqueeze(0)
            if own:
                angles = angles + data @ tensor((name, "slots"), turns.by_slot, device, real).T
            turned = -angles.unsqueeze(2) * tensor((name, "levels"), turns.levels, device, real)
            phases = torch.complex(turned.cos(), turned.sin())
            projectors = tensor((name, "projectors"), turns.projectors, device, kind)
            found[size, own] = torch.einsum("bgl,glij->bgij", phases, projectors)
        return found


def _of(circuit: Circuit, gates: Sequence[Apply]) -> _Turns:
    kinds = [gate.gate for gate in gates]
    most = max(len(kind.levels) for kind in kinds if isinstance(kind, Turn))
    size = 1 << len(gates[0].qubits)
    turns = _Turns(
        np.zeros(len(gates)),
        np.zeros((len(gates), len(circuit.parameters))),
        np.zeros((len(gates), circuit.n_slots)),
        np.zeros((len(gates), most)),
        np.zeros((len(gates), most, size, size), np.complex128),
    )
    places = {name: place for place, name in enumerate(circuit.parameters)}
    for row, (gate, kind) in enumerate(zip(gates, kinds, strict=True)):
        assert isinstance(kind, Turn)
        angle = gate.angles[0]
        turns.constant[row] = angle.constant
        for symbol, factor in angle.terms:
            if isinstance(symbol, str):
                turns.by_parameter[row, places[symbol]] = factor
            else:
                turns.by_slot[row, symbol] = factor
        turns.levels[row, : len(kind.levels)] = kind.levels
        turns.projectors[row, : len(kind.levels)] = kind.projectors
    return turns
