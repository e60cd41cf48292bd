"""wait_indexed, snapshot, compact, backup, stats, verify, close."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qstore_db.database import QuantumDatabase, restore
from qstore_db.errors import (
    ArgumentError,
    ClosedError,
    CorruptionError,
    DatabaseLockedError,
    FormatError,
    WaitTimeoutError,
)
from qstore_db.testing.databases.opening import Databases, Opening
from qstore_db.testing.databases.querying import bits, filled


def every_call(db: QuantumDatabase, folder: Path) -> list[Callable[[], object]]:
    """One call of each kind, valid on a database whose "default" has dimension 6."""
    v = np.ones(6)
    return [
        lambda: db.insert("new", v),
        lambda: db.upsert("new", v),
        lambda: db.update("r0", metadata={"n": 1}),
        lambda: db.insert_many(ids=["new"], vectors=[v]),
        lambda: db.upsert_many(ids=["new"], vectors=[v]),
        lambda: db.delete("r0"),
        lambda: db.delete(filter={"n": 1}),
        lambda: db.get("r0"),
        lambda: db.get(["r0"]),
        lambda: db.query(v),
        lambda: db.query(v, context="a"),
        lambda: db.query_batch([v]),
        lambda: db.tunnel_search(v),
        lambda: db.tunnel_search_batch([v]),
        lambda: db.neighbours("r0"),
        lambda: db.scroll(),
        lambda: db.count(),
        lambda: db.create_collection("c", dimension=1),
        lambda: db.list_collections(),
        lambda: db.rename_collection("default", "d"),
        lambda: db.drop_collection("default"),
        lambda: db.reindex("default", index="flat"),
        lambda: db.wait_indexed(),
        lambda: db.snapshot(),
        lambda: db.compact(),
        lambda: db.backup(folder / "backup"),
        lambda: db.verify(),
        lambda: db.stats(),
    ]


class UpkeepContract(Databases):
    def test_waiting_ends_when_everything_is_indexed(self, db: QuantumDatabase) -> None:
        filled(db, n=2_500)
        db.wait_indexed()
        assert db.stats()["collections"]["default"]["index_lag_rows"] == 0

    def test_waiting_for_no_time_gives_up_with_a_typed_error(self, db: QuantumDatabase) -> None:
        filled(db, n=5_000, d=32)
        with pytest.raises(WaitTimeoutError):
            db.wait_indexed(timeout=0)
        assert len(db.query(np.ones(32))) == 10

    def test_a_snapshot_names_the_last_op(self, db: QuantumDatabase) -> None:
        filled(db, n=10)
        assert db.snapshot() == db.stats()["sequence"] == 10

    def test_compacting_keeps_every_record(self, opening: Opening, tmp_path: Path) -> None:
        db = opening(tmp_path / "db")
        filled(db, n=2_000, d=64)
        db.delete(filter={"n": {"$gte": 20}})
        before = bits(db.query(np.ones(64), top_k=20))
        assert db.compact() > 0
        assert bits(db.query(np.ones(64), top_k=20)) == before
        assert db.count() == 20
        assert db.verify()["problems"] == ()

    def test_a_backup_restores_to_an_equal_database(self, opening: Opening, tmp_path: Path) -> None:
        db = opening(tmp_path / "db")
        filled(db)
        folder = db.backup(dest=tmp_path / "backup")
        db.delete(filter={})
        restored = opening(restore(folder, tmp_path / "restored"))
        assert [record.id for record in restored.scroll(limit=1_000)] == [f"r{i}" for i in range(300)]
        assert restored.verify()["problems"] == ()
        assert restored.query(np.ones(6), context="a").scores[0] < 0
        assert db.count() == 0

    def test_a_backup_overwrites_nothing(self, db: QuantumDatabase, tmp_path: Path) -> None:
        filled(db, n=5)
        with pytest.raises(ArgumentError):
            db.backup(tmp_path)
        db.backup(tmp_path / "backup")
        with pytest.raises(ArgumentError):
            restore(tmp_path / "backup", tmp_path)

    def test_a_damaged_backup_is_not_restored(self, db: QuantumDatabase, tmp_path: Path) -> None:
        filled(db, n=50)
        folder = db.backup(tmp_path / "backup")
        data = next(folder.rglob("data.mdb"))
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
        with pytest.raises(CorruptionError):
            restore(folder, tmp_path / "restored")
        assert not (tmp_path / "restored").exists()
        with pytest.raises(FormatError):
            restore(tmp_path, tmp_path / "restored")

    def test_verify_counts_what_it_checked(self, db: QuantumDatabase) -> None:
        filled(db, n=20)
        report = db.verify()
        assert report["records"] == 20
        assert (report["problems"], report["index_problems"]) == ((), ())

    def test_statistics_are_plain_data(self, db: QuantumDatabase) -> None:
        filled(db, n=100)
        stats = json.loads(json.dumps(db.stats()))
        assert stats["collections"]["default"]["records"] == 100
        assert stats["collections"]["default"]["scale"]["version"] == 1
        assert stats["sequence"] == 100
        assert stats["read_only"] is None

    # Open and closed

    def test_a_block_closes_the_database(self, opening: Opening) -> None:
        with opening() as db:
            db.insert("a", [1.0])
        with pytest.raises(ClosedError):
            db.get("a")

    def test_an_error_in_a_block_passes_through_and_closes(self, opening: Opening) -> None:
        with pytest.raises(KeyError), opening() as db:
            raise KeyError("mine")
        with pytest.raises(ClosedError):
            db.count()

    def test_closing_twice_is_no_error(self, db: QuantumDatabase) -> None:
        db.close()
        db.close()

    def test_every_call_on_a_closed_database_says_so(self, db: QuantumDatabase, tmp_path: Path) -> None:
        filled(db, n=5)
        db.close()
        for number, call in enumerate(every_call(db, tmp_path)):
            with pytest.raises(ClosedError):
                call()
                pytest.fail(f"call {number} answered")
        assert list(tmp_path.iterdir()) == []

    def test_a_temporary_database_is_gone_at_close(self, db: QuantumDatabase) -> None:
        filled(db, n=5)
        directory = Path(db.stats()["directory"])
        assert directory.is_dir()
        db.close()
        assert not directory.exists()

    def test_a_directory_that_is_open_is_refused_to_others(self, opening: Opening, tmp_path: Path) -> None:
        first = opening(tmp_path / "db")
        first.insert("a", [1.0])
        with pytest.raises(DatabaseLockedError):
            opening(tmp_path / "db")
        assert first.count() == 1
        first.close()
        assert opening(tmp_path / "db").count() == 1

    def test_a_result_is_read_after_close_once_it_was_looked_at(self, db: QuantumDatabase) -> None:
        filled(db, n=20)
        found = db.query(np.ones(6), top_k=3)
        assert len(list(found)) == 3
        db.close()
        assert [match.metadata["n"] for match in found] == [int(id[1:]) for id in found.ids]

    def test_a_database_shows_where_it_lies(self, opening: Opening, tmp_path: Path) -> None:
        assert str(tmp_path / "db") in str(opening(tmp_path / "db").stats()["directory"])
