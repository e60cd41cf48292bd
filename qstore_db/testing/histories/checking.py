"""Judging a history: key by key, first by its versions, then by the search for an order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from qstore_db.testing.histories.losses import settled
from qstore_db.testing.histories.operation import Operation, Seen
from qstore_db.testing.histories.register import State
from qstore_db.testing.histories.searching import DeadEnd, Possibility, Search, version_of
from qstore_db.testing.histories.violation import Violation


def check(history: Iterable[Operation]) -> Violation | None:
    """None where every key's operations have an order that explains them, starting from no record.

    Otherwise the violation that shows first. Versions must rise with the writes of a key in that order. Takes
    time in proportion to the history, and more than that in the number of operations of a key that overlap.
    """
    keys: dict[str, dict[int, Operation]] = defaultdict(dict)
    for number, operation in enumerate(history):
        if operation.kind != "get" or operation.returned is not None:  # that told nobody anything
            keys[operation.key][number] = operation
    found = [violation for operations in keys.values() if (violation := _check(operations))]
    return min(found, key=lambda violation: violation.culprit.returned or 0.0, default=None)


def _check(operations: Mapping[int, Operation]) -> Violation | None:
    fallen = _fallen(operations.values())
    if fallen is not None:
        return fallen
    told = settled(operations)
    dead_end = Search(told).run()
    return None if dead_end is None else _explained(dead_end, operations, told)


def _fallen(operations: Iterable[Operation]) -> Violation | None:
    """A pair of writes whose versions contradict their times. The search would find it, and show it less well."""
    last: Operation | None = None
    latest: Operation | None = None
    for write in sorted(filter(version_of, operations), key=version_of):
        if last is not None and version_of(last) == version_of(write):
            return _pair("two writes were given the same version", last, write)
        if latest is not None and write.returned is not None and write.returned < latest.invoked:
            return _pair("a later write was given a lower version", write, latest)
        last = write
        if latest is None or latest.invoked < write.invoked:
            latest = write
    return None


def _pair(reason: str, *writes: Operation) -> Violation:
    first, second = sorted(writes, key=lambda write: write.returned or 0.0)
    return Violation(reason, second, (first, second))


def _explained(
    dead_end: DeadEnd, operations: Mapping[int, Operation], told: Mapping[int, Operation]
) -> Violation:
    culprit = told[dead_end.culprit]
    assert culprit.returned is not None
    past = Search(told)
    past.run(until=culprit.invoked)  # from then on, nothing matters of all before but what may be true
    window = _without_bystanders(
        {
            number: operation
            for number, operation in told.items()
            if operation.invoked <= culprit.returned
            and (operation.returned is None or operation.returned >= culprit.invoked)
            and not all(number in possibility.spent for possibility in past.possible)
        },
        past.possible,
        dead_end.culprit,
    )
    reason = "no order of these operations explains what they returned"
    origins: list[int] = []
    if isinstance(culprit.result, Seen):
        value = culprit.result.value
        origins = [n for n, o in operations.items() if o.kind != "get" and o.argument == value]
        if not origins:
            reason = f"nobody ever wrote {value!r}"
    return Violation(
        reason,
        operations[dead_end.culprit],
        tuple(sorted((operations[n] for n in window), key=lambda operation: operation.invoked)),
        _sorted({possibility.state for possibility in past.possible}),
        _sorted(dead_end.met),
        tuple(operations[n] for n in origins if n not in window),
    )


def _without_bystanders(
    window: dict[int, Operation], possible: Sequence[Possibility], culprit: int
) -> dict[int, Operation]:
    """The operations of a dead end, less those without which there is no order either.

    Only what changes nothing may be left out: then the rest has an order if the whole has one.
    """
    for number, operation in list(window.items()):
        changes = operation.returned is None or version_of(operation) or operation.result == 1
        if changes or number == culprit:
            continue
        rest = {other: window[other] for other in window if other != number}
        if Search(rest, possible).run() is not None:
            window = rest
    return window


def _sorted(states: Iterable[State]) -> tuple[State, ...]:
    return tuple(sorted(states, key=lambda state: (state.floor, str(state))))
