"""The distance scale u: when it is measured, from what, and for how long it stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db import DatabaseConfig, QuantumDatabase
from qstore_db.errors import ClosedError, DiskFullError
from qstore_db.search.scale import Scale, following, measure, milestone

MILESTONES = [64, 1_000, 2_000, 4_000, 8_000, 16_000]


@pytest.fixture
def db() -> Iterator[QuantumDatabase]:
    with QuantumDatabase() as database:
        yield database


def gaussian(n: int, d: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def add(db: QuantumDatabase, vectors: np.ndarray, start: int = 0, **options: Any) -> None:
    ids = [f"r{i:05}" for i in range(start, start + len(vectors))]
    db.insert_many(ids=ids, vectors=vectors, **options)


def scale(db: QuantumDatabase, name: str = "default") -> dict[str, Any]:
    stored: dict[str, Any] = db.stats()["collections"][name]["scale"]
    return stored


def used(db: QuantumDatabase, **options: Any) -> float:
    """The u that a query ranks by."""
    dimension = len(db.scroll(limit=1)[0].vector)
    return db.query(np.ones(dimension), top_k=1, **options)[0].explain().scale["u"]


def median_20th(vectors: np.ndarray, sample: Any = slice(None)) -> float:
    v = vectors.astype(np.float64)
    d2 = ((v[sample, None] - v[None]) ** 2).sum(axis=2)
    return float(np.median(np.sort(d2, axis=1)[:, 20]))  # [:, 0] is the record itself


@given(count=st.integers(0, 40_000))
def test_a_milestone_is_the_last_that_was_reached_and_the_following_one_the_next(count: int) -> None:
    borders = [0, *MILESTONES, 32_000, 64_000]
    assert milestone(count) == max(border for border in borders if border <= count)
    assert following(count) == min(border for border in borders if border > count)


def test_below_64_records_u_is_one(db: QuantumDatabase) -> None:
    add(db, 100 * gaussian(63))
    assert scale(db) == {"u": 1.0, "max_dot": 0.0, "count": 0, "version": 0}
    assert used(db) == 1.0


def test_from_64_records_on_u_is_the_median_squared_distance_to_the_20th_neighbour(
    db: QuantumDatabase,
) -> None:
    db.create_collection("default", dimension=4, metric="l2")
    vectors = gaussian(64)
    add(db, vectors)
    assert scale(db)["u"] == pytest.approx(median_20th(vectors))
    assert scale(db)["version"] == 1
    assert used(db) == scale(db)["u"]


def test_of_many_records_a_sample_is_measured(db: QuantumDatabase) -> None:
    db.create_collection("default", dimension=4, metric="l2")
    vectors = gaussian(2_000)
    add(db, vectors)
    assert scale(db)["u"] == pytest.approx(median_20th(vectors), rel=0.15)


def test_under_cosine_lengths_do_not_matter(db: QuantumDatabase) -> None:
    vectors = gaussian(100)
    db.create_collection("unit", dimension=4)
    db.create_collection("long", dimension=4)
    add(db, vectors / np.linalg.norm(vectors, axis=1)[:, None], collection="unit")
    add(db, vectors, collection="long")
    assert scale(db, "long")["u"] == pytest.approx(scale(db, "unit")["u"], rel=1e-5)


def test_single_inserts_measure_at_each_milestone_and_at_no_other_count(db: QuantumDatabase) -> None:
    vectors = gaussian(1_010)
    seen: list[tuple[int, int]] = []
    for i, vector in enumerate(vectors):
        db.insert(f"r{i}", vector)
        if i in (62, 63, 64, 500, 998, 999, 1_000):
            now = scale(db)
            seen.append((now["version"], now["count"]))
    assert seen == [(0, 0), (1, 64), (1, 64), (1, 64), (1, 64), (2, 1_000), (2, 1_000)]


def test_a_bulk_insert_is_measured_once_at_its_end(db: QuantumDatabase) -> None:
    add(db, gaussian(4_500))
    assert (scale(db)["version"], scale(db)["count"]) == (1, 4_500)
    add(db, gaussian(3_400), start=4_500)
    assert scale(db)["version"] == 1
    add(db, gaussian(100), start=7_900)
    assert (scale(db)["version"], scale(db)["count"]) == (2, 8_000)


def test_between_milestones_nothing_moves_u(db: QuantumDatabase) -> None:
    add(db, gaussian(100))
    before = scale(db)
    add(db, 50 * gaussian(800), start=100)
    db.delete(filter={})
    add(db, 1_000 * gaussian(990))
    db.upsert_many(ids=[f"r{i:05}" for i in range(900)], vectors=gaussian(900, seed=9))
    assert scale(db) == before


def test_expired_records_do_not_count(db: QuantumDatabase) -> None:
    add(db, gaussian(100), expires_at=[1.0] * 60 + [None] * 40)
    assert scale(db)["version"] == 0


def test_equal_collections_measure_equal_scales() -> None:
    found = []
    for _ in range(2):
        with QuantumDatabase() as db:
            add(db, gaussian(1_500))
            found.append(scale(db))
    assert found[0] == found[1]


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_duplicates_alone_leave_u_at_one(db: QuantumDatabase, metric: str) -> None:
    db.create_collection("default", dimension=4, metric=metric)
    add(db, np.ones((100, 4)))
    assert scale(db)["u"] == 1.0


def test_u_is_no_smaller_than_1e_12_of_the_mean_squared_distance(db: QuantumDatabase) -> None:
    db.create_collection("default", dimension=1, metric="l2")
    add(db, np.array([[0.0]] * 60 + [[1_000.0]] * 10))
    assert 0.0 < scale(db)["u"] < 1e-5


def test_max_dot_is_the_largest_product_whatever_the_order(db: QuantumDatabase) -> None:
    vectors = gaussian(1_500)
    largest = float((vectors.astype(np.float64) ** 2).sum(axis=1).max())
    for name, order in (("forth", slice(None)), ("back", slice(None, None, -1))):
        db.create_collection(name, dimension=4, metric="dot")
        add(db, vectors[order], collection=name)
        assert scale(db, name)["max_dot"] == largest


def test_max_dot_is_known_below_64_records_too(db: QuantumDatabase) -> None:
    db.create_collection("default", dimension=2, metric="dot")
    add(db, np.array([[3.0, 4.0], [1.0, 0.0]]))
    found = db.query([3.0, 4.0])
    assert found[0].explain().terms["distance"] == 0.0
    assert found[1].explain().terms["distance"] == -2.0 * (25.0 - 3.0)


def test_the_scale_survives_reopening(tmp_path: Path) -> None:
    with QuantumDatabase(DatabaseConfig(path=tmp_path / "db")) as db:
        add(db, gaussian(100))
        before, ranked = scale(db), used(db)
    with QuantumDatabase(DatabaseConfig(path=tmp_path / "db")) as db:
        assert scale(db) == before
        assert used(db) == ranked
        add(db, 9 * gaussian(800), start=100)
        assert scale(db) == before
        add(db, gaussian(100), start=900)
        assert scale(db)["version"] == 2


def test_the_scale_survives_a_rename(db: QuantumDatabase) -> None:
    add(db, gaussian(100))
    before = scale(db)
    db.rename_collection("default", "other")
    assert scale(db, "other") == before
    add(db, 9 * gaussian(800), start=100, collection="other")
    assert scale(db, "other") == before


def test_a_renamed_scale_survives_reopening(tmp_path: Path) -> None:
    with QuantumDatabase(DatabaseConfig(path=tmp_path / "db")) as db:
        add(db, gaussian(100))
        before = scale(db)
        db.rename_collection("default", "other")
    with QuantumDatabase(DatabaseConfig(path=tmp_path / "db")) as db:
        assert scale(db, "other") == before


def test_a_new_collection_does_not_inherit_the_scale_of_a_dropped_one(db: QuantumDatabase) -> None:
    add(db, gaussian(2_000))
    db.drop_collection("default")
    add(db, gaussian(10))
    assert scale(db)["version"] == 0
    add(db, 10 * gaussian(90), start=10)
    assert scale(db)["version"] == 1


def test_a_new_collection_does_not_inherit_a_scale_that_a_crash_left_behind(db: QuantumDatabase) -> None:
    db._edge.core.engine.catalog.put(
        "scale/default", {"u": 7.0, "max_dot": 0.0, "count": 10**6, "version": 9}
    )
    add(db, gaussian(100))
    assert scale(db)["version"] == 1


def test_a_scale_that_was_not_measured_before_a_crash_is_measured_by_the_first_search(tmp_path: Path) -> None:
    with QuantumDatabase(DatabaseConfig(path=tmp_path / "db")) as db:
        add(db, gaussian(100))
        before = scale(db)
        db._edge.core.engine.catalog.delete("scale/default")
    with QuantumDatabase(DatabaseConfig(path=tmp_path / "db")) as db:
        assert used(db) == before["u"]
        assert scale(db) == before


def test_a_scale_that_cannot_be_stored_fails_no_write_and_no_search(
    db: QuantumDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> int:
        raise DiskFullError("no space left")

    db.create_collection("default", dimension=4)
    monkeypatch.setattr(type(db._edge.core.engine.catalog), "put", full)
    add(db, gaussian(100))
    assert db.count() == 100
    assert used(db) != 1.0


def test_a_measurement_can_be_given_up_all_along(
    db: QuantumDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(db, gaussian(500))
    view = db._edge.core.engine.view("default")
    searched: list[int] = []
    search = type(view).search

    def counted(self: Any, queries: Any, *rest: Any) -> Any:
        searched.append(len(queries))
        return search(self, queries, *rest)

    def check() -> None:
        if len(searched) == 3:
            raise ClosedError("enough")

    monkeypatch.setattr(type(view), "search", counted)
    with pytest.raises(ClosedError, match="enough"):
        measure(view, 0.0, Scale(), check)
    assert len(searched) == 3
    assert sum(searched) < 256  # that are sampled


def test_a_pinned_scale_is_used_and_not_stored(db: QuantumDatabase) -> None:
    add(db, gaussian(100))
    before = scale(db)
    assert used(db, scale=3.5) == 3.5
    assert scale(db) == before
    assert used(db) == before["u"]


def test_a_pinned_scale_decides_how_much_a_context_counts(db: QuantumDatabase) -> None:
    db.create_collection("default", dimension=1, metric="l2")
    db.insert("near", [0.0], contexts={"a": 0.1, "b": 0.9})
    db.insert("far", [1.0], contexts={"a": 1.0})
    assert db.query([0.0], context="a", scale=0.01).ids == ["near", "far"]
    assert db.query([0.0], context="a", scale=100.0).ids == ["far", "near"]
