"""Natural gradients of all circuits in a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias
from weakref import ref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qstore_db.errors import ArgumentError
from qstore_db.layers.base import CircuitModule
from qstore_db.layers.sequential import QuantumSequential
from qstore_db.quantum.metric import DAMPING, Metric, natural

Run: TypeAlias = "tuple[Tensor, Tensor | None]"
"""Data and states of a batch."""


class NaturalGradient:
    """Turns the gradients of circuits' angles into natural ones, by the metric of their states.

        natural = NaturalGradient(model)
        loss.backward()
        natural.apply()
        optimizer.step()

    Circuits in `model` are watched from here on, outside of `torch.compile`; gradients of all other parameters stay
    as they are. The metric is block-diagonal, the mean over the batch, and has `damping` added to its diagonal.
    It costs one pass of values for every layer of gates. What is run with gradients counts, and is kept, until the
    next `apply()`: validation belongs into `torch.no_grad()`.
    Raises ArgumentError for a model without circuits, and for noise: the metric is that of pure states.
    """

    def __init__(self, model: nn.Module, damping: float = DAMPING) -> None:
        if isinstance(damping, bool) or not isinstance(damping, (int, float)) or not 0.0 < damping < np.inf:
            raise ArgumentError(f"damping={damping!r:.80} must be above 0 and finite", subject="damping")
        self._damping = float(damping)
        self._layers = _circuits(model)
        if not self._layers:
            raise ArgumentError("there is no circuit in this model", subject="model")
        self._metrics = [Metric(each.circuit) for each in self._layers]
        self._seen: list[list[Run]] = [[] for _ in self._layers]
        for number, layer in enumerate(self._layers):
            layer.expectations.watch = partial(_keep, ref(self), number)

    def apply(self) -> None:
        """To be called between `backward()` and the optimiser's step.

        Raises ArgumentError if nothing has been run since the last call.
        """
        for layer, metric, seen in zip(self._layers, self._metrics, self._seen, strict=True):
            parameters = layer.quantum_parameters()
            trained = np.concatenate([np.full(each.numel(), each.grad is not None) for each in parameters])
            if not trained.any():
                seen.clear()
                continue
            if not seen:
                raise ArgumentError(
                    "the model has not been run since the last call: apply() goes after backward()",
                    subject="model",
                )
            gradients = [each.grad for each in parameters if each.grad is not None]
            found = metric(_flat(parameters), *_joined(seen))[np.ix_(trained, trained)]
            seen.clear()
            left = torch.from_numpy(natural(_flat(gradients), found, self._damping))
            for gradient in gradients:
                gradient.copy_(left[: gradient.numel()].reshape(gradient.shape))
                left = left[gradient.numel() :]


def _circuits(model: nn.Module) -> list[CircuitModule | QuantumSequential]:
    """Each module that runs a circuit; those that are fused run in their QuantumSequential."""
    fused: set[nn.Module] = set()
    found: list[CircuitModule | QuantumSequential] = []
    for module in model.modules():
        if isinstance(module, QuantumSequential):
            fused |= set(module.layers)
            found.append(module)
        elif isinstance(module, CircuitModule) and module not in fused:
            found.append(module)
    return found


def _keep(owner: ref[NaturalGradient], number: int, data: Tensor, states: Tensor | None) -> None:
    """Nothing is kept for an owner that is no more: the model may go on without it."""
    natural = owner()
    if natural is not None and torch.is_grad_enabled():
        natural._seen[number].append((data.detach(), None if states is None else states.detach()))


def _flat(tensors: Sequence[Tensor]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (
        torch.cat([each.detach().flatten() for each in tensors]).cpu().double().numpy()
    )
    return found


def _joined(seen: Sequence[Run]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Of all runs since the last step."""
    data = torch.cat([its for its, _ in seen]).cpu().double().numpy()
    states = [its for _, its in seen if its is not None]
    return data, torch.cat(states).cpu().numpy() if states else None
