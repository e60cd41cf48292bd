"""Every attack of the kit, on a server: it ends what breaks a rule, and goes on after what does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import AuthenticationError
from qstore_db.testing import attackers
from qstore_db.testing.attackers import BREAKING, HARMLESS, Target
from qstore_db.testing.serving import ServerThread
from qstore_db.testing.waiting import PATIENCE, settled
from qstore_db.wire.messages import Kind, Message
from qstore_server.certificates import development_certificate


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerThread]:
    """One that is quick to lose patience, and is attacked by all of these tests."""
    path = tmp_path_factory.mktemp("attacked") / "db"
    with ServerThread(path=path, frame_seconds=0.3, frame_rate=1 << 20, slow_query_ms=600_000) as server:
        yield server


@pytest.fixture
def server(attacked: ServerThread) -> Iterator[ServerThread]:
    """At the end it has served somebody else all along, and forgotten the attack."""
    with QuantumDatabase.connect(attacked.url) as db:
        db.upsert("a", [1.0, 0.0])
        yield attacked
        assert db.count() == 1
        assert db.query([1.0, 0.0]).ids == ["a"]
    settled(lambda: not attacked.server._connections)
    assert (attacked.server.memory.charged, attacked.server._in_flight) == (0, 0)


@pytest.fixture
def target(server: ServerThread) -> Target:
    return Target("127.0.0.1", server.server.port)


@pytest.mark.parametrize("name", BREAKING)
def test_what_breaks_a_rule_ends_the_connection_with_a_word(target: Target, name: str) -> None:
    outcome = BREAKING[name](target)
    assert outcome.ended
    assert not outcome.garbled
    assert outcome.codes[-1] in ("protocol", "authentication")
    assert str(outcome.errors[-1])


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_merely_odd_does_not(target: Target, name: str) -> None:
    outcome = HARMLESS[name](target)
    assert outcome.alive
    assert not outcome.garbled
    requests = ("an operation that does not exist", "a head that becomes large")
    assert outcome.codes == (("argument",) if name in requests else ())


def test_another_version_is_refused_by_the_one_that_is_spoken(target: Target) -> None:
    (error,) = attackers.greet_in(target, 2).errors
    assert "version 1" in str(error)


@pytest.mark.parametrize("part", ["greeting", "header", "head", "attachment"])
def test_what_comes_byte_by_byte_is_dropped(target: Target, part: attackers.Part) -> None:
    assert attackers.drip(target, part, interval=0.05, patience=PATIENCE).ended


@pytest.mark.parametrize("greeted", [True, False])
@pytest.mark.parametrize("after", [3, 8, None])
@pytest.mark.parametrize("then", ["silence", "fin", "rst"])
def test_what_stops_halfway_is_forgotten(
    target: Target, then: attackers.Then, after: int | None, greeted: bool
) -> None:
    outcome = attackers.stop_midway(target, then, after=after, greeted=greeted)
    assert outcome.ended or (then, outcome.ending) == ("rst", "left")


def test_who_says_nothing_is_dropped_unless_it_was_let_in(target: Target) -> None:
    assert attackers.say_nothing(target).ended
    assert attackers.say_nothing(target, greeted=True, patience=1.0).ending == "open"


def test_who_never_reads_is_dropped_and_costs_no_more_than_its_window(tmp_path: Path) -> None:
    with ServerThread(
        path=tmp_path / "db", frame_seconds=0.3, frame_rate=16 << 20, slow_query_ms=600_000
    ) as server:
        with QuantumDatabase.connect(server.url) as db:
            vectors = np.random.default_rng(0).normal(size=(1_000, 512))
            db.insert_many(ids=[f"r{i}" for i in range(1_000)], vectors=vectors)
            question = Message(Kind.REQUEST, 1, "db.scroll", {"limit": 1_000})  # of 2 MiB
            target = Target("127.0.0.1", server.server.port)
            assert attackers.never_read(target, question, patience=PATIENCE).ended
            assert server.server.statistics.counts.connections_dropped == 1
            assert db.count() == 1_000
        settled(lambda: server.server.memory.charged == 0 and server.server._in_flight == 0)


def test_a_flood_of_strangers_leaves_room_for_those_who_greet(tmp_path: Path) -> None:
    with (
        ServerThread(path=tmp_path / "db", max_unauthenticated=8, frame_seconds=1.0) as server,
        QuantumDatabase.connect(server.url) as db,
        attackers.Crowd(Target("127.0.0.1", server.server.port), 600) as strangers,
    ):
        assert db.insert("a", [1.0]) == 1  # who was let in before is served
        assert all(outcome.ended for outcome in strangers.wait(PATIENCE))
        with QuantumDatabase.connect(server.url) as late:
            assert late.count() == 1
        assert server.server.statistics.refusals["unauthenticated"] > 0


def test_a_thousand_idle_clients_are_no_burden(tmp_path: Path) -> None:
    with (
        # They come faster than they are let in.
        ServerThread(path=tmp_path / "db", max_unauthenticated=1_000, frame_seconds=60.0) as server,
        attackers.idle_clients(Target("127.0.0.1", server.server.port), 1_000) as crowd,
        QuantumDatabase.connect(server.url) as db,
    ):
        assert {peer.hear(PATIENCE).kind for peer in crowd.peers} == {Kind.HELLO}
        db.insert("a", [1.0, 0.0])
        assert db.query([1.0, 0.0]).ids == ["a"]
        assert db.stats()["server"]["gauges"]["connections"] >= 1_000
        for peer in crowd.peers[::2]:
            peer.reset()
        assert all(peer.ping(PATIENCE) for peer in crowd.peers[1::2])


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


def test_over_tls_they_end_as_well_and_so_does_who_comes_without(tmp_path: Path) -> None:
    certificate, key = development_certificate(tmp_path / "tls")
    with ServerThread(
        path=tmp_path / "db", tls_certificate=certificate, tls_key=key, frame_seconds=0.5
    ) as server:
        context = attackers.trusting_anyone()
        target = Target("127.0.0.1", server.server.port, context)
        for name in ("garbage", "nesting", "claim 4 GiB", "head: a key twice"):
            assert BREAKING[name](target).ended
        assert attackers.ask_for_nothing(target).alive
        assert attackers.stop_midway(target, "rst").ending == "left"
        plain = replace(target, tls=None)
        assert attackers.say_nothing(plain).ended
        assert attackers.send_garbage(plain).ended
