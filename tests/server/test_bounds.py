"""What a peer may take of the server's memory, and for how long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.testing.attackers import Peer, Target, let_in
from qstore_db.testing.serving import ServerThread
from qstore_db.testing.waiting import settled
from qstore_db.wire.greeting import Hello
from qstore_db.wire.messages import Kind, Message, encode
from qstore_server.connection import Connection
from qstore_server.pace import Pace
from qstore_server.uploads import STALLED_SECONDS

MIB = 1 << 20
WIDE = {"id": "b", "vector": np.ones(MIB // 2, np.float32)}
"""The fields of a request whose frame takes 2 MiB."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerThread]:
    with ServerThread(path=tmp_path / "db") as server:
        yield server
        settled(lambda: server.server.memory.charged == 0)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[ServerThread]:
    """One in which two frames are a crowd."""
    with ServerThread(path=tmp_path / "db", server_bytes=MIB) as server:
        yield server
        settled(lambda: server.server.memory.charged == 0)


def let_into(server: ServerThread, *, window: int | None = None) -> Peer:
    hello = None if window is None else Hello(window=window)
    return let_in(Target("127.0.0.1", server.server.port), hello)


def connection_of(server: ServerThread, peer: Peer) -> Connection:
    return next(each for each in server.server._connections if each.peer == peer.address)


def after(server: ServerThread, peer: Peer, *seconds: float) -> None:
    """What the server does about the connection that many seconds from now, looking each time."""

    async def sweep() -> None:
        connection = connection_of(server, peer)
        for each in seconds:
            connection.sweep(server.server.loop.time() + each)

    server.run(sweep())


def frame(id: int = 1, op: str = "db.put", body: Any = WIDE) -> bytes:
    return b"".join(map(bytes, encode(Message(Kind.REQUEST, id, op, body))))


def test_a_pace_counts_what_is_waited_for_and_saves_nothing_up() -> None:
    pace = Pace(10)
    pace.did(1_000)
    pace.look(0.0, waiting=True)
    pace.look(5.0, waiting=True)
    assert pace.behind == 5.0
    pace.did(20)
    assert pace.behind == 3.0
    pace.look(6.0, waiting=False)
    pace.look(9.0, waiting=True)
    assert pace.behind == 3.0
    pace.look(10.0, waiting=True)
    assert pace.behind == 4.0


def test_what_is_there_of_a_frame_counts_as_in_flight_but_not_what_is_only_claimed(
    server: ServerThread,
) -> None:
    whole = frame()
    with let_into(server) as peer:
        peer.send(whole[:100])
        settled(lambda: server.server.memory.charged == 92)
        peer.send(whole[100:MIB])
        settled(lambda: server.server.memory.charged == MIB - 8)
        peer.send(whole[MIB:])
        assert peer.hear().id == 1
        settled(lambda: server.server.memory.charged == 0)
        peer.send(frame(2)[:MIB])
        settled(lambda: server.server.memory.charged == MIB - 8)


