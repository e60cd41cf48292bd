"""The search for an order that explains a history of one key.

That of Wing and Gong (1993), which remembers the sets of operations done and the states they led to, with the
order of trying of Lowe (2017): an operation takes effect as late as it can, just before some return needs it.
So the search goes through the returns once, in time, with all that may be true at each, and the first return
that nothing explains ends the smallest prefix without an order.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import NamedTuple

from qstore_db.testing.histories.operation import Operation
from qstore_db.testing.histories.register import State, after


class Possibility(NamedTuple):
    """One way in which everything that has returned so far may have come about. Operations go by number."""

    state: State = State()
    ahead: frozenset[int] = frozenset()
    """Operations that took effect and have not returned yet."""
    spent: frozenset[int] = frozenset()
    """Operations of unknown outcome that took effect: they never return."""


@dataclass(frozen=True, slots=True)
class DeadEnd:
    """There is no order."""

    culprit: int
    """The first to return of the operations that no order explains."""
    met: set[State]
    """What the key may have held until then."""


class Search:
    """One search. After `run`, `possible` holds all that may be true then."""

    def __init__(
        self, operations: Mapping[int, Operation], possible: Sequence[Possibility] = (Possibility(),)
    ) -> None:
        """possible: what may be true before any of these operations returns."""
        self.possible = possible
        self._operations = operations
        self._calls = sorted(operations, key=lambda number: operations[number].invoked)
        self._entered = 0
        self._pending: list[tuple[float, int]] = []
        self._alike = {number: _alike(operation) for number, operation in operations.items()}
        self._needs = _floors(operations)
        self._taken = {version_of(operation) for operation in operations.values()}

    def run(self, until: float = inf) -> DeadEnd | None:
        """Explain all that returned before `until`; where it stopped, if it cannot be explained."""
        returns = sorted((o.returned, i) for i, o in self._operations.items() if o.returned is not None)
        for time, returning in returns:
            if time >= until:
                break
            self._enter(time)
            reached, met = self._advance(returning)
            if not reached:
                return DeadEnd(returning, met)
            self._pending.remove((time, returning))
            self.possible = reached
        return None

    def _enter(self, time: float) -> None:
        """Take in what was called by `time`; two moments that the clock cannot tell apart are the same."""
        while self._entered < len(self._calls):
            number = self._calls[self._entered]
            if self._operations[number].invoked > time:
                break
            returned = self._operations[number].returned
            insort(self._pending, (inf if returned is None else returned, number))
            self._entered += 1

    def _advance(self, returning: int) -> tuple[list[Possibility], set[State]]:
        """Every possibility in which `returning` just took effect, if not before; and the states on the way."""
        reached: list[Possibility] = []
        met: set[State] = set()
        least: dict[tuple[State, frozenset[int]], list[frozenset[int]]] = {}
        # Those with the fewest spent come first: of two that are else the same, that with more spent is of no use,
        # since whatever it still leads to the other does too.
        heap: list[tuple[int, int, Possibility]] = []
        order = count()

        def offer(state: State, ahead: frozenset[int], spent: frozenset[int]) -> None:
            ahead = self._settled(state, ahead)
            others = least.setdefault((state, ahead), [])
            if not any(other <= spent for other in others):
                others.append(spent)
                heapq.heappush(heap, (len(spent), next(order), Possibility(state, ahead, spent)))

        for possibility in self.possible:
            offer(*possibility)
        while heap:
            _, _, (state, ahead, spent) = heapq.heappop(heap)
            if returning in ahead:
                reached.append(Possibility(state, ahead - {returning}, spent))
                continue
            met.add(state)
            for number, following in self._next(state, ahead | spent):
                if self._operations[number].returned is None:
                    offer(following, ahead, spent | {number})
                else:
                    offer(following, ahead | {number}, spent)
        return reached, met

    def _settled(self, state: State, ahead: frozenset[int]) -> frozenset[int]:
        """What changes nothing takes effect as soon as it can: that never stands in the way of anything."""
        still = [
            number
            for returned, number in self._pending
            if returned < inf and number not in ahead and after(state, self._operations[number]) is state
        ]
        return ahead.union(still) if still else ahead

    def _next(self, state: State, done: frozenset[int]) -> list[tuple[int, State]]:
        """What may change the state next, and to what. Of operations that are alike the first to return."""
        found: list[tuple[int, State]] = []
        tried: set[Hashable] = set()
        for _, number in self._pending:
            if number in done or self._alike[number] in tried or self._needs.get(number, 0) > state.floor:
                continue
            tried.add(self._alike[number])
            operation = self._operations[number]
            if state.version is None and operation.if_version in self._taken:
                continue  # that version belongs to a write that was acknowledged
            following = after(state, operation)
            if following is not None and following is not state:
                found.append((number, following))
        return found


def _alike(operation: Operation) -> Hashable:
    """Operations of which this is equal can stand in for each other."""
    known = operation.returned is not None
    return operation.kind, operation.argument, operation.if_version, operation.result, known


def _floors(operations: Mapping[int, Operation]) -> dict[int, int]:
    """For each acknowledged write the version of the one before it, without which it cannot take effect."""
    floors: dict[int, int] = {}
    below = 0
    for version, number in sorted((version_of(o), number) for number, o in operations.items()):
        if version:
            floors[number], below = below, version
    return floors


def version_of(operation: Operation) -> int:
    """The version that an acknowledged write was given; 0 of everything else."""
    if operation.returned is None or operation.kind in ("get", "delete"):
        return 0
    return operation.result if isinstance(operation.result, int) else 0
