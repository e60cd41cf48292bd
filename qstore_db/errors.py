"""Every error that qstore-db raises on purpose, grouped by what the caller does next.

```
QStoreError
├── RequestError (also ValueError)        fix the request
│   ├── ArgumentError                     a parameter is out of range or of the wrong kind
│   ├── DifferentiationError              a gradient of what has none, or none that can be computed this way
│   ├── IdError                           a record id is empty, too long or not a string
│   ├── VectorError                       NaN, infinite, complex, object or all-zero vectors
│   │   └── DimensionError                a vector of another length than its collection's
│   ├── ContextError                      superposition weights that make no state
│   ├── MetadataError                     a metadata value that cannot be stored, or too much of it
│   ├── FilterError                       an unknown operator or operand, with its path
│   ├── DuplicateIdError                  insert of an id that exists
│   ├── CollectionExistsError             create of a collection that exists
│   ├── CollectionNotFoundError           an unknown collection (also LookupError)
│   ├── GroupExistsError                  create of a group that exists
│   ├── GroupNotFoundError                an unknown group (also LookupError)
│   ├── RecordNotFoundError               an id that is not there (also LookupError)
│   ├── VersionConflictError              `if_version` no longer holds
│   └── SequenceExpired                   changes since then are no longer kept
├── ConfigurationError (also ValueError)  fix the configuration or install an extra
│   ├── DatabaseLockedError               another process owns the directory
│   ├── FormatError                       a directory or file of another format version
│   ├── AuthenticationError               a token that the server does not know: use one that it made
│   └── ForbiddenError                    a token whose role or collections do not allow it: use another
├── UnavailableError                      try again; nothing was written
│   ├── DiskFullError                     free some space; the store goes on by itself
│   ├── QueueFullError                    more writes are waiting than the queue may hold
│   ├── WaitTimeoutError (also TimeoutError)
│   ├── UnreachableError                  no server answered, or it is going away
│   └── CancelledError                    whoever asked no longer wants the answer
├── OutcomeUnknownError                   the connection was lost: look whether the write is there
├── HandleError                           this handle is of no more use: open a new one
│   ├── ClosedError                       the database was closed
│   ├── ForkedError                       the handle was opened before a fork
│   └── ReadOnlyError                     a fault made the store read-only until it is reopened
├── ProtocolError                         the other side sent what is no message: connect anew
└── CorruptionError                       stored bytes are not what was written: verify, restore, report
```

Each carries a stable `code` (the same word on the wire and in `--json` output) and its `subject`: the id,
collection, parameter or file it is about.
"""

from __future__ import annotations

from typing import ClassVar


class QStoreError(Exception):
    """Base of all errors of qstore-db. `subject` names what the error is about; `code` never changes."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, subject: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.subject))


def _rebuild(kind: type[QStoreError], message: str, subject: str | None) -> QStoreError:
    return kind(message, subject=subject)


class RequestError(QStoreError, ValueError):
    """The request itself is wrong; sending it again cannot help."""

    code = "request"


class ArgumentError(RequestError):
    """A parameter is out of its range or of the wrong kind; `subject` is its name."""

    code = "argument"


class DifferentiationError(RequestError):
    """A gradient was asked of what has none, or none that can be computed this way; `subject` says of what."""

    code = "differentiation"


class IdError(RequestError):
    """A record id is empty, longer than 128 bytes of UTF-8, or not a string."""

    code = "id"


class VectorError(RequestError):
    """A vector holds NaN or infinity, is complex or not numeric, or is all zero under cosine."""

    code = "vector"


class DimensionError(VectorError):
    """A vector's length differs from its collection's dimension; names both and the collection."""

    code = "dimension"


class ContextError(RequestError):
    """Context weights or phases that describe no superposition; `subject` is the context, or the record that a
    group would move."""

    code = "context"


class MetadataError(RequestError):
    """A metadata value that cannot be stored, or too much of it; `subject` is its path, or the record that would
    hold too much, or that a group would move."""

    code = "metadata"


class FilterError(RequestError):
    """A filter with an unknown operator or a wrong operand; `subject` is the path to it."""

    code = "filter"


class DuplicateIdError(RequestError):
    """An insert of an id that already exists; use `upsert` to replace it."""

    code = "duplicate_id"


class CollectionExistsError(RequestError):
    """A collection of that name exists already."""

    code = "collection_exists"


class CollectionNotFoundError(RequestError, LookupError):
    """No collection of that name exists; collections other than "default" must be created."""

    code = "collection_not_found"


class GroupExistsError(RequestError):
    """A group of that name exists already, in whatever collection."""

    code = "group_exists"


class GroupNotFoundError(RequestError, LookupError):
    """No group of that name exists."""

    code = "group_not_found"


class RecordNotFoundError(RequestError, LookupError):
    """No live record of that id exists."""

    code = "record_not_found"


class VersionConflictError(RequestError):
    """The record or entry changed since the version that `if_version` names."""

    code = "version_conflict"


class SequenceExpired(RequestError):  # noqa: N818 - a state of things rather than a mistake
    """The changes since a sequence are no longer kept: read everything with `scroll` and watch from there."""

    code = "sequence_expired"


class ConfigurationError(QStoreError, ValueError):
    """A setting is unknown, malformed or needs something that is not installed."""

    code = "configuration"


class DatabaseLockedError(ConfigurationError):
    """Another process (or another handle of this one) has the directory open; the message names it."""

    code = "locked"


class FormatError(ConfigurationError):
    """A directory or file written in a format this release does not read."""

    code = "format"


class AuthenticationError(ConfigurationError):
    """The server knows no such token, or it was given none and wants one. Never shows the token."""

    code = "authentication"


class ForbiddenError(ConfigurationError):
    """The token's role or its collections do not allow this; `subject` is the collection, or the role that it
    takes."""

    code = "forbidden"


class UnavailableError(QStoreError):
    """Nothing was written; the same request may succeed later."""

    code = "unavailable"
    retryable = True


class DiskFullError(UnavailableError):
    """The disk is full. Reads go on, and writes resume without a restart once space returns."""

    code = "disk_full"


class QueueFullError(UnavailableError):
    """More writes are waiting than the write queue may hold."""

    code = "queue_full"


class WaitTimeoutError(UnavailableError, TimeoutError):
    """What was waited for did not happen within the given time."""

    code = "timeout"


class UnreachableError(UnavailableError):
    """No server could be reached at that address, or the one there is going away."""

    code = "unreachable"


class CancelledError(UnavailableError):
    """Whoever sent the request took it back before it was begun."""

    code = "cancelled"


class OutcomeUnknownError(QStoreError):
    """The connection was lost, or the time was over, after a write was sent: it may have been applied or not."""

    code = "outcome_unknown"


class HandleError(QStoreError):
    """This handle is of no more use."""

    code = "handle"


class ClosedError(HandleError):
    """The database behind this handle was closed."""

    code = "closed"


class ForkedError(HandleError):
    """The handle was opened before `os.fork`: the child must open the database itself."""

    code = "forked"


class ReadOnlyError(HandleError):
    """A storage fault (a failed fsync, a checksum mismatch) made this store read-only."""

    code = "read_only"


class ProtocolError(QStoreError):
    """Bytes that are no message of the protocol. The connection they came over is of no more use."""

    code = "protocol"


class CorruptionError(QStoreError):
    """Stored bytes differ from what was written; `subject` names the record or file."""

    code = "corruption"