def test_in_a_crowd_the_frame_that_began_first_goes_on_and_the_others_wait_their_turn(
    small: ServerThread,
) -> None:
    whole = frame()
    with let_into(small) as first, let_into(small) as second:
        first.send(whole[: 3 * MIB // 2])
        settled(lambda: small.server.memory.charged > MIB)
        sending = threading.Thread(target=second.send, args=[whole])
        sending.start()
        settled(lambda: connection_of(small, second)._paused)
        assert small.server.memory.charged < 3 * MIB
        after(small, second, 1_000.0)  # which is not the peer's fault
        first.send(whole[3 * MIB // 2 :])
        assert first.hear().id == 1
        assert second.hear().id == 1
        sending.join()


def test_who_leaves_amid_a_frame_makes_room_for_the_next(small: ServerThread) -> None:
    whole = frame()
    with let_into(small) as first, let_into(small) as second:
        first.send(whole[: 3 * MIB // 2])
        settled(lambda: small.server.memory.charged > MIB)
        sending = threading.Thread(target=second.send, args=[whole])
        sending.start()
        settled(lambda: connection_of(small, second)._paused)
        first.reset()
        assert second.hear().id == 1
        sending.join()


def test_a_frame_of_which_nothing_more_comes_does_not_have_the_time_of_what_it_claimed(
    server: ServerThread,
) -> None:
    with let_into(server) as peer:
        peer.send(frame()[: MIB // 16])  # 4 of the 128 s that all of it would have
        settled(lambda: server.server.memory.charged > 0)
        after(server, peer, 8.0)
        after(server, peer, 10.0)
        with pytest.raises(ConnectionError):
            peer.hear()


def uploading(peer: Peer) -> None:
    body = {"ids": ["a"], "vectors": np.ones((1, 2), np.float32), "$more": True}
    peer.say(Message(Kind.REQUEST, 1, "db.put_many", body))


def test_an_upload_that_trickles_is_given_up(server: ServerThread) -> None:
    with let_into(server) as peer:
        uploading(peer)
        settled(lambda: len(connection_of(server, peer)._uploads) == 1)
        for minute in range(2):
            after(server, peer, *(30.0 * minute + second for second in range(30)))
            peer.say(Message(Kind.CHUNK, 1, "", {"ids": ["b"]}))
            assert peer.hear().kind is Kind.WINDOW
        after(server, peer, 60.0, 61.0, 62.0)
        with pytest.raises(ConnectionError):
            peer.hear()


def test_an_upload_at_the_least_rate_goes_on(server: ServerThread) -> None:
    with let_into(server) as peer:
        uploading(peer)
        settled(lambda: len(connection_of(server, peer)._uploads) == 1)
        rows = np.ones((15 * server.server.config.frame_rate, 1), np.uint8)
        for part in range(8):
            after(server, peer, *(15.0 * part + second for second in range(16)))
            peer.say(Message(Kind.CHUNK, 1, "", {"rows": rows}))
            assert peer.hear().kind is Kind.WINDOW
        assert STALLED_SECONDS < 15.0 * 8
        peer.say(Message(Kind.CANCEL, 1))
        assert peer.hear().body["code"] == "cancelled"


def test_an_answer_of_which_no_more_is_asked_for_ends_and_the_connection_goes_on(
    server: ServerThread,
) -> None:
    with QuantumDatabase.connect(server.url) as db:
        db.insert_many(ids=[f"r{n}" for n in range(64)], vectors=np.ones((64, 16 << 10)))
    with let_into(server, window=1 << 16) as peer:
        peer.say(Message(Kind.REQUEST, 1, "db.scroll", {"limit": 64}))
        chunk = peer.hear()
        assert chunk.kind is Kind.CHUNK
        after(server, peer, *range(120))
        assert peer.hear().body["code"] == "timeout"
        peer.say(Message(Kind.PING, 0))
        assert peer.hear().kind is Kind.PONG


def test_an_answer_that_is_taken_slowly_but_steadily_comes_to_its_end(server: ServerThread) -> None:
    with QuantumDatabase.connect(server.url) as db:
        db.insert_many(ids=[f"r{n}" for n in range(64)], vectors=np.ones((64, 16 << 10)))
    with let_into(server, window=1 << 16) as peer:
        peer.say(Message(Kind.REQUEST, 1, "db.scroll", {"limit": 64}))
        start = 0
        while (message := peer.hear()).kind is Kind.CHUNK:
            after(server, peer, *range(start, start + 60))
            start += 60
            peer.say(Message(Kind.WINDOW, 1, "", MIB))
        assert message.kind is Kind.END
        assert start > 180


def test_what_may_take_as_long_as_it_takes_is_not_slow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        ServerThread(path=tmp_path / "db", slow_query_ms=0.0) as server,
        QuantumDatabase.connect(server.url) as db,
    ):
        db.insert("a", [1.0])
        db.wait_indexed()
        assert next(iter(db.watch(since=0))).id == "a"
    slow = [vars(record)["op"] for record in caplog.records if record.getMessage() == "slow request"]
    assert slow == ["db.put"]
