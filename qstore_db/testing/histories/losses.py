"""What reads tell of writes whose outcome their own clients never learned."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import replace
from enum import Enum

from qstore_db.testing.histories.operation import Operation, Seen


class Unread(Enum):
    """Stands for every value that no read found: which of them a record held can never be told."""

    VALUE = "a value that nobody read"

    def __repr__(self) -> str:
        return self.value


def settled(operations: Mapping[int, Operation]) -> dict[int, Operation]:
    """The same operations of one key, and as possible as before, with less to try.

    A lost write whose value was read took effect before that read returned, and has the version that was read.
    """
    writers = Counter(operation.argument for operation in operations.values())
    reads: dict[Hashable, tuple[float, int]] = {}
    for operation in operations.values():
        if isinstance(operation.result, Seen) and operation.returned is not None:
            value, version = operation.result
            reads[value] = min(reads.get(value, (math.inf, 0)), (operation.returned, version))
    return {
        number: _settled(operation, reads, writers[operation.argument] == 1)
        for number, operation in operations.items()
    }


def _settled(operation: Operation, reads: Mapping[Hashable, tuple[float, int]], alone: bool) -> Operation:
    if operation.returned is not None or operation.kind == "delete":
        return operation
    if operation.argument not in reads:
        return replace(operation, argument=Unread.VALUE)
    returned, version = reads[operation.argument]
    if not alone or returned < operation.invoked:
        return operation
    # Just after the read, so that it is the read which is blamed if this cannot be.
    return replace(operation, result=version, returned=math.nextafter(returned, math.inf))
