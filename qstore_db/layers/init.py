"""Angles to begin with.

`small` (uniform in +-0.1) starts close to the identity, where gradients do not vanish with the number of qubits;
`uniform` takes any angle, `normal` has a standard deviation of 1. Flat landscapes of random circuits: McClean
et al. (2018), arXiv:1803.11173.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qstore_db.layers.arguments import INITS, one_of


def initial(init: str, count: int, random: torch.Generator | None = None) -> Tensor:
    """(count,) float32, radians. Raises ArgumentError for an unknown name."""
    one_of("init", init, INITS)
    if init == "normal":
        return torch.randn(count, generator=random, dtype=torch.float32)
    reach = 0.1 if init == "small" else math.pi
    return (2 * torch.rand(count, generator=random, dtype=torch.float32) - 1) * reach
