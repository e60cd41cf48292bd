"""Tensors that layers are given, checked, and the precision in which they are computed with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qstore_db.errors import ArgumentError


def inputs(x: Any, width: int | None, parameters: Tensor | None = None) -> Tensor:
    """x in the precision that is computed in: double for double parameters (or x, without any), otherwise single.

    Raises ArgumentError for what is no real tensor (..., width), and for another device than that of the
    parameters.
    """
    if not isinstance(x, Tensor):
        raise ArgumentError(f"x must be a torch tensor, not {type(x).__name__}", subject="x")
    if x.is_complex():
        raise ArgumentError(f"x of {x.dtype} given: layers take real numbers", subject="x")
    if x.ndim == 0 or (width is not None and x.shape[-1] != width):
        wanted = "..., n" if width is None else f"..., {width}"
        raise ArgumentError(f"x of shape {tuple(x.shape)} given, ({wanted}) needed", subject="x")
    if parameters is not None and parameters.device != x.device:
        raise ArgumentError(
            f"x is on {x.device} and the layer on {parameters.device}: move one of them", subject="x"
        )
    return x.to(precision(x if parameters is None else parameters))


def precision(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
