"""Messages come out as they went in; whatever is no message is a ProtocolError and nothing else."""

from __future__ import annotations

import contextlib
import struct
from datetime import UTC, datetime
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.errors import ProtocolError
from qstore_db.wire.frames import Frame, FrameReader, frame_of
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import ARRAY, DTYPES, Kind, Message, decode, encode

LIMITS = Limits()


def frame(*pieces: Any) -> Frame:
    [found] = FrameReader(LIMITS).feed(b"".join(pieces))
    return found


def sent(message: Message) -> Message:
    return decode(frame(*encode(message)), LIMITS)


def refused(head: Any, attachments: tuple[bytes, ...] = ()) -> str:
    """Why a frame with that head, packed unless it is bytes, is no message."""
    packed = head if isinstance(head, bytes) else msgpack.packb(head)
    with pytest.raises(ProtocolError) as caught:
        decode(frame(*frame_of(packed, attachments)), LIMITS)
    return caught.value.message


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.tobytes() == b.tobytes()
        )
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(st.sampled_from(list(DTYPES.values())))
    shape = draw(st.lists(st.integers(0, 5), max_size=2))
    count = int(np.prod(shape))
    raw = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    return np.frombuffer(raw, dtype).reshape(shape)


plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
bodies = st.recursive(
    plain | arrays(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
messages = st.builds(Message, st.sampled_from(Kind), st.integers(0, 2**63 - 1), st.text(max_size=20), bodies)


def counted(body: Any) -> tuple[int, int]:
    """Containers, and keys and other values."""
    if not isinstance(body, (dict, list)):
        return 0, 1
    inner = [counted(value) for value in (body.values() if isinstance(body, dict) else body)]
    keys = len(body) if isinstance(body, dict) else 0
    return 1 + sum(c for c, _ in inner), keys + sum(v for _, v in inner)


@given(messages)
def test_a_message_tells_about_what_it_takes_in_memory(message: Message) -> None:
    of = frame(*encode(message))
    containers, values = counted(message.body)
    length = len(of.head) + len(of.attachments)
    assert decode(of, LIMITS).nbytes == length + 80 * containers + 40 * values


@pytest.mark.parametrize("inside", [0, 40])
def test_an_extension_of_msgpack_itself_is_refused_in_bodies_of_few_containers_and_of_many(
    inside: int,
) -> None:
    for seconds in (1, 2**33, 2**40):  # packed in 4, 8 and 12 bytes
        stamp = msgpack.Timestamp(seconds, 0 if seconds < 2**34 else 1)
        assert "Timestamp" in refused([2, 1, "op", [{}] * inside + [stamp]])


@given(messages)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    found = sent(message)
    assert (found.kind, found.id, found.op) == (message.kind, message.id, message.op)
    assert same(message.body, found.body)


@given(st.binary(min_size=1, max_size=60), st.binary(max_size=40))
def test_no_bytes_make_anything_but_a_message_or_a_protocol_error(head: bytes, attachment: bytes) -> None:
    whole = frame(*frame_of(head, [attachment]))
    try:
        found = decode(whole, LIMITS)
    except ProtocolError:
        return
    assert isinstance(found, Message)


@given(messages, st.data())
def test_a_message_with_a_byte_changed_is_a_message_or_a_protocol_error(
    message: Message, data: st.DataObject
) -> None:
    stream = bytearray(b"".join(bytes(piece) for piece in encode(message)))
    at = data.draw(st.integers(8, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ProtocolError):
        decode(frame(stream), LIMITS)


def test_arrays_are_read_only_views_of_the_frame_they_came_in() -> None:
    whole = frame(*encode(Message(Kind.REQUEST, 1, "db.query", np.arange(6, dtype=np.float32).reshape(2, 3))))
    found = decode(whole, LIMITS).body
    assert np.shares_memory(found, np.frombuffer(whole.attachments, np.uint8))
    assert not found.flags.writeable
    assert found.flags.aligned


def test_arrays_that_do_not_lie_in_one_piece_are_sent_all_the_same() -> None:
    table = np.arange(20, dtype=np.int64).reshape(4, 5)
    assert (
        sent(Message(Kind.CHUNK, 1, "", [table[:, ::2], table.T])).body[0].tolist() == table[:, ::2].tolist()
    )


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        datetime(2026, 1, 1, tzinfo=UTC),
        np.zeros(2, ">f4"),
        np.zeros(2, np.complex64),
        np.zeros((1, 1, 1), np.float32),
        np.array(["a"], dtype=object),
        np.float32(1.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_message_cannot_hold_is_refused_where_it_is_made(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(Message(Kind.RESPONSE, 1, "", {"a": [value]}))


@pytest.mark.parametrize(
    "head",
    [
        [],
        {},
        None,
        [2, 1, "op"],
        [2, 1, "op", None, None],
        [0, 1, "op", None],
        [13, 1, "op", None],
        ["2", 1, "op", None],
        [True, 1, "op", None],
        [2, -1, "op", None],
        [2, 2**63, "op", None],
        [2, 1.0, "op", None],
        [2, 1, b"op", None],
        [2, 1, "op", {1: 2}],
        [2, 1, "op", {b"a": 2}],
        [2, 1, "op", msgpack.Timestamp(1)],
        [2, 1, "op", msgpack.ExtType(2, b"")],
        [2, 1, "op", msgpack.ExtType(ARRAY, b"")],
        [2, 1, "op", msgpack.ExtType(ARRAY, b"\x01\x03" + bytes(12))],
        [2, 1, "op", msgpack.ExtType(ARRAY, b"\x09\x01" + bytes(4))],
        [2, 1, "op", msgpack.ExtType(ARRAY, b"\x01\x01" + bytes(3))],
        b"\x94\x02\x01\xa2op\xc1",  # a type that msgpack does not have
        b"\x94\x02\x01\xa2op",  # cut short
        b"\x94\x02\x01\xa2op\xc0\xc0",  # more behind it
        b"\x94\x02\x01\xa2\xff\xfe\xc0",  # no UTF-8
        b"\x94\x02\x01\xa2op\x82\xa1a\x01\xa1a\x02",  # a key twice
        b"\x94\x02\x01\xa2op\xdd\xff\xff\xff\xff",  # a list of four billion
    ],
    ids=repr,
)
def test_a_head_that_says_nothing_is_a_protocol_error(head: Any) -> None:
    assert refused(head)


def test_arrays_and_attachments_must_match_to_the_byte() -> None:
    two = msgpack.ExtType(ARRAY, struct.pack(">BBI", 1, 1, 2))
    decode(frame(*frame_of(msgpack.packb([2, 1, "", two]), [bytes(8)])), LIMITS)
    assert "beyond its frame" in refused([2, 1, "", two])
    assert "beyond its frame" in refused([2, 1, "", [two, two]], (bytes(8),))
    assert "attachments" in refused([2, 1, "", None], (bytes(8),))
    assert "attachments" in refused([2, 1, "", two], (bytes(8), bytes(8)))
    vast = msgpack.ExtType(ARRAY, struct.pack(">BBII", 2, 2, 2**32 - 1, 2**32 - 1))
    assert "beyond its frame" in refused([2, 1, "", vast], (bytes(8),))


@pytest.mark.parametrize("deep", [33, 200, 5_000, 100_000])
def test_nesting_beyond_the_limit_is_refused_however_deep(deep: int) -> None:
    head = b"\x94\x02\x01\xa2op" + b"\x91" * deep + b"\xc0"
    assert refused(head)


def test_nesting_up_to_the_limit_is_read() -> None:
    body: Any = None
    for _ in range(32):
        body = [body]
    assert sent(Message(Kind.REQUEST, 1, "op", body)).body == body


def test_a_head_whose_fault_has_no_words_is_named_by_its_kind() -> None:
    with pytest.raises(ProtocolError, match=r"cannot be read: \w+"):
        decode(frame(struct.pack(">II", 16, 1), b"\xc1", bytes(7)), LIMITS)
