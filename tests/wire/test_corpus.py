"""Streams that peers may send, kept: each gives its messages or a ProtocolError, however it is cut or damaged.

`tools/make_corpus.py` writes them; what each gives stands in the manifest beside them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.testing.messages import meant, read, told
from qstore_db.wire.limits import UNAUTHENTICATED, Limits
from qstore_db.wire.messages import Kind, encode

CORPUS = Path(__file__).parent / "corpus"
MANIFEST: dict[str, Any] = json.loads((CORPUS / "manifest.json").read_text(encoding="utf-8"))
STREAMS = {path.stem: path.read_bytes() for path in sorted(CORPUS.glob("*.bin"))}
Outcome = tuple[list[str], str | None]

names = st.sampled_from(sorted(STREAMS))
limits = st.sampled_from([Limits(), UNAUTHENTICATED])


def outcome(pieces: list[bytes], limits: Limits) -> Outcome:
    """What a stream gives, so that it can be compared: a NaN in an array would equal nothing."""
    messages, error = read(pieces, limits)
    return [repr(told(message)) for message in messages], error


def limits_of(name: str) -> Limits:
    return UNAUTHENTICATED if MANIFEST[name]["stranger"] else Limits()


@st.composite
def cut(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    at = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[start:stop] for start, stop in zip([0, *at], [*at, len(stream)], strict=True)]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A stream of the corpus with some bytes changed, left out, repeated, or put in from another."""
    stream = bytearray(STREAMS[draw(names)])
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(stream)))
        stop = min(start + draw(st.integers(0, 24)), len(stream))
        other = STREAMS[draw(names)]
        begin = draw(st.integers(0, len(other)))
        stream[start:stop] = draw(
            st.sampled_from([b"", bytes(stream[start:stop]) * 2, other[begin : begin + 24], other])
            | st.binary(min_size=stop - start, max_size=stop - start)
        )
    return bytes(stream)


def test_every_stream_is_in_the_manifest_and_every_kind_in_a_stream() -> None:
    assert STREAMS.keys() == MANIFEST.keys()
    kinds = {message["kind"] for entry in MANIFEST.values() for message in entry["gives"]}
    assert kinds == {kind.name for kind in Kind}


@pytest.mark.parametrize("name", MANIFEST)
def test_a_stream_gives_what_it_must_whole_and_byte_by_byte(name: str) -> None:
    stream, entry = STREAMS[name], MANIFEST[name]
    messages, error = read([stream], limits_of(name))
    assert [told(message) for message in messages] == entry["gives"]
    assert (error is None) == (entry["error"] is None)
    assert (entry["error"] or "") in (error or "")
    single = [stream[at : at + 1] for at in range(len(stream))]
    assert outcome(single, limits_of(name)) == outcome([stream], limits_of(name))


@pytest.mark.parametrize("name", [name for name, entry in MANIFEST.items() if entry["gives"]])
def test_what_a_stream_gives_is_written_as_it_reads(name: str) -> None:
    """Other writers may choose longer forms of numbers and texts, and fill up with anything."""
    again = b"".join(bytes(piece) for given in MANIFEST[name]["gives"] for piece in encode(meant(given)))
    assert [told(message) for message in read([again], Limits())[0]] == MANIFEST[name]["gives"]
    if name not in ("longer-forms-than-needed", "padding-that-is-not-zero"):
        assert STREAMS[name].startswith(again)


@given(names, st.data())
def test_a_stream_gives_the_same_in_any_pieces(name: str, data: st.DataObject) -> None:
    pieces = data.draw(cut(STREAMS[name]))
    assert outcome(pieces, limits_of(name)) == outcome([STREAMS[name]], limits_of(name))


@given(damaged(), limits, st.data())
def test_a_damaged_stream_gives_messages_or_a_protocol_error_and_the_same_in_any_pieces(
    stream: bytes, limits: Limits, data: st.DataObject
) -> None:
    whole = outcome([stream], limits)
    assert outcome(data.draw(cut(stream)), limits) == whole


@given(st.lists(names, max_size=6), st.data())
def test_streams_one_after_the_other_give_all_until_the_first_that_is_wrong_or_not_complete(
    names: list[str], data: st.DataObject
) -> None:
    expected: list[Any] = []
    for name in names:
        expected += MANIFEST[name]["gives"]
        messages = [meant(given) for given in MANIFEST[name]["gives"]]
        if MANIFEST[name]["error"] or len(STREAMS[name]) != sum(len(b"".join(encode(m))) for m in messages):
            break
    pieces = data.draw(cut(b"".join(STREAMS[name] for name in names)))
    messages, _ = read(pieces, Limits())
    assert [told(message) for message in messages][: len(expected)] == expected
