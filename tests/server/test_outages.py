"""Connections that break, servers that stop and start: what is safe is sent again, and nothing happens twice."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qstore_db import AsyncQuantumDatabase, Change, QuantumDatabase
from qstore_db.errors import (
    AuthenticationError,
    ClosedError,
    CollectionExistsError,
    ForbiddenError,
    OutcomeUnknownError,
    UnreachableError,
    WaitTimeoutError,
)
from qstore_db.testing.databases.opening import Clock
from qstore_db.testing.serving import ServerThread
from qstore_db.testing.waiting import PATIENCE, settled


class Cutter:
    """Passes bytes on between a client and a server, and cuts the connection instead of passing on an answer."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.cuts = 0
        """Answers that are still to be swallowed."""
        self._open = threading.Event()
        self._open.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def pause(self) -> None:
        """Pass nothing on any more, and keep the connections."""
        self._open.clear()

    @property
    def url(self) -> str:
        return f"qstore://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._open.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            greeted = not answers
            while data := source.recv(1 << 16):
                self._open.wait(PATIENCE)
                if greeted and answers and self.cuts > 0:
                    self.cuts -= 1
                    break
                greeted = True
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerThread]:
    with ServerThread(path=tmp_path / "db") as server:
        yield server


@pytest.fixture
def cutter(server: ServerThread) -> Iterator[Cutter]:
    cutter = Cutter(server.server.port)
    yield cutter
    cutter.close()


def test_a_write_whose_answer_is_lost_is_applied_once(server: ServerThread, cutter: Cutter) -> None:
    with QuantumDatabase.connect(cutter.url) as db:
        first = db.insert("a", [1.0], metadata={"n": 0})
        cutter.cuts = 2
        second = db.insert("b", [1.0])  # no DuplicateIdError, though it was stored at the first attempt
        assert second == first + 1
        cutter.cuts = 3
        version = db.update("a", metadata={"n": 1}, if_version=first)  # no VersionConflictError
        assert version == second + 1
        cutter.cuts = 1
        assert db.delete("b") == 1  # and not 0
        cutter.cuts = 1
        assert db.insert_many(ids=["c", "d"], vectors=[[1.0], [2.0]]) == version + 3
        cutter.cuts = 4
        assert db.count() == 3
        assert db.stats()["sequence"] == version + 3


async def test_the_async_client_sends_again_too(server: ServerThread, cutter: Cutter) -> None:
    async with await AsyncQuantumDatabase.connect(cutter.url) as db:
        await db.insert("a", [1.0])
        cutter.cuts = 2
        sequences = await asyncio.gather(*(db.insert(f"r{n}", [1.0]) for n in range(20)))
        assert len(set(sequences)) == 20
        assert await db.count() == 21
        assert (await db.stats())["sequence"] == 21


def test_a_call_that_cannot_be_repeated_is_sent_once(server: ServerThread, cutter: Cutter) -> None:
    with QuantumDatabase.connect(cutter.url) as db:
        cutter.cuts = 1
        with pytest.raises(OutcomeUnknownError):
            db.create_collection("c", dimension=1)
        assert db.list_collections() == ["c"]
        with pytest.raises(CollectionExistsError):
            db.create_collection("c", dimension=1)


def test_a_write_whose_answers_are_all_lost_may_have_been_applied(
    server: ServerThread, cutter: Cutter
) -> None:
    with QuantumDatabase.connect(cutter.url, retries=2) as db:
        db.insert("a", [1.0])
        cutter.cuts = 3
        with pytest.raises(OutcomeUnknownError):
            db.insert("b", [1.0])
        assert db.get("b") is not None


def test_a_server_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db") as server:
        db = QuantumDatabase.connect(server.url, retries=1)
        db.insert("a", [1.0])
    with pytest.raises(UnreachableError):
        db.count()
    with pytest.raises(UnreachableError):  # nothing was sent: nothing was written
        db.insert("b", [1.0])
    with pytest.raises(UnreachableError):
        QuantumDatabase.connect(server.url, retries=1)
    db.close()
    with pytest.raises(ClosedError):
        db.count()


