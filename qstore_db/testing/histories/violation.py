"""What is wrong with a history, for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qstore_db.testing.histories.operation import Operation
from qstore_db.testing.histories.register import State

_NAMED = 8
"""States that are named one by one."""
_LOST = 4
"""Operations of unknown outcome that are shown: each may matter for ever."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A few operations on one record that no order explains. As text it tells what a reader needs to see why."""

    reason: str
    culprit: Operation
    """The first to return of those that no order explains. Not always the one that went wrong."""
    operations: tuple[Operation, ...]
    """Those that have no order, the culprit among them, in the order of their calls."""
    before: tuple[State, ...] = ()
    """What the key may have held when the culprit was called, as far as earlier operations tell."""
    met: tuple[State, ...] = ()
    """What the key may have held when the culprit took effect; it fits none of these."""
    origins: tuple[Operation, ...] = ()
    """Earlier operations that wrote what the culprit saw."""

    @property
    def key(self) -> str:
        return self.culprit.key

    def __str__(self) -> str:
        left_out = [operation for operation in self.operations if operation.returned is None][:-_LOST]
        shown = [operation for operation in self.operations if operation not in left_out]
        start = shown[0].invoked
        lines = [f"key {self.key!r}: {self.reason}"]
        if self.before:
            lines.append(f"before: {_listed(self.before)}")
        lines.append("  client  called ms  returned ms")
        lines += [self._line(operation, start) for operation in shown]
        if left_out:
            lines.append(f"  and {len(left_out)} of unknown outcome, called before those")
        if self.met:
            lines.append(f"met: {_listed(self.met)}")
        if self.origins:
            lines.append("what it saw was written by:")
            lines += [self._line(operation, start) for operation in self.origins]
        return "\n".join(lines)

    def _line(self, operation: Operation, start: float) -> str:
        called = f"{(operation.invoked - start) * 1e3:.3f}"
        returned = "never" if operation.returned is None else f"{(operation.returned - start) * 1e3:.3f}"
        mark = "   <- fits nowhere" if operation is self.culprit else ""
        return f"  {operation.client:>6}  {called:>9}  {returned:>11}  {operation}{mark}"


def _listed(states: Iterable[State]) -> str:
    different = list(dict.fromkeys(map(str, states)))
    rest = len(different) - _NAMED
    return " or ".join(different[:_NAMED] + ([f"{rest} others"] if rest > 0 else []))
