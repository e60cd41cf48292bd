"""Peers that break the rules: each loses its connection or its request, and nobody else notices."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import numpy as np
import pytest

from qstore_db import AsyncQuantumDatabase, QuantumDatabase
from qstore_db.errors import ArgumentError, AuthenticationError, UnreachableError
from qstore_db.testing.peers import PATIENCE, Peer
from qstore_db.testing.serving import ServerThread
from qstore_db.wire.greeting import Hello
from qstore_db.wire.messages import Kind, Message, encode
from qstore_server.uploads import MAX_UPLOADS

SMALL = {"frame_seconds": 0.3, "frame_rate": 1 << 20, "request_bytes": 4 << 20, "max_requests": 16}
"""Bounds that a test can reach."""


def nested(depth: int) -> bytes:
    return msgpack.packb([2, 1, "db.count", None])[:-1] + b"\x91" * depth + b"\xc0"


def framed(head: bytes, total: int | None = None, claimed: int | None = None) -> bytes:
    whole = -(-(8 + len(head)) // 8) * 8
    padding = bytes(whole - 8 - len(head))
    return struct.pack(">II", total or whole, claimed or len(head)) + head + padding


BROKEN: dict[str, bytes] = {
    "garbage": random.Random(7).randbytes(4_096),
    "a frame of 4 GiB": struct.pack(">II", 0xFFFFFFF8, 16),
    "a head of 2 MiB": struct.pack(">II", (2 << 20) + 8, 2 << 20),
    "attachments of 1 GiB": struct.pack(">II", 1 << 30, 16),
    "a head of nothing": struct.pack(">II", 8, 0),
    "lengths that contradict each other": struct.pack(">II", 16, 64),
    "a head 2,000 deep": framed(nested(2_000)),
    "a head that is no list": framed(msgpack.packb({"kind": 2})),
    "an unknown kind": framed(msgpack.packb([99, 1, "", None])),
    "a key twice": framed(b"\x94\x02\x01\xa8db.count\x82\xa1a\x01\xa1a\x02"),
    "a timestamp": framed(msgpack.packb([2, 1, "db.count", msgpack.Timestamp(1)])),
    "an array that reaches beyond its frame": framed(
        msgpack.packb([2, 1, "db.count", msgpack.ExtType(1, struct.pack(">BBI", 1, 1, 1_000))])
    ),
    "a second HELLO": b"".join(encode(Message(Kind.HELLO, 0, "", Hello().body()))),
    "a chunk of no stream": b"".join(encode(Message(Kind.CHUNK, 5, "", {}))),
    "a response": b"".join(encode(Message(Kind.RESPONSE, 5, "", {}))),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerThread]:
    with ServerThread(path=tmp_path / "db", slow_query_ms=600_000, **SMALL) as server:
        with QuantumDatabase.connect(server.url) as db:
            db.insert("a", [1.0, 0.0])
        yield server
        undisturbed(server)


def undisturbed(server: ServerThread) -> None:
    """Another client is served, and nothing of whoever broke the rules is left in flight."""
    with QuantumDatabase.connect(server.url) as db:
        assert db.count() == 1
        assert db.query([1.0, 0.0]).ids == ["a"]
    settled(lambda: server.server._charged == 0 and server.server._in_flight == 0)


def settled(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_message_ends_the_connection_with_a_word(server: ServerThread, data: bytes) -> None:
    with Peer(server.server.port) as peer:
        peer.send(data)
        assert peer.refusal() == "protocol"


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_before_the_greeting_too(server: ServerThread, data: bytes) -> None:
    if data == BROKEN["a second HELLO"]:
        return
    with Peer(server.server.port, greet=False) as peer:
        peer.send(data)
        assert peer.refusal() in ("protocol", "")


def test_nobody_sends_more_than_a_greeting_before_it(server: ServerThread) -> None:
    with Peer(server.server.port, greet=False) as peer:
        peer.send(struct.pack(">II", 8_200, 8_192))
        assert peer.refusal() == "protocol"


def test_another_version_is_refused_by_name(server: ServerThread) -> None:
    with Peer(server.server.port, greet=False) as peer:
        peer.say(Kind.HELLO, 0, "", Hello(version=2).body())
        message = peer.hear()
        assert message.body["code"] == "protocol"
        assert "version 1" in message.body["message"]


def test_ids_must_rise(server: ServerThread) -> None:
    with Peer(server.server.port) as peer:
        peer.say(Kind.REQUEST, 5, "db.count", {})
        assert peer.hear().kind is Kind.RESPONSE
        peer.say(Kind.REQUEST, 5, "db.count", {})
        assert peer.refusal() == "protocol"


@pytest.mark.parametrize(
    ("op", "body", "code"),
    [
        ("db.nothing", {}, "argument"),
        ("db.count", None, "argument"),
        ("db.count", {"colection": "default"}, "argument"),
        ("db.count", {"$timeout": "soon"}, "argument"),
        ("db.put", {"id": "b", "vector": np.ones(2, np.float32), "$key": b"short"}, "argument"),
        ("db.query", {}, "argument"),
        ("db.query", {"vector": "x"}, "vector"),
        ("db.query", {"vector": np.ones((2, 2), np.float32)}, "vector"),
        ("db.query", {"vector": np.array([np.nan, 1], np.float32)}, "vector"),
        ("db.query", {"vector": np.ones(3, np.float32)}, "dimension"),
        ("db.query", {"vector": np.ones(2, np.float32), "top_k": []}, "argument"),
        ("db.query", {"vector": np.ones(2, np.float32), "collection": {}}, "argument"),
        ("db.get", {"ids": 7}, "argument"),
        ("db.put_many", {"ids": ["x"], "vectors": np.ones((2, 2), np.float32)}, "vector"),
        ("db.put_many", {"ids": [], "vectors": np.ones((0, 2), np.float32)}, "argument"),
        ("db.update", {"id": "a"}, "argument"),
        ("db.delete", {}, "argument"),
        ("db.watch", {"since": -1}, "argument"),
        ("db.wait_indexed", {"timeout": "long"}, "argument"),
    ],
)
def test_a_wrong_request_fails_alone(server: ServerThread, op: str, body: object, code: str) -> None:
    with Peer(server.server.port) as peer:
        peer.say(Kind.REQUEST, 1, op, body)
        answer = peer.hear()
        assert (answer.kind, answer.id) == (Kind.ERROR, 1)
        assert answer.body["code"] == code
        peer.say(Kind.REQUEST, 2, "db.count", {})
        assert peer.hear().body == {"count": 1}


def test_a_megabyte_of_empty_maps_is_no_body_of_a_request(server: ServerThread) -> None:
    with Peer(server.server.port) as peer:
        peer.send(framed(b"\x94\x02\x01\xa8db.count\xdd\x00\x0f\x00\x00" + b"\x80" * 0xF0000))
        assert peer.hear().body["code"] == "argument"


def test_a_slow_greeting_a_slow_head_and_a_slow_body_are_dropped(server: ServerThread) -> None:
    hello = b"".join(encode(Message(Kind.HELLO, 0, "", Hello().body())))
    with Peer(server.server.port, greet=False) as peer:
        assert not peer.drip(hello, 0.05)
    head = b"".join(encode(Message(Kind.REQUEST, 1, "db.count", {"collection": "c" * 200})))
    with Peer(server.server.port) as peer:
        assert not peer.drip(head, 0.05)
    body = b"".join(encode(Message(Kind.REQUEST, 1, "db.query", {"vector": np.ones(1 << 20, np.float32)})))
    with Peer(server.server.port) as peer:
        peer.send(body[:1_000])
        assert not peer.drip(body[1_000:2_000], 0.05)


def test_who_says_nothing_is_dropped(server: ServerThread) -> None:
    with Peer(server.server.port, greet=False) as peer:
        assert peer.refusal() == ""


def test_a_peer_that_never_reads_is_dropped_and_costs_no_more_than_its_window(tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db", slow_query_ms=600_000, **SMALL) as server:
        with QuantumDatabase.connect(server.url) as db:
            db.upsert_many(ids=[f"r{i}" for i in range(4_000)], vectors=np.ones((4_000, 512), np.float32))
            with Peer(server.server.port, window=1 << 30) as peer:
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                for id in range(1, 40):
                    peer.say(
                        Kind.REQUEST, id, "db.scroll", {"limit": 4_000}
                    )  # 8 MiB each, of which nothing is read
                settled(lambda: server.server.statistics.counts.connections_dropped == 1)
            assert db.count() == 4_000
        settled(lambda: server.server._charged == 0 and server.server._in_flight == 0)


def test_many_requests_at_once_are_all_answered(server: ServerThread) -> None:
    with Peer(server.server.port) as peer:
        for id in range(1, 501):
            peer.say(Kind.REQUEST, id, "db.query", {"vector": np.ones(2, np.float32)})
        assert sorted(peer.hear().id for _ in range(500)) == list(range(1, 501))


def test_a_flood_of_strangers_leaves_room_for_those_who_greet(tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db", max_unauthenticated=8, frame_seconds=1.0) as server:
        with QuantumDatabase.connect(server.url) as db:
            strangers = [socket.create_connection(("127.0.0.1", server.server.port)) for _ in range(200)]
            assert db.insert("a", [1.0]) == 1  # who was let in before is served
            settled(lambda: len(server.server._unauthenticated) == 0)
            with QuantumDatabase.connect(server.url) as late:
                assert late.count() == 1
            for stranger in strangers:
                stranger.close()
        assert server.server.statistics.refusals["unauthenticated"] > 0


def test_a_thousand_idle_connections_are_no_burden(server: ServerThread) -> None:
    peers = [Peer(server.server.port) for _ in range(1_000)]
    with QuantumDatabase.connect(server.url) as db:
        assert db.query([1.0, 0.0]).ids == ["a"]
        assert db.stats()["server"]["gauges"]["connections"] >= 1_000
    for peer in peers[::2]:
        peer.reset()
    for peer in peers[1::2]:
        peer.say(Kind.PING, 1)
        assert peer.hear().kind is Kind.PONG
        peer.close()


def test_a_client_that_dies_in_an_upload_leaves_nothing(server: ServerThread) -> None:
    peer = Peer(server.server.port)
    body = {"ids": ["x"], "vectors": np.ones((1, 2), np.float32), "$more": True}
    peer.say(Kind.REQUEST, 1, "db.put_many", body)
    peer.say(Kind.CHUNK, 1, "", {"ids": ["y"] * 1_000})
    settled(lambda: server.server._charged > 0)
    peer.reset()
    settled(lambda: server.server._charged == 0)


def test_an_upload_that_is_taken_back_writes_nothing(server: ServerThread) -> None:
    with Peer(server.server.port) as peer:
        body = {"ids": ["x"], "vectors": np.ones((1, 2), np.float32), "$more": True}
        peer.say(Kind.REQUEST, 1, "db.put_many", body)
        peer.say(Kind.CANCEL, 1)
        peer.say(Kind.END, 1)
        answer = peer.hear()
        assert (answer.kind, answer.body["code"]) == (Kind.ERROR, "cancelled")
        peer.say(Kind.REQUEST, 2, "db.count", {})
        assert peer.hear().body == {"count": 1}


def test_what_came_of_an_upload_may_be_sent_again(server: ServerThread) -> None:
    with Peer(server.server.port) as peer:
        body = {"ids": ["x"], "vectors": np.ones((1, 2), np.float32), "$more": True}
        peer.say(Kind.REQUEST, 1, "db.put_many", body)
        chunk = b"".join(encode(Message(Kind.CHUNK, 1, "", {"ids": ["i" * 100] * 200})))
        peer.send(chunk)
        granted = peer.hear()
        assert (granted.kind, granted.id, granted.body) == (Kind.WINDOW, 1, len(chunk))


def test_more_uploads_at_once_than_there_may_be_are_refused(server: ServerThread) -> None:
    with Peer(server.server.port) as peer:
        body = {"ids": ["x"], "vectors": np.ones((1, 2), np.float32), "$more": True}
        for id in range(1, MAX_UPLOADS + 2):
            peer.say(Kind.REQUEST, id, "db.put_many", body)
        answer = peer.hear()
        assert (answer.kind, answer.id, answer.body["code"]) == (Kind.ERROR, MAX_UPLOADS + 1, "queue_full")
        for id in range(1, MAX_UPLOADS + 2):
            peer.say(Kind.CANCEL, id)


async def test_many_large_inserts_of_one_client_all_get_their_turn(tmp_path: Path) -> None:
    vectors = np.ones((2_500, 256), np.float32)
    with ServerThread(path=tmp_path / "db", connection_bytes=8 << 20) as server:
        async with await AsyncQuantumDatabase.connect(server.url, timeout=None) as db:
            await db.create_collection("c", dimension=256)
            await asyncio.gather(
                *(
                    db.upsert_many(
                        ids=[f"{n}-{i}" for i in range(2_500)], vectors=vectors * (n + 1), collection="c"
                    )
                    for n in range(12)
                )
            )
            assert await db.count(collection="c") == 12 * 2_500
        settled(lambda: server.server._charged == 0)


def test_a_request_that_is_too_large_is_refused_and_the_connection_stays(server: ServerThread) -> None:
    with QuantumDatabase.connect(server.url) as db:
        db.create_collection("big", dimension=1_024)
        with pytest.raises(ArgumentError, match="send fewer records at once"):
            db.upsert_many(
                ids=[f"r{i}" for i in range(6_000)], vectors=np.ones((6_000, 1_024)), collection="big"
            )
        assert db.count() == 1
        assert db.count(collection="big") == 0


def test_a_value_that_no_frame_holds_is_refused_by_name(server: ServerThread) -> None:
    with QuantumDatabase.connect(server.url) as db:
        with pytest.raises(ArgumentError, match="filter"):
            db.count({"text": "x" * (2 << 20)})
        assert db.count() == 1


def test_a_stream_never_exceeds_what_was_granted(tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db") as server, QuantumDatabase.connect(server.url) as db:
        db.create_collection("many", dimension=64)
        db.upsert_many(ids=[f"r{i}" for i in range(9_000)], vectors=np.ones((9_000, 64)), collection="many")
        with Peer(server.server.port, window=1) as peer:
            body = {
                "vector": np.ones(64, np.float32),
                "top_k": 9_000,
                "include_vectors": True,
                "collection": "many",
            }
            peer.say(Kind.REQUEST, 1, "db.query", body)
            chunks = 0
            while (message := peer.hear()).kind is not Kind.END:
                assert message.kind is Kind.CHUNK
                chunks += 1
                peer.socket.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    peer.hear()  # not before it is granted
                peer.socket.settimeout(PATIENCE)
                peer.say(Kind.WINDOW, 1, "", sum(map(len, encode(message))))
            assert chunks >= 2


def test_a_wrong_token_and_none_are_refused_alike(tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db", require_token=True) as server:
        _, text = server.server.tokens.create("me", "read")
        with QuantumDatabase.connect(server.url, token=text) as db:
            assert db.list_collections() == []
        for token in (None, text[:-1] + ("a" if text[-1] != "a" else "b"), "qst_x", "x" * 3_000):
            with pytest.raises(AuthenticationError) as caught:
                QuantumDatabase.connect(server.url, token=token)
            assert text not in str(caught.value)
        assert server.server.statistics.counts.authentication_failures == 4


def test_nobody_listens_there(server: ServerThread) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(UnreachableError):
            QuantumDatabase.connect(f"qstore://127.0.0.1:{probe.getsockname()[1]}", retries=1)


def test_a_scan_of_everything_stalls_nobody(tmp_path: Path) -> None:
    with (
        ServerThread(path=tmp_path / "db", slow_query_ms=600_000) as server,
        QuantumDatabase.connect(server.url, timeout=None) as db,
    ):
        db.upsert_many(
            ids=[f"r{i}" for i in range(10_000)],
            vectors=np.random.default_rng(0).normal(size=(10_000, 64)),
        )
        over = threading.Event()
        scans: list[int] = []

        def scan() -> None:
            with QuantumDatabase.connect(server.url, timeout=None) as greedy:
                while not over.is_set():
                    scans.append(len(greedy.query(np.ones(64), top_k=10_000, include_vectors=True)))

        thread = threading.Thread(target=scan)
        thread.start()
        settled(lambda: len(scans) > 0)
        before, answers = len(scans), 0
        while len(scans) < before + 3:
            db.query(np.ones(64))
            answers += 1
        over.set()
        thread.join(PATIENCE)
        assert answers > 3 * 3  # in turns with the scans there would be one between two of them
