"""Groups: an update of one member moves numbers of the others, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    ArgumentError,
    CollectionNotFoundError,
    ConfigurationError,
    ContextError,
    GroupExistsError,
    GroupNotFoundError,
    IdError,
    MetadataError,
    QStoreError,
    RecordNotFoundError,
    VersionConflictError,
)
from qstore_db.records import Group, Record
from qstore_db.testing.databases.opening import Clock, Databases, Opening

INT64_MAX = (1 << 63) - 1


def held(db: QuantumDatabase, id: str, collection: str = "default") -> Record:
    record = db.get(id, collection=collection)
    assert record is not None
    return record


def number(db: QuantumDatabase, id: str, field: str = "n") -> Any:
    return held(db, id).metadata[field]


def filled(db: QuantumDatabase, **numbers: Any) -> None:
    """A record for each number, which it holds as "n"."""
    for i, (id, n) in enumerate(numbers.items()):
        db.insert(id, [1.0, float(i)], metadata={"n": n, "other": n})


class GroupsContract(Databases):
    def test_an_update_moves_the_others_by_the_correlation_times_its_change(
        self, db: QuantumDatabase
    ) -> None:
        filled(db, a=10, b=100, c=7.0, outside=1)
        db.create_group("g", ["a", "b", "c"], -0.5, fields=["n"])
        db.update("a", metadata={"n": 16, "other": 99})
        assert [number(db, id) for id in ("a", "b", "c", "outside")] == [16, 97, 4.0, 1]
        assert [number(db, id, "other") for id in ("a", "b", "c", "outside")] == [99, 100, 7.0, 1]

    def test_numbers_keep_their_kind_unless_an_int_would_not_be_whole(self, db: QuantumDatabase) -> None:
        filled(db, a=0, whole=3, part=3, real=3.0, big=2**60 + 1)
        db.create_group("tenth", ["a", "whole", "real"], 0.1, fields=["n"])
        db.create_group("half", ["a", "part"], 0.5, fields=["n"])
        db.create_group("all", ["a", "big"], 1.0, fields=["n"])
        db.update("a", metadata={"n": 30})
        assert [repr(number(db, id)) for id in ("whole", "part", "real")] == ["6", "18", "6.0"]
        db.update("a", metadata={"n": 31})
        assert [repr(number(db, id)) for id in ("whole", "part", "real")] == ["6.1", "18.5", "6.1"]
        assert number(db, "big") == 2**60 + 32

    def test_fields_may_lie_in_nested_maps(self, db: QuantumDatabase) -> None:
        for id in ("a", "b"):
            db.insert(id, [1.0], metadata={"box": {"deep": {"n": 1}, "m": 5}, "x": [1]})
        db.create_group("g", ["a", "b"], 1, fields=["box.deep.n", "x"])
        db.update("a", metadata={"box": {"deep": {"n": 4}}, "x": [9]})
        assert held(db, "b").metadata == {"box": {"deep": {"n": 4}, "m": 5}, "x": [1]}

    def test_vectors_and_expiry_never_move(self, db: QuantumDatabase, clock: Clock) -> None:
        filled(db, a=0)
        db.insert("b", [3.0, 4.0], metadata={"n": 0}, expires_at=clock.now + 100)
        db.create_group("g", ["a", "b"], 1.0, fields=["n"])
        db.update("a", vector=[0.5, -1.0], metadata={"n": 1})
        assert held(db, "b").vector.tolist() == [3.0, 4.0]
        assert held(db, "b").expires_at == clock.now + 100
        (found,) = db.query([3.0, 4.0], filter={"n": 1}, top_k=1)
        assert found.id == "b"
        assert found.distance == pytest.approx(0.0, abs=1e-6)

    def test_a_moved_record_moves_no_others(self, db: QuantumDatabase) -> None:
        filled(db, a=0, b=0, c=0)
        db.create_group("ab", ["a", "b"], 1.0, fields=["n"])
        db.create_group("bc", ["b", "c"], 1.0, fields=["n"])
        db.update("a", metadata={"n": 5})
        assert [number(db, id) for id in ("a", "b", "c")] == [5, 5, 0]

    def test_the_moves_of_several_groups_add_up_in_one_write(self, db: QuantumDatabase) -> None:
        filled(db, a=0, b=0, c=0)
        db.create_group("one", ["a", "b"], 0.5, fields=["n"])
        db.create_group("two", ["a", "b", "c"], -0.2, fields=["n"])
        before = db.stats()["sequence"]
        db.update("a", metadata={"n": 10})
        assert [number(db, id) for id in ("a", "b", "c")] == [10, 3, -2]
        assert db.stats()["sequence"] == before + 3

    def test_only_update_moves(self, db: QuantumDatabase) -> None:
        filled(db, a=0, b=0)
        db.create_group("g", ["a", "b"], 1.0, fields=["n"])
        db.upsert("a", [1.0, 1.0], metadata={"n": 7})
        db.delete("a")
        db.insert("a", [1.0, 1.0], metadata={"n": 9})
        assert number(db, "b") == 0

    def test_what_holds_no_number_takes_no_part(self, db: QuantumDatabase) -> None:
        filled(db, a=1, text="1", yes=True, null=None, listed=[1], mapped={"n": 1})
        db.insert("without", [1.0, 2.0])
        others = ["text", "yes", "null", "listed", "mapped", "without"]
        db.create_group("g", ["a", *others], 1.0, fields=["n"])
        before = [held(db, id) for id in others]
        for value in (5, True, "x", 3):  # through values that are no numbers, too
            db.update("a", metadata={"n": value})
        assert [held(db, id) for id in others] == before
        assert number(db, "yes") is True
        db.update("without", metadata={"n": 1_000})  # it held none before
        assert number(db, "a") == 3

    def test_a_member_counts_by_its_id_while_it_is_there(self, db: QuantumDatabase, clock: Clock) -> None:
        filled(db, a=0, gone=0, b=0)
        db.insert("old", [1.0, 1.0], metadata={"n": 0}, expires_at=clock.now + 10)
        db.create_group("g", ["a", "gone", "old", "b"], 1.0, fields=["n"])
        db.delete("gone")
        clock.now += 10
        db.update("a", metadata={"n": 1})
        assert db.get(["gone", "old"]) == [None, None]
        assert number(db, "b") == 1
        db.insert("gone", [1.0, 1.0], metadata={"n": 50})
        db.update("a", metadata={"n": 3})
        assert number(db, "gone") == 52

    def test_context_weights_move_and_are_normalised(self, db: QuantumDatabase) -> None:
        for id in ("a", "b", "none"):
            db.insert(id, [1.0], contexts={"x": 1.0, "y": 3.0} if id != "none" else None)
        db.create_group("g", ["a", "b", "none"], 0.5, fields=["context:x"])
        db.update("a", contexts={"x": 3.0, "y": 1.0})  # x from .25 to .75
        weights = dict(held(db, "b").contexts)
        assert weights == {"x": pytest.approx(0.5 / 1.25), "y": pytest.approx(0.75 / 1.25)}
        assert math.fsum(weights.values()) == pytest.approx(1.0)
        assert held(db, "none").contexts == ()
        assert [match.id for match in db.query([1.0], context="x")] == ["a", "b"]

    def test_a_context_weight_is_clamped_at_zero_and_may_come_back(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0], contexts={"x": 1.0, "y": 1.0})
        db.insert("b", [1.0], contexts={"x": 1.0, "z": 9.0})
        db.create_group("g", ["a", "b"], 1.0, fields=["context:x"])
        db.update("a", contexts={"y": 1.0})
        assert held(db, "b").contexts == (("z", 1.0),)
        db.update("a", contexts={"x": 1.0})
        assert dict(held(db, "b").contexts) == {"z": 0.5, "x": 0.5}

    def test_an_update_returns_its_own_version_which_is_the_last_of_its_ops(
        self, db: QuantumDatabase, clock: Clock
    ) -> None:
        filled(db, a=0, b=0)
        db.create_group("g", ["a", "b"], 1.0, fields=["n"])
        clock.now += 60
        sequence = db.update("a", metadata={"n": 1})
        assert (held(db, "a").version, held(db, "b").version) == (sequence, sequence - 1)
        assert held(db, "b").updated_at == clock.now
        assert db.update("a", metadata={"n": 2}, if_version=sequence) == sequence + 2

    def test_an_update_that_changes_no_field_of_the_group_writes_one_record(
        self, db: QuantumDatabase
    ) -> None:
        filled(db, a=0, b=0)
        db.create_group("g", ["a", "b"], 1.0, fields=["n"])
        db.create_group("still", ["a", "b"], 0.0, fields=["other"])
        version = held(db, "b").version
        db.update("a", metadata={"n": 0, "other": 5})
        assert held(db, "b").version == version

    def test_a_refused_update_moves_nothing(self, db: QuantumDatabase) -> None:
        filled(db, a=0, b=0)
        db.create_group("g", ["a", "b"], 1.0, fields=["n"])
        with pytest.raises(VersionConflictError):
            db.update("a", metadata={"n": 1}, if_version=99)
        db.delete("a")
        with pytest.raises(RecordNotFoundError):
            db.update("a", metadata={"n": 1})
        assert number(db, "b") == 0

    @pytest.mark.parametrize(
        ("start", "stuck", "change"), [(0, INT64_MAX, 1), (0.0, -(2**63), -1.0), (0.0, 1.7e308, 1.7e308)]
    )
    def test_a_move_beyond_the_storable_numbers_is_refused_whole(
        self, db: QuantumDatabase, start: Any, stuck: Any, change: Any
    ) -> None:
        filled(db, a=start, fine=0.5, stuck=stuck)
        db.create_group("g", ["a", "fine", "stuck"], 1.0, fields=["n"])
        before = db.get(["a", "fine", "stuck"]), db.stats()["sequence"]
        with pytest.raises(MetadataError) as caught:
            db.update("a", metadata={"n": change})
        assert caught.value.subject == "stuck"
        assert (db.get(["a", "fine", "stuck"]), db.stats()["sequence"]) == before
        db.drop_group("g")
        db.update("a", metadata={"n": change})  # nothing of the refused one is left in the way
        assert [record.id for record in db.scroll()] == ["fine", "stuck", "a"]
        assert db.verify()["problems"] == ()

    def test_a_move_that_leaves_no_state_is_refused_whole(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0], contexts={"x": 1.0})
        db.insert("b", [1.0], contexts={"x": 0.3})
        db.insert("many", [1.0], contexts={f"c{i}": 1.0 for i in range(64)})
        db.create_group("g", ["a", "b"], 1.0, fields=["context:x"])
        db.create_group("h", ["a", "many"], 1.0, fields=["context:y"])
        for contexts, subject in (({"z": 1.0}, "b"), ({"x": 1.0, "y": 1e-3}, "many")):
            before = db.get(["a", "b", "many"])
            with pytest.raises(ContextError) as caught:
                db.update("a", contexts=contexts)
            assert caught.value.subject == subject
            assert db.get(["a", "b", "many"]) == before

    def test_a_thousand_others_move_at_once(self, db: QuantumDatabase) -> None:
        ids = [f"r{i}" for i in range(1_001)]
        db.insert_many(ids=ids, vectors=np.ones((1_001, 2)), metadata=[{"n": i} for i in range(1_001)])
        db.create_group("g", ids, 1.0, fields=["n"])
        before = db.stats()["commits"]
        sequence = db.update("r0", metadata={"n": 1_000_000})
        assert db.stats()["commits"] == before + 1
        records = [held(db, id) for id in ids]
        assert [record.metadata["n"] for record in records[1:]] == [1_000_000 + i for i in range(1, 1_001)]
        assert sorted(record.version for record in records) == list(range(sequence - 1_000, sequence + 1))
        assert db.count({"n": {"$gte": 1_000_000}}) == db.count() == 1_001
        assert db.verify()["problems"] == ()

    def test_groups_outlast_a_restart(self, opening: Opening, tmp_path: Path) -> None:
        db = opening(tmp_path / "db")
        filled(db, a=0, b=0)
        db.create_group("g", ["a", "b"], 0.25, fields=["n", "context:x"])
        db.create_group("dropped", ["a", "b"], 1.0, fields=["n"])
        db.drop_group("dropped")
        db.close()
        db = opening(tmp_path / "db")
        assert db.list_groups() == [Group("g", "default", ("a", "b"), 0.25, ("n", "context:x"))]
        db.update("a", metadata={"n": 8})
        assert number(db, "b") == 2
        db.close()
        assert number(opening(tmp_path / "db"), "b") == 2

    def test_groups_follow_their_collection(self, opening: Opening, tmp_path: Path) -> None:
        db = opening(tmp_path / "db")
        for name in ("one", "two"):
            db.create_collection(name, dimension=1)
            for id in ("a", "b"):
                db.insert(id, [1.0], metadata={"n": 0}, collection=name)
            db.create_group(f"of {name}", ["a", "b"], 1.0, fields=["n"], collection=name)
        db.rename_collection("one", "uno")
        for _ in range(2):
            assert [(group.name, group.collection) for group in db.list_groups()] == [
                ("of one", "uno"),
                ("of two", "two"),
            ]
            db.close()
            db = opening(tmp_path / "db")
        db.update("a", metadata={"n": 3}, collection="uno")
        assert held(db, "b", "uno").metadata["n"] == 3
        assert held(db, "b", "two").metadata["n"] == 0
        db.drop_collection("uno")
        for _ in range(2):
            assert [group.name for group in db.list_groups()] == ["of two"]
            with pytest.raises(GroupNotFoundError):
                db.drop_group("of one")
            db.close()
            db = opening(tmp_path / "db")

    def test_a_dropped_group_moves_nothing_and_leaves_its_name_free(self, db: QuantumDatabase) -> None:
        filled(db, a=0, b=0, c=0)
        db.create_group("g", ["a", "b"], 1.0, fields=["n"])
        db.create_group("kept", ["a", "c"], 1.0, fields=["n"])
        db.drop_group("g")
        db.update("a", metadata={"n": 1})
        assert (number(db, "b"), number(db, "c")) == (0, 1)
        with pytest.raises(GroupNotFoundError) as caught:
            db.drop_group("g")
        assert caught.value.subject == "g"
        db.create_group("g", ["b", "c"], 1.0, fields=["n"])
        assert [group.name for group in db.list_groups()] == ["g", "kept"]

    def test_a_name_is_taken_in_every_collection(self, db: QuantumDatabase) -> None:
        filled(db, a=0, b=0)
        db.create_collection("other", dimension=1)
        db.insert_many(ids=["a", "b"], vectors=[[1.0], [2.0]], collection="other")
        db.create_group("g", ["a", "b"], 1.0, fields=["n"])
        known = db.list_groups()
        with pytest.raises(GroupExistsError) as caught:
            db.create_group("g", ["a", "b"], 0.5, fields=["n"], collection="other")
        assert caught.value.subject == "g"
        assert db.list_groups() == known

    @pytest.mark.parametrize(
        ("wrong", "kind", "subject"),
        [
            ({"name": ""}, ArgumentError, "group"),
            ({"name": "a/b"}, ArgumentError, "group"),
            ({"name": "x" * 201}, ArgumentError, "group"),
            ({"name": None}, ArgumentError, "group"),
            ({"ids": "ab"}, ArgumentError, "ids"),
            ({"ids": ["a"]}, ArgumentError, "ids"),
            ({"ids": []}, ArgumentError, "ids"),
            ({"ids": ["a", "b", "a"]}, ArgumentError, "ids"),
            ({"ids": [f"r{i}" for i in range(1_002)]}, ArgumentError, "ids"),
            ({"ids": ["a", ""]}, IdError, ""),
            ({"ids": ["a", "missing", "lost"]}, RecordNotFoundError, "missing"),
            ({"correlation": 1.01}, ArgumentError, "correlation"),
            ({"correlation": math.nan}, ArgumentError, "correlation"),
            ({"correlation": True}, ArgumentError, "correlation"),
            ({"correlation": "1"}, ArgumentError, "correlation"),
            ({"fields": "n"}, ArgumentError, "fields"),
            ({"fields": []}, ArgumentError, "fields"),
            ({"fields": ["n", "n"]}, ArgumentError, "fields"),
            ({"fields": [1]}, ArgumentError, "fields"),
            ({"fields": ["a..b"]}, ArgumentError, "fields"),
            ({"fields": ["$n"]}, ArgumentError, "fields"),
            ({"fields": ["\ud800"]}, ArgumentError, "fields"),
            ({"fields": [".".join("n" * 17)]}, ArgumentError, "fields"),
            ({"fields": [f"n{i}" for i in range(65)]}, ArgumentError, "fields"),
            ({"fields": ["context:"]}, ContextError, "contexts"),
            ({"collection": "nowhere"}, CollectionNotFoundError, "nowhere"),
        ],
        ids=repr,
    )
    def test_a_group_that_is_none_is_refused_by_name(
        self, db: QuantumDatabase, wrong: dict[str, Any], kind: type[QStoreError], subject: str
    ) -> None:
        filled(db, a=0, b=0)
        good: dict[str, Any] = {"name": "g", "ids": ["a", "b"], "correlation": 1.0, "fields": ["n"]}
        with pytest.raises(QStoreError) as caught:
            db.create_group(**{**good, **wrong})
        assert (type(caught.value), caught.value.subject) == (kind, subject)
        assert db.list_groups() == []
        db.update("a", metadata={"n": 1})
        assert number(db, "b") == 0
        db.create_group(**good)

    def test_context_fields_are_refused_where_contexts_are_switched_off(self, opening: Opening) -> None:
        db = opening(enable_superposition=False)
        filled(db, a=0, b=0)
        with pytest.raises(ConfigurationError):
            db.create_group("g", ["a", "b"], 1.0, fields=["context:x"])
        db.create_group("g", ["a", "b"], 1.0, fields=["n"])
