"""Opening again shows what was there before, whatever became of the index meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qstore_db.engines.base import CollectionSpec, Delete, Patch, Put, Selection
from qstore_db.engines.embedded import chores
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.records import Metric, Superposition, Vectors, parse_filter

pytestmark = pytest.mark.usefixtures("resting_janitor", "small_segments")

Start = Callable[..., EmbeddedEngine]


def rows(n: int, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)


def state(db: EmbeddedEngine, name: str = "c") -> dict[str, Any]:
    """Everything a reader can see of a collection."""
    view = db.view(name)
    everything = view.scroll(Selection(now=-np.inf), 10**6, 0)[0]
    queries = rows(4, seed=9)
    filter = parse_filter({"n": {"$lt": 60}})
    exact = [
        (hits.ids(), hits.weights(["a"]).tolist(), hits.updated().tolist())
        for hits in view.search(queries, 50, Selection(filter, ("a",)))
    ]
    return {
        "records": [
            (r.id, r.version, r.metadata, r.contexts, r.expires_at, r.vector.tobytes()) for r in everything
        ],
        "exact": exact,
        "scan": sorted(view.scan(queries[0], Selection(now=-np.inf)).ids()),
        "count": view.count(Selection()),
        "sequence": db.sequence,
    }


def fill(db: EmbeddedEngine, start: int = 0, n: int = 150) -> None:
    context = Superposition.parse([("a", 0.7), ("b", 0.3)])
    for i, row in enumerate(rows(n, seed=start), start):
        put = Put(f"{i}", row, context if i % 2 else Superposition(), {"n": i % 90, "t": f"t{i % 7}"})
        db.write("c", [put]).result()


def change(db: EmbeddedEngine) -> None:
    """Deletes, patches and replacements over all that `fill` wrote."""
    db.write("c", [Delete(f"{i}") for i in range(0, 150, 11)]).result()
    db.write("c", [Patch(f"{i}", metadata={"n": 5}) for i in range(1, 150, 11)]).result()
    db.write("c", [Put(f"{i}", row) for i, row in zip(range(2, 150, 11), rows(20, 7), strict=False)]).result()


def crashed(db: EmbeddedEngine, to: Path) -> Path:
    """A copy of an open database: what a killed process leaves."""
    return Path(shutil.copytree(db.directory, to, ignore=shutil.ignore_patterns("LOCK", "lock.mdb")))


def index_files(db: EmbeddedEngine) -> list[Path]:
    return sorted(db.roster.index_files(db.collection("c").cid).directory.iterdir())


def test_after_a_clean_close_everything_is_as_before_and_nothing_is_read_again(
    db: EmbeddedEngine, start: Start
) -> None:
    fill(db)
    db.wait_indexed(60.0)
    db.collection("c").seal(1)
    change(db)
    db.collection("c").seal(1)
    db.wait_indexed(60.0)
    before = state(db)
    db.close()
    again = start()
    assert state(again) == before
    assert again.recoveries["c"].rows_read == 0
    assert again.statistics()["verification"] == "not needed"


@pytest.mark.parametrize("saved_after", ["nothing", "filling", "indexing", "changing"])
def test_after_a_crash_everything_acknowledged_is_there(
    db: EmbeddedEngine, start: Start, tmp_path: Path, saved_after: str
) -> None:
    fill(db)
    if saved_after == "filling":
        db.snapshot()
    db.wait_indexed(60.0)
    if saved_after == "indexing":
        db.snapshot()
    change(db)
    if saved_after == "changing":
        db.snapshot()
    fill(db, 150, 20)
    again = start(crashed(db, tmp_path / "crashed"))
    assert state(again) == state(db)
    assert (again.recoveries["c"].from_sequence > 0) == (saved_after != "nothing")
    assert again.verify().ok


def test_a_damaged_newest_index_is_passed_over_for_the_older_one(
    db: EmbeddedEngine, start: Start, tmp_path: Path
) -> None:
    fill(db)
    db.snapshot()
    older = {path.name for path in index_files(db)}
    change(db)
    fill(db, 150, 60)
    db.snapshot()
    newer = [path for path in index_files(db) if path.name not in older]
    copy = crashed(db, tmp_path / "crashed")
    damaged = next(copy.rglob(newer[0].name))
    damaged.write_bytes(damaged.read_bytes()[:-8] + b"\xff" * 8)
    again = start(copy)
    assert state(again) == state(db)
    assert 0 < again.recoveries["c"].from_sequence < db.sequence
    assert damaged.name in again.recoveries["c"].skipped[0]


@pytest.mark.parametrize("damage", ["deleted", "truncated", "stale", "empty", "swapped"])
def test_without_a_sound_index_it_is_built_again_from_the_records(
    db: EmbeddedEngine, start: Start, tmp_path: Path, damage: str
) -> None:
    fill(db)
    db.wait_indexed(60.0)
    db.snapshot()
    change(db)
    copy = crashed(db, tmp_path / "crashed")
    files = [path for path in (copy / "index").rglob("*") if path.is_file()]
    assert any(path.suffix == ".graph" for path in files)
    for path in files:
        if damage == "deleted":
            path.unlink()
        elif damage == "swapped":
            path.write_bytes(files[0].read_bytes() if path != files[0] else files[1].read_bytes())
        else:
            content = path.read_bytes()
            path.write_bytes({"truncated": content[:-1], "stale": content[::-1], "empty": b""}[damage])
    again = start(copy)
    assert state(again) == state(db)
    assert again.recoveries["c"].from_sequence == 0
    again.wait_indexed(60.0)
    again.snapshot()
    assert again.verify().ok


def test_an_index_older_than_the_oplog_is_not_used(
    db: EmbeddedEngine, start: Start, tmp_path: Path, clock: Any
) -> None:
    fill(db)
    db.snapshot()
    change(db)
    clock.now += chores.RETAIN_SECONDS + 1
    db._chores.purge()
    with db._environment.write() as transaction:
        db._store.unlog(transaction, 1, db.sequence - 1)
    again = start(crashed(db, tmp_path / "crashed"))
    assert state(again) == state(db)
    assert again.recoveries["c"].from_sequence == 0
    assert "oplog" in again.recoveries["c"].skipped[0]


def test_writes_between_reading_the_sequence_and_the_segments_are_not_lost(
    db: EmbeddedEngine, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(db)
    collection = db.collection("c")
    sequence = EmbeddedEngine.sequence

    def late(engine: EmbeddedEngine) -> int:
        """The sequence as the save reads it, with more writes right behind it."""
        found = engine._sequence
        monkeypatch.setattr(EmbeddedEngine, "sequence", sequence)
        change(engine)
        fill(engine, 150, 70)
        collection.seal(1)
        engine.write("c", [Delete("3"), Delete("160")]).result()
        return found

    monkeypatch.setattr(EmbeddedEngine, "sequence", property(late))
    db._chores.save_index(collection)
    again = start(crashed(db, tmp_path / "crashed"))
    assert 0 < again.recoveries["c"].from_sequence < db.sequence
    assert state(again) == state(db)


def test_saving_twice_at_one_sequence_never_writes_over_a_named_file(db: EmbeddedEngine) -> None:
    fill(db)
    db.collection("c").seal(1)
    db.snapshot()
    before = {path.name: path.read_bytes() for path in index_files(db)}
    db.wait_indexed(60.0)
    db.snapshot()
    after = {path.name: path.read_bytes() for path in index_files(db)}
    assert all(after[name] == content for name, content in before.items() if name in after)
    assert db.verify().ok


def test_a_loaded_graph_grows_in_the_next_session(db: EmbeddedEngine, start: Start) -> None:
    fill(db)
    db.collection("c").seal(1)
    db.wait_indexed(60.0)
    db.close()
    again = start()
    assert any(part.graph is not None for part in again.view("c").parts)
    fill(again, 150, 100)
    again.collection("c").seal(1)
    again.wait_indexed(60.0)
    assert len(again.view("c").parts) == 1
    before = state(again)
    again.close()
    assert state(start()) == before


def test_a_loaded_graph_whose_file_is_gone_is_built_anew_instead_of_grown(
    db: EmbeddedEngine, start: Start
) -> None:
    fill(db)
    db.collection("c").seal(1)
    db.wait_indexed(60.0)
    db.close()
    again = start()
    for path in index_files(again):
        path.unlink()
    fill(again, 150, 100)
    again.collection("c").seal(1)
    again.wait_indexed(60.0)
    assert len(again.view("c").parts) == 1
    assert again.view("c").count(Selection()) == 250


def test_a_changed_index_or_storage_is_remembered(db: EmbeddedEngine, start: Start) -> None:
    db.reindex("c", index="hnsw", storage="float16")
    fill(db)
    db.close()
    again = start()
    assert (again.view("c").spec.index, again.view("c").spec.storage) == ("hnsw", "float16")


@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.DOT])
def test_search_vectors_are_the_same_after_a_rebuild(
    db: EmbeddedEngine, start: Start, metric: Metric
) -> None:
    db.create_collection(CollectionSpec("m", 3, metric))
    db.write("m", [Put(f"{i}", row) for i, row in enumerate(rows(50))]).result()
    before = db.view("m").search(rows(5, 3), 50, Selection())
    db.close()
    after = start().view("m").search(rows(5, 3), 50, Selection())
    for a, b in zip(before, after, strict=True):
        assert a.ids() == b.ids()
        assert a.raw.tobytes() == b.raw.tobytes()


steps = st.lists(
    st.sampled_from(["fill", "change", "seal", "index", "save", "purge", "trim"]), min_size=1, max_size=8
)


@given(steps)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happened_a_crash_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, start: Start, clock: Any, done: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    db = start(folder / "db")
    db.create_collection(CollectionSpec("c", 3, Metric.L2))
    fill(db, 0, 150)
    for turn, step in enumerate(done):
        if step == "fill":
            fill(db, 200 + 40 * turn, 40)
        elif step == "change":
            change_or_skip(db)
        elif step == "seal":
            db.collection("c").seal(1)
        elif step == "index":
            db.wait_indexed(60.0)
        elif step == "save":
            db.snapshot()
        elif step == "purge":
            db._chores.purge()
        else:
            clock.now += chores.RETAIN_SECONDS + 1
            db._chores.trim()
    again = start(crashed(db, folder / "crashed"))
    assert state(again) == state(db)
    again.close()
    db.close()


def change_or_skip(db: EmbeddedEngine) -> None:
    if db.fetch("c", ["0"], 0.0) != [None]:  # what it patches is gone after the first time
        change(db)
