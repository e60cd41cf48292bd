"""Uploads take memory that is bounded, and what comes beside them is answered, whoever sends what."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db import AsyncQuantumDatabase, QuantumDatabase
from qstore_db.testing.attackers import Target, let_in
from qstore_db.testing.serving import ServerThread
from qstore_db.testing.waiting import PATIENCE, settled
from qstore_db.wire.frames import FrameReader
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, decode, encode
from qstore_server.uploads import MAX_UPLOADS

MIB = 1 << 20
BEGIN = {"ids": ["x"], "vectors": np.ones((1, 2), np.float32), "$more": True}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerThread]:
    """One of a record, of which no upload is left at the end."""
    with ServerThread(path=tmp_path / "db", slow_query_ms=600_000) as server:
        with QuantumDatabase.connect(server.url) as db:
            db.insert("a", [1.0, 0.0])
            yield server
            assert db.count() == 1
        settled(lambda: server.server.memory.charged == 0 and server.server._in_flight == 0)


@pytest.fixture
def target(server: ServerThread) -> Target:
    return target_of(server)


def target_of(server: ServerThread) -> Target:
    return Target("127.0.0.1", server.server.port)


class Peak:
    """The most that was in flight in a server at any time."""

    def __init__(self, server: ServerThread) -> None:
        self.nbytes = 0
        charge = server.server.memory.charge

        def watched(nbytes: int) -> None:
            charge(nbytes)
            self.nbytes = max(self.nbytes, server.server.memory.charged)

        server.server.memory.charge = watched  # type: ignore[method-assign]


def weight(body: Any) -> tuple[int, int]:
    """What a body is taken to need in memory, and the length of its head."""
    (frame,) = FrameReader(Limits()).feed(b"".join(encode(Message(Kind.CHUNK, 1, "", body))))
    return decode(frame, Limits()).nbytes, len(frame.head)


def test_what_a_message_takes_in_memory_is_told_by_what_it_holds() -> None:
    taken, sent = weight({"a": [{}] * 100_000})
    assert 70 * sent < taken < 90 * sent
    taken, sent = weight({"a": ["text" * 500] * 100})
    assert sent < taken < 1.1 * sent
    taken, sent = weight({"a": np.ones(1_000, np.float32)})
    assert 4_000 < taken < 4_500


def test_an_upload_of_empty_maps_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db", server_bytes=16 * MIB) as server:
        peak = Peak(server)
        with let_in(target_of(server)) as peer:
            peer.say(Message(Kind.REQUEST, 1, "db.put_many", BEGIN))
            codes: list[str] = []
            for _ in range(20):  # 2 MB, of which Python would make 150
                peer.say(Message(Kind.CHUNK, 1, "", {"ids": [{}] * 100_000}))
                answer = peer.hear()
                if answer.kind is Kind.ERROR:
                    codes.append(answer.body["code"])
                    assert peer.hear().kind is Kind.WINDOW
            peer.say(Message(Kind.END, 1))
            assert codes == ["argument"]
            assert peak.nbytes <= 16 * MIB
            peer.say(Message(Kind.REQUEST, 2, "db.list_collections", {}))
            while (answer := peer.hear()).id != 2:
                assert answer.kind is Kind.WINDOW
            assert answer.body == {"names": []}
        settled(lambda: server.server.memory.charged == 0 and server.server._in_flight == 0)


def test_requests_beside_an_upload_are_answered_within_the_bounds_of_their_connection(tmp_path: Path) -> None:
    with (
        ServerThread(path=tmp_path / "db", connection_bytes=4 * MIB, slow_query_ms=600_000) as server,
        let_in(target_of(server)) as peer,
    ):
        peak = Peak(server)
        peer.say(Message(Kind.REQUEST, 1, "db.put_many", BEGIN))
        for _ in range(6):
            peer.say(Message(Kind.CHUNK, 1, "", {"ids": ["i" * 1_000] * 900}))
            assert peer.hear().kind is Kind.WINDOW
        held = server.server.memory.charged
        assert held > 4 * MIB  # more than the connection may have, so that only what must go on does
        wide = {"vectors": np.ones((256, 1_024), np.float32)}

        def ask() -> None:
            for id in range(2, 62):
                peer.say(Message(Kind.REQUEST, id, "db.query_batch", wide))

        asking = threading.Thread(target=ask)
        asking.start()
        answered = sorted(peer.hear().id for _ in range(60))
        asking.join(PATIENCE)
        assert answered == list(range(2, 62))
        assert peak.nbytes < held + 8 * MIB
        peer.say(Message(Kind.CANCEL, 1))
        assert peer.hear().body["code"] == "cancelled"
        settled(lambda: server.server.memory.charged == 0 and server.server._in_flight == 0)


def test_uploads_of_many_connections_share_what_the_server_has(tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db", server_bytes=8 * MIB) as server:
        peak = Peak(server)
        peers = [let_in(target_of(server)) for _ in range(8)]
        codes: list[str] = []
        for peer in peers:
            peer.say(Message(Kind.REQUEST, 1, "db.put_many", BEGIN))
            for _ in range(4):
                peer.say(Message(Kind.CHUNK, 1, "", {"ids": ["i" * 1_000] * 900}))
            peer.say(Message(Kind.PING, 9))  # which is answered although the server is full
            while (answer := peer.hear()).kind is not Kind.PONG:
                if answer.kind is Kind.ERROR:
                    codes.append(answer.body["code"])
        assert codes
        assert set(codes) == {"queue_full"}
        assert peak.nbytes < 2 * 8 * MIB + 2 * MIB
        for peer in peers:
            peer.close()
        settled(lambda: server.server.memory.charged == 0)
        with QuantumDatabase.connect(server.url) as db:
            assert db.insert_many(ids=["a", "b"], vectors=[[1.0, 0.0], [0.0, 1.0]]) == 2


@pytest.mark.parametrize("keeps_pinging", [True, False])
def test_an_upload_that_does_not_go_on_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps_pinging: bool
) -> None:
    monkeypatch.setattr("qstore_server.uploads.STALLED_SECONDS", 0.5)
    with ServerThread(path=tmp_path / "db") as server, let_in(target_of(server)) as peer:
        peer.say(Message(Kind.REQUEST, 1, "db.put_many", BEGIN))
        with pytest.raises(ConnectionError):
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until:
                if keeps_pinging:
                    peer.say(Message(Kind.PING, 5))
                    peer.hear()
                    time.sleep(0.1)
                else:
                    peer.hear()
        settled(lambda: server.server.memory.charged == 0 and server.server._in_flight == 0)


def test_a_client_that_dies_in_an_upload_leaves_nothing(server: ServerThread, target: Target) -> None:
    peer = let_in(target)
    peer.say(Message(Kind.REQUEST, 1, "db.put_many", BEGIN))
    peer.say(Message(Kind.CHUNK, 1, "", {"ids": ["y"] * 1_000}))
    settled(lambda: server.server.memory.charged > 0)
    peer.reset()
    settled(lambda: server.server.memory.charged == 0)


def test_an_upload_that_is_taken_back_writes_nothing(target: Target) -> None:
    with let_in(target) as peer:
        peer.say(Message(Kind.REQUEST, 1, "db.put_many", BEGIN))
        peer.say(Message(Kind.CANCEL, 1))
        peer.say(Message(Kind.END, 1))
        answer = peer.hear()
        assert (answer.kind, answer.body["code"]) == (Kind.ERROR, "cancelled")
        peer.say(Message(Kind.REQUEST, 2, "db.count", {}))
        assert peer.hear().body == {"count": 1}


def test_what_came_of_an_upload_may_be_sent_again(target: Target) -> None:
    with let_in(target) as peer:
        peer.say(Message(Kind.REQUEST, 1, "db.put_many", BEGIN))
        chunk = b"".join(encode(Message(Kind.CHUNK, 1, "", {"ids": ["i" * 100] * 200})))
        peer.send(chunk)
        granted = peer.hear()
        assert (granted.kind, granted.id, granted.body) == (Kind.WINDOW, 1, len(chunk))


def test_more_uploads_at_once_than_there_may_be_are_refused(target: Target) -> None:
    with let_in(target) as peer:
        for id in range(1, MAX_UPLOADS + 2):
            peer.say(Message(Kind.REQUEST, id, "db.put_many", BEGIN))
        answer = peer.hear()
        assert (answer.kind, answer.id, answer.body["code"]) == (Kind.ERROR, MAX_UPLOADS + 1, "queue_full")
        for id in range(1, MAX_UPLOADS + 2):
            peer.say(Message(Kind.CANCEL, id))


async def test_many_large_inserts_of_one_client_all_get_their_turn(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(2_500, 256)).astype(np.float32)
    with ServerThread(path=tmp_path / "db", connection_bytes=8 << 20) as server:
        async with await AsyncQuantumDatabase.connect(server.url, timeout=None) as db:
            await db.create_collection("c", dimension=256, index="flat")
            await asyncio.gather(
                *(
                    db.upsert_many(
                        ids=[f"{n}-{i}" for i in range(2_500)], vectors=vectors * (n + 1), collection="c"
                    )
                    for n in range(12)
                )
            )
            assert await db.count(collection="c") == 12 * 2_500
        settled(lambda: server.server.memory.charged == 0)
