"""Uploads take memory that is bounded, and what comes beside them is answered, whoever sends what."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.testing.peers import PATIENCE, Peer
from qstore_db.testing.serving import ServerThread
from qstore_db.wire.frames import FrameReader
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, decode, encode

MIB = 1 << 20
BEGIN = {"ids": ["x"], "vectors": np.ones((1, 2), np.float32), "$more": True}


class Peak:
    """The most that was in flight in a server at any time."""

    def __init__(self, server: ServerThread) -> None:
        self.nbytes = 0
        charge = server.server.charge

        def watched(nbytes: int) -> None:
            charge(nbytes)
            self.nbytes = max(self.nbytes, server.server._charged)

        server.server.charge = watched  # type: ignore[method-assign]


def settled(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


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
    with ServerThread(path=tmp_path / "db", server_bytes=32 * MIB) as server:
        peak = Peak(server)
        with Peer(server.server.port) as peer:
            peer.say(Kind.REQUEST, 1, "db.put_many", BEGIN)
            codes: list[str] = []
            for _ in range(20):  # 4 MB, of which Python would make 300
                peer.say(Kind.CHUNK, 1, "", {"ids": [{}] * 200_000})
                answer = peer.hear()
                if answer.kind is Kind.ERROR:
                    codes.append(answer.body["code"])
                    assert peer.hear().kind is Kind.WINDOW
            peer.say(Kind.END, 1)
            assert codes == ["argument"]
            assert peak.nbytes <= 32 * MIB
            peer.say(Kind.REQUEST, 2, "db.list_collections", {})
            while (answer := peer.hear()).id != 2:
                assert answer.kind is Kind.WINDOW
            assert answer.body == {"names": []}
        settled(lambda: server.server._charged == 0 and server.server._in_flight == 0)


def test_requests_beside_an_upload_are_answered_within_the_bounds_of_their_connection(tmp_path: Path) -> None:
    with (
        ServerThread(path=tmp_path / "db", connection_bytes=4 * MIB, slow_query_ms=600_000) as server,
        Peer(server.server.port) as peer,
    ):
        peak = Peak(server)
        peer.say(Kind.REQUEST, 1, "db.put_many", BEGIN)
        for _ in range(6):
            peer.say(Kind.CHUNK, 1, "", {"ids": ["i" * 1_000] * 900})
            assert peer.hear().kind is Kind.WINDOW
        held = server.server._charged
        assert held > 4 * MIB  # more than the connection may have, so that only what must go on does
        wide = {"vectors": np.ones((256, 1_024), np.float32)}

        def ask() -> None:
            for id in range(2, 62):
                peer.say(Kind.REQUEST, id, "db.query_batch", wide)

        asking = threading.Thread(target=ask)
        asking.start()
        answered = sorted(peer.hear().id for _ in range(60))
        asking.join(PATIENCE)
        assert answered == list(range(2, 62))
        assert peak.nbytes < held + 8 * MIB
        peer.say(Kind.CANCEL, 1)
        assert peer.hear().body["code"] == "cancelled"
        settled(lambda: server.server._charged == 0 and server.server._in_flight == 0)


def test_uploads_of_many_connections_share_what_the_server_has(tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db", server_bytes=8 * MIB) as server:
        peak = Peak(server)
        peers = [Peer(server.server.port) for _ in range(8)]
        codes: list[str] = []
        for peer in peers:
            peer.say(Kind.REQUEST, 1, "db.put_many", BEGIN)
            for _ in range(4):
                peer.say(Kind.CHUNK, 1, "", {"ids": ["i" * 1_000] * 900})
            peer.say(Kind.PING, 9)  # which is answered although the server is full
            while (answer := peer.hear()).kind is not Kind.PONG:
                if answer.kind is Kind.ERROR:
                    codes.append(answer.body["code"])
        assert codes
        assert set(codes) == {"queue_full"}
        assert peak.nbytes < 2 * 8 * MIB + 2 * MIB
        for peer in peers:
            peer.close()
        settled(lambda: server.server._charged == 0)
        with QuantumDatabase.connect(server.url) as db:
            assert db.insert_many(ids=["a", "b"], vectors=[[1.0, 0.0], [0.0, 1.0]]) == 2


@pytest.mark.parametrize("keeps_pinging", [True, False])
def test_an_upload_that_does_not_go_on_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps_pinging: bool
) -> None:
    monkeypatch.setattr("qstore_server.uploads.STALLED_SECONDS", 0.5)
    with ServerThread(path=tmp_path / "db") as server, Peer(server.server.port) as peer:
        peer.say(Kind.REQUEST, 1, "db.put_many", BEGIN)
        with pytest.raises(ConnectionError):
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until:
                if keeps_pinging:
                    peer.say(Kind.PING, 5)
                    peer.hear()
                    time.sleep(0.1)
                else:
                    peer.hear()
        settled(lambda: server.server._charged == 0 and server.server._in_flight == 0)
