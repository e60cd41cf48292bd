"""Gradients by simultaneous perturbation: two circuits a sample, whatever the number of parameters.

What is perturbed is the scalar <weights, f>, whose gradient is asked for. One draw is noisy (mean cosine with the
truth .19 at 16 parameters), and right on average but for a bias of order size^2.
Source: Spall (1992), IEEE Transactions on Automatic Control 37(3).
"""

from __future__ import annotations

import numpy as np

from qstore_db.quantum.shift import Evaluate, Numbers, Slopes, along

SIZE = 0.1
"""Radians by which every angle moves."""


def gradients(
    evaluate: Evaluate,
    parameters: Numbers,
    data: Numbers,
    weights: Numbers,
    states: Numbers | None = None,
    *,
    random: np.random.Generator,
    size: float = SIZE,
    of_states: bool = False,
) -> Slopes:
    """Estimates, of arguments as `ParameterShift.gradients` takes them.

    Parameters and the data of each sample are perturbed at once, by signs of their own. `of_states` also asks for
    the gradient of real `states`, which takes two more circuits a sample.
    """
    signs = random.choice((-1.0, 1.0), len(parameters)).astype(parameters.dtype)
    own = random.choice((-1.0, 1.0), data.shape).astype(data.dtype)
    up = evaluate(parameters + size * signs, data + size * own, states)
    down = evaluate(parameters - size * signs, data - size * own, states)
    slope = np.einsum("bo,bo->b", up - down, weights) / (2 * size)
    by_state = None
    if of_states and states is not None:
        directions = random.choice((-1.0, 1.0), states.shape).astype(states.dtype)
        # A step in all directions at once is as long as the states when each of its parts is 2^(-n/2).
        step = size * states.shape[1] ** -0.5
        by_state = (
            along(evaluate, parameters, data, weights, states, directions, step)[:, np.newaxis] * directions
        )
    return Slopes(slope.sum() * signs, slope[:, np.newaxis] * own, by_state)
