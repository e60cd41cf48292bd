"""Groups in the embedded engine: against the formula itself, and with readers and writers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db import QuantumDatabase
from qstore_db.engines.base import Patch, Put, Selection
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.errors import ConfigurationError, MetadataError
from qstore_db.records import Group, Superposition, Vectors

IDS = ("a", "b", "c", "d", "e")
NUMBERS = st.integers(-(2**40), 2**40) | st.floats(-1e6, 1e6) | st.sampled_from([0, 1, 0.5, None, True, "1"])
CORRELATIONS = st.sampled_from([-1.0, -0.1, 0.0, 0.25, 0.3, 1.0]) | st.floats(-1.0, 1.0)
MEMBERS = st.lists(st.sampled_from(IDS), min_size=2, unique=True)


def is_number(value: object) -> bool:
    return type(value) in (int, float)


def weights(count: int) -> st.SearchStrategy[list[list[float]]]:
    """Weights in "x" and "y", never both zero."""
    pair = st.lists(st.floats(0.01, 1.0), min_size=2, max_size=2)
    return st.lists(pair, min_size=count, max_size=count)


@settings(max_examples=60, deadline=None)
@given(
    start=st.lists(NUMBERS, min_size=5, max_size=5),
    groups=st.lists(st.tuples(MEMBERS, CORRELATIONS), max_size=4),
    updates=st.lists(st.tuples(st.sampled_from(IDS), NUMBERS), max_size=6),
)
def test_numbers_move_as_the_formula_says(
    start: list[object], groups: list[tuple[list[str], float]], updates: list[tuple[str, object]]
) -> None:
    with QuantumDatabase() as db:
        expected = dict(zip(IDS, start, strict=True))
        for id, value in expected.items():
            db.insert(id, [1.0], metadata={"n": value})
        for i, (members, correlation) in enumerate(groups):
            db.create_group(f"g{i}", members, correlation, fields=["n"])
        for id, value in updates:
            old = expected[id]
            db.update(id, metadata={"n": value})
            expected[id] = value
            for other in IDS:
                held = expected[other]
                if other == id or not (is_number(held) and is_number(old) and is_number(value)):
                    continue
                shared = sum(Fraction(repr(c)) for members, c in groups if {id, other} <= set(members))
                exact = Fraction(held) + shared * (Fraction(value) - Fraction(old))  # type: ignore[arg-type]
                whole = isinstance(held, int) and exact.denominator == 1
                expected[other] = int(exact) if whole else float(exact)
        for id, value in expected.items():
            record = db.get(id)
            assert record is not None
            assert repr(record.metadata["n"]) == repr(value)


@settings(max_examples=60, deadline=None)
@given(before=weights(3), after=weights(1), correlation=CORRELATIONS)
def test_context_weights_move_as_the_formula_says(
    before: list[list[float]], after: list[list[float]], correlation: float
) -> None:
    with QuantumDatabase() as db:
        states = [np.array(pair) / sum(pair) for pair in before]
        for id, (x, y) in zip("abc", before, strict=True):
            db.insert(id, [1.0], contexts={"x": x, "y": y})
        db.create_group("g", ["a", "b", "c"], correlation, fields=["context:x", "context:y"])
        (new,) = after
        db.update("a", contexts={"x": new[0], "y": new[1]})
        change = correlation * (np.array(new) / sum(new) - states[0])
        for id, state in zip("bc", states[1:], strict=True):
            moved = np.maximum(state + change, 0.0)
            record = db.get(id)
            assert record is not None
            found = [dict(record.contexts).get(name, 0.0) for name in ("x", "y")]
            assert found == pytest.approx(moved / moved.sum(), abs=1e-9)


def test_readers_never_see_a_group_half_moved(db: EmbeddedEngine) -> None:
    """All members start equal and move by the whole change, so they stay equal in every commit."""
    ids = tuple(f"r{i}" for i in range(40))
    vectors = {id: np.full(3, i, np.float32) for i, id in enumerate(ids)}
    db.write("c", [Put(id, vector, metadata={"n": 0}) for id, vector in vectors.items()]).result()
    db.create_group(Group("g", "c", ids, 1.0, ("n",)))
    stop = threading.Event()
    faults: list[object] = []

    def update(turn: int) -> None:
        while not stop.is_set():
            turn += 7
            db.write("c", [Patch(ids[turn % 40], metadata={"n": turn})]).result()

    def look() -> None:
        while not stop.is_set():
            records, _ = db.view("c").scroll(Selection(), 100, 0)
            seen = {record.metadata["n"] for record in records}
            if len(records) != 40 or len(seen) != 1:
                faults.append((len(records), seen))
            fetched = db.fetch("c", ids, 0.0)
            if len({record.metadata["n"] for record in fetched if record is not None}) != 1:
                faults.append("fetch")

    threads = [threading.Thread(target=update, args=(i,)) for i in range(2)]
    threads += [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    stop.wait(1.0)
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    for id, record in zip(ids, db.fetch("c", ids, 0.0), strict=True):
        assert record is not None
        assert record.vector.tolist() == vectors[id].tolist()


def test_a_batch_with_a_refused_move_leaves_nothing_behind(db: EmbeddedEngine) -> None:
    db.write("c", [Put(id, three(1.0), metadata={"n": n}) for id, n in (("a", -1), ("b", 0))]).result()
    db.create_group(Group("g", "c", ("a", "b"), 1.0, ("n",)))
    before = db.fetch("c", ["a", "b", "new"], 0.0)
    batch = [
        Put("new", three(2.0)),
        Patch("a", metadata={"n": 4}),
        Patch("b", metadata={"n": -(2**63)}),
    ]
    with pytest.raises(MetadataError):
        db.write("c", batch).result()
    assert db.fetch("c", ["a", "b", "new"], 0.0) == before
    assert db.verify().ok


def test_each_update_of_a_batch_moves_what_the_ones_before_left(db: EmbeddedEngine) -> None:
    contexts = Superposition(("x", "y"), (1.0, 1.0))
    db.write("c", [Put(id, three(1.0), contexts, {"n": 0}) for id in ("a", "b")]).result()
    db.create_group(Group("g", "c", ("a", "b"), 1.0, ("n",)))
    written = db.write("c", [Patch("a", metadata={"n": 2}), Patch("b", metadata={"n": 10})]).result()
    a, b = db.fetch("c", ["a", "b"], 0.0)
    assert a is not None
    assert b is not None
    assert (a.metadata["n"], b.metadata["n"], b.version) == (10, 10, written.sequence)
    assert a.contexts == (("x", 0.5), ("y", 0.5))


def test_moves_outlast_a_lost_index(
    start: Callable[..., EmbeddedEngine], db: EmbeddedEngine, tmp_path: Path
) -> None:
    db.write("c", [Put(f"r{i}", three(i + 1.0), metadata={"n": 0}) for i in range(20)]).result()
    db.create_group(Group("g", "c", tuple(f"r{i}" for i in range(20)), 0.5, ("n",)))
    db.snapshot()
    db.write("c", [Patch("r3", metadata={"n": 4})]).result()
    known = db.fetch("c", [f"r{i}" for i in range(20)], 0.0)
    db.close()
    again = start()
    assert again.fetch("c", [f"r{i}" for i in range(20)], 0.0) == known
    (hits,) = again.view("c").search(three(1.0)[None], 20, Selection())
    assert sorted(hits.ids()) == sorted(f"r{i}" for i in range(20))
    assert again.verify().ok


def test_an_engine_without_groups_refuses_the_calls_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmbeddedEngine, "capabilities", replace(EmbeddedEngine.capabilities, groups=False))
    with QuantumDatabase() as db:
        db.insert_many(ids=["a", "b"], vectors=[[1.0], [1.0]])
        for name, call in (
            ("create_group", lambda: db.create_group("g", ["a", "b"], 1.0, fields=["n"])),
            ("list_groups", db.list_groups),
            ("drop_group", lambda: db.drop_group("g")),
        ):
            with pytest.raises(ConfigurationError, match=name) as caught:
                call()
            assert caught.value.subject == "groups"


def three(value: float) -> Vectors:
    return np.full(3, value, np.float32)
