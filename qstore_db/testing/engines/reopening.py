"""Closing an engine and opening it again."""

from __future__ import annotations

import numpy as np
import pytest

from qstore_db.engines.base import CollectionSpec, Delete, Engine, Put, Selection
from qstore_db.errors import (
    ClosedError,
)
from qstore_db.testing.engines.support import NOW, Reopen, ids_of, put, vector


class Reopening:
    """What was acknowledged is there again."""

    def test_everything_is_there_after_reopening(self, engine: Engine, reopen: Reopen) -> None:
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(40, 3)).astype(np.float32)
        engine.write("c", [Put(f"{i}", row, metadata={"i": i}) for i, row in enumerate(rows)]).result()
        engine.write("c", [Delete("7"), Put("8", rows[0], metadata={"i": -8})]).result()
        before = engine.fetch("c", [f"{i}" for i in range(40)], NOW)
        found = ids_of(engine.view("c"), rows[0], 40)
        times = engine.view("c").search(rows[:1], 40, Selection(now=NOW))[0].updated().tolist()
        specs = engine.collections()
        again = reopen()
        assert again.collections() == specs
        assert again.fetch("c", [f"{i}" for i in range(40)], NOW) == before
        assert ids_of(again.view("c"), rows[0], 40) == found
        assert again.view("c").search(rows[:1], 40, Selection(now=NOW))[0].updated().tolist() == times

    def test_versions_go_on_after_reopening(self, engine: Engine, reopen: Reopen) -> None:
        first = put(engine, "a", vector(1, 1, 1))
        assert put(reopen(), "a", vector(2, 2, 2)) > first

    def test_a_closed_engine_refuses_by_name_of_its_state(self, engine: Engine) -> None:
        engine.close()
        engine.close()
        for call in (
            lambda: engine.view("c"),
            lambda: engine.fetch("c", ["a"], NOW),
            lambda: engine.write("c", [Delete("a")]),
            lambda: engine.create_collection(CollectionSpec("d", 3)),
            lambda: engine.collections(),
        ):
            with pytest.raises(ClosedError):
                call()
