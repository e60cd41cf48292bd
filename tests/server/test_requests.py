"""Requests that are wrong, many, large or greedy: each is answered for itself, and nobody else notices."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import ArgumentError
from qstore_db.testing.attackers import Target, let_in
from qstore_db.testing.serving import ServerThread
from qstore_db.testing.waiting import PATIENCE, settled
from qstore_db.wire.greeting import Hello
from qstore_db.wire.messages import Kind, Message, encode


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerThread]:
    """For all of these tests, with bounds that they can reach."""
    path = tmp_path_factory.mktemp("requests") / "db"
    with ServerThread(path=path, slow_query_ms=600_000, request_bytes=4 << 20, max_requests=16) as server:
        with QuantumDatabase.connect(server.url) as db:
            db.insert("a", [1.0, 0.0])
        yield server


@pytest.fixture
def server(shared: ServerThread) -> Iterator[ServerThread]:
    """At the end another client is served, and nothing is left in flight."""
    yield shared
    with QuantumDatabase.connect(shared.url) as db:
        assert db.count() == 1
        assert db.query([1.0, 0.0]).ids == ["a"]
    settled(lambda: shared.server.memory.charged == 0 and shared.server._in_flight == 0)


@pytest.fixture
def target(server: ServerThread) -> Target:
    return Target("127.0.0.1", server.server.port)


def test_ids_must_rise(target: Target) -> None:
    with let_in(target) as peer:
        peer.say(Message(Kind.REQUEST, 5, "db.count", {}))
        assert peer.hear().kind is Kind.RESPONSE
        peer.say(Message(Kind.REQUEST, 5, "db.count", {}))
        peer.listen(PATIENCE)
        assert peer.outcome().codes == ("protocol",)


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
def test_a_wrong_request_fails_alone(target: Target, op: str, body: object, code: str) -> None:
    with let_in(target) as peer:
        peer.say(Message(Kind.REQUEST, 1, op, body))
        answer = peer.hear()
        assert (answer.kind, answer.id) == (Kind.ERROR, 1)
        assert answer.body["code"] == code
        peer.say(Message(Kind.REQUEST, 2, "db.count", {}))
        assert peer.hear().body == {"count": 1}


def test_many_requests_at_once_are_all_answered(target: Target) -> None:
    with let_in(target) as peer:
        for id in range(1, 501):
            peer.say(Message(Kind.REQUEST, id, "db.query", {"vector": np.ones(2, np.float32)}))
        assert sorted(peer.hear().id for _ in range(500)) == list(range(1, 501))


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


def test_a_stream_never_exceeds_what_was_granted(server: ServerThread, target: Target) -> None:
    with QuantumDatabase.connect(server.url) as db:
        db.create_collection("many", dimension=64, index="flat")
        vectors = np.random.default_rng(0).normal(size=(4_000, 64))
        db.upsert_many(ids=[f"r{i}" for i in range(4_000)], vectors=vectors, collection="many")
        with let_in(target, Hello(window=1)) as peer:
            body = {
                "vector": np.ones(64, np.float32),
                "top_k": 4_000,
                "include_vectors": True,
                "collection": "many",
            }
            peer.say(Message(Kind.REQUEST, 1, "db.query", body))
            chunks = 0
            while (message := peer.hear()).kind is not Kind.END:
                assert message.kind is Kind.CHUNK
                chunks += 1
                with pytest.raises(TimeoutError):
                    peer.hear(0.2)  # not before it is granted
                peer.say(Message(Kind.WINDOW, 1, "", sum(map(len, encode(message)))))
            assert chunks >= 2
        db.drop_collection("many")


def test_a_scan_of_everything_stalls_nobody(tmp_path: Path) -> None:
    with (
        ServerThread(path=tmp_path / "db", slow_query_ms=600_000) as server,
        QuantumDatabase.connect(server.url, timeout=None) as db,
    ):
        db.create_collection("default", dimension=64, index="flat")
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
