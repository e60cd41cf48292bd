"""Every attack of the kit, on a server: it ends what breaks a rule, and goes on after what does not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qstore_db import QuantumDatabase
from qstore_db.testing import attackers
from qstore_db.testing.attackers import BREAKING, HARMLESS, Target
from qstore_db.testing.serving import ServerThread
from qstore_server.certificates import development_certificate


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerThread]:
    """One that is quick to lose patience, and at the end has served somebody else and forgotten every attack."""
    with ServerThread(path=tmp_path / "db", frame_seconds=0.3, frame_rate=1 << 20) as server:
        with QuantumDatabase.connect(server.url) as db:
            db.insert("a", [1.0, 0.0])
            yield server
            assert db.count() == 1
        until = time.monotonic() + 60.0
        while server.server._connections or server.server._charged:
            assert time.monotonic() < until
            time.sleep(0.01)


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


@pytest.mark.parametrize("part", ["greeting", "header", "head", "attachment"])
def test_what_comes_byte_by_byte_is_dropped(target: Target, part: attackers.Part) -> None:
    assert attackers.drip(target, part, interval=0.1).ended


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


def test_who_never_reads_is_not_read_from(target: Target) -> None:
    outcome = attackers.never_read(target, patience=4.0, limit=64 << 20)
    assert outcome.blocked or outcome.ended


def test_who_is_not_let_in_makes_room_for_others(server: ServerThread, target: Target) -> None:
    outcomes = attackers.flood(target, 600)
    assert all(outcome.ended for outcome in outcomes)


def test_a_crowd_of_idle_clients_is_served_beside_others(server: ServerThread, target: Target) -> None:
    with attackers.idle_clients(target, 200) as crowd, QuantumDatabase.connect(server.url) as db:
        outcomes = crowd.wait(1.0)
        assert db.count() == 1
    assert Counter(outcome.ending for outcome in outcomes) == {"open": 200}


def test_over_tls_they_end_as_well_and_so_does_who_comes_without(tmp_path: Path) -> None:
    certificate, key = development_certificate(tmp_path / "tls")
    with ServerThread(
        path=tmp_path / "db", tls_certificate=certificate, tls_key=key, frame_seconds=0.5
    ) as server:
        context = attackers.trusting_anyone()
        target = Target("127.0.0.1", server.server.port, context)
        for name in ("garbage", "nesting", "claim 4 GiB", "a key twice"):
            attack = BREAKING.get(name) or BREAKING[f"head: {name}"]
            assert attack(target).ended
        assert attackers.ask_for_nothing(target).alive
        assert attackers.stop_midway(target, "rst").ending == "left"
        plain = replace(target, tls=None)
        assert attackers.say_nothing(plain).ended
        assert attackers.send_garbage(plain).ended
