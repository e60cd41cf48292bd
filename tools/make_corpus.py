"""Writes `tests/wire/corpus`: streams of bytes as peers send them, well meant or not, and what each must give.

Run it when a case is added: `python tools/make_corpus.py`. A case stays once it is there.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from qstore_db.testing.messages import told
from qstore_db.wire.frames import frame_of
from qstore_db.wire.greeting import Hello, Welcome
from qstore_db.wire.messages import Kind, Message, encode

CORPUS = Path(__file__).parents[1] / "tests" / "wire" / "corpus"
MIB = 1 << 20
PING = Message(Kind.PING, 0)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    stream: bytes
    gives: Sequence[Message] = ()
    error: str | None = None
    """A part of what is said against it. None: nothing is, though the last frame may not be complete."""
    stranger: bool = False
    """Whether it comes from somebody who has not shown a token."""


def written(*messages: Message) -> bytes:
    return b"".join(bytes(piece) for message in messages for piece in encode(message))


def framed(head: Any, *attachments: bytes) -> bytes:
    """A frame with any head, packed unless it is bytes."""
    packed = head if isinstance(head, bytes) else msgpack.packb(head)
    return b"".join(bytes(piece) for piece in frame_of(packed, attachments))


def lengths(total: int, head: int, rest: bytes = b"") -> bytes:
    return struct.pack(">II", total, head) + rest


def array(dtype: int, *shape: int, dimensions: int | None = None) -> msgpack.ExtType:
    count = len(shape) if dimensions is None else dimensions
    return msgpack.ExtType(1, struct.pack(f">BB{len(shape)}I", dtype, count, *shape))


def request(body: Any, *attachments: bytes) -> bytes:
    return framed([2, 1, "db.get", body], *attachments)


def raw(body: bytes) -> bytes:
    """A request whose body is these bytes of msgpack."""
    return framed(b"\x94\x02\x01\xa6db.get" + body)


def messages() -> Iterator[Case]:
    """What is as it should be."""
    every = [
        Message(Kind.HELLO, 0, "", Hello(token="qst_0123_secret", agent="corpus").body()),
        Message(
            Kind.HELLO,
            0,
            "",
            Welcome(
                head=MIB, attachments=16 * MIB, requests=256, window=4 * MIB, streamed=1, role="read"
            ).body(),
        ),
        Message(
            Kind.REQUEST,
            1,
            "db.put_many",
            {"ids": ["a"], "vectors": np.ones((1, 3), np.float32), "$more": True},
        ),
        Message(Kind.REQUEST, 2, "db.put", {"id": "é", "$key": bytes(range(16)), "$timeout": 1.5}),
        Message(Kind.RESPONSE, 2, "", {"sequence": 2**63 - 1, "count": 1}),
        Message(Kind.ERROR, 3, "", {"code": "id", "message": "m", "subject": None, "retryable": False}),
        Message(Kind.EVENT, 4, "later", None),
        Message(Kind.CANCEL, 5),
        Message(Kind.CHUNK, 6, "", {"records": np.arange(5, dtype=np.uint8), "ends": np.array([5])}),
        Message(Kind.END, 6),
        Message(Kind.WINDOW, 6, "", 4096),
        PING,
        Message(Kind.PONG, 2**63 - 1),
        Message(Kind.GOAWAY, 7),
    ]
    for at, message in enumerate(every):
        yield Case(f"message-{at:02}-{message.kind.name.lower()}", written(message), [message])
    yield Case("every-kind", written(*every), every)
    yield Case("hello-of-a-stranger", written(every[0]), [every[0]], stranger=True)
    shapes = [np.zeros(0, np.float32), np.zeros((0, 7), np.int64), np.zeros((7, 0), np.uint8), np.array(2.5)]
    empty = Message(Kind.RESPONSE, 1, "", {str(at): value for at, value in enumerate(shapes)})
    yield Case("arrays-without-numbers", written(empty), [empty])
    values = [None, True, False, 0, -1, -(2**63), 2**64 - 1, 0.0, -0.5, 1e300, "", "\0", b"", b"\xff", [], {}]
    plain = Message(Kind.RESPONSE, 1, "", values)
    yield Case("plain-values", written(plain), [plain])
    body: Any = None
    for _ in range(32):
        body = [body]
    deep = Message(Kind.REQUEST, 1, "op", body)
    yield Case("nested-to-the-limit", written(deep), [deep])
    longest = Message(Kind.REQUEST, 1, "op", "x" * 100)
    yield Case(
        "longer-forms-than-needed",
        framed(b"\xdd\0\0\0\4\xcd\0\2\xcf" + bytes(7) + b"\1\xda\0\2op\xdb\0\0\0\x64" + b"x" * 100),
        [longest],
    )
    one = Message(Kind.RESPONSE, 1, "", np.ones(1, np.float32))
    yield Case("padding-that-is-not-zero", written(one)[:-4] + b"junk", [one])


def cuts() -> Iterator[Case]:
    """What ends too soon, or says so."""
    yield Case("nothing", b"")
    yield Case("three-bytes", b"\0\0\0")
    yield Case("lengths-only", lengths(40, 32))
    yield Case("claims-16-mib", lengths(24 + 16 * MIB, 16, b"\x94"))
    yield Case("claims-1-mib-of-head", lengths(8 + MIB, MIB, b"\x94"))
    yield Case("a-ping-and-half-a-frame", written(PING) + lengths(40, 32, b"\x94\x02"), [PING])
    yield Case("head-cut-short", framed(b"\x94\x02\x01\xa6db.get"), error="cannot be read")
    yield Case("head-with-more-behind", framed(b"\x94\x0a\0\xa0\xc0\xc0"), error="cannot be read")
    yield Case("text-beyond-the-head", framed(b"\x94\x02\x01\xdb\xff\xff\xff\xffdb"), error="cannot be read")
    yield Case("bytes-beyond-the-head", raw(b"\xc6\xff\xff\xff\xff"), error="cannot be read")
    yield Case("extension-beyond-the-head", raw(b"\xc9\xff\xff\xff\xff\x01"), error="cannot be read")


def contradictions() -> Iterator[Case]:
    """Lengths that no frame has."""
    for name, total, head in [
        ("no-length", 0, 0),
        ("no-head", 16, 0),
        ("shorter-than-its-header", 4, 1),
        ("shorter-than-its-head", 16, 9),
        ("no-multiple-of-eight", 17, 1),
        ("head-longer-than-everything", 16, 2**32 - 1),
    ]:
        yield Case(f"lengths-{name}", lengths(total, head, bytes(16)), error="is none")
    yield Case("lengths-head-too-long", lengths(MIB + 16, MIB + 1), error="longer than")
    yield Case("lengths-attachments-too-long", lengths(16 * MIB + 24, 8), error="more than")
    yield Case("lengths-of-4-gib", lengths(2**32 - 8, 8), error="more than")
    yield Case("a-ping-and-lengths-of-nothing", written(PING) + bytes(8), [PING], "is none")
    yield Case("text-of-another-protocol", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", error="longer than")
    yield Case("tls-client-hello", bytes.fromhex("16030100c8010000c40303") + bytes(21), error="is none")
    yield Case("stranger-head-too-long", lengths(4112, 4097), error="longer than", stranger=True)
    yield Case("stranger-with-an-array", request(array(1, 1), bytes(4)), error="more than", stranger=True)
    yield Case("stranger-nested", raw(b"\x91" * 5 + b"\xc0"), error="nested", stranger=True)


def heads() -> Iterator[Case]:
    """Msgpack that is no message."""
    for name, head in [
        ("nil", None),
        ("map", {}),
        ("empty", []),
        ("three", [2, 1, "op"]),
        ("five", [2, 1, "op", None, None]),
        ("kind-as-text", ["2", 1, "op", None]),
        ("kind-as-float", [2.0, 1, "op", None]),
        ("kind-as-bool", [True, 1, "op", None]),
        ("id-negative", [2, -1, "op", None]),
        ("id-too-great", [2, 2**63, "op", None]),
        ("id-as-text", [2, "1", "op", None]),
        ("op-as-bytes", [2, 1, b"op", None]),
        ("op-missing", [2, 1, None, None]),
    ]:
        yield Case(f"head-{name}", framed(head), error="a head must")
    for kind in (0, 13, -1, 2**64 - 1):
        yield Case(f"head-kind-{kind}", framed([kind, 1, "op", None]), error="cannot be read")
    yield Case("body-type-that-is-none", raw(b"\xc1"), error="cannot be read")
    yield Case("body-no-utf8", raw(b"\xa2\xff\xfe"), error="cannot be read")
    yield Case("body-surrogate", raw(b"\xa3\xed\xa0\x80"), error="cannot be read")
    yield Case("body-list-of-four-billion", raw(b"\xdd\xff\xff\xff\xff"), error="cannot be read")
    yield Case("body-map-of-four-billion", raw(b"\xdf\xff\xff\xff\xff"), error="cannot be read")
    yield Case("body-timestamp", request(msgpack.Timestamp(1, 2)), error="cannot hold a Timestamp")
    yield Case("op-timestamp", framed([2, 1, msgpack.Timestamp(1), None]), error="a head must")


def maps() -> Iterator[Case]:
    yield Case("map-key-twice", raw(b"\x82\xa1a\x01\xa1a\x02"), error="twice")
    yield Case("map-key-twice-deep-inside", raw(b"\x91\x81\xa1a\x82\xa1b\xc0\xa1b\xc0"), error="twice")
    yield Case("map-key-integer", request({1: 2}), error="cannot be read")
    yield Case("map-key-bytes", request({b"a": 2}), error="must be texts")
    yield Case("map-key-nil", request({None: 2}), error="cannot be read")
    yield Case("map-key-list", raw(b"\x81\x90\xc0"), error="cannot be read")
    yield Case("map-key-array", raw(b"\x81" + msgpack.packb(array(1, 0)) + b"\xc0"), error="cannot be read")


def nesting() -> Iterator[Case]:
    for deep in (33, 511, 512, 1_023, 1_024, 5_000):
        error = "nested" if deep < 500 else ""
        yield Case(f"nested-lists-{deep}", raw(b"\x91" * deep + b"\xc0"), error=error)
        yield Case(f"nested-maps-{deep}", raw(b"\x81\xa1a" * deep + b"\xc0"), error=error)


def arrays() -> Iterator[Case]:
    """Arrays that contradict their attachments."""
    two = array(1, 2)
    yield Case("array-without-attachment", request(two), error="beyond its frame")
    yield Case("array-and-half-an-attachment", request(array(2, 2), bytes(8)), error="beyond its frame")
    yield Case("attachment-without-array", request(None, bytes(8)), error="of 8 bytes")
    yield Case("attachment-one-too-many", request(two, bytes(8), bytes(8)), error="of 16 bytes")
    yield Case("two-arrays-of-one-attachment", request([two, two], bytes(8)), error="beyond its frame")
    yield Case("array-overflows", request(array(2, 2**32 - 1, 2**32 - 1), bytes(8)), error="beyond its frame")
    yield Case(
        "array-overflows-to-nothing", request(array(3, 2**31, 2**30), bytes(8)), error="beyond its frame"
    )
    yield Case("array-in-a-key", raw(b"\x81" + msgpack.packb(two) + b"\xc0"), error="beyond its frame")
    for name, extension in [
        ("other-type", msgpack.ExtType(2, b"")),
        ("type-of-an-application", msgpack.ExtType(127, bytes(6))),
        ("empty", msgpack.ExtType(1, b"")),
        ("one-byte", msgpack.ExtType(1, b"\1")),
        ("three-dimensions", array(1, 1, 1, 1)),
        ("255-dimensions", array(1, 1, dimensions=255)),
    ]:
        yield Case(f"extension-{name}", request(extension, bytes(8)), error="is not known")
    for name, extension in [
        ("dtype-0", array(0, 1)),
        ("dtype-9", array(9, 1)),
        ("shape-cut-short", msgpack.ExtType(1, b"\1\1\0\0\0")),
        ("shape-with-more-behind", msgpack.ExtType(1, b"\1\1\0\0\0\1\0")),
        ("fewer-dimensions", array(1, 1, 1, dimensions=1)),
        ("more-dimensions", array(1, 1, dimensions=2)),
    ]:
        yield Case(f"extension-{name}", request(extension, bytes(8)), error="cannot be read")


def cases() -> list[Case]:
    found = [case for of in (messages, cuts, contradictions, heads, maps, nesting, arrays) for case in of()]
    assert len({case.name for case in found}) == len(found)
    return found


def main() -> None:
    CORPUS.mkdir(exist_ok=True)
    manifest: dict[str, Any] = {}
    for case in cases():
        (CORPUS / f"{case.name}.bin").write_bytes(case.stream)
        manifest[case.name] = {
            "gives": [told(message) for message in case.gives],
            "error": case.error,
            "stranger": case.stranger,
        }
    entries = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(manifest.items()))
    (CORPUS / "manifest.json").write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
