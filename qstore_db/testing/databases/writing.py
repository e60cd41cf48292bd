"""insert, upsert, update and delete, one record at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    ArgumentError,
    CollectionNotFoundError,
    ConfigurationError,
    DuplicateIdError,
    FilterError,
    RecordNotFoundError,
    VersionConflictError,
)
from qstore_db.records import Record
from qstore_db.testing.databases.opening import Clock, Databases, Opening

METADATA: dict[str, Any] = {
    "text": "naïve ☃",
    "int": 2**53 + 1,
    "float": 1.0,
    "flag": True,
    "nothing": None,
    "list": [1, 1.0, "1", False, None, [2]],
    "box": {"inner": {"deep": -1}},
}


def stored(db: QuantumDatabase, id: str, **options: Any) -> Record:
    record = db.get(id, **options)
    assert record is not None
    return record


class Tensor:
    """What a torch tensor on a device shows of itself, so that torch need not be there."""

    def __init__(self, values: list[float]) -> None:
        self._values = values

    def detach(self) -> Tensor:
        return Tensor(self._values)

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> np.ndarray[Any, Any]:
        return np.array(self._values, np.float32)


class WritingContract(Databases):
    def test_an_inserted_record_comes_back_with_all_its_parts(
        self, db: QuantumDatabase, clock: Clock
    ) -> None:
        sequence = db.insert(
            id="a",
            vector=[1.0, 2.0],
            contexts=[("classification", 3.0), ("retrieval", 1.0)],
            metadata=METADATA,
            expires_at=clock.now + 60,
        )
        record = stored(db, "a")
        assert record.id == "a"
        assert record.vector.dtype == np.float32
        assert record.vector.tolist() == [1.0, 2.0]
        assert record.contexts == (("classification", 0.75), ("retrieval", 0.25))
        assert record.raw_contexts == (("classification", 3.0), ("retrieval", 1.0))
        assert record.version == sequence
        assert record.expires_at == clock.now + 60
        assert record.updated_at == clock.now

    def test_metadata_keeps_its_types(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0], metadata=METADATA)
        assert repr(dict(stored(db, "a").metadata)) == repr(METADATA)

    def test_op_sequences_rise_with_every_write(self, db: QuantumDatabase) -> None:
        given = [db.insert("a", [1.0]), db.upsert("a", [2.0]), db.update("a", metadata={"n": 1})]
        assert given == sorted(set(given))
        assert given[0] >= 1

    @pytest.mark.parametrize(
        "vector",
        [
            [1, 2],
            (1.0, 2.0),
            np.array([1, 2], np.int64),
            np.array([1, 2], np.float64),
            np.array([[1, 9, 2, 9]], np.float32)[0, ::2],
            Tensor([1.0, 2.0]),
        ],
        ids=["list", "tuple", "int64", "float64", "strided", "tensor"],
    )
    def test_a_vector_of_any_numeric_kind_is_kept_as_float32(self, db: QuantumDatabase, vector: Any) -> None:
        db.insert("a", vector)
        assert stored(db, "a").vector.tobytes() == np.array([1, 2], np.float32).tobytes()

    def test_a_vector_comes_back_bit_for_bit_under_cosine(self, db: QuantumDatabase) -> None:
        vector = np.array([3e-39, -0.0, 1e38, 0.1], np.float32)
        db.insert("a", vector)
        assert stored(db, "a").vector.tobytes() == vector.tobytes()

    def test_changing_an_array_after_an_insert_changes_nothing_stored(self, db: QuantumDatabase) -> None:
        vector = np.ones(2, np.float32)
        db.insert("a", vector)
        vector[:] = 7
        assert stored(db, "a").vector.tolist() == [1.0, 1.0]

    def test_contexts_may_be_pairs_or_a_mapping(self, db: QuantumDatabase) -> None:
        db.insert("pairs", [1.0], contexts=[("c", 1.0), ("d", 0.0)])
        db.insert("mapping", [1.0], contexts={"c": 2.0})
        assert stored(db, "pairs").contexts == stored(db, "mapping").contexts == (("c", 1.0),)

    def test_a_record_without_contexts_and_metadata_has_none(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0])
        record = stored(db, "a")
        assert (record.contexts, dict(record.metadata), record.expires_at) == ((), {}, None)

    def test_inserting_an_id_twice_is_refused_and_keeps_the_first(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0], metadata={"n": 1})
        before = stored(db, "a")
        with pytest.raises(DuplicateIdError) as caught:
            db.insert("a", [2.0])
        assert caught.value.subject == "a"
        assert stored(db, "a") == before

    def test_upsert_replaces_the_whole_record(self, db: QuantumDatabase, clock: Clock) -> None:
        db.upsert("a", [1.0], contexts={"c": 1.0}, metadata={"n": 1}, expires_at=clock.now + 9)
        sequence = db.upsert("a", [2.0])
        record = stored(db, "a")
        assert record.vector.tolist() == [2.0]
        assert (record.contexts, dict(record.metadata), record.expires_at) == ((), {}, None)
        assert record.version == sequence
        assert db.count() == 1

    # Update

    def test_update_changes_only_what_it_names(self, db: QuantumDatabase, clock: Clock) -> None:
        db.insert("a", [1.0], contexts={"c": 1.0}, metadata={"x": 1, "y": {"z": 2}}, expires_at=clock.now + 9)
        db.update("a", metadata={"y": 3, "w": 4})
        record = stored(db, "a")
        assert record.vector.tolist() == [1.0]
        assert record.contexts == (("c", 1.0),)
        assert dict(record.metadata) == {"x": 1, "y": 3, "w": 4}
        assert record.expires_at == clock.now + 9

    def test_update_replaces_the_vector(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0, 0.0], metadata={"n": 1})
        db.update("a", vector=[0.0, 1.0])
        assert stored(db, "a").vector.tolist() == [0.0, 1.0]
        assert db.query([0.0, 1.0])[0].distance == 0.0

    def test_update_replaces_all_contexts(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0], contexts={"c": 1.0, "d": 1.0})
        db.update("a", contexts={"e": 2.0})
        assert stored(db, "a").contexts == (("e", 1.0),)

    def test_update_with_an_empty_list_removes_the_contexts(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0], contexts={"c": 1.0})
        db.update("a", contexts=[])
        assert stored(db, "a").contexts == ()

    def test_update_of_an_absent_record_is_refused(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0])
        with pytest.raises(RecordNotFoundError) as caught:
            db.update("b", metadata={"n": 1})
        assert caught.value.subject == "b"
        assert db.count() == 1

    def test_update_of_nothing_is_refused(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0])
        with pytest.raises(ArgumentError):
            db.update("a")

    def test_update_at_the_current_version_is_made(self, db: QuantumDatabase) -> None:
        version = db.insert("a", [1.0])
        later = db.update("a", metadata={"n": 1}, if_version=version)
        assert stored(db, "a").version == later > version

    def test_update_at_another_version_changes_nothing(self, db: QuantumDatabase) -> None:
        version = db.insert("a", [1.0])
        db.update("a", metadata={"n": 1})
        before = stored(db, "a")
        with pytest.raises(VersionConflictError) as caught:
            db.update("a", metadata={"n": 2}, if_version=version)
        assert caught.value.subject == "a"
        assert stored(db, "a") == before

    # Delete

    def test_delete_says_how_many_there_were(self, db: QuantumDatabase) -> None:
        db.insert_many(ids=list("abcd"), vectors=np.ones((4, 2)))
        assert db.delete("a") == 1
        assert db.delete("a") == 0
        assert db.delete(["b", "x", "c"]) == 2
        assert db.get(list("abcd"))[:3] == [None, None, None]
        assert db.count() == 1

    def test_delete_by_filter_removes_what_matches(self, db: QuantumDatabase) -> None:
        db.insert_many(ids=list("abcd"), vectors=np.ones((4, 2)), metadata=[{"n": n} for n in range(4)])
        assert db.delete(filter={"n": {"$gte": 2}}) == 2
        assert [record.id for record in db.scroll()] == ["a", "b"]

    def test_delete_by_an_empty_list_removes_nothing(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0])
        assert db.delete([]) == 0
        assert db.count() == 1

    def test_delete_needs_either_ids_or_a_filter(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0])
        with pytest.raises(ArgumentError):
            db.delete()
        with pytest.raises(ArgumentError):
            db.delete("a", filter={"n": 1})
        with pytest.raises(FilterError):
            db.delete(filter={"n": {"$like": "x"}})
        assert db.count() == 1

    def test_a_deleted_id_can_be_inserted_again(self, db: QuantumDatabase) -> None:
        first = db.insert("a", [1.0])
        db.delete("a")
        assert db.insert("a", [2.0]) > first
        assert stored(db, "a").vector.tolist() == [2.0]

    # Everywhere

    def test_every_write_is_read_at_once(self, db: QuantumDatabase) -> None:
        for n in range(20):
            db.upsert("a", [1.0, float(n)], contexts={f"c{n}": 1.0}, metadata={"n": n})
            assert stored(db, "a").metadata["n"] == n
            assert db.count({"n": n}) == 1
            assert [match.metadata["n"] for match in db.query([1.0, 0.0], context=f"c{n}")] == [n]

    def test_a_record_expires_for_every_read(self, db: QuantumDatabase, clock: Clock) -> None:
        db.insert("gone", [1.0, 0.0], contexts={"c": 1.0}, expires_at=clock.now + 10)
        db.insert("stays", [1.0, 0.1], contexts={"c": 1.0}, expires_at=clock.now + 10.5)
        clock.now += 10
        assert db.get("gone") is None
        assert db.query([1.0, 0.0]).ids == ["stays"]
        assert db.query([1.0, 0.0], context="c").ids == ["stays"]
        assert db.tunnel_search([1.0, 0.0], beyond_only=False).ids == ["stays"]
        assert [record.id for record in db.scroll()] == ["stays"]
        assert db.count() == 1
        with pytest.raises(RecordNotFoundError):
            db.update("gone", metadata={"n": 1})
        assert db.delete("gone") == 0

    def test_an_expired_id_can_be_inserted_again(self, db: QuantumDatabase, clock: Clock) -> None:
        db.insert("a", [1.0], expires_at=clock.now + 10)
        clock.now += 10
        db.insert("a", [2.0])
        assert stored(db, "a").vector.tolist() == [2.0]

    def test_expires_at_may_be_a_datetime(self, db: QuantumDatabase) -> None:
        when = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
        db.insert("a", [1.0], expires_at=when)
        assert stored(db, "a").expires_at == when.timestamp()

    def test_a_refused_write_leaves_no_trace(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0, 2.0])
        before = db.stats()["sequence"]
        refused: list[tuple[list[float], dict[str, Any]]] = [
            ([1.0], {}),
            ([1.0, float("nan")], {}),
            ([0.0, 0.0], {}),
            ([1.0, 2.0], {"contexts": {"c": -1.0}}),
            ([1.0, 2.0], {"metadata": {"n": {1, 2}}}),
            ([1.0, 2.0], {"expires_at": "tomorrow"}),
        ]
        for vector, options in refused:
            with pytest.raises(ValueError):
                db.insert("b", vector, **options)
        assert db.stats()["sequence"] == before
        assert db.get("b") is None

    def test_writes_to_an_unknown_collection_are_refused(self, db: QuantumDatabase) -> None:
        calls: list[Callable[[], object]] = [
            lambda: db.insert("a", [1.0], collection="typo"),
            lambda: db.upsert("a", [1.0], collection="typo"),
            lambda: db.update("a", metadata={}, collection="typo"),
            lambda: db.delete("a", collection="typo"),
            lambda: db.insert_many(ids=["a"], vectors=[[1.0]], collection="typo"),
        ]
        for call in calls:
            with pytest.raises(CollectionNotFoundError) as caught:
                call()
            assert caught.value.subject == "typo"
        assert db.list_collections() == []

    def test_contexts_are_refused_where_superposition_is_switched_off(self, opening: Opening) -> None:
        plain = opening(enable_superposition=False)
        plain.insert("a", [1.0])
        calls: list[Callable[[], object]] = [
            lambda: plain.insert("b", [1.0], contexts={"c": 1.0}),
            lambda: plain.insert_many(ids=["b"], vectors=[[1.0]], contexts=[{"c": 1.0}]),
            lambda: plain.update("a", contexts={"c": 1.0}),
            lambda: plain.query([1.0], context="c"),
            lambda: plain.tunnel_search([1.0], context="c"),
        ]
        for call in calls:
            with pytest.raises(ConfigurationError) as caught:
                call()
            assert caught.value.subject == "enable_superposition"
        assert plain.count() == 1

    def test_acknowledged_writes_are_there_after_reopening(self, opening: Opening, tmp_path: Path) -> None:
        first = opening(tmp_path / "db")
        first.insert("a", [1.0, 2.0], contexts={"c": 1.0}, metadata=METADATA)
        first.insert("b", [1.0, 2.0])
        first.delete("b")
        before, sequence = stored(first, "a"), first.stats()["sequence"]
        first.close()
        again = opening(tmp_path / "db")
        assert stored(again, "a") == before
        assert again.get("b") is None
        assert again.insert("c", [1.0, 2.0]) == sequence + 1
