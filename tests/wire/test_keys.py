"""Keys of requests."""

from __future__ import annotations

import pytest

from qstore_db.wire.keys import draw_key

MILLISECOND = 1_000_000


def test_no_two_keys_are_the_same_however_the_clock_stands() -> None:
    assert len({draw_key(lambda: 5) for _ in range(10_000)}) == 10_000


def test_keys_are_ordered_by_the_millisecond_in_which_they_were_drawn() -> None:
    moments = [0, 1, 255, 256, 1_800_000_000_000, 1_800_000_000_001]
    keys = [draw_key(lambda moment=moment: moment * MILLISECOND) for moment in moments]  # type: ignore[misc]
    assert keys == sorted(keys)


@pytest.mark.parametrize("moment", [-1, -(1 << 62), 0, (1 << 63) - 1, 1 << 80])
def test_a_key_is_16_bytes_whatever_a_clock_says(moment: int) -> None:
    assert len(draw_key(lambda: moment)) == 16


def test_keys_go_by_the_time_of_day_unless_told_otherwise() -> None:
    assert draw_key() > draw_key(lambda: 1_700_000_000_000 * MILLISECOND)
