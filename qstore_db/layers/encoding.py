"""From features to amplitudes, and from expectation values to features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qstore_db.errors import ArgumentError
from qstore_db.layers import arguments, tensors
from qstore_db.layers.base import QuantumModule
from qstore_db.quantum.encodings import no_direction, not_finite
from qstore_db.quantum.torch_path import full_precision

REDUCTIONS: Final = ("error", "truncate", "linear", "pca")


class EncodingLayer(QuantumModule):
    """(..., width) -> (..., target_dim): rows of norm 1, padded with zeros. The norm and the sign of a row
    are lost.

    reduce: what is done to rows wider than `target_dim`: "error" refuses them; "truncate" keeps the first columns;
        "linear" is a trainable map, made for the width of the first input; "pca" projects on the main components of
        what `fit` was given. "linear" and "pca" are applied to narrower rows too.
    on_zero: "error" refuses rows that are all zero, as they have no direction; "ground" makes them (1, 0, 0, ...).

    Raises VectorError naming the row for zeros and for values that are not finite.
    """

    def __init__(self, target_dim: int, reduce: str = "error", *, on_zero: str = "error") -> None:
        arguments.whole("target_dim", target_dim)
        arguments.one_of("reduce", reduce, REDUCTIONS)
        arguments.one_of("on_zero", on_zero, ("error", "ground"))
        super().__init__({"target_dim": target_dim, "reduce": reduce, "on_zero": on_zero}, target_dim)
        self._target, self._reduce, self._on_zero = target_dim, reduce, on_zero
        self.map = nn.LazyLinear(target_dim, bias=False) if reduce == "linear" else None
        self.mean: Tensor
        self.components: Tensor
        if reduce == "pca":
            self.register_buffer("mean", torch.zeros(0))
            self.register_buffer("components", torch.zeros(0, 0))
            self.register_load_state_dict_pre_hook(_make_room)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        x = self._reduced(tensors.inputs(x, None))
        if x.shape[-1] > self._target:
            raise ArgumentError(
                f"x has {x.shape[-1]} columns and {self._target} fit: reduce='truncate', 'linear' or 'pca' makes "
                "them fewer",
                subject="x",
            )
        rows = nn.functional.pad(x.reshape(-1, x.shape[-1]), (0, self._target - x.shape[-1]))
        largest = torch.ops.qstore.largest_of_rows(rows.detach(), self._on_zero == "ground").unsqueeze(1)
        # Divided by the largest first: squares of very small and very large values would be no such numbers.
        found: Tensor = rows / torch.where(largest == 0.0, 1.0, largest)
        if self._on_zero == "ground":
            ground = torch.zeros_like(found[:1])
            ground[:, 0] = 1.0
            found = torch.where(largest == 0.0, ground, found)
        found = found / torch.linalg.vector_norm(found, dim=1, keepdim=True)
        return found.reshape(*x.shape[:-1], self._target)

    def fit(self, x: Tensor) -> EncodingLayer:
        """For reduce="pca": finds the components of x (samples, width). Signs are chosen so that each is the same
        whoever computes it."""
        if self._reduce != "pca":
            raise ArgumentError(f"reduce={self._reduce!r} has nothing to fit", subject="reduce")
        x = tensors.inputs(x, None).detach()
        if x.ndim != 2 or len(x) < 2 or not torch.isfinite(x).all():
            raise ArgumentError(f"x of shape {tuple(x.shape)} must be two finite rows or more", subject="x")
        mean = x.mean(dim=0)
        components = torch.linalg.svd(x.double() - mean.double(), full_matrices=False).Vh[: self._target]
        largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
        self.mean, self.components = mean, (components * largest.sign()).to(x.dtype).contiguous()
        return self

    def _reduced(self, x: Tensor) -> Tensor:
        if self._reduce == "truncate":
            return x[..., : self._target]
        if self.map is not None:
            return _mapped(self.map, x)
        if self._reduce == "pca":
            if len(self.components) == 0:
                raise ArgumentError("reduce='pca' has seen no data yet: call fit(x)", subject="reduce")
            if x.shape[-1] != len(self.mean):
                raise ArgumentError(
                    f"x has {x.shape[-1]} columns; fit was given {len(self.mean)}", subject="x"
                )
            with full_precision(x.device):
                projected: Tensor = (x - self.mean) @ self.components.to(x.dtype).T
            return projected
        return x


class DecodingLayer(QuantumModule):
    """(..., width) in [-1, 1] -> (x + 1) / 2 in [0, 1], and then a trainable map without bias to
    `output_dim`, if given."""

    def __init__(self, output_dim: int | None = None) -> None:
        if output_dim is not None:
            arguments.whole("output_dim", output_dim)
        super().__init__({"output_dim": output_dim}, output_dim)
        self.map = None if output_dim is None else nn.LazyLinear(output_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scaled = (tensors.inputs(x, None) + 1.0) / 2.0
        return scaled if self.map is None else _mapped(self.map, scaled)


def _make_room(layer: nn.Module, state_dict: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """For what another layer was fitted to, of whatever size, as Torch loads into tensors of the same size only."""
    for name in ("mean", "components"):
        if f"{prefix}{name}" in state_dict:
            saved, here = state_dict[f"{prefix}{name}"], getattr(layer, name)
            setattr(layer, name, here.new_empty(saved.shape))


def _mapped(linear: nn.Module, x: Tensor) -> Tensor:
    with full_precision(x.device):
        found: Tensor = linear(x)
    return found


# As an operator of its own, so that looking at the values does not break a compiled graph.
@torch.library.custom_op("qstore::largest_of_rows", mutates_args=())
def _largest_of_rows(x: Tensor, zero_is_fine: bool) -> Tensor:
    finite = torch.isfinite(x).all(dim=1)
    if not finite.all():
        raise not_finite(_where(~finite))
    largest = x.abs().amax(dim=1)
    if not zero_is_fine and not largest.all():
        raise no_direction(_where(largest == 0))
    return largest


@_largest_of_rows.register_fake
def _(x: Tensor, zero_is_fine: bool) -> Tensor:  # noqa: ARG001
    return x.new_empty(x.shape[0])


def _where(rows: Tensor) -> NDArray[np.int64]:
    found: NDArray[np.int64] = rows.nonzero()[:, 0].cpu().numpy()
    return found
