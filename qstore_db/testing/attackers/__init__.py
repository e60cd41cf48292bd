"""Misbehaving peers, over real sockets: what a server must survive.

```
target = Target("127.0.0.1", 7740)
outcome = drip(target, "head", interval=0.1)
assert outcome.ended
```

Each attack is a function that makes one connection (or a crowd of them), blocks until the server has done
something about it or patience is lost, and gives an `Outcome`. `BREAKING` names attacks that break a rule of
`docs/protocol.md`: a server ends the connection. `HARMLESS` names some that are merely odd: a server goes on.
Needs no test framework.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

from qstore_db.testing.attackers.crowds import Crowd, flood, idle_clients
from qstore_db.testing.attackers.malformed import (
    CLAIMS,
    CONTRADICTIONS,
    EARLY_CLAIMS,
    HEADS,
    Then,
    amplify,
    claim,
    nest,
    send_bytes,
    send_garbage,
    send_head,
    stop_midway,
)
from qstore_db.testing.attackers.peer import Outcome, Peer, Target, let_in, trusting_anyone
from qstore_db.testing.attackers.rules import (
    answer,
    ask_first,
    ask_for_nothing,
    cancel_unknown,
    grant_unknown,
    greet_in,
    greet_twice,
    greet_with,
    guess_token,
    overflow_window,
    reuse_id,
    say,
    say_and_ping,
    stream_to_nobody,
    upload,
)
from qstore_db.testing.attackers.slow import Part, drip, never_read, say_nothing
from qstore_db.wire.greeting import VERSION
from qstore_db.wire.limits import MAX_WINDOW
from qstore_db.wire.messages import Kind

Attack: TypeAlias = "Callable[[Target], Outcome]"

BREAKING: Mapping[str, Attack] = {
    "garbage": send_garbage,
    "garbage of a client": partial(send_garbage, seed=1, greeted=True),
    **{f"claim {name}": partial(claim, total=t, head=h) for name, (t, h) in CLAIMS.items()},
    **{
        f"claim {name} early": partial(claim, total=t, head=h, greeted=False)
        for name, (t, h) in EARLY_CLAIMS.items()
    },
    **{f"lengths: {name}": partial(claim, total=t, head=h) for name, (t, h) in CONTRADICTIONS.items()},
    **{
        f"lengths: {name} early": partial(claim, total=t, head=h, greeted=False)
        for name, (t, h) in CONTRADICTIONS.items()
    },
    **{f"head: {name}": partial(send_head, head=head) for name, head in HEADS.items()},
    **{f"head: {name} early": partial(send_head, head=head, greeted=False) for name, head in HEADS.items()},
    "numbers of no array": partial(send_head, head=b"\x94\x02\x01\xa8db.count\x80", attachments=bytes(8)),
    "nesting": nest,
    "nesting just too deep": partial(nest, depth=33),
    "nesting early": partial(nest, depth=3_000, greeted=False),
    "another version": greet_in,
    "a greeting that says nothing": partial(greet_with, body=None),
    "a greeting of wrong types": partial(greet_with, body={"version": "1", "token": None, "window": 1}),
    "a greeting with a negative window": partial(
        greet_with, body={"version": VERSION, "token": None, "agent": "", "window": -1}
    ),
    "a guessed token": guess_token,
    "a request before the greeting": ask_first,
    "a second greeting": greet_twice,
    "an id in use": reuse_id,
    **{
        f"a client's {kind.name}": partial(answer, kind=kind)
        for kind in (Kind.RESPONSE, Kind.ERROR, Kind.EVENT, Kind.GOAWAY)
    },
    "a window too large": partial(overflow_window, amount=MAX_WINDOW + 1),
    "a window that is negative": partial(overflow_window, amount=-1),
    "a window that is no number": partial(overflow_window, amount="all"),
    "a part of no stream": stream_to_nobody,
    "an end of no stream": partial(stream_to_nobody, kind=Kind.END),
}
"""By what they do wrong. The collection "default" must be there."""
HARMLESS: Mapping[str, Attack] = {
    "an operation that does not exist": ask_for_nothing,
    "a head that becomes large": amplify,
    "cancellations of nothing": cancel_unknown,
    "a window for nothing": grant_unknown,
}
"""After these a server goes on, and says so by a PONG."""

__all__ = [
    "BREAKING",
    "CLAIMS",
    "CONTRADICTIONS",
    "EARLY_CLAIMS",
    "HARMLESS",
    "HEADS",
    "Attack",
    "Crowd",
    "Outcome",
    "Part",
    "Peer",
    "Target",
    "Then",
    "amplify",
    "answer",
    "ask_first",
    "ask_for_nothing",
    "cancel_unknown",
    "claim",
    "drip",
    "flood",
    "grant_unknown",
    "greet_in",
    "greet_twice",
    "greet_with",
    "guess_token",
    "idle_clients",
    "let_in",
    "nest",
    "never_read",
    "overflow_window",
    "reuse_id",
    "say",
    "say_and_ping",
    "say_nothing",
    "send_bytes",
    "send_garbage",
    "send_head",
    "stop_midway",
    "stream_to_nobody",
    "trusting_anyone",
    "upload",
]
