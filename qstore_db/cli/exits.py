"""Exit codes: one for each group of errors, so that a script knows what to do next."""

from __future__ import annotations

from typing import Final

from qstore_db.errors import (
    ConfigurationError,
    CorruptionError,
    HandleError,
    OutcomeUnknownError,
    ProtocolError,
    QStoreError,
    RequestError,
    UnavailableError,
)

OK: Final = 0
REQUEST: Final = 1
USAGE: Final = 2
CONFIGURATION: Final = 3
UNAVAILABLE: Final = 4
HANDLE: Final = 5
CORRUPTION: Final = 6
OUTCOME_UNKNOWN: Final = 7
INTERNAL: Final = 70
INTERRUPTED: Final = 130

MEANINGS: Final = {
    OK: "done",
    REQUEST: "the database refused the request, or doctor found something to attend to",
    USAGE: "the command line is wrong",
    CONFIGURATION: "fix the configuration: no such database, locked by another process, a missing extra, "
    "a port in use, a token that does not allow it, an address where no qstore server answers",
    UNAVAILABLE: "nothing was written, try again: the disk or the queue is full, a timeout, no server answers",
    HANDLE: "the store has become read-only or was closed: run doctor, then try again",
    CORRUPTION: "stored bytes are not what was written: restore a backup",
    OUTCOME_UNKNOWN: "the connection was lost: look whether it was done before you try again",
    INTERNAL: "a mistake in qstore itself: please report it",
    INTERRUPTED: "interrupted",
}

_GROUPS: Final = (
    (RequestError, REQUEST),
    (ConfigurationError, CONFIGURATION),
    (UnavailableError, UNAVAILABLE),
    (HandleError, HANDLE),
    (CorruptionError, CORRUPTION),
    (OutcomeUnknownError, OUTCOME_UNKNOWN),
    (ProtocolError, CONFIGURATION),  # something else listens there, or one side speaks TLS and the other not
)


def exit_code(error: QStoreError) -> int:
    """The exit code of the group that an error belongs to."""
    return next((code for group, code in _GROUPS if isinstance(error, group)), INTERNAL)
