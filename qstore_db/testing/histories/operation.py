"""What a client asked, when, and what came back."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple, TypeAlias

from qstore_db.errors import ArgumentError, DuplicateIdError, RecordNotFoundError, VersionConflictError

Kind: TypeAlias = Literal["insert", "upsert", "update", "delete", "get"]


class Refusal(StrEnum):
    """A write that changed nothing, by the code of its error."""

    DUPLICATE = DuplicateIdError.code
    ABSENT = RecordNotFoundError.code
    CONFLICT = VersionConflictError.code


class Seen(NamedTuple):
    """The record that a `get` found."""

    value: Hashable
    version: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of one client on one record.

    A record is one value; whoever writes histories chooses how values are stored. Histories tell most where no
    value is written twice.
    """

    client: int
    key: str
    kind: Kind
    argument: Hashable = None
    """The value that is written; None for `delete` and `get`."""
    result: int | Refusal | Seen | None = None
    """insert, upsert, update: the version, or why not. delete: how many. get: what was found, or None."""
    invoked: float = 0.0
    """Seconds, by a clock that all clients share."""
    returned: float | None = None
    """None: nobody knows the outcome. It took effect once, at any time after the call, or never."""
    if_version: int | None = None
    """Of an `update`: the version that it asked for."""

    def __post_init__(self) -> None:
        if self.returned is not None and self.returned < self.invoked:
            raise ArgumentError(f"returned={self.returned} is before the call: {self}", subject="returned")

    def __str__(self) -> str:
        asked = [] if self.argument is None else [repr(self.argument)]
        asked += [] if self.if_version is None else [f"if_version={self.if_version}"]
        return f"{self.kind}({', '.join(asked)}) -> {self._answer()}"

    def _answer(self) -> str:
        if self.returned is None:
            return "?"
        if isinstance(self.result, Seen):
            return f"{self.result.value!r} at version {self.result.version}"
        if self.result is None:
            return "nothing"
        if isinstance(self.result, Refusal) or self.kind == "delete":
            return str(self.result)
        return f"version {self.result}"
