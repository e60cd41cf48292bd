"""When long work shows a bar."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from qstore_db.database.progress import LONG_WORK, Progress, progress_for


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, int], str]:
    """What is written to a terminal while `total` things are done."""

    def run(progress: Progress, total: int) -> str:
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        with progress_for(progress, total, "storing") as advance:
            advance(total)
        return terminal.getvalue()

    return run


def test_long_work_shows_a_bar_on_a_terminal(shown: Callable[[Any, int], str]) -> None:
    assert "storing" in shown(None, LONG_WORK)


def test_short_work_shows_none_unless_asked_to(shown: Callable[[Any, int], str]) -> None:
    assert shown(None, LONG_WORK - 1) == ""
    assert "storing" in shown(True, 10)


def test_false_is_silence(shown: Callable[[Any, int], str]) -> None:
    assert shown(False, LONG_WORK) == ""


def test_a_callable_is_told_and_nothing_shown(shown: Callable[[Any, int], str]) -> None:
    told: list[tuple[int, int]] = []
    assert shown(lambda *step: told.append(step), LONG_WORK) == ""
    assert told == [(LONG_WORK, LONG_WORK)]
