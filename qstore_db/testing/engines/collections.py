"""Collections: created, renamed, dropped."""

from __future__ import annotations

import pytest

from qstore_db.engines.base import CollectionSpec, Delete, Engine
from qstore_db.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
)
from qstore_db.records import Metric
from qstore_db.testing.engines.support import NOW, ids_of, put, vector


class Collections:
    """An engine knows its collections by name."""

    def test_a_created_collection_is_listed_as_it_was_asked_for(self, engine: Engine) -> None:
        spec = CollectionSpec("d", 5, Metric.DOT, "flat", target_recall=0.9)
        engine.create_collection(spec)
        assert spec in engine.collections()
        assert engine.view("d").spec == spec

    def test_creating_a_collection_twice_is_refused_by_name(self, engine: Engine) -> None:
        with pytest.raises(CollectionExistsError) as caught:
            engine.create_collection(CollectionSpec("c", 3))
        assert caught.value.subject == "c"

    def test_an_unknown_collection_is_refused_by_name(self, engine: Engine) -> None:
        for call in (
            lambda: engine.view("nowhere"),
            lambda: engine.fetch("nowhere", ["a"], NOW),
            lambda: engine.write("nowhere", [Delete("a")]).result(),
            lambda: engine.drop_collection("nowhere"),
            lambda: engine.rename_collection("nowhere", "c"),
        ):
            with pytest.raises(CollectionNotFoundError) as caught:
                call()
            assert caught.value.subject == "nowhere"

    def test_a_renamed_collection_keeps_its_records(self, engine: Engine) -> None:
        put(engine, "a", vector(1, 2, 3))
        engine.rename_collection("c", "d")
        assert [spec.name for spec in engine.collections()] == ["d"]
        assert ids_of(engine.view("d"), vector(1, 2, 3)) == ["a"]

    def test_a_collection_is_not_renamed_onto_another(self, engine: Engine) -> None:
        engine.create_collection(CollectionSpec("d", 3))
        with pytest.raises(CollectionExistsError):
            engine.rename_collection("c", "d")
        assert len(engine.collections()) == 2

    def test_a_dropped_collection_is_gone_and_its_name_is_free(self, engine: Engine) -> None:
        put(engine, "a", vector(1, 2, 3))
        engine.drop_collection("c")
        assert engine.collections() == []
        engine.create_collection(CollectionSpec("c", 2, Metric.L2))
        assert engine.fetch("c", ["a"], NOW) == [None]
        assert ids_of(engine.view("c"), vector(1, 2)) == []
