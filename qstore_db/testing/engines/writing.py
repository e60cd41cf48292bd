"""Writing records and reading them back by id."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given

from qstore_db.engines.base import Delete, DeleteWhere, Engine, Patch, Put, Selection, Write
from qstore_db.errors import (
    DuplicateIdError,
    RecordNotFoundError,
    VersionConflictError,
)
from qstore_db.records import Metadata, Superposition, Vectors, parse_filter
from qstore_db.testing import strategies
from qstore_db.testing.engines.support import FAR, NOW, each_example_afresh, ids_of, put, vector


class Writing:
    """What is acknowledged is there, whole, and nothing else is."""

    def test_a_written_record_comes_back_as_it_was(self, engine: Engine) -> None:
        metadata: Metadata = {
            "i": 2**53 + 1,
            "f": 1.0,
            "s": "ä",
            "b": True,
            "n": None,
            "l": [1, "x"],
            "m": {"k": 1},
        }
        contexts = Superposition.parse([("a", 3.0), ("b", 1.0)])
        sequence = put(engine, "id", vector(1, 2.5, -3), contexts=contexts, metadata=metadata, expires_at=FAR)
        (record,) = engine.fetch("c", ["id"], NOW)
        assert record is not None
        assert (record.id, record.version, record.expires_at) == ("id", sequence, FAR)
        assert record.metadata == metadata
        assert {k: type(v) for k, v in record.metadata.items()} == {k: type(v) for k, v in metadata.items()}
        assert record.contexts == (("a", 0.75), ("b", 0.25))
        assert record.raw_contexts == (("a", 3.0), ("b", 1.0))
        if engine.capabilities.vectors == "exact":
            assert record.vector.tobytes() == vector(1, 2.5, -3).tobytes()

    def test_fetch_keeps_the_order_asked_for_and_says_none_for_what_is_absent(self, engine: Engine) -> None:
        engine.write("c", [Put("a", vector(1, 1, 1)), Put("b", vector(2, 2, 2))]).result()
        found = engine.fetch("c", ["b", "x", "a", "b"], NOW)
        assert [record and record.id for record in found] == ["b", None, "a", "b"]

    @each_example_afresh
    @given(strategies.metadata(), strategies.superpositions(), strategies.vectors(3))
    def test_any_valid_record_survives_the_round_trip(
        self, engine: Engine, metadata: Metadata, contexts: list[tuple[str, float]], values: Vectors
    ) -> None:
        put(engine, "id", values, contexts=Superposition.parse(contexts), metadata=metadata)
        (record,) = engine.fetch("c", ["id"], NOW)
        assert record is not None
        assert record.metadata == metadata
        assert record.contexts == Superposition.parse(contexts).pairs()

    def test_a_second_put_replaces_the_whole_record(self, engine: Engine) -> None:
        first = put(engine, "a", vector(1, 1, 1), metadata={"x": 1, "y": 1}, expires_at=FAR)
        second = put(engine, "a", vector(2, 2, 2), metadata={"x": 2})
        (record,) = engine.fetch("c", ["a"], NOW)
        assert record is not None
        assert (record.metadata, record.expires_at, record.version) == ({"x": 2}, None, second)
        assert second > first
        assert engine.view("c").count(Selection(now=NOW)) == 1

    def test_an_exclusive_put_of_an_id_that_exists_is_refused_by_name(self, engine: Engine) -> None:
        if not engine.capabilities.insert_if_absent:
            return
        put(engine, "a", vector(1, 1, 1), metadata={"x": 1})
        with pytest.raises(DuplicateIdError) as caught:
            put(engine, "a", vector(2, 2, 2), exclusive=True)
        assert caught.value.subject == "a"
        (record,) = engine.fetch("c", ["a"], NOW)
        assert record is not None
        assert record.metadata == {"x": 1}

    def test_an_exclusive_put_over_an_expired_record_succeeds(self, engine: Engine) -> None:
        put(engine, "a", vector(1, 1, 1), expires_at=NOW - 1)
        put(engine, "a", vector(2, 2, 2), exclusive=True)
        assert engine.view("c").count(Selection(now=NOW)) == 1

    def test_a_patch_changes_what_it_names_and_keeps_the_rest(self, engine: Engine) -> None:
        contexts = Superposition.parse([("a", 1.0)])
        put(engine, "a", vector(1, 1, 1), contexts=contexts, metadata={"x": 1, "m": {"k": 1}}, expires_at=FAR)
        engine.write("c", [Patch("a", metadata={"m": {"z": 2}, "y": 3})]).result()
        (record,) = engine.fetch("c", ["a"], NOW)
        assert record is not None
        assert record.metadata == {"x": 1, "m": {"z": 2}, "y": 3}
        assert (record.contexts, record.expires_at) == ((("a", 1.0),), FAR)
        engine.write("c", [Patch("a", vector=vector(5, 5, 5), contexts=Superposition())]).result()
        (record,) = engine.fetch("c", ["a"], NOW)
        assert record is not None
        assert record.contexts == ()
        assert record.metadata["y"] == 3
        assert engine.view("c").search(vector(5, 5, 5)[None], 1, Selection(now=NOW))[0].raw.tolist() == [0.0]

    def test_a_patch_of_what_is_not_there_is_refused_by_name(self, engine: Engine) -> None:
        put(engine, "expired", vector(1, 1, 1), expires_at=NOW - 1)
        for id in ("absent", "expired"):
            with pytest.raises(RecordNotFoundError) as caught:
                engine.write("c", [Patch(id, metadata={"x": 1})]).result()
            assert caught.value.subject == id

    def test_a_patch_of_an_older_version_is_refused(self, engine: Engine) -> None:
        if not engine.capabilities.compare_and_set:
            return
        first = put(engine, "a", vector(1, 1, 1))
        second = engine.write("c", [Patch("a", metadata={"x": 1}, if_version=first)]).result().sequence
        with pytest.raises(VersionConflictError) as caught:
            engine.write("c", [Patch("a", metadata={"x": 2}, if_version=first)]).result()
        assert caught.value.subject == "a"
        engine.write("c", [Patch("a", metadata={"x": 3}, if_version=second)]).result()

    def test_compare_and_set_from_many_threads_loses_no_update(self, engine: Engine) -> None:
        if not engine.capabilities.compare_and_set:
            return
        put(engine, "a", vector(1, 1, 1), metadata={"n": 0})

        def add_five() -> None:
            for _ in range(5):
                while True:
                    (record,) = engine.fetch("c", ["a"], NOW)
                    assert record is not None
                    number = record.metadata["n"]
                    assert isinstance(number, int)
                    try:
                        patch = Patch("a", metadata={"n": number + 1}, if_version=record.version)
                        engine.write("c", [patch]).result()
                        break
                    except VersionConflictError:
                        continue

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(add_five) for _ in range(4)]:
                done.result()
        (record,) = engine.fetch("c", ["a"], NOW)
        assert record is not None
        assert record.metadata["n"] == 20

    def test_deletes_count_what_they_removed(self, engine: Engine) -> None:
        engine.write("c", [Put(id, vector(1, 1, 1)) for id in "abc"]).result()
        assert engine.write("c", [Delete("a"), Delete("a"), Delete("x"), Delete("b")]).result().count == 2
        assert [r and r.id for r in engine.fetch("c", ["a", "b", "c"], NOW)] == [None, None, "c"]

    def test_delete_where_removes_the_whole_selection_and_nothing_else(self, engine: Engine) -> None:
        writes = [Put(f"{i}", vector(i, 0, 1), metadata={"i": i}) for i in range(20)]
        engine.write("c", writes).result()
        doomed = Selection(parse_filter({"i": {"$gte": 5}}), now=NOW)
        assert engine.write("c", [DeleteWhere(doomed)]).result().count == 15
        assert sorted(ids_of(engine.view("c"), vector(0, 0, 0), 20)) == sorted("01234")

    def test_a_batch_with_one_bad_write_leaves_nothing_behind(self, engine: Engine) -> None:
        put(engine, "there", vector(1, 1, 1))
        batch: list[Write] = [Put("a", vector(1, 1, 1)), Delete("there"), Patch("absent", metadata={"x": 1})]
        with pytest.raises(RecordNotFoundError):
            engine.write("c", batch).result()
        assert [r and r.id for r in engine.fetch("c", ["a", "there"], NOW)] == [None, "there"]

    def test_an_acknowledged_write_is_visible_to_the_views_taken_after_it(self, engine: Engine) -> None:
        for i in range(10):
            put(engine, f"{i}", vector(i, 0, 0))
            assert engine.view("c").count(Selection(now=NOW)) == i + 1

    def test_a_callback_runs_once_a_write_is_acknowledged(self, engine: Engine) -> None:
        seen: list[int] = []
        pending = engine.write("c", [Put("a", vector(1, 1, 1))])
        pending.add_done_callback(lambda: seen.append(1))
        pending.result()
        pending = engine.write("c", [Delete("a")])
        pending.result()
        pending.add_done_callback(lambda: seen.append(2))
        for _ in range(1_000):
            if len(seen) == 2:
                break
            engine.fetch("c", ["a"], NOW)
        assert sorted(seen) == [1, 2]
