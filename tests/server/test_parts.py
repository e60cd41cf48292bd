"""Requests and answers in parts: what a later part says counts as if it had been said at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.testing.attackers import Peer, Target, let_in
from qstore_db.testing.serving import ServerThread
from qstore_db.testing.waiting import settled
from qstore_db.wire.messages import Kind, Message

WIDE = np.random.default_rng(0).normal(size=(5_000, 1_024)).astype(np.float32)
"""20 MiB."""
PART = {"ids": ["x"], "vectors": np.ones((1, 2), np.float32), "$more": True}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerThread]:
    with ServerThread(path=tmp_path / "db", slow_query_ms=600_000, connection_bytes=4 << 20) as server:
        with QuantumDatabase.connect(server.url) as db:
            db.create_collection("secret", dimension=2)
            db.insert("s", [1.0, 0.0], collection="secret")
        yield server
        with QuantumDatabase.connect(server.url) as db:
            assert db.count(collection="secret") == 1
        settled(lambda: not server.server.memory.charged)  # the connection of a watcher may still be closing


def target_of(server: ServerThread, token: str | None = None) -> Target:
    return Target("127.0.0.1", server.server.port, token=token)


def answer_to(peer: Peer, id: int) -> tuple[Kind, object]:
    while (message := peer.hear()).kind is Kind.WINDOW:
        pass
    assert message.id == id
    return message.kind, message.body["code"] if message.kind is Kind.ERROR else message.body


@pytest.mark.parametrize("op", ["db.get", "db.delete", "db.put_many", "db.scroll"])
def test_a_limited_token_reaches_no_other_collection_by_a_later_part(server: ServerThread, op: str) -> None:
    _, text = server.server.tokens.create("limited", "write", ["default"])
    fields = {"db.scroll": {}, "db.put_many": PART}.get(op, {"ids": ["s"]})
    with let_in(target_of(server, text)) as peer:
        peer.say(Message(Kind.REQUEST, 1, op, {**fields, "$more": True}))
        peer.say(Message(Kind.CHUNK, 1, "", {"collection": "secret"}))
        peer.say(Message(Kind.END, 1))
        assert answer_to(peer, 1) == (Kind.ERROR, "forbidden")


def test_a_limited_token_stores_many_records_where_it_may(server: ServerThread) -> None:
    _, text = server.server.tokens.create("limited", "write", ["mine"])
    with QuantumDatabase.connect(server.url) as db:
        db.create_collection("mine", dimension=1_024, index="flat")
    with QuantumDatabase.connect(server.url, token=text) as db:
        ids = [f"r{n}" for n in range(5_000)]
        db.insert_many(ids=ids, vectors=WIDE, collection="mine")
        assert db.count(collection="mine") == 5_000


@pytest.mark.parametrize(
    "later", [{"ids": 7}, {"vectors": np.ones((1, 3), np.float32)}, {"collection": 7}, None]
)
def test_parts_that_do_not_fit_together_fail_their_request_alone(server: ServerThread, later: object) -> None:
    with let_in(target_of(server)) as peer:
        peer.say(Message(Kind.REQUEST, 1, "db.put_many", PART))
        peer.say(Message(Kind.CHUNK, 1, "", later))
        peer.say(Message(Kind.END, 1))
        assert answer_to(peer, 1) == (Kind.ERROR, "argument")
        peer.say(Message(Kind.REQUEST, 2, "db.list_collections", {}))
        assert answer_to(peer, 2) == (Kind.RESPONSE, {"names": ["secret"]})


@pytest.mark.parametrize("wrong", [{"$timeout": "soon"}, {"collection": 7}, {"$key": b"short"}])
def test_a_refused_request_in_parts_costs_no_other(server: ServerThread, wrong: dict[str, object]) -> None:
    with let_in(target_of(server)) as peer:
        peer.say(Message(Kind.REQUEST, 1, "db.put_many", {**PART, **wrong}))
        assert answer_to(peer, 1) == (Kind.ERROR, "argument")
        peer.say(Message(Kind.CHUNK, 1, "", {"ids": ["y"]}))
        peer.say(Message(Kind.END, 1))
        peer.say(Message(Kind.REQUEST, 2, "db.count", {"collection": "secret"}))
        assert answer_to(peer, 2) == (Kind.RESPONSE, {"count": 1})


def test_an_answer_larger_than_a_connection_may_hold_arrives(server: ServerThread) -> None:
    with QuantumDatabase.connect(server.url, timeout=60) as db:
        db.create_collection("wide", dimension=1_024, index="flat")
        db.insert_many(
            ids=[f"r{n}" for n in range(4_000)],
            vectors=WIDE[:4_000],
            collection="wide",
        )
        assert len(db.scroll(limit=4_000, collection="wide")) == 4_000  # 16 MiB, through 4


def test_a_watcher_is_told_of_records_that_fill_many_frames(server: ServerThread) -> None:
    with QuantumDatabase.connect(server.url) as db:
        for start in range(0, 900, 30):
            ids = [f"r{n}" for n in range(start, start + 30)]
            db.insert_many(ids=ids, vectors=[[1.0]] * 30, metadata=[{"text": "x" * 30_000}] * 30)
        told = list(islice(db.watch(since=0), 900))
        assert [change.id for change in told] == [f"r{n}" for n in range(900)]
