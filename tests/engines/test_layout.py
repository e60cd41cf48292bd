"""Keys and values that damage made too long or too short: LMDB pads entries to even sizes, which hides a byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qstore_db.engines.embedded import layout
from qstore_db.errors import CorruptionError


@pytest.mark.parametrize(
    ("read", "whole"),
    [
        (layout.unpack_row, layout.pack_row(7)),
        (layout.split_row_key, layout.row_key(1, 7)),
        (layout.split_id_key, layout.id_key(1, "")),
    ],
)
@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b[:1], lambda b: b""])
def test_a_key_that_was_cut_is_damage(
    read: Callable[[bytes], object], whole: bytes, change: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(CorruptionError):
        read(change(whole))


@pytest.mark.parametrize(
    ("read", "whole"),
    [(layout.unpack_row, layout.pack_row(7)), (layout.split_row_key, layout.row_key(1, 7))],
)
def test_a_key_that_grew_is_damage(read: Callable[[bytes], object], whole: bytes) -> None:
    assert read(whole) is not None
    with pytest.raises(CorruptionError):
        read(whole + b"\0")
