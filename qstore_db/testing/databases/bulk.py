"""insert_many and upsert_many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from qstore_db.database import QuantumDatabase
from qstore_db.database.pieces import ATOMIC_RECORDS
from qstore_db.errors import (
    ArgumentError,
    ContextError,
    DimensionError,
    DuplicateIdError,
    IdError,
    MetadataError,
    VectorError,
)
from qstore_db.records import Record
from qstore_db.records.metadata import MAX_METADATA_BYTES
from qstore_db.testing.databases.opening import Clock, Databases
from qstore_db.testing.databases.writing import Tensor, stored

IDS = ["a", "b", "c"]
VECTORS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32)


class BulkContract(Databases):
    def test_columns_become_records(self, db: QuantumDatabase, clock: Clock) -> None:
        last = db.insert_many(
            ids=IDS,
            vectors=VECTORS,
            contexts=[{"x": 1.0}, None, [("x", 1.0), ("y", 3.0)]],
            metadata=[{"n": 1}, None, {"n": 3}],
            expires_at=[None, clock.now + 5, None],
        )
        assert [record.id for record in db.scroll()] == IDS
        assert [stored(db, id).vector.tolist() for id in IDS] == VECTORS.tolist()
        assert [stored(db, id).contexts for id in IDS] == [(("x", 1.0),), (), (("x", 0.25), ("y", 0.75))]
        assert [dict(stored(db, id).metadata) for id in IDS] == [{"n": 1}, {}, {"n": 3}]
        assert [stored(db, id).expires_at for id in IDS] == [None, clock.now + 5, None]
        assert stored(db, "c").version == last

    @pytest.mark.parametrize("ids", [tuple(IDS), np.array(IDS)], ids=["tuple", "array"])
    def test_ids_may_be_any_sequence_of_strings(self, db: QuantumDatabase, ids: Any) -> None:
        db.insert_many(ids=ids, vectors=VECTORS.tolist())
        assert db.count() == 3

    def test_metadata_up_to_its_limit_is_kept_and_more_is_refused_by_the_record(
        self, db: QuantumDatabase
    ) -> None:
        full = {"n": "x" * (MAX_METADATA_BYTES - 8)}  # a map, its key, and the length of a long text
        over = {"n": full["n"] + "x"}
        db.insert("a", [1.0, 0.0], metadata=full)
        db.insert_many(ids=["b", "c"], vectors=VECTORS[:2], metadata=[full, full])
        assert [dict(record.metadata) for record in db.scroll()] == [full] * 3
        refused: list[Callable[[], int]] = [
            lambda: db.insert("d", [1.0, 0.0], metadata=over),
            lambda: db.upsert_many(ids=["e", "d"], vectors=VECTORS[:2], metadata=[full, over]),
            lambda: db.update("d", metadata=over),
        ]
        for write in refused:
            with pytest.raises(MetadataError, match=f"{MAX_METADATA_BYTES + 1:,} bytes.*a file") as caught:
                write()
            assert caught.value.subject == "d"
        with pytest.raises(MetadataError) as caught:
            db.update("a", metadata={"m": 1})  # fits, but not beside what is there
        assert caught.value.subject == "a"
        assert [dict(record.metadata) for record in db.scroll()] == [full] * 3

    def test_vectors_may_be_a_tensor(self, db: QuantumDatabase) -> None:
        db.insert_many(ids=IDS, vectors=Tensor(VECTORS.tolist()))  # type: ignore[arg-type]
        assert stored(db, "c").vector.tolist() == [1.0, 1.0]

    def test_records_can_be_copied_from_one_collection_to_another(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0, 2.0], contexts={"x": 2.0, "y": 1.0}, metadata={"n": 1})
        db.create_collection("copy", dimension=2)
        db.insert_many(db.scroll(), collection="copy")
        copy, original = stored(db, "a", collection="copy"), stored(db, "a")
        assert copy.vector.tobytes() == original.vector.tobytes()
        assert copy.raw_contexts == original.raw_contexts
        assert copy.metadata == original.metadata

    def test_records_may_come_from_a_generator(self, db: QuantumDatabase) -> None:
        def records() -> Iterator[Record]:
            for n in range(3):
                yield Record(f"r{n}", np.array([1, n], np.float32), metadata={"n": n})

        db.insert_many(records())
        assert db.count({"n": {"$lt": 3}}) == 3

    def test_an_arrow_table_becomes_records_and_comes_back(self, db: QuantumDatabase) -> None:
        import pyarrow as pa

        table = pa.table(
            {
                "id": IDS,
                "vector": pa.array(VECTORS.tolist(), pa.list_(pa.float32(), 2)),
                "contexts": pa.array([[("x", 1.0)], [], None], pa.map_(pa.string(), pa.float64())),
                "colour": ["red", None, "blue"],
            }
        )
        db.insert_many(table)
        assert stored(db, "a").contexts == (("x", 1.0),)
        assert [dict(stored(db, id).metadata) for id in IDS] == [{"colour": "red"}, {}, {"colour": "blue"}]
        out = db.scroll().to_arrow()
        db.create_collection("again", dimension=2)
        db.insert_many(out, collection="again")
        again = db.scroll(collection="again")
        assert [record.vector.tolist() for record in again] == VECTORS.tolist()
        assert [dict(record.metadata) for record in again] == [{"colour": "red"}, {}, {"colour": "blue"}]

    def test_a_pandas_frame_becomes_records(self, db: QuantumDatabase) -> None:
        import pandas as pd

        frame = pd.DataFrame({"id": IDS, "vector": list(VECTORS), "n": [1.0, None, 3.0]}, index=[7, 7, 9])
        db.insert_many(frame)
        assert [dict(stored(db, id).metadata) for id in IDS] == [{"n": 1.0}, {}, {"n": 3.0}]

    def test_no_records_are_no_error(self, db: QuantumDatabase) -> None:
        assert db.insert_many(ids=[], vectors=[]) == 0
        assert db.insert_many(ids=[], vectors=np.empty((0, 3))) == 0
        assert db.insert_many([]) == 0
        assert db.list_collections() == []

    def test_upsert_many_replaces_and_adds(self, db: QuantumDatabase) -> None:
        db.insert("a", [5.0, 5.0], metadata={"old": 1})
        db.upsert_many(ids=IDS, vectors=VECTORS)
        assert db.count() == 3
        assert dict(stored(db, "a").metadata) == {}

    def test_the_last_of_equal_ids_wins_in_upsert_many(self, db: QuantumDatabase) -> None:
        db.upsert_many(ids=["a", "a"], vectors=VECTORS[:2])
        assert stored(db, "a").vector.tolist() == [0.0, 1.0]
        assert db.count() == 1

    @pytest.mark.parametrize("clash", [["a", "b", "x"], ["a", "b", "a"]], ids=["stored", "within"])
    def test_one_duplicate_id_refuses_them_all(self, db: QuantumDatabase, clash: list[str]) -> None:
        db.insert("x", [1.0, 0.0])
        with pytest.raises(DuplicateIdError) as caught:
            db.insert_many(ids=clash, vectors=VECTORS)
        assert caught.value.subject == clash[2]
        assert [record.id for record in db.scroll()] == ["x"]

    @pytest.mark.parametrize(
        ("columns", "error"),
        [
            ({"vectors": VECTORS[:2]}, VectorError),
            ({"vectors": [[1.0, 0.0], [1.0], [1.0, 2.0]]}, VectorError),
            ({"vectors": [[1.0, 0.0], [1.0, float("inf")], [1.0, 2.0]]}, VectorError),
            ({"vectors": [[1.0, 0.0], [0.0, 0.0], [1.0, 2.0]]}, VectorError),
            ({"vectors": np.ones((3, 4))}, DimensionError),
            ({"ids": ["a", "b", ""]}, IdError),
            ({"ids": ["a", "b", 3]}, IdError),
            ({"ids": "abc"}, ArgumentError),
            ({"ids": []}, VectorError),
            ({"contexts": [{"x": 1.0}]}, ArgumentError),
            ({"contexts": [None, None, {"x": -1.0}]}, ContextError),
            ({"metadata": [{}, {}, {"n": object()}]}, MetadataError),
            ({"metadata": [{}, {}]}, ArgumentError),
            ({"expires_at": [None, None, "x"]}, ArgumentError),
            ({"vectors": None}, ArgumentError),
            ({"ids": None}, ArgumentError),
            ({"records": []}, ArgumentError),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_one_bad_entry_refuses_them_all(
        self, db: QuantumDatabase, columns: dict[str, Any], error: type[Exception]
    ) -> None:
        db.insert("x", [1.0, 0.0])
        before = db.stats()["sequence"]
        with pytest.raises(error):
            db.insert_many(**{"ids": IDS, "vectors": VECTORS, **columns})
        assert db.stats()["sequence"] == before

    def test_a_refused_first_insert_makes_no_collection(self, db: QuantumDatabase) -> None:
        with pytest.raises(MetadataError):
            db.insert_many(ids=["a"], vectors=[[1.0]], metadata=[{"n": object()}])
        assert db.list_collections() == []

    def test_progress_is_told_after_each_piece(self, db: QuantumDatabase) -> None:
        told: list[tuple[int, int]] = []
        n = ATOMIC_RECORDS + 500
        vectors = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
        last = db.insert_many(
            ids=[f"r{i}" for i in range(n)], vectors=vectors, progress=lambda *step: told.append(step)
        )
        assert told == [(ATOMIC_RECORDS, n), (n, n)]
        assert db.count() == n
        assert stored(db, f"r{n - 1}").version == last

    def test_a_failing_piece_leaves_earlier_pieces_stored_and_is_itself_absent(
        self, db: QuantumDatabase
    ) -> None:
        n = ATOMIC_RECORDS + 500
        ids = [f"r{i}" for i in range(n - 1)] + ["r0"]
        with pytest.raises(DuplicateIdError):
            db.insert_many(ids=ids, vectors=np.ones((n, 2)))
        assert db.count() == ATOMIC_RECORDS

    def test_nothing_is_written_where_a_later_piece_is_malformed(self, db: QuantumDatabase) -> None:
        n = ATOMIC_RECORDS + 500
        metadata: list[Any] = [None] * (n - 1) + [{"n": object()}]
        with pytest.raises(MetadataError):
            db.insert_many(ids=[f"r{i}" for i in range(n)], vectors=np.ones((n, 2)), metadata=metadata)
        assert db.list_collections() == []

    def test_progress_stays_silent_where_stderr_is_no_terminal(
        self, db: QuantumDatabase, capfd: pytest.CaptureFixture[str]
    ) -> None:
        db.insert_many(ids=IDS, vectors=VECTORS, progress=True)
        assert capfd.readouterr() == ("", "")
