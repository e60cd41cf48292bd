"""Expectation values as a Torch operation: compiled code forwards and backwards, Torch itself beyond.

The operators are in `layers.operators`. Second gradients are taken through `TorchProgram`, and so are those of any
higher order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from itertools import count
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qstore_db.errors import ArgumentError
from qstore_db.layers.arguments import whole
from qstore_db.layers.noise import planned
from qstore_db.layers.operators import KNOWN, expectations
from qstore_db.layers.sampled import Sampled
from qstore_db.quantum import Circuit, Program, spsa
from qstore_db.quantum.encodings import not_finite
from qstore_db.quantum.observables import Observable, check_observables, measured_together
from qstore_db.quantum.shift import Evaluate, ParameterShift, Slopes
from qstore_db.quantum.torch_density import DensityProgram
from qstore_db.quantum.torch_path import TorchProgram, full_precision
from qstore_db.quantum.trajectories import draws

Numbers: TypeAlias = NDArray[Any]
GRADIENTS: Final = ("auto", "adjoint", "parameter_shift", "spsa")
TRAJECTORIES: Final = 100
_COMPILED: Final = find_spec("numba") is not None
"""Without Numba, Torch is the faster way."""
_USUAL: Final = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
"""What is switched on and off in Torch where nobody compiles."""
_numbers = count()


class Expectations:
    """A circuit, what is read from it, and how its gradient is found.

    gradient: "adjoint" is exact; "parameter_shift" and "spsa" use circuits only, as hardware must. "auto" is
    "adjoint", or "parameter_shift" where there are shots. shots: values are means over so many shots of each
    circuit; None for exact ones. seed: of the shots and of SPSA, which then go on from call to call.
    trajectories: how many are run of each sample where noise is drawn, see `layers.noise`. Raises ArgumentError
    for unknown names, for an adjoint of shots, and for noise with shots or with gradients by circuits.
    """

    def __init__(
        self,
        circuit: Circuit,
        observables: Sequence[Observable],
        gradient: str = "auto",
        shots: int | None = None,
        seed: int | np.random.Generator = 0,
        trajectories: int = TRAJECTORIES,
    ) -> None:
        if gradient not in GRADIENTS:
            raise ArgumentError(
                f"gradient={gradient!r:.80} is unknown; there are: {', '.join(GRADIENTS)}", subject="gradient"
            )
        if shots is not None and (type(shots) is not int or shots < 1):
            raise ArgumentError(f"shots={shots!r:.80} must be an integer from 1 on, or None", subject="shots")
        if shots is not None and gradient == "adjoint":
            raise ArgumentError(
                "gradient='adjoint' needs exact values: use 'parameter_shift' or 'spsa' with shots",
                subject="gradient",
            )
        self.circuit, self.observables = circuit, tuple(observables)
        self.gradient, self.shots = gradient, shots
        self.method = gradient
        if gradient == "auto":
            self.method = "adjoint" if shots is None else "parameter_shift"
        check_observables(self.observables, circuit.n_qubits)
        self._plan = planned(circuit, self.observables)
        if self._plan.circuit is not circuit and (shots is not None or self.method != "adjoint"):
            name = "gradient" if shots is None else "shots"
            raise ArgumentError(
                f"{name}={gradient if shots is None else shots!r} with noise: it is computed exactly, with "
                "gradient='auto' and shots=None",
                subject=name,
            )
        whole("trajectories", trajectories)
        self.trajectories = trajectories
        self._repeats = 1 if self._plan.drawn is None else trajectories
        self.bases = measured_together(self.observables, circuit.n_qubits)
        """One circuit for each."""
        self._random = np.random.default_rng(seed)
        self._shift = ParameterShift(circuit) if self.method == "parameter_shift" else None
        self._sampled = None if shots is None else Sampled(circuit, self.observables, shots, self._random)
        self._programs: dict[torch.dtype, Program] = {}
        self._evaluators: dict[torch.dtype, Evaluate] = {}
        self.watch: Callable[[Tensor, Tensor | None], None] | None = None
        """Called with the data and states of every batch before it is run."""
        self.key = str(next(_numbers))
        KNOWN[self.key] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return Expectations, (
            self.circuit,
            self.observables,
            self.gradient,
            self.shots,
            self._random,
            self.trajectories,
        )

    def __call__(self, parameters: Tensor, data: Tensor, states: Tensor | None = None) -> Tensor:
        """(batch, n_observables), differentiable by all three.

        parameters: (n_parameters,), data: (batch, n_slots), states: (batch, 2^n) or None; all float32 or all
        float64 (states may be complex) and on one device.
        """
        if self.watch is not None:
            self.watch(data, states)
        if self._plan.drawn is None:
            return expectations(parameters, data, states, self.key)
        drawn = torch.ops.qstore.draws(data.detach(), self.key)
        rows = torch.cat([data.repeat_interleave(self._repeats, dim=0), drawn], dim=1)
        began = None if states is None else states.repeat_interleave(self._repeats, dim=0)
        each = expectations(parameters, rows, began, self.key)
        mean: Tensor = each.reshape(len(data), self._repeats, len(self.observables)).mean(dim=1)
        return mean

    def gradient_circuits(self, *, of_data: bool = True) -> int:
        """How many circuits a sample's gradient takes where only circuits can be run; 0 for the adjoint."""
        if self._shift is not None:
            return self._shift.evaluations(of_data=of_data) * len(self.bases)
        return 2 * len(self.bases) if self.method == "spsa" else 0

    # What the operators do

    def values(self, parameters: Tensor, data: Tensor, states: Tensor | None) -> Tensor:
        if not _is_finite(data):
            finite = np.isfinite(_array(data)).all(axis=1)
            raise not_finite(np.unique(np.flatnonzero(~finite) // self._repeats))
        if len(data) == 0:
            return data.new_zeros(0, len(self.observables))
        if self.shots is None and not self._compiled(parameters):
            with _all_of_torch():
                return self._torch.values(parameters, data, states).clone()
        evaluate = self._program(parameters.dtype).values if self._sampled is None else self._sampled
        found = evaluate(_array(parameters), _array(data), None if states is None else _array(states))
        return _tensor(found, data)

    def gradients(
        self, parameters: Tensor, data: Tensor, states: Tensor | None, weights: Tensor, wanted: Sequence[bool]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`wanted`: whether those of the data and of the states are asked for."""
        of_data, of_states = wanted
        none = parameters.new_zeros(0)
        if len(data) == 0:
            return (
                torch.zeros_like(parameters),
                torch.zeros_like(data),
                none if states is None else states.clone(),
            )
        if self.method == "adjoint" and not self._compiled(parameters):
            inputs = [each for each in (parameters, data, states) if each is not None]
            with _all_of_torch():
                first = self._first(inputs, weights)
            return first[0], first[1], first[2] if len(first) == 3 else none
        arrays = _array(parameters), _array(data), _array(weights)
        began = None if states is None else _array(states)
        if self.method == "adjoint":
            exact = self._program(parameters.dtype).gradients(*arrays, began)
            found = Slopes(exact.parameters, exact.data, exact.states)
        else:
            evaluate = self._evaluator(parameters.dtype)
            if self._shift is not None:
                found = self._shift.gradients(evaluate, *arrays, began, of_data=of_data, of_states=of_states)
            else:
                found = spsa.gradients(evaluate, *arrays, began, random=self._random, of_states=of_states)
        by_state = none
        if states is not None and found.states is not None:
            by_state = _tensor(found.states if states.is_complex() else np.real(found.states), states)
        return _tensor(found.parameters, parameters), _tensor(found.data, data), by_state

    def second(self, inputs: Sequence[Tensor], weights: Tensor, behind: Sequence[Tensor]) -> list[Tensor]:
        """Gradients of the first gradients times `behind`, by the inputs and by `weights`."""
        if self.method == "spsa" or self.shots is not None:
            what = f"gradient={self.method!r}" if self.shots is None else f"shots={self.shots}"
            raise ArgumentError(
                f"{what} gives first derivatives only: second ones need exact values and another gradient",
                subject="gradient" if self.shots is None else "shots",
            )
        again = torch.is_grad_enabled()
        with torch.enable_grad(), full_precision(weights.device):
            *inputs, weights = map(_alone, (*inputs, weights))
            first = self._first(inputs, weights)
            total = sum(
                ((its.conj() * slope).real.sum() for its, slope in zip(behind, first, strict=True)),
                start=0.0 * weights.sum(),
            )
            return list(
                torch.autograd.grad(
                    total, [*inputs, weights], create_graph=again, allow_unused=True, materialize_grads=True
                )
            )

    def _first(self, inputs: Sequence[Tensor], weights: Tensor) -> tuple[Tensor, ...]:
        # Inside an operator Torch records no graph; `vjp` sees to it by itself.
        found: tuple[Tensor, ...] = torch.func.vjp(self._torch.values, *inputs)[1](weights)
        return found

    def draws(self, like: Tensor) -> Tensor:
        """(batch * trajectories, further slots): which Pauli operators act where."""
        assert self._plan.drawn is not None
        return _tensor(draws(self._plan.drawn, len(like) * self._repeats, self._random), like)

    @property
    def n_drawn(self) -> int:
        """How many further slots."""
        return self._plan.circuit.n_slots - self.circuit.n_slots

    @cached_property
    def _torch(self) -> TorchProgram:
        kind = DensityProgram if self._plan.mixed else TorchProgram
        return kind(self._plan.circuit, self._plan.observables)

    def _compiled(self, parameters: Tensor) -> bool:
        return _COMPILED and parameters.device.type == "cpu" and not self._plan.mixed

    def _program(self, dtype: torch.dtype) -> Program:
        if dtype not in self._programs:
            real = np.float32 if dtype == torch.float32 else np.float64
            self._programs[dtype] = Program(self._plan.circuit, self._plan.observables, real)
        return self._programs[dtype]

    def _evaluator(self, dtype: torch.dtype) -> Evaluate:
        """For gradients by circuits: of the circuit whose angles can be shifted, where shifts are the method."""
        if dtype not in self._evaluators:
            circuit = self.circuit if self._shift is None else self._shift.circuit
            real = np.float32 if dtype == torch.float32 else np.float64
            self._evaluators[dtype] = (
                Program(circuit, self.observables, real).values
                if self.shots is None
                else Sampled(circuit, self.observables, self.shots, self._random)
            )
        return self._evaluators[dtype]


@contextmanager
def _all_of_torch() -> Iterator[None]:
    """What operators do, done as anywhere else.

    Compiled graphs call operators with parts of Torch switched off, which then does nothing without a word:
    conjugation and `vjp` among them (seen with Torch 2.x: `z.conj() * 1` is z).
    """
    with torch._C._ForceDispatchKeyGuard(*_USUAL), torch.no_grad():
        yield


def _alone(tensor: Tensor) -> Tensor:
    """The same, at the end of the graph: nothing that `tensor` was made from, or that was made from it, is behind.

    Weights are often made from the values, and so from the inputs: of these, only the direct way counts.
    """
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


def _is_finite(data: Tensor) -> bool:
    if data.device.type == "cpu":  # where NumPy needs a fraction of the time
        return bool(np.isfinite(_array(data)).all())
    return bool(torch.isfinite(data).all())


def _array(tensor: Tensor) -> Numbers:
    found: Numbers = tensor.detach().cpu().numpy()
    return found


def _tensor(array: Numbers, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device=like.device, dtype=like.dtype)
