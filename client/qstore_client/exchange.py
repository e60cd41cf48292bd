"""One call as it goes over a connection, without any I/O: frames out, messages in, a result in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar

from qstore_db.database.operations import WATCH, Fields, Operation, WriteOperation
from qstore_db.engines.base import Written
from qstore_db.errors import (
    ArgumentError,
    OutcomeUnknownError,
    ProtocolError,
    QStoreError,
    RequestError,
    WaitTimeoutError,
)
from qstore_db.records import Change
from qstore_db.wire.faults import error_of
from qstore_db.wire.frames import Bytes
from qstore_db.wire.greeting import Welcome
from qstore_db.wire.keys import draw_key
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, encode, fits
from qstore_db.wire.parts import joined, parts_of
from qstore_db.wire.streams import Outgoing

P = ParamSpec("P")
T = TypeVar("T")


class LostError(Exception):
    """The connection ended before the answer came; its cause is the error that ended it, if one was told."""


class Call(Generic[T]):
    """What is asked for, however often it has to be sent."""

    def __init__(
        self,
        name: str,
        body: Fields,
        understand: Callable[[Fields], T],
        *,
        key: bytes | None = None,
        repeatable: bool = True,
        patient: bool = False,
        many: bool = False,
    ) -> None:
        """many: whether it may be streamed."""
        self.name = name
        self.body = body
        self.understand = understand
        self.key = key
        self.repeatable = repeatable
        self.patient = patient
        self.many = many

    @classmethod
    def of(cls, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        return cls(
            operation.name,
            operation.pack(*args, **kwargs),
            operation.understand,
            repeatable=operation.repeatable,
            patient=operation.patient,
        )

    @property
    def is_harmless(self) -> bool:
        """Whether nobody has to know if it was done."""
        return self.key is None and self.repeatable

    def lost(self, why: str) -> QStoreError:
        """The error of a call that was sent and whose answer did not come."""
        if self.is_harmless:
            return WaitTimeoutError(f"{self.name}: {why}", subject=self.name)
        return OutcomeUnknownError(
            f"{self.name}: {why}; it may have been done or not, look before you try again", subject=self.name
        )

    def settles(self, error: QStoreError) -> bool:
        """Whether an error at a further attempt says how the first one ended: what is wrong with a request was so
        then, too. Others, as of the token, come before anyone looks for the key."""
        return self.is_harmless or isinstance(error, RequestError)

    def cut_off(self, error: QStoreError) -> QStoreError | LostError:
        """What to raise where an error ends the connection while the call is under way."""
        if self.is_harmless:
            return error
        lost = LostError(error.message)
        lost.__cause__ = error
        return lost


def write_call(operation: WriteOperation[P], *args: P.args, **kwargs: P.kwargs) -> Call[Written]:
    """A write under a key of its own: sent twice, it is applied once."""
    return Call(
        operation.name,
        operation.pack(*args, **kwargs),
        lambda given: Written(given["sequence"], given["count"]),
        key=draw_key(),
        patient=operation.many,
        many=operation.many,
    )


def watch_call(collection: str, since: int | None) -> Call[tuple[list[Change], int]]:
    return Call(WATCH.name, WATCH.pack(collection, since), WATCH.understand, patient=True)


class Exchange(Generic[T]):
    """A call under way on one connection."""

    def __init__(self, call: Call[T], id: int, welcome: Welcome, timeout: float | None) -> None:
        """timeout: seconds that the server has for it."""
        self.call = call
        self.id = id
        self.done = False
        self._welcome = welcome
        self._timeout = timeout
        self._upload: Outgoing | None = None
        self._parts: list[Any] = []
        self._answer: Any = None
        self._error: QStoreError | None = None

    def begin(self) -> Iterator[list[Bytes]]:
        """The frames to be sent first. Raises ArgumentError for what a connection cannot carry."""
        limits = Limits(self._welcome.head, self._welcome.attachments)
        extra: Fields = {} if self.call.key is None else {"$key": self.call.key}
        if self._timeout is not None:
            extra["$timeout"] = self._timeout
        try:
            frame = encode(Message(Kind.REQUEST, self.id, self.call.name, {**self.call.body, **extra}))
            if fits(frame, limits):
                yield frame
                return
            parts = parts_of(self.call.body, limits)
            first = {**next(parts), **extra, "$more": True}
            frame = encode(Message(Kind.REQUEST, self.id, self.call.name, first))
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, QStoreError):
                raise
            raise ArgumentError(
                f"{self.call.name} cannot be sent: {error}", subject=self._culprit()
            ) from None
        yield frame
        self._upload = Outgoing(self.id, parts, self._welcome.window)
        yield from self._upload.ready()

    def take(self, message: Message, nbytes: int) -> Iterator[list[Bytes]]:
        """What to send upon a message that belongs to this call. Raises ProtocolError."""
        if message.kind is Kind.RESPONSE:
            self.done, self._answer = True, joined([message.body])
        elif message.kind is Kind.CHUNK:
            self._parts.append(message.body)
            yield encode(Message(Kind.WINDOW, self.id, "", nbytes))
        elif message.kind is Kind.END:
            self.done, self._answer = True, joined(self._parts)
        elif message.kind is Kind.ERROR:
            self.done, self._error = True, error_of(message.body)
            if self._upload is not None and not self._upload.complete:
                yield encode(Message(Kind.END, self.id))  # nothing more of it will come
            self._upload = None
        elif message.kind is Kind.WINDOW:
            if self._upload is not None and not self._upload.complete:
                self._upload.grant(message.body)
                yield from self._upload.ready()
        else:
            raise ProtocolError(f"a server sends no {message.kind.name} for a request")

    def result(self) -> T:
        """What came back. Raises the error that did."""
        if self._error is not None:
            raise self._error
        try:
            return self.call.understand(self._answer)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, QStoreError):
                raise
            raise ProtocolError(f"the answer to {self.call.name} cannot be read: {error!r}") from error

    def part(self) -> T:
        """What the last CHUNK alone says, which is then forgotten."""
        self._answer = self._parts.pop()
        return self.result()

    def _culprit(self) -> str | None:
        """Which argument cannot be sent."""
        for name, value in self.call.body.items():
            try:
                encode(Message(Kind.REQUEST, 1, "", value))
            except (TypeError, ValueError, OverflowError):
                return name
        return None
