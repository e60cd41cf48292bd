"""One request on its way through the server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from qstore_db.database.operations import Operation, WatchOperation, WriteOperation
from qstore_db.errors import ArgumentError, CancelledError, WaitTimeoutError
from qstore_db.wire.frames import Bytes
from qstore_db.wire.limits import MIB, Limits
from qstore_db.wire.messages import Kind, Message, encode, fits
from qstore_db.wire.parts import parts_of

if TYPE_CHECKING:
    from qstore_server.connection import Connection

KEY_BYTES = 16
WHOLE = Limits(head=MIB // 2, attachments=MIB)
"""What an answer in one frame may hold."""

AnyOperation: TypeAlias = "Operation[Any, Any] | WriteOperation[Any] | WatchOperation"


class Request:
    """What a client asked for: read from its message, answered exactly once."""

    __slots__ = (
        "arrived",
        "begun",
        "cancelled",
        "charge",
        "connection",
        "deadline",
        "fields",
        "id",
        "key",
        "more",
        "operation",
    )

    def __init__(
        self, connection: Connection, id: int, operation: AnyOperation, body: object, charge: int, now: float
    ) -> None:
        """Raises ArgumentError for a body that is none. `now`: seconds, by the clock of the event loop."""
        if not isinstance(body, dict):
            raise ArgumentError("the body of a request must be a map", subject="body")
        self.connection = connection
        self.id = id
        self.operation = operation
        self.fields: dict[str, Any] = dict(body)
        self.charge = charge
        self.arrived = now
        self.begun = time.perf_counter()
        """For how long it took: the clock of uvloop's event loop knows whole milliseconds only."""
        self.cancelled = False
        self.more = self.fields.pop("$more", False) is True
        timeout = self.fields.pop("$timeout", None)
        if timeout is not None and (type(timeout) not in (int, float) or not timeout >= 0):
            raise ArgumentError(f"$timeout={timeout!r} must be a number of seconds", subject="$timeout")
        self.deadline: float | None = None if timeout is None else now + timeout
        key = self.fields.pop("$key", None)
        if key is not None and (not isinstance(key, bytes) or len(key) != KEY_BYTES):
            raise ArgumentError(f"$key must be {KEY_BYTES} bytes", subject="$key")
        self.key: bytes | None = key
        self._check_scope()

    def complete(self, fields: dict[str, Any]) -> None:
        """All parts of the body are there. Raises ArgumentError."""
        self.fields, self.more = fields, False
        self._check_scope()

    @property
    def name(self) -> str:
        """For logs: it is the same nowhere else while the server runs."""
        return f"{self.connection.number}-{self.id}"

    def check_wanted(self, now: float) -> None:
        """Raises CancelledError or WaitTimeoutError where nobody waits for the answer any more."""
        if self.cancelled:
            raise self.taken_back()
        if self.deadline is not None and now > self.deadline:
            raise WaitTimeoutError(
                f"the server did not come to it within {self.deadline - self.arrived:.3g} s",
                subject=self.operation.name,
            )

    def taken_back(self) -> CancelledError:
        """The answer to what nobody wants answered any more."""
        return CancelledError("the request was taken back", subject=self.operation.name)

    def collections(self) -> Iterator[str]:
        """Those that the request is about, as far as it has named them."""
        for name in self.operation.scope:
            if name in self.fields or (name == "collection" and not self.more):
                yield self.fields.get(name, "default")

    def _check_scope(self) -> None:
        for name in self.operation.scope:
            if not isinstance(self.fields.get(name, ""), str):
                raise ArgumentError(
                    f"collection name {self.fields[name]!r:.80} must be a non-empty string",
                    subject="collection",
                )


Answer: TypeAlias = "list[Bytes] | Iterator[dict[str, Any]]"
"""A whole frame, or the parts of a stream."""


def answer_of(id: int, body: Mapping[str, Any]) -> Answer:
    """A large answer is a stream, so that no more of it waits to be read than its window allows."""
    frame = encode(Message(Kind.RESPONSE, id, "", body))
    return frame if fits(frame, WHOLE) else parts_of(body, Limits())
