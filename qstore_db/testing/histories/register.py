"""The model: a lone record, to which one operation happens after the other."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from qstore_db.testing.histories.operation import Operation, Refusal, Seen


class State(NamedTuple):
    """What a key holds, and what is known of its versions, which rise with every write."""

    there: bool = False
    value: Hashable = None
    version: int | None = None
    """None where nothing is there, and after a write whose outcome its client never learned."""
    floor: int = 0
    """The highest version known to have been given; one not known lies above it."""
    excluded: frozenset[int] = frozenset()
    """What a version not known is not, because an update that asked for it was refused."""

    def __str__(self) -> str:
        if not self.there:
            return "nothing"
        return f"{self.value!r} at version {'?' if self.version is None else self.version}"


def after(state: State, operation: Operation) -> State | None:
    """The state that an operation leaves; None where it could not have returned what it did.

    One that changes nothing gives back `state` itself. One of unknown outcome is taken to have had its effect.
    """
    if operation.kind == "get":
        if not isinstance(operation.result, Seen):
            return None if state.there else state
        if not state.there or state.value != operation.result.value:
            return None
        return _at(state, operation.result.version)
    if operation.kind == "delete":
        if operation.returned is not None and operation.result != int(state.there):
            return None
        return State(floor=state.floor) if state.there else state
    if operation.kind == "insert":
        if operation.result is Refusal.DUPLICATE:
            return state if state.there else None
        return None if state.there else _written(state, operation)
    if operation.kind == "upsert":
        return _written(state, operation)
    return _updated(state, operation)


def _updated(state: State, update: Operation) -> State | None:
    if update.result is Refusal.ABSENT:
        return None if state.there else state
    if not state.there:
        return None
    if update.if_version is None:
        return _written(state, update)
    if update.result is Refusal.CONFLICT:
        return _not_at(state, update.if_version)
    found = _at(state, update.if_version)
    return None if found is None else _written(found, update)


def _written(state: State, write: Operation) -> State | None:
    if write.returned is None:
        return State(True, write.argument, None, state.floor)
    version = write.result
    if not isinstance(version, int) or version <= state.floor:
        return None
    return State(True, write.argument, version, version)


def _at(state: State, version: int) -> State | None:
    """The state, known to be at that version."""
    if state.version is not None:
        return state if state.version == version else None
    if version <= state.floor or version in state.excluded:
        return None
    return State(True, state.value, version, version)


def _not_at(state: State, version: int) -> State | None:
    if state.version is not None:
        return None if state.version == version else state
    if version <= state.floor:
        return state
    return state._replace(excluded=state.excluded | {version})
