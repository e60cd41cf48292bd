"""The janitor goes on, whatever a chore does."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from qstore_db.engines.embedded import janitor
from qstore_db.engines.embedded.janitor import Janitor


def settled(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_a_chore_that_fails_in_whatever_way_keeps_no_other_from_its_turn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(janitor, "PERIOD", 0.001)
    failures: dict[str, Exception | None] = {"first": KeyError("x"), "second": OSError("no space")}
    rounds = [0]

    def chore(name: str) -> Callable[[], None]:
        def perform() -> None:
            failure = failures[name]
            if failure is not None:
                raise failure

        return perform

    def count() -> None:
        rounds[0] += 1

    upkeep = Janitor([chore("first"), chore("second"), count])
    try:
        settled(lambda: rounds[0] >= 3)
        assert upkeep.fault == "KeyError: 'x'; OSError: no space"
        failures["first"] = None
        settled(lambda: upkeep.fault == "OSError: no space")
        failures["second"] = None
        settled(lambda: upkeep.fault is None)
    finally:
        upkeep.close()
    (record,) = caplog.records  # the other is not a mistake, and neither is told twice
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
