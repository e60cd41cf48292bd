"""Every value of each option beside every value of each other, in few combinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any


def pairwise(options: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Combinations of one value for each option, so that any two values of two options meet in one of them.

    Greedy: each combination begins with a pair that has not met and takes for every other option the value that
    meets most of what is left. The same options give the same table.
    """
    names = list(options)
    numbers = {name: range(len(options[name])) for name in names}
    left = dict.fromkeys(
        frozenset({(first, i), (second, j)})
        for first, second in combinations(names, 2)
        for i, j in product(numbers[first], numbers[second])
    )
    table = []
    while left:
        chosen = dict(next(iter(left)))
        for name in names:
            if name not in chosen:
                chosen[name] = max(
                    numbers[name],
                    key=lambda number: sum(
                        frozenset({(name, number), its}) in left for its in chosen.items()
                    ),
                )
        for pair in combinations(chosen.items(), 2):
            left.pop(frozenset(pair), None)
        table.append({name: options[name][chosen[name]] for name in names})
    return table
