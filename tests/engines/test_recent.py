"""Records that were read lately are kept, within bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.engines.base import CollectionSpec, Put, Selection
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.engines.embedded.recent import Recent
from qstore_db.records import Metric


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 400)), max_size=200), st.integers(0, 5_000))
def test_what_is_kept_is_what_was_given_and_never_more_than_the_limit(
    given: list[tuple[int, int]], limit: int
) -> None:
    recent, first = Recent(limit), {}
    for row, size in given:
        first.setdefault(row, bytes([row]) * size)
        recent.keep(row, first[row])
        assert recent.nbytes <= limit
        assert all(recent.get(known) in (None, packed) for known, packed in first.items())


def test_a_record_is_read_from_the_store_once(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path / "db")
    engine.create_collection(CollectionSpec("c", 2, Metric.L2))
    engine.write(
        "c", [Put(f"r{i}", np.array([i, 0], np.float32), metadata={"i": i}) for i in range(5)]
    ).result()
    hits = engine.view("c").search(np.zeros((1, 2), np.float32), 5, Selection())[0]
    before = hits.bodies()
    engine.compact()  # exchanges the file
    assert hits.bodies() == before
    engine.write("c", [Put("r0", np.array([0, 0], np.float32), metadata={"i": "new"})]).result()
    newer = engine.view("c").search(np.zeros((1, 2), np.float32), 1, Selection())[0]
    assert newer.bodies() != before[:1]
    assert newer.records()[0].metadata == {"i": "new"}
    engine.close()
