"""Attacks do what they say, and tell what a server did about it."""

from __future__ import annotations

import re
import resource
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from qstore_db.errors import AuthenticationError, ConfigurationError, ProtocolError, QStoreError
from qstore_db.testing import attackers
from qstore_db.testing.attackers import BREAKING, HARMLESS, Crowd, Peer, Target, let_in
from qstore_db.wire.faults import fault_body
from qstore_db.wire.frames import FrameReader
from qstore_db.wire.greeting import VERSION, Hello, Welcome
from qstore_db.wire.limits import UNAUTHENTICATED, Limits
from qstore_db.wire.messages import Kind, Message, decode, encode
from qstore_db.wire.streams import check_grant

WELCOME = Welcome(head=1, attachments=1, requests=1, window=1, streamed=1, uploads=1, role="admin")
SOON = 0.02
"""Patience with a server that will do nothing."""

Serving = Callable[[socket.socket], None]


def bytes_of(message: Message) -> bytes:
    return b"".join(map(bytes, encode(message)))


class Strict:
    """Serves connections by the rules, as briefly as possible, and keeps why it ended each."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def __call__(self, connection: socket.socket) -> None:
        session = Session(connection)
        try:
            while data := connection.recv(1 << 16):
                session.feed(data)
            self.reasons.append("left, halfway" if session.reader.under_way else "left")
        except TimeoutError:
            self.reasons.append("too slow, halfway" if session.reader.under_way else "too slow")
        except ConnectionResetError:
            self.reasons.append("reset")
        except (ProtocolError, AuthenticationError) as error:
            self.reasons.append(error.message)
            connection.sendall(bytes_of(Message(Kind.ERROR, 0, "", fault_body(error))))


class Session:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.limits = UNAUTHENTICATED
        self.reader = FrameReader(UNAUTHENTICATED)
        self.last = 0
        self.watched: set[int] = set()

    def feed(self, data: bytes) -> None:
        for frame in self.reader.feed(data):
            self.take(decode(frame, self.limits))

    def take(self, message: Message) -> None:
        if self.limits is UNAUTHENTICATED:
            self.greet(message)
        elif message.kind is Kind.REQUEST:
            self.request(message)
        elif message.kind is Kind.PING:
            self.say(Message(Kind.PONG, message.id))
        elif message.kind is Kind.WINDOW:
            if message.id in self.watched:
                check_grant(message.body)
        elif message.kind is not Kind.CANCEL:
            raise ProtocolError(f"unexpected {message.kind.name}")

    def greet(self, message: Message) -> None:
        if message.kind is not Kind.HELLO:
            raise ProtocolError("no greeting")
        hello = Hello.of(message.body)
        if hello.version != VERSION:
            raise ProtocolError("version")
        if hello.token not in (None, "right"):
            raise AuthenticationError("token")
        self.limits = self.reader.limits = Limits()
        self.say(Message(Kind.HELLO, 0, "", WELCOME.body()))

    def request(self, message: Message) -> None:
        if message.id <= self.last:
            raise ProtocolError("ids must rise")
        self.last = message.id
        if message.op == "db.watch":
            self.watched.add(message.id)
            self.say(Message(Kind.CHUNK, message.id, "", {}))
        elif message.op == "db.count" and message.body == {}:
            self.say(Message(Kind.RESPONSE, message.id, "", {"count": 0}))
        else:
            error = QStoreError("no such thing")
            self.say(Message(Kind.ERROR, message.id, "", fault_body(error)))

    def say(self, message: Message) -> None:
        self.connection.sendall(bytes_of(message))


def gullible(connection: socket.socket) -> None:
    """Greets whoever comes, and waits for ever for whatever may come."""
    connection.sendall(bytes_of(Message(Kind.HELLO, 0, "", WELCOME.body())))
    while connection.recv(1 << 16):
        pass


def echo(connection: socket.socket) -> None:
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def closing(connection: socket.socket) -> None:
    """Ends the connection at once."""


def resetting(connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def anonymous(side: int) -> ssl.SSLContext:
    """TLS without certificates, which tests can do without."""
    context = ssl.SSLContext(side)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES256-SHA:@SECLEVEL=0")
    return context


@contextmanager
def serving(serve: Serving, *, tls: bool = False, timeout: float = 60.0) -> Iterator[Target]:
    """A server in threads. timeout: seconds that it waits for the next bytes of a connection."""
    context = anonymous(ssl.PROTOCOL_TLS_SERVER) if tls else None
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def one(connection: socket.socket) -> None:
        with suppress(OSError):  # of a handshake, or an attacker who left
            connection.settimeout(timeout)
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
                connections.append(connection)
            serve(connection)
        connection.close()

    def accept() -> None:
        with suppress(OSError):  # closed
            while True:
                connections.append(listener.accept()[0])
                connections[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
                threads.append(threading.Thread(target=one, args=(connections[-1],)))
                threads[-1].start()

    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    accepting = threading.Thread(target=accept)
    accepting.start()
    host, port = listener.getsockname()
    try:
        yield Target(host, port, anonymous(ssl.PROTOCOL_TLS_CLIENT) if tls else None)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for connection in connections:
            connection.close()


# Attacks by name

WHY = {
    "garbage": "longer than",
    "garbage of": "is none",
    "claim": "longer than|more than",
    "lengths": "is none",
    "head": "head|a map|kind|message cannot hold|extension|array of shape",
    "head: a key twice": "twice",
    "head: an array without": "beyond its frame",
    "numbers of no array": "of 8 bytes of attachments the head names 0",
    "nesting": "head cannot be read|nested",
    "nesting just": "nested more than 32",
    "another version": "version",
    "a greeting that says nothing": "must be a map",
    "a greeting of wrong types": "another type",
    "a greeting with a negative": "negative",
    "a guessed token": "token",
    "a request before": "no greeting",
    "a second greeting": "unexpected HELLO",
    "an id in use": "ids must rise",
    "a client's": "unexpected (RESPONSE|ERROR|EVENT|GOAWAY)",
    "a window": "cannot grow",
    "a part": "unexpected CHUNK",
    "an end": "unexpected END",
}


def why(name: str) -> str:
    return WHY[max((start for start in WHY if name.startswith(start)), key=len)]


@pytest.mark.parametrize("name", BREAKING)
def test_an_attack_breaks_the_rule_that_it_is_named_after(name: str) -> None:
    strict = Strict()
    with serving(strict) as target:
        outcome = BREAKING[name](target)
    assert outcome.ended
    assert not outcome.garbled
    assert not outcome.alive
    (reason,) = strict.reasons
    assert re.search(why(name), reason), reason
    assert outcome.errors[-1].message == reason
    assert outcome.codes[-1] in ("protocol", "authentication")
    assert outcome.sent > 0
    assert outcome.received > 0


@pytest.mark.parametrize("name", [name for name in BREAKING if name != "a window too large"])
def test_a_server_that_does_nothing_about_an_attack_is_found_out(name: str) -> None:
    with serving(gullible) as target:
        outcome = BREAKING[name](target, patience=SOON)  # type: ignore[call-arg]
    assert outcome.ending == "open"
    assert not outcome.ended
    assert outcome.seconds >= SOON


@pytest.mark.parametrize("name", HARMLESS)
def test_a_server_goes_on_after_what_is_harmless(name: str) -> None:
    strict = Strict()
    with serving(strict) as target:
        outcome = HARMLESS[name](target)
    assert outcome.alive
    assert strict.reasons == ["left"]
    assert len(outcome.errors) == (name in ("an operation that does not exist", "a head that becomes large"))


@pytest.mark.parametrize("name", HARMLESS)
def test_a_server_that_ends_what_is_harmless_is_found_out(name: str) -> None:
    def touchy(connection: socket.socket) -> None:
        connection.sendall(bytes_of(Message(Kind.HELLO, 0, "", WELCOME.body())))
        connection.recv(8)
        connection.recv(8)

    with serving(touchy) as target:
        outcome = HARMLESS[name](target)
    assert outcome.ended
    assert not outcome.alive


def test_every_length_that_is_claimed_is_beyond_a_limit_or_none() -> None:
    for claims, limits in (
        (attackers.CLAIMS, Limits()),
        (attackers.EARLY_CLAIMS, UNAUTHENTICATED),
        (attackers.CONTRADICTIONS, Limits()),
    ):
        for name, lengths in claims.items():
            with pytest.raises(ProtocolError):
                list(FrameReader(limits).feed(struct.pack(">II", *lengths)))
                pytest.fail(name)


# What is told of a connection


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_an_end_in_order_is_told_from_a_reset(tls: bool) -> None:
    with serving(closing, tls=tls) as target:
        assert attackers.say_nothing(target).ending == "closed"
    with serving(resetting, tls=tls) as target:
        assert attackers.send_bytes(target, b"abc", greeted=False).ending == "reset"


def test_an_answer_that_came_before_a_reset_is_heard() -> None:
    def angry(connection: socket.socket) -> None:
        error = ProtocolError("enough")
        connection.sendall(bytes_of(Message(Kind.ERROR, 0, "", fault_body(error))))
        time.sleep(0.1)  # for more to come in: what is not read when it closes makes a reset of that

    with serving(angry) as target:
        outcome = attackers.send_garbage(target, nbytes=1 << 23)
    assert outcome.ended
    assert [str(error) for error in outcome.errors] == ["enough"]


def test_what_is_no_message_is_garbled() -> None:
    with serving(echo) as target:
        outcome = attackers.send_garbage(target, nbytes=100, patience=0.5)
    assert outcome.garbled
    assert (outcome.sent, outcome.received) == (100, 100)
    assert outcome.messages == ()


def test_garbage_is_the_same_for_the_same_seed() -> None:
    heard: list[bytes] = []

    def listening(connection: socket.socket) -> None:
        heard.append(connection.recv(1 << 16))

    with serving(listening) as target:
        for seed in (1, 1, 2):
            attackers.send_garbage(target, seed=seed, nbytes=64)
    assert heard[0] == heard[1] != heard[2]


def test_a_greeting_that_is_refused_ends_an_attack_with_the_reason() -> None:
    with serving(Strict()) as target:
        wrong = Target(target.host, target.port, token="wrong")
        with pytest.raises(AuthenticationError):
            attackers.greet_twice(wrong)
        assert attackers.ask_for_nothing(Target(target.host, target.port, token="right")).alive
    with serving(closing) as target, pytest.raises(ProtocolError, match="did not answer"):
        attackers.greet_twice(target)


def test_where_nobody_listens_there_is_no_connection() -> None:
    with serving(closing) as target:
        pass
    with pytest.raises(OSError, match="refused"):
        Peer(target)


def test_a_peer_may_say_anything_and_hears_the_answers() -> None:
    with serving(Strict()) as target, Peer(target) as peer:
        peer.greet()
        assert peer.ping()
        peer.say(Message(Kind.REQUEST, 1, "db.count", {}), Message(Kind.REQUEST, 2, "db.count", {}))
        peer.listen(5.0, lambda: len(peer.messages) >= 4)
        assert [message.kind.name for message in peer.messages] == ["HELLO", "PONG", "RESPONSE", "RESPONSE"]
        assert peer.outcome().ending == "open"
    assert peer.outcome().ending == "left"


def test_a_peer_that_was_let_in_hears_message_by_message_what_follows() -> None:
    with serving(Strict()) as target:
        with let_in(target) as peer:
            peer.say(Message(Kind.REQUEST, 1, "db.count", {}), Message(Kind.PING, 2))
            assert [peer.hear().kind, peer.hear().kind] == [Kind.RESPONSE, Kind.PONG]
            with pytest.raises(TimeoutError):
                peer.hear(SOON)
            peer.say(Message(Kind.RESPONSE, 3))
            assert peer.hear().kind is Kind.ERROR
            with pytest.raises(ConnectionError):
                peer.hear()
        with pytest.raises(AuthenticationError):
            let_in(Target(target.host, target.port, token="wrong"))


# Peers that are slow, stop, or never read


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_silence_ends_when_the_server_has_had_enough(tls: bool) -> None:
    strict = Strict()
    with serving(strict, tls=tls, timeout=0.3) as target:
        outcome = attackers.say_nothing(target)
        assert outcome.ending == "closed"
        assert outcome.seconds > 0.2
        assert attackers.say_nothing(target, greeted=True).ended
        assert attackers.say_nothing(target, patience=SOON).ending == "open"
    assert strict.reasons[:2] == ["too slow", "too slow"]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("part", ["greeting", "header", "head", "attachment"])
def test_bytes_drip_into_the_part_that_was_asked_for(part: Any, tls: bool) -> None:
    came: list[int] = []
    sizes: list[int] = []

    class Counting(Session):
        def feed(self, data: bytes) -> None:
            counts = self.limits is not UNAUTHENTICATED or part == "greeting"
            super().feed(data)
            if counts:
                came.append(self.reader.claimed)
                sizes.append(len(data))

    def counting(connection: socket.socket) -> None:
        session = Counting(connection)
        while data := connection.recv(1 << 16):
            session.feed(data)

    with serving(counting, tls=tls) as target:
        outcome = attackers.drip(target, part, interval=0.01, patience=0.5)
    assert outcome.ending == "open"
    assert 8 < len(sizes) <= 60
    first = {"greeting": 1, "header": 1, "head": 8, "attachment": 8192}[part]
    assert first <= sizes[0] < first + 10
    assert set(sizes[1:]) <= set(range(1, 10))  # one at a time, unless the server was slow to take them
    if part in ("greeting", "header"):
        assert came[0] == 0
        assert max(came) > 0
    else:
        assert min(came) > 16_000


def test_a_drip_ends_when_the_server_has_had_enough() -> None:
    def impatient(connection: socket.socket) -> None:
        connection.recv(1)
        connection.recv(1)

    with serving(impatient) as target:
        outcome = attackers.drip(target, "greeting", interval=0.01)
    assert outcome.ended
    assert 2 <= outcome.sent < 20


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    ("then", "reason", "ending"),
    [
        ("silence", "too slow, halfway", "closed"),
        ("fin", "left, halfway", "closed"),
        ("rst", "reset", "left"),
    ],
)
def test_a_frame_that_is_cut_off_ends_as_asked(then: Any, reason: str, ending: str, tls: bool) -> None:
    strict = Strict()
    with serving(strict, tls=tls, timeout=0.5) as target:
        outcome = attackers.stop_midway(target, then)
        assert outcome.ending == ending or (tls, outcome.ending) == (
            True,
            "reset",
        )  # TLS wants an end of its own
        assert [message.kind for message in outcome.messages] == [Kind.HELLO]
        until = time.monotonic() + 30
        while not strict.reasons and time.monotonic() < until:
            time.sleep(0.01)
    assert strict.reasons == [reason] or (tls, strict.reasons) == (
        True,
        ["left, halfway"],
    )  # TLS hides a reset


def test_a_frame_is_cut_off_where_it_was_asked() -> None:
    with serving(Strict()) as target:
        sent = [attackers.stop_midway(target, "rst", after=n, greeted=False).sent for n in (1, 8, None)]
    whole = len(bytes_of(Message(Kind.REQUEST, 1, "db.count", {})))
    assert sent == [1, 8, whole - 1]


def test_a_peer_that_never_reads_stops_a_server_that_answers_in_order() -> None:
    with serving(Strict()) as target:
        outcome = attackers.never_read(target, patience=1.0)
    assert outcome.blocked
    assert outcome.ending == "open"
    assert outcome.received < 1000
    assert outcome.sent > 10_000


def test_a_peer_that_never_reads_notices_its_end_and_its_limit() -> None:
    def fed_up(connection: socket.socket) -> None:
        connection.sendall(bytes_of(Message(Kind.HELLO, 0, "", WELCOME.body())))
        connection.recv(1 << 16)

    with serving(fed_up) as target:
        assert attackers.never_read(target).ended
    with serving(gullible) as target:
        outcome = attackers.never_read(target, limit=1 << 20)
    assert outcome.ending == "open"
    assert not outcome.blocked
    assert 1 << 20 <= outcome.sent < 1 << 21


def test_uploads_send_what_they_were_asked_to() -> None:
    heard: list[Message] = []

    class Listening(Session):
        def take(self, message: Message) -> None:
            if self.limits is UNAUTHENTICATED:
                super().take(message)
            heard.append(message)

    def listening(connection: socket.socket) -> None:
        session = Listening(connection)
        while data := connection.recv(1 << 16):
            session.feed(data)

    with serving(listening) as target:
        outcome = attackers.upload(target, 1 << 16, streams=2, part=1 << 14, end=True, patience=0.5)
    assert outcome.ending == "open"
    assert outcome.sent > 1 << 17
    kinds = [(message.kind, message.id) for message in heard[1:]]
    parts = [(Kind.CHUNK, 1), (Kind.CHUNK, 2)] * 4
    assert kinds == [(Kind.REQUEST, 1), (Kind.REQUEST, 2), *parts, (Kind.END, 1), (Kind.END, 2)]
    assert heard[1].body == {"$more": True}


# Crowds


def test_a_crowd_of_clients_is_let_in_and_stays() -> None:
    with serving(Strict()) as target, attackers.idle_clients(target, 100) as crowd:
        assert [peer.hear().kind for peer in crowd.peers] == [Kind.HELLO] * 100
        outcomes = crowd.wait(0.1)
    assert Counter(outcome.ending for outcome in outcomes) == {"open": 100}
    assert all(len(outcome.messages) == 1 for outcome in outcomes)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_what_became_of_each_of_a_flood_is_told(tls: bool) -> None:
    turn = iter(range(1000))

    def fickle(connection: socket.socket) -> None:
        (closing, gullible, resetting)[next(turn) % 3](connection)

    with serving(fickle, tls=tls) as target:
        outcomes = attackers.flood(target, 30, opening=b"abc", patience=1.0)
    endings = Counter(outcome.ending for outcome in outcomes)
    assert endings.total() == 30
    assert endings["open"] == 10
    assert endings["closed"] + endings["reset"] == 20
    assert all(outcome.sent <= 3 for outcome in outcomes)


def test_connections_that_do_not_come_about_are_counted() -> None:
    with serving(closing) as target:
        pass
    outcomes = attackers.flood(target, 5)
    assert [outcome.ending for outcome in outcomes] == ["refused"] * 5
    assert all(outcome.ended for outcome in outcomes)


def test_a_crowd_may_have_more_files_than_the_process_for_as_long_as_it_lasts() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with serving(gullible) as target:
            with Crowd(target, 200) as crowd:
                assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 400
                assert Counter(outcome.ending for outcome in crowd.wait(0.2)) == {"open": 200}
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_crowd_larger_than_the_system_allows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 300))
    with pytest.raises(ConfigurationError) as caught, Crowd(Target("127.0.0.1", 1), 1_000):
        pass
    assert caught.value.subject == "size"


# TLS


def test_attacks_work_over_tls() -> None:
    strict = Strict()
    with serving(strict, tls=True) as target:
        assert attackers.claim(target, 16, 100).ended
        assert attackers.nest(target, 33).ended
        assert attackers.ask_for_nothing(target).alive
    assert ["none" in strict.reasons[0], "nested" in strict.reasons[1], strict.reasons[2]] == [
        True,
        True,
        "left",
    ]


def test_a_peer_without_tls_attacks_a_server_that_wants_it() -> None:
    with serving(Strict(), tls=True) as target:
        plain = Target(target.host, target.port)
        assert attackers.send_garbage(plain).ended
        assert attackers.say_nothing(plain, patience=SOON).ending == "open"
