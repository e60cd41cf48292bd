"""Well-formed messages that a client must not send, or should not."""

from __future__ import annotations

from typing import Any

import numpy as np

from qstore_db.testing.attackers.peer import PATIENCE, Outcome, Peer, Target, hello_of
from qstore_db.wire.greeting import VERSION, Hello
from qstore_db.wire.limits import MAX_WINDOW, MIB
from qstore_db.wire.messages import Kind, Message

COUNT = Message(Kind.REQUEST, 1, "db.count", {})


def say(target: Target, *messages: Message, greeted: bool = True, patience: float = PATIENCE) -> Outcome:
    """Send messages in one piece, and wait for the server to end the connection."""
    with Peer(target) as peer:
        if greeted:
            peer.greet()
        peer.say(*messages)
        peer.listen(patience)
        return peer.outcome()


def say_and_ping(target: Target, *messages: Message, answers: int = 0, patience: float = PATIENCE) -> Outcome:
    """Send messages in one piece, wait for so many answers, and look whether the server goes on."""
    with Peer(target) as peer:
        peer.greet()
        peer.say(*messages)
        peer.listen(patience, lambda: len(peer.messages) > answers)
        peer.ping(patience)
        return peer.outcome()


# Greetings


def greet_in(target: Target, version: int = VERSION + 1, *, patience: float = PATIENCE) -> Outcome:
    """In a version of the protocol that the server does not speak."""
    hello = hello_of(target, Hello(version=version, token=target.token))
    return say(target, hello, greeted=False, patience=patience)


def greet_with(target: Target, body: Any, *, patience: float = PATIENCE) -> Outcome:
    """With any body."""
    return say(target, Message(Kind.HELLO, 0, "", body), greeted=False, patience=patience)


def guess_token(target: Target, token: str = "qs_guess", *, patience: float = PATIENCE) -> Outcome:
    return greet_with(target, Hello(token=token).body(), patience=patience)


def ask_first(target: Target, *, patience: float = PATIENCE) -> Outcome:
    """A request in place of the greeting."""
    return say(target, COUNT, greeted=False, patience=patience)


def greet_twice(target: Target, *, patience: float = PATIENCE) -> Outcome:
    return say(target, hello_of(target), patience=patience)


# Requests


def reuse_id(target: Target, request: Message = COUNT, *, patience: float = PATIENCE) -> Outcome:
    """The same id again, while the first request is on its way."""
    return say(target, request, request, patience=patience)


def ask_for_nothing(target: Target, op: str = "db.no_such_thing", *, patience: float = PATIENCE) -> Outcome:
    """An operation that does not exist."""
    return say_and_ping(target, Message(Kind.REQUEST, 1, op, {}), answers=1, patience=patience)


def cancel_unknown(target: Target, ids: int = 1000, *, patience: float = PATIENCE) -> Outcome:
    """Take back requests that were never made."""
    return say_and_ping(target, *(Message(Kind.CANCEL, id) for id in range(1, ids + 1)), patience=patience)


def answer(target: Target, kind: Kind = Kind.RESPONSE, *, patience: float = PATIENCE) -> Outcome:
    """What only a server says."""
    return say(target, Message(kind, 1), patience=patience)


# Streams


def grant_unknown(target: Target, *, patience: float = PATIENCE) -> Outcome:
    """A window for a stream that there is not."""
    return say_and_ping(target, Message(Kind.WINDOW, 9, "", MIB), patience=patience)


def overflow_window(
    target: Target,
    amount: Any = MAX_WINDOW,
    *,
    collection: str = "default",
    patience: float = PATIENCE,
) -> Outcome:
    """Watch a collection, which must be there, and grant its stream so much, twice."""
    grant = Message(Kind.WINDOW, 1, "", amount)
    with Peer(target) as peer:
        peer.greet()
        peer.say(Message(Kind.REQUEST, 1, "db.watch", {"collection": collection}))
        peer.listen(patience, lambda: len(peer.messages) > 1)
        peer.say(grant, grant)
        peer.listen(patience)
        return peer.outcome()


def stream_to_nobody(target: Target, kind: Kind = Kind.CHUNK, *, patience: float = PATIENCE) -> Outcome:
    """A part, or the end, of a stream that was never begun."""
    return say(target, Message(kind, 1, "", {}), patience=patience)


def upload(
    target: Target,
    nbytes: int,
    *,
    streams: int = 1,
    part: int = MIB,
    end: bool = False,
    patience: float = PATIENCE,
) -> Outcome:
    """Begin so many requests at once that come in parts, and send `nbytes` of each: round and round, without
    waiting for a window. end: complete them. A server bounds what it keeps of one request, and of all."""
    chunk = {"vectors": np.zeros((1, part // 4), np.float32)}
    with Peer(target) as peer:
        peer.greet()
        ids = range(1, streams + 1)
        going_on = peer.say(*(Message(Kind.REQUEST, id, "db.put_many", {"$more": True}) for id in ids))
        for _ in range(0, nbytes, part):
            for id in ids:
                going_on = going_on and peer.say(Message(Kind.CHUNK, id, "", chunk))
                peer.listen(1e-4)
        if end and going_on:
            peer.say(*(Message(Kind.END, id) for id in ids))
        peer.listen(patience, lambda: not going_on or bool(peer.outcome().errors))
        return peer.outcome()
