"""Errors on the wire: a code, a message and a subject go over, and the same error comes out on the other side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qstore_db.errors import QStoreError, UnavailableError

MAX_TEXT = 4096
"""Characters of a message or a subject: they may quote what a peer sent, which may be as long as a frame."""


def fault_body(error: QStoreError) -> dict[str, Any]:
    """The body of an ERROR message. It fits every frame, whatever the error tells."""
    return {
        "code": error.code,
        "message": _text(error.message),
        "subject": None if error.subject is None else _text(error.subject),
        "retryable": error.retryable,
    }


def error_of(body: object) -> QStoreError:
    """The error that a body tells of. One whose code is not known here is as retryable as the peer says.

    Never raises: what is no such body becomes an error that says so.
    """
    if not isinstance(body, Mapping):
        return QStoreError(f"the peer reported an error that cannot be read: {body!r:.200}")
    code, message, subject = body.get("code"), str(body.get("message")), body.get("subject")
    kind = _KINDS.get(code) if isinstance(code, str) else None
    if kind is None:
        kind = UnavailableError if body.get("retryable") is True else QStoreError
        message = f"{message} [{code}]"
    return kind(message, subject=subject if isinstance(subject, str) else None)


def _text(told: str) -> str:
    """Escaped where it is no Unicode, as the path of a file may be, and cut where it is too long."""
    text = told.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."


def _kinds(base: type[QStoreError]) -> Iterator[type[QStoreError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _kinds(kind)


_KINDS: Mapping[str, type[QStoreError]] = {kind.code: kind for kind in _kinds(QStoreError)}
