"""An error that ends a connection is not the answer to what was under way on it: a write may have been applied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qstore_db import AsyncQuantumDatabase, QuantumDatabase
from qstore_db.errors import AuthenticationError, OutcomeUnknownError, ProtocolError, QueueFullError
from qstore_db.testing.serving import ServerThread
from qstore_server.connection import Connection


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerThread]:
    with ServerThread(path=tmp_path / "db", require_token=True) as server:
        yield server


@contextlib.contextmanager
def instead_of_an_answer(monkeypatch: pytest.MonkeyPatch, *steps: Any) -> Iterator[None]:
    """The next answers give way to what these do with their connection, or return; what was asked for is done."""
    left, answer = list(steps), Connection.answer

    def cut(connection: Connection, request: Any, found: Any) -> None:
        told = left.pop(0)(connection) if left else None
        answer(connection, request, found if told is None else told)

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "answer", cut)
        yield
    assert not left


def breaks_off(connection: Connection) -> None:
    """As if the token were revoked, but it is not."""
    connection.revoke()


def revokes(connection: Connection) -> None:
    server = connection._server
    assert connection.token is not None
    server.tokens.revoke(connection.token.id)
    connection.revoke()


def babbles(connection: Connection) -> None:
    connection.send([bytes(16)])


def is_full(_: Connection) -> QueueFullError:
    return QueueFullError("too much")


def test_a_write_goes_on_under_its_key_where_the_token_is_good(
    server: ServerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = server.server.tokens.create("me", "admin")
    with QuantumDatabase.connect(server.url, token=text) as db:
        first = db.insert("a", [1.0])
        with instead_of_an_answer(monkeypatch, breaks_off, babbles):
            assert db.insert("b", [1.0]) == first + 1
        assert db.count() == 2


def test_a_write_whose_session_was_ended_may_have_been_applied(
    server: ServerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = server.server.tokens.create("me", "admin")
    with QuantumDatabase.connect(server.url, token=text) as db:
        db.insert("a", [1.0])
        with instead_of_an_answer(monkeypatch, revokes), pytest.raises(OutcomeUnknownError) as caught:
            db.insert("b", [1.0])
        assert isinstance(caught.value.__cause__, AuthenticationError)
    _, text = server.server.tokens.create("me", "admin")
    with QuantumDatabase.connect(server.url, token=text) as db:
        assert db.count() == 2  # as it was here
        with instead_of_an_answer(monkeypatch, breaks_off), pytest.raises(OutcomeUnknownError) as caught:
            db.create_collection("c", dimension=2)
        assert isinstance(caught.value.__cause__, AuthenticationError)
        with instead_of_an_answer(monkeypatch, babbles), pytest.raises(OutcomeUnknownError) as caught:
            db.create_collection("d", dimension=2)
        assert isinstance(caught.value.__cause__, ProtocolError)
        assert db.list_collections() == ["c", "d", "default"]


def test_what_only_reads_gets_the_error_that_ended_it(
    server: ServerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = server.server.tokens.create("me", "admin")
    with QuantumDatabase.connect(server.url, token=text) as db:
        db.insert("a", [1.0])
        with instead_of_an_answer(monkeypatch, breaks_off), pytest.raises(AuthenticationError):
            db.count()
        with instead_of_an_answer(monkeypatch, babbles), pytest.raises(ProtocolError):
            db.count()


def test_a_refusal_of_the_second_attempt_says_nothing_about_the_first(
    server: ServerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = server.server.tokens.create("me", "admin")
    with QuantumDatabase.connect(server.url, token=text) as db:
        db.insert("a", [1.0])
        with (
            instead_of_an_answer(monkeypatch, breaks_off, is_full),
            pytest.raises(OutcomeUnknownError) as caught,
        ):
            db.insert("b", [1.0])
        assert isinstance(caught.value.__cause__, QueueFullError)
        with instead_of_an_answer(monkeypatch, is_full), pytest.raises(QueueFullError):
            db.insert("c", [1.0])


async def test_the_async_client_knows_as_little(
    server: ServerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = server.server.tokens.create("me", "admin")
    async with await AsyncQuantumDatabase.connect(server.url, token=text) as db:
        first = await db.insert("a", [1.0])
        with instead_of_an_answer(monkeypatch, breaks_off, babbles):
            assert await db.insert("b", [1.0]) == first + 1
        with instead_of_an_answer(monkeypatch, breaks_off), pytest.raises(OutcomeUnknownError) as caught:
            await db.create_collection("c", dimension=2)
        assert isinstance(caught.value.__cause__, AuthenticationError)
        with instead_of_an_answer(monkeypatch, breaks_off), pytest.raises(AuthenticationError):
            await db.count()
        with instead_of_an_answer(monkeypatch, revokes), pytest.raises(OutcomeUnknownError) as caught:
            await db.insert("c", [1.0])
        assert isinstance(caught.value.__cause__, AuthenticationError)
