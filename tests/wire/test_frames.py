"""Frames survive any cutting of the stream; lengths that lie are refused before anything is held for them."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.errors import ProtocolError
from qstore_db.wire.frames import Frame, FrameReader, frame_of
from qstore_db.wire.limits import UNAUTHENTICATED, Limits

Content = tuple[bytes, list[bytes]]
contents = st.tuples(st.binary(min_size=1, max_size=40), st.lists(st.binary(max_size=40), max_size=4))


def written(content: Content) -> bytes:
    return b"".join(frame_of(*content))


def held(frame: Frame, sizes: list[int]) -> Content:
    """Head and attachments of a frame, whose sizes a head would tell."""
    at, attachments = 0, []
    for size in sizes:
        attachments.append(bytes(frame.attachments[at : at + size]))
        at += -(-size // 8) * 8
    assert at == len(frame.attachments)
    return bytes(frame.head), attachments


@given(st.lists(contents, max_size=5), st.data())
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    sent: list[Content], data: st.DataObject
) -> None:
    stream = b"".join(map(written, sent))
    reader, frames, at = FrameReader(Limits()), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream) - at))
        frames += list(reader.feed(stream[at : at + step]))
        at += step
    assert not reader.under_way
    found = [held(frame, [len(a) for a in of[1]]) for frame, of in zip(frames, sent, strict=True)]
    assert found == sent
    assert [len(frame) for frame in frames] == [len(written(content)) for content in sent]


@given(contents)
def test_a_frame_begins_with_its_own_length_and_every_part_at_a_multiple_of_eight(content: Content) -> None:
    stream = written(content)
    total, head = struct.unpack(">II", stream[:8])
    assert total == len(stream)
    assert head == len(content[0])
    assert total % 8 == 0
    assert stream[8 : 8 + head] == content[0]


def test_attachments_are_handed_on_without_a_copy() -> None:
    attachment = memoryview(bytearray(1_000_000))
    assert any(piece is attachment for piece in frame_of(b"h", [attachment]))


def test_numbers_of_an_attachment_lie_aligned_in_memory() -> None:
    for length in range(1, 20):
        [frame] = FrameReader(Limits()).feed(written((b"h" * length, [bytes(16)])))
        assert np.frombuffer(frame.attachments, np.float64).flags.aligned


def test_a_frame_that_came_whole_is_not_copied_and_lies_aligned_too() -> None:
    for length in range(1, 20):
        data = written((b"h" * length, [bytes(16)])) * 2
        for frame in FrameReader(Limits()).feed(data):
            assert frame.head.obj is data
            assert np.frombuffer(frame.attachments, np.float64).flags.aligned


def test_a_frame_is_copied_from_bytes_that_somebody_may_write_to_or_that_hold_much_else() -> None:
    small, large = written((b"h", [])), written((b"h", [bytes(1_000)]))
    reused = bytearray(large)
    [frame] = FrameReader(Limits()).feed(reused)
    reused[:] = bytes(len(reused))
    assert bytes(frame.head) == b"h"
    data = small + large
    first, second = FrameReader(Limits()).feed(data)
    assert first.head.obj is not data
    assert second.head.obj is data


def test_an_earlier_frame_keeps_its_bytes_when_later_ones_come() -> None:
    reader = FrameReader(Limits())
    [first] = reader.feed(written((b"one", [b"1" * 16])))
    list(reader.feed(written((b"two", [b"2" * 16]))))
    assert (bytes(first.head), bytes(first.attachments)) == (b"one", b"1" * 16)


@pytest.mark.parametrize(
    ("total", "head"),
    [(0, 0), (8, 0), (16, 0), (8, 1), (15, 1), (16, 9), (17, 1), (2**32 - 1, 1), (2**32 - 8, 2**32 - 1)],
)
def test_lengths_that_no_frame_has_are_refused(total: int, head: int) -> None:
    with pytest.raises(ProtocolError):
        list(FrameReader(Limits(head=2**32, attachments=2**32)).feed(struct.pack(">II", total, head)))


def test_a_frame_beyond_the_limits_is_refused_by_its_first_eight_bytes() -> None:
    limits = Limits(head=64, attachments=128)
    list(FrameReader(limits).feed(written((b"h" * 64, [bytes(128)]))))
    for content in ((b"h" * 65, [b""]), (b"h", [bytes(129)])):
        with pytest.raises(ProtocolError, match="accepted"):
            list(FrameReader(limits).feed(written(content)[:8]))


def test_who_has_not_shown_a_token_may_send_four_kilobytes_and_no_arrays() -> None:
    list(FrameReader(UNAUTHENTICATED).feed(written((bytes(4096), []))))
    for content in ((bytes(4097), []), (b"h", [b"a"])):
        with pytest.raises(ProtocolError):
            list(FrameReader(UNAUTHENTICATED).feed(written(content)))


def test_a_reader_tells_what_the_frame_under_way_claims() -> None:
    reader, stream = FrameReader(Limits()), written((b"head", [bytes(100)]))
    assert (reader.under_way, reader.claimed) == (False, 0)
    list(reader.feed(stream[:5]))
    assert (reader.under_way, reader.claimed) == (True, 0)
    list(reader.feed(stream[5:50]))
    assert (reader.under_way, reader.claimed) == (True, len(stream))
    list(reader.feed(stream[50:]))
    assert (reader.under_way, reader.claimed) == (False, 0)


def test_memory_that_is_only_claimed_is_not_taken() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    stream, before = written((b"h", [bytes(16 << 20)])), resident()
    readers = [FrameReader(Limits()) for _ in range(20)]
    for reader in readers:
        list(reader.feed(stream[:100]))
    assert sum(reader.claimed for reader in readers) > 320 << 20
    assert resident() - before < 32 << 20


def test_a_frame_too_long_for_its_length_field_is_not_written() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 2**32 - 16

    with pytest.raises(ProtocolError, match="32 bits"):
        frame_of(b"h", [Huge()])
