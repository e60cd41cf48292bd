"""Features as angles that no two of which are the same state."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qstore_db.errors import ArgumentError
from qstore_db.layers import arguments, tensors
from qstore_db.layers.base import QuantumModule
from qstore_db.quantum.torch_path import full_precision


class QuantumAwareNormalization(QuantumModule):
    """(..., n_features) -> (..., n_features) in (-limit, limit), radians: what angle encoding should be given.

    RY(x) and RY(x + 2 pi) are the same state up to its sign, so that features far apart may fall together.
    Here each is brought to mean 0 and variance 1 (by the batch in training, by running means otherwise, as
    `torch.nn.BatchNorm1d` does it), and then to limit * tanh(x / 2), which keeps their order.
    """

    def __init__(self, n_features: int, *, limit: float = math.pi, momentum: float = 0.1) -> None:
        arguments.whole("n_features", n_features)
        arguments.share("momentum", momentum)
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0.0 < limit <= math.pi:
            raise ArgumentError(f"limit={limit!r:.80} must be above 0 and at most pi", subject="limit")
        super().__init__({"n_features": n_features, "limit": limit, "momentum": momentum}, n_features)
        self._n_features, self._limit = n_features, limit
        self.normalise = nn.BatchNorm1d(n_features, momentum=momentum, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = tensors.inputs(x, self._n_features, self.normalise.running_mean)
        with full_precision(x.device):
            rows = self.normalise(x.reshape(-1, self._n_features))
        return (self._limit * torch.tanh(rows / 2.0)).reshape(x.shape)