def test_what_was_accepted_is_answered_before_the_server_stops(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(8_000, 128)).astype(np.float32)
    with ServerThread(path=tmp_path / "db") as server:
        outcome: list[int | Exception] = []

        def store() -> None:
            with QuantumDatabase.connect(server.url, retries=0) as db:
                db.create_collection("c", dimension=128)
                try:
                    outcome.append(
                        db.insert_many(ids=[f"r{n}" for n in range(8_000)], vectors=vectors, collection="c")
                    )
                except Exception as error:  # noqa: BLE001 - shown by the test
                    outcome.append(error)

        storing = threading.Thread(target=store)
        storing.start()
        settled(lambda: server.server._in_flight > 0 and server.server.memory.charged > vectors.nbytes // 2)
        server.stop()
        storing.join(PATIENCE)
    with QuantumDatabase.connect(tmp_path / "db") as db:
        stored = db.count(collection="c")
    assert (outcome == [8_000] and stored == 8_000) or (stored == 0 and isinstance(outcome[0], Exception))


def test_a_server_that_says_nothing_is_not_waited_for_in_vain() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UnreachableError):
        QuantumDatabase.connect(f"qstore://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3)


def test_a_deadline_passes_without_an_answer(server: ServerThread, cutter: Cutter) -> None:
    with QuantumDatabase.connect(cutter.url, timeout=1.0) as db:
        db.insert("a", [1.0])
        cutter.pause()
        with pytest.raises(WaitTimeoutError):
            db.count()
        with pytest.raises((OutcomeUnknownError, UnreachableError)):
            db.insert("b", [1.0])


def test_a_clock_that_jumps_disturbs_no_write(tmp_path: Path) -> None:
    clock = Clock()
    with ServerThread(path=tmp_path / "db", clock=clock) as server, QuantumDatabase.connect(server.url) as db:
        cutter = Cutter(server.server.port)
        with QuantumDatabase.connect(cutter.url) as cut:
            for n, jump in enumerate((86_400.0, -2 * 86_400.0, 10 * 86_400.0, 0.0)):
                clock.now += jump
                cutter.cuts = 1
                cut.insert(f"r{n}", [1.0], metadata={"n": n})
                assert db.count() == n + 1
        cutter.close()
        assert [record.id for record in db.scroll()] == [f"r{n}" for n in range(4)]


def test_a_revoked_token_ends_its_sessions_at_once(tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db", require_token=True) as server:
        tokens = server.server.tokens
        token, text = tokens.create("me", "write")
        _, admin = tokens.create("admin", "admin")
        with QuantumDatabase.connect(server.url, token=text, retries=1) as db:
            db.insert("a", [1.0])
            told: list[object] = []

            def watch() -> None:
                try:
                    told.extend(db.watch())
                except Exception as error:  # noqa: BLE001 - shown by the test
                    told.append(error)

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            settled(lambda: len(server.server._connections) == 2)
            tokens.revoke(token.id)
            server.server.revoked(token)
            watcher.join(PATIENCE)
            assert [type(each) for each in told] == [AuthenticationError]
            with pytest.raises(AuthenticationError):
                db.count()
        with QuantumDatabase.connect(server.url, token=admin) as db:
            assert db.count() == 1


def test_a_token_allows_what_its_role_and_collections_do(tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db", require_token=True) as server:
        tokens = server.server.tokens
        with QuantumDatabase.connect(server.url, token=tokens.create("admin", "admin")[1]) as db:
            for name in ("mine", "theirs"):
                db.create_collection(name, dimension=1)
        with QuantumDatabase.connect(server.url, token=tokens.create("reader", "read")[1]) as db:
            assert db.count(collection="mine") == 0
            for call in (
                lambda: db.insert("a", [1.0], collection="mine"),
                lambda: db.drop_collection("mine"),
            ):
                with pytest.raises(ForbiddenError):
                    call()
        with QuantumDatabase.connect(server.url, token=tokens.create("w", "write", ["mine"])[1]) as db:
            db.insert("a", [1.0], collection="mine")
            assert db.list_collections() == ["mine"]
            for call in (
                lambda: db.count(collection="theirs"),
                lambda: db.query([1.0], collection="theirs"),
                lambda: db.insert("a", [1.0], collection="theirs"),
                lambda: db.insert("a", [1.0]),
                lambda: next(iter(db.watch("theirs"))),
                lambda: db.stats(),
                lambda: db.verify(),
            ):
                with pytest.raises(ForbiddenError):
                    call()


def test_no_secret_is_shown_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    with ServerThread(path=tmp_path / "db", require_token=True, slow_query_ms=0.0) as server:
        _, text = server.server.tokens.create("admin", "admin")
        with QuantumDatabase.connect(server.url, token=text) as db:
            db.insert("a", [1.0])
            db.compact()
            shown = [repr(db), str(db.stats()), repr(vars(db._edge)), repr(server.server.config)]
            with pytest.raises(AuthenticationError) as caught:
                QuantumDatabase.connect(server.url, token=text + "x")
            shown += [str(caught.value), repr(caught.value)]
    shown += [record.getMessage() + repr(vars(record)) for record in caplog.records]
    shown += [*capfd.readouterr(), (tmp_path / "db" / "audit.log").read_text()]
    secret = text.split("_", 2)[2]  # which may hold "_" itself
    assert not any(secret in each for each in shown)
    assert any("db.compact" in each for each in shown)


def test_changes_are_plain_values(server: ServerThread) -> None:
    with QuantumDatabase.connect(server.url) as db:
        db.insert("a", [1.0])
        assert next(iter(db.watch(since=0))) == Change(1, "a", db.get("a"))
