"""Every error of this package crosses the wire and is the same on the other side."""

from __future__ import annotations

import os
from typing import Any

import pytest

from qstore_db import errors
from qstore_db.errors import ArgumentError, DiskFullError, QStoreError, UnavailableError
from qstore_db.testing.messages import read
from qstore_db.wire.faults import MAX_TEXT, error_of, fault_body
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, encode, fits

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, QStoreError)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subject", ["a-collection", None])
def test_an_error_comes_out_as_it_went_in(kind: type[QStoreError], subject: str | None) -> None:
    found = error_of(fault_body(kind("what happened", subject=subject)))
    assert type(found) is kind
    assert (found.message, found.subject) == ("what happened", subject)


def test_every_error_has_a_code_of_its_own() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize(("retryable", "kind"), [(True, UnavailableError), (False, QStoreError)])
def test_an_error_of_a_newer_peer_is_as_retryable_as_it_says(
    retryable: bool, kind: type[QStoreError]
) -> None:
    found = error_of({"code": "new", "message": "m", "subject": "s", "retryable": retryable})
    assert type(found) is kind
    assert found.retryable is retryable
    assert found.message == "m [new]"


@pytest.mark.parametrize("body", [None, 3, [], "text", {}, {"code": 3}, {"message": None, "subject": 4}])
def test_a_body_that_is_none_becomes_an_error_and_raises_nothing(body: Any) -> None:
    assert isinstance(error_of(body), QStoreError)


@pytest.mark.parametrize("text", ["x" * 3_000_000, "é" * 3_000_000, "\x00" * 3_000_000])
def test_an_error_fits_a_frame_however_much_it_quotes(text: str) -> None:
    body = fault_body(ArgumentError(f"{text} is unknown here", subject=text))
    assert fits(encode(Message(Kind.ERROR, 1, "", body)), Limits(head=1 << 16))
    assert str(body["message"]).startswith(text[:4000])
    assert len(str(body["subject"])) == MAX_TEXT


def test_an_error_about_a_path_that_is_no_unicode_can_be_sent() -> None:
    path = os.fsdecode(b"/data/\xff")
    body = fault_body(DiskFullError(f"{path} is full", subject=path))
    [message], _ = read(map(bytes, encode(Message(Kind.ERROR, 1, "", body))), Limits())
    assert error_of(message.body).subject == r"/data/\udcff"
