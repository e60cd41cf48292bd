"""Custom operators, so that `torch.compile` sees one node for each: values, their first gradients, and draws.

Outside of compiled graphs and of `torch.func` values go through a function instead, which does the same and whose
call takes less time than a circuit of four qubits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

if TYPE_CHECKING:
    from qstore_db.layers.function import Expectations

KNOWN: WeakValueDictionary[str, Expectations] = WeakValueDictionary()
"""Operators take tensors and texts only: by which text each is found while its layer lives."""


@torch.library.custom_op("qstore::expectations", mutates_args=())
def _expectations(parameters: Tensor, data: Tensor, states: Tensor | None, key: str) -> Tensor:
    return KNOWN[key].values(parameters, data, states)


@torch.library.custom_op("qstore::draws", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _draws(like: Tensor, key: str) -> Tensor:
    return KNOWN[key].draws(like)


@_draws.register_fake
def _(like: Tensor, key: str) -> Tensor:
    its = KNOWN[key]
    return like.new_empty(like.shape[0] * its.trajectories, its.n_drawn)


@_expectations.register_fake
def _(parameters: Tensor, data: Tensor, states: Tensor | None, key: str) -> Tensor:  # noqa: ARG001
    return data.new_empty(data.shape[0], len(KNOWN[key].observables))


@torch.library.custom_op("qstore::expectation_gradients", mutates_args=())
def _gradients(
    parameters: Tensor, data: Tensor, states: Tensor | None, weights: Tensor, key: str, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    return KNOWN[key].gradients(parameters, data, states, weights, wanted)


@_gradients.register_fake
def _(
    parameters: Tensor,
    data: Tensor,
    states: Tensor | None,
    weights: Tensor,  # noqa: ARG001
    key: str,  # noqa: ARG001
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    by_state = parameters.new_empty(0) if states is None or not wanted[1] else torch.empty_like(states)
    return torch.empty_like(parameters), torch.empty_like(data), by_state


def expectations(parameters: Tensor, data: Tensor, states: Tensor | None, key: str) -> Tensor:
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        found: Tensor = torch.ops.qstore.expectations(parameters, data, states, key)
    else:
        found = _Values.apply(parameters, data, states, key)  # type: ignore[no-untyped-call]
    return found


def _remember_values(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    parameters, data, states, key = inputs
    ctx.owner = KNOWN[key]  # a graph may live longer than the layer that made it
    ctx.save_for_backward(parameters, data, states)


def _back_from_values(ctx: Any, weights: Tensor) -> tuple[Any, ...]:
    parameters, data, states = ctx.saved_tensors
    wanted = [bool(ctx.needs_input_grad[1]), bool(ctx.needs_input_grad[2])]
    by_parameter, by_data, by_state = torch.ops.qstore.expectation_gradients(
        parameters, data, states, weights, ctx.owner.key, wanted
    )
    return by_parameter, by_data, by_state if wanted[1] else None, None


class _Values(torch.autograd.Function):
    """The operator `expectations`, called directly."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        found = KNOWN[inputs[-1]].values(*inputs[:-1])
        _remember_values(ctx, inputs, found)
        return found

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Any, ...]:
        (weights,) = grad_outputs
        if torch.is_grad_enabled():  # of this gradient there may be one again
            return _back_from_values(ctx, weights)
        wanted = [ctx.needs_input_grad[1], ctx.needs_input_grad[2]]
        found = ctx.owner.gradients(*ctx.saved_tensors, weights, wanted)
        return found[0], found[1], found[2] if wanted[1] else None, None


def _remember_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ARG001
    parameters, data, states, weights, key, ctx.wanted = inputs
    ctx.owner = KNOWN[key]
    ctx.save_for_backward(parameters, data, states, weights)


def _back_from_gradients(ctx: Any, *behind: Tensor) -> tuple[Any, ...]:
    parameters, data, states, weights = ctx.saved_tensors
    inputs = [parameters, data] if states is None else [parameters, data, states]
    if states is not None and not ctx.wanted[1]:
        behind = (*behind[:2], torch.zeros_like(states))
    found = ctx.owner.second(inputs, weights, behind[: len(inputs)])
    by_state = found[2] if states is not None else None
    return found[0], found[1], by_state, found[-1], None, None


_expectations.register_autograd(_back_from_values, setup_context=_remember_values)
_gradients.register_autograd(_back_from_gradients, setup_context=_remember_gradients)
