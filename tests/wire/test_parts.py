"""A body in parts is the same body joined, each part fits its frame, and what fits none is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.errors import ArgumentError, ProtocolError
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import DTYPES, MAX_ID, Kind, Message, encode, fits
from qstore_db.wire.parts import PART, joined, parts_of

ROOMY = Limits()
LONGEST_FIRST = {"$key": bytes(16), "$timeout": 0.1, "$more": True}
"""What a request has beside the fields of its first part."""


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def as_first(part: dict[str, Any]) -> Message:
    """The longest message that a part may stand in."""
    return Message(Kind.REQUEST, MAX_ID, "db.tunnel_search_batch", {**part, **LONGEST_FIRST})


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(st.sampled_from(list(DTYPES.values())))
    shape = draw(st.sampled_from([(), (0,), (3,), (9, 0), (0, 9), (1, 1), (5, 4), (30, 1), (2, 30), (200,)]))
    return np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.binary()
texts = st.text(max_size=60)
elements = scalars | texts | st.lists(scalars, max_size=3) | st.dictionaries(texts, scalars, max_size=3)
many = st.builds(lambda values, times: values * times, st.lists(elements | arrays()), st.integers(1, 60))
values = elements | arrays() | many
bodies = st.dictionaries(st.text(max_size=12), values, max_size=6)
tight = st.builds(Limits, head=st.integers(300, 700), attachments=st.integers(0, 500))


@given(bodies, tight)
def test_the_parts_of_a_body_fit_and_joined_they_are_the_body_or_a_value_that_fits_none_is_named(
    body: dict[str, Any], limits: Limits
) -> None:
    try:
        parts = list(parts_of(body, limits))
    except ArgumentError as error:
        # One alone in a frame is refused too, unless it is only what a message needs beside it that lacks room.
        value = body[str(error.subject)]
        alone = [[element] for element in value] if isinstance(value, list) else list(rows(value))
        alone = alone or [value]  # what is empty goes as it is
        close = Limits(limits.head - 300, limits.attachments)
        assert not all(fits(encode(as_first({"": one})), close) for one in alone)
        return
    assert all(fits(encode(as_first(part)), limits) for part in parts)
    assert same(joined(parts), body)


def rows(value: Any) -> Any:
    return (value[at : at + 1] for at in range(len(value))) if np.ndim(value) else [value]


@given(bodies)
def test_what_one_part_holds_goes_in_one(body: dict[str, Any]) -> None:
    parts = list(parts_of(body, ROOMY))
    again = any(isinstance(value, np.ndarray) and value.nbytes > PART.attachments for value in body.values())
    assert len(parts) == 1
    assert not again
    assert same(parts[0], body)


def test_what_is_made_into_parts_stays_as_it_was() -> None:
    ids = [f"{i:0200}" for i in range(5_000)]
    body = {"ids": ids, "empty": [], "vectors": np.ones((5_000, 300), np.float32)}
    parts = list(parts_of(body, ROOMY))
    assert len(parts) > 6
    assert len(ids) == 5_000
    assert body["ids"] is ids
    assert body["empty"] == []
    assert same(joined(parts), body)


def test_parts_are_filled_up_to_less_than_a_frame_holds() -> None:
    body = {"ids": ["x" * 100] * 20_000, "vectors": np.ones((20_000, 100), np.float32)}
    frames = [encode(Message(Kind.CHUNK, 1, "", part)) for part in parts_of(body, ROOMY)]
    assert all(fits(frame, Limits(PART.head + 100, PART.attachments)) for frame in frames)
    assert len(frames) < 2 * (sum(sum(map(len, frame)) for frame in frames) / PART.head)


def test_a_value_beyond_a_part_goes_alone_up_to_the_whole_frame() -> None:
    body = {"a": 1, "wide": np.ones((3, PART.attachments), np.uint8), "text": "x" * PART.head, "b": 2}
    parts = list(parts_of(body, ROOMY))
    assert same(joined(parts), body)
    assert sum("wide" in part for part in parts) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("note", "x" * ROOMY.head),
        ("note", ["short", "x" * ROOMY.head]),
        ("metadata", {"note": b"x" * ROOMY.head}),
        ("vectors", np.zeros((2, ROOMY.attachments + 8), np.uint8)),
        ("vectors", [np.zeros(ROOMY.attachments + 8, np.uint8)]),
    ],
    ids=["text", "element", "map", "row", "array in a list"],
)
def test_a_value_that_no_frame_holds_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=f"a value of {name} takes") as caught:
        list(parts_of({"before": 1, name: value}, ROOMY))
    assert caught.value.subject == name


def test_one_that_does_not_know_the_length_of_parts_joins_any() -> None:
    parts = [
        {"a": [1]},
        {"b": np.zeros((0, 2), np.float32)},
        {"a": []},
        {"a": [2, 3], "b": np.ones((2, 2), "f4")},
    ]
    assert same(joined(parts), {"a": [1, 2, 3], "b": np.ones((2, 2), np.float32)})
    assert joined([]) == {}
    assert joined([{}, {}]) == {}


@pytest.mark.parametrize(
    "parts",
    [
        [None],
        [[1]],
        [{"a": [1]}, None],
        [{"a": [1]}, [2]],
        [{"a": 1}, {"a": 1}],
        [{"a": [1]}, {"a": 1}],
        [{"a": [1]}, {"a": np.ones(1)}],
        [{"a": {"b": 1}}, {"a": {"c": 1}}],
        [{"a": np.float64(1) * np.ones(())}, {"a": np.ones(())}],
        [{"a": np.ones(1)}, {"a": np.ones(1, np.float32)}],
        [{"a": np.ones((1, 2))}, {"a": np.ones((1, 3))}],
        [{"a": np.ones((1, 2))}, {"a": np.ones(2)}],
    ],
)
def test_parts_that_do_not_fit_together_are_a_protocol_error(parts: list[Any]) -> None:
    with pytest.raises(ProtocolError, match=r"part"):
        joined(parts)
