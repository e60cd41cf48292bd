"""Windows: a sender stays within what it was granted but for one frame, and everything arrives in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.errors import ProtocolError
from qstore_db.testing.messages import read
from qstore_db.wire.limits import MAX_WINDOW, Limits
from qstore_db.wire.messages import Kind, Message, encode
from qstore_db.wire.streams import Incoming, Outgoing, check_grant

sizes = st.lists(st.integers(0, 300), max_size=20)
grants = st.lists(st.integers(1, 500), max_size=60)


def parts_of(sizes: list[int]) -> list[dict[str, Any]]:
    return [{"at": at, "filling": bytes(size)} for at, size in enumerate(sizes)]


def sent(frame: list[Any]) -> tuple[Message, int]:
    stream = b"".join(frame)
    [message], error = read([stream], Limits())
    assert error is None
    return message, len(stream)


@given(sizes, st.integers(0, 600), grants)
def test_a_sender_exceeds_its_window_by_one_frame_at_most_and_waits_while_none_is_left(
    sizes: list[int], window: int, grants: list[int]
) -> None:
    outgoing, left = Outgoing(1, iter(parts_of(sizes)), window), window
    for grant in [0, *grants]:
        if grant:
            outgoing.grant(grant)
            left += grant
        for frame in outgoing.ready():
            assert left > 0, "nothing is sent without a window"
            message, nbytes = sent(frame)
            left -= nbytes if message.kind is Kind.CHUNK else 0
        assert outgoing.complete or left <= 0, "a window that is left is used"
        if outgoing.complete:
            return


@given(sizes, st.integers(0, 600), st.integers(1, 600), st.data())
def test_everything_arrives_in_order_however_grants_and_frames_mix(
    sizes: list[int], window: int, first: int, data: st.DataObject
) -> None:
    """The receiver grants what it took, late and in any portions; the sender stops wherever it likes."""
    parts = parts_of(sizes)
    outgoing, incoming = Outgoing(1, iter(parts), window), Incoming(window, 1 << 20)
    owed, kinds = first, []  # `first`: a window of 0 must be opened by the receiver
    choose: Callable[[int], int] = lambda high: data.draw(st.integers(1, high))  # noqa: E731
    while not outgoing.complete:
        for frame in outgoing.ready():
            message, nbytes = sent(frame)
            kinds.append(message.kind)
            if message.kind is Kind.CHUNK:
                assert incoming.take(message.body, nbytes)
                owed += nbytes
            if choose(3) == 1:
                break
        if owed and choose(2) == 1:
            grant = choose(owed)
            owed -= grant
            incoming.granted(grant)
            outgoing.grant(grant)
    assert incoming.parts == parts
    assert kinds == [Kind.CHUNK] * len(parts) + [Kind.END]
    assert list(outgoing.ready()) == []


def test_parts_are_not_made_before_they_can_be_sent() -> None:
    made = []

    def parts() -> Any:
        for part in parts_of([10] * 5):
            made.append(part)
            yield part

    outgoing = Outgoing(1, parts(), 1)
    assert len(list(outgoing.ready())) == len(made) == 1
    outgoing.grant(1 << 10)
    list(outgoing.ready())
    assert len(made) == 5


@pytest.mark.parametrize("count", [0, -1, True, 1.0, None, "8", [], MAX_WINDOW + 1, 2**64 - 1, "x" * 10_000])
def test_what_is_no_number_of_bytes_grants_nothing(count: Any) -> None:
    outgoing = Outgoing(1, iter(parts_of([1])), 0)
    for grant in (outgoing.grant, check_grant):
        with pytest.raises(ProtocolError, match="cannot grow") as caught:
            grant(count)
        assert len(caught.value.message) < 100
    assert list(outgoing.ready()) == []


def test_grants_that_add_up_to_more_than_a_window_may_be_are_refused() -> None:
    outgoing = Outgoing(1, iter(parts_of([1])), 1)
    with pytest.raises(ProtocolError):
        outgoing.grant(MAX_WINDOW)
    outgoing.grant(MAX_WINDOW - 1)
    with pytest.raises(ProtocolError):
        outgoing.grant(1)
    nbytes = sum(len(b"".join(frame)) for frame in outgoing.ready() if sent(frame)[0].kind is Kind.CHUNK)
    outgoing.grant(nbytes)


def test_a_receiver_refuses_what_comes_without_a_window_and_tells_when_it_is_too_much() -> None:
    incoming = Incoming(100, 250)
    assert incoming.take("a", 99)
    assert incoming.take("b", 101)
    with pytest.raises(ProtocolError, match="without a window"):
        incoming.take("c", 1)
    incoming.granted(200)
    assert incoming.take("c", 50)
    assert not incoming.take("d", 1)
    assert incoming.parts == ["a", "b", "c"]
    assert incoming.nbytes == 251


def test_a_stream_of_no_parts_is_its_end() -> None:
    outgoing = Outgoing(7, iter(()), 1)
    [frame] = outgoing.ready()
    assert b"".join(frame) == b"".join(encode(Message(Kind.END, 7)))
    assert outgoing.complete
