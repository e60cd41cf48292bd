"""create, rename, drop, list and reindex collections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    ArgumentError,
    CollectionExistsError,
    CollectionNotFoundError,
    DimensionError,
    DuplicateIdError,
)
from qstore_db.testing.databases.opening import Databases, Opening
from qstore_db.testing.databases.querying import filled


class CollectionsContract(Databases):
    def test_a_new_database_has_no_collection(self, db: QuantumDatabase) -> None:
        assert db.list_collections() == []

    def test_the_first_insert_makes_default_and_nothing_else_does(self, db: QuantumDatabase) -> None:
        db.query([1.0])
        db.count()
        db.scroll()
        assert db.list_collections() == []
        db.insert("a", [1.0, 2.0])
        assert db.list_collections() == ["default"]
        with pytest.raises(DimensionError) as caught:
            db.insert("b", [1.0])
        assert caught.value.subject == "default"

    def test_default_can_be_created_with_other_settings_first(self, db: QuantumDatabase) -> None:
        db.create_collection("default", dimension=1, metric="l2")
        db.insert("a", [3.0])
        assert db.query([1.0])[0].distance == 4.0

    def test_collections_are_apart(self, db: QuantumDatabase) -> None:
        db.create_collection("one", dimension=1)
        db.create_collection("two", dimension=2)
        db.insert("a", [1.0], collection="one")
        db.insert("a", [1.0, 2.0], collection="two")
        with pytest.raises(DuplicateIdError):
            db.insert("a", [1.0], collection="one")
        db.delete("a", collection="one")
        assert (db.count(collection="one"), db.count(collection="two")) == (0, 1)
        assert db.list_collections() == ["one", "two"]

    def test_creating_a_collection_twice_is_refused(self, db: QuantumDatabase) -> None:
        db.create_collection("c", dimension=3)
        with pytest.raises(CollectionExistsError) as caught:
            db.create_collection("c", dimension=3)
        assert caught.value.subject == "c"

    @pytest.mark.parametrize(
        ("parameter", "value", "subject"),
        [
            ("name", "", "collection"),
            ("name", "a/b", "collection"),
            ("name", "a\n", "collection"),
            ("name", "x" * 201, "collection"),
            ("name", 7, "collection"),
            ("dimension", 0, "dimension"),
            ("dimension", 2.0, "dimension"),
            ("metric", "manhattan", "metric"),
            ("index", "ivf", "index"),
            ("storage", "int8", "storage"),
            ("target_recall", 1.5, "target_recall"),
        ],
    )
    def test_a_setting_out_of_range_is_refused_by_name(
        self, db: QuantumDatabase, parameter: str, value: Any, subject: str
    ) -> None:
        with pytest.raises(ArgumentError) as caught:
            db.create_collection(**{"name": "c", "dimension": 2, parameter: value})
        assert caught.value.subject == subject
        assert db.list_collections() == []

    def test_a_renamed_collection_keeps_its_records(self, db: QuantumDatabase) -> None:
        db.create_collection("old", dimension=1)
        db.insert("a", [1.0], collection="old")
        db.rename_collection(old="old", new="new")
        assert db.list_collections() == ["new"]
        assert db.get("a", collection="new") is not None
        with pytest.raises(CollectionNotFoundError):
            db.get("a", collection="old")

    def test_a_rename_never_replaces_another_collection(self, db: QuantumDatabase) -> None:
        db.create_collection("one", dimension=1)
        db.create_collection("two", dimension=1)
        with pytest.raises(CollectionExistsError):
            db.rename_collection("one", "two")
        with pytest.raises(CollectionNotFoundError):
            db.rename_collection("three", "four")
        with pytest.raises(ArgumentError):
            db.rename_collection("one", "a/b")
        assert db.list_collections() == ["one", "two"]

    def test_a_dropped_collection_is_gone_at_once(self, db: QuantumDatabase) -> None:
        db.create_collection("c", dimension=1)
        db.insert("a", [1.0], collection="c")
        db.drop_collection("c")
        assert db.list_collections() == []
        with pytest.raises(CollectionNotFoundError):
            db.count(collection="c")
        with pytest.raises(CollectionNotFoundError):
            db.drop_collection("c")
        db.create_collection("c", dimension=2)
        assert db.count(collection="c") == 0

    def test_reindexing_changes_no_answer_and_no_record(self, db: QuantumDatabase) -> None:
        filled(db, n=3_000)
        before = db.query(np.ones(6), top_k=20).ids
        for index, storage in (("hnsw", "float16"), ("flat", None), ("auto", "float32")):
            db.reindex("default", index=index, storage=storage)  # type: ignore[arg-type]
            db.wait_indexed(timeout=120)
            found = db.query(np.ones(6), top_k=20)
            assert len(set(found.ids) & set(before)) >= 18
            assert db.count() == 3_000
        assert db.verify()["problems"] == ()

    def test_reindexing_to_flat_makes_answers_exact(self, db: QuantumDatabase) -> None:
        filled(db, n=3_000)
        db.wait_indexed(timeout=120)
        db.reindex("default", index="flat")
        db.wait_indexed(timeout=120)
        assert db.query(np.ones(6)).exact

    def test_reindexing_refuses_unknown_names(self, db: QuantumDatabase) -> None:
        filled(db, n=5)
        with pytest.raises(CollectionNotFoundError):
            db.reindex("typo", index="flat")
        with pytest.raises(ArgumentError) as caught:
            db.reindex("default", index="tree")  # type: ignore[arg-type]
        assert caught.value.subject == "index"

    def test_collections_and_their_settings_survive_reopening(self, opening: Opening, tmp_path: Path) -> None:
        first = opening(tmp_path / "db")
        first.create_collection(
            "c", dimension=1, metric="l2", index="flat", storage="float16", target_recall=0.9
        )
        first.create_collection("dropped", dimension=1)
        first.drop_collection("dropped")
        first.rename_collection("c", "d")
        first.insert("a", [3.0], collection="d")
        first.close()
        again = opening(tmp_path / "db")
        assert again.list_collections() == ["d"]
        assert again.query([1.0], collection="d")[0].distance == 4.0
