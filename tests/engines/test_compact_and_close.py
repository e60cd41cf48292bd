"""Compacting under load, closing at any moment, and checks that find what is gone."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db.engines.base import Delete, Put, Selection
from qstore_db.engines.embedded import layout
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.errors import ClosedError, UnavailableError

ONE = np.ones(3, np.float32)
ALL = Selection()

pytestmark = pytest.mark.usefixtures("resting_janitor")


def rows(n: int, dimension: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dimension)).astype(np.float32)


def test_compacting_gives_space_back_while_readers_and_writers_go_on(db: EmbeddedEngine) -> None:
    vectors = rows(2_000)
    db.write("c", [Put(f"{i}", row, metadata={"t": "x" * 500}) for i, row in enumerate(vectors)]).result()
    db.write("c", [Delete(f"{i}") for i in range(1_900)]).result()
    stop = threading.Event()
    faults: list[BaseException] = []

    def work(job: Callable[[int], object]) -> None:
        turn = 0
        try:
            while not stop.is_set():
                turn += 1
                job(turn)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            faults.append(error)

    jobs: list[Callable[[int], object]] = [
        lambda turn: db.view("c").search(vectors[-1:], 20, ALL)[0].records(),
        lambda turn: db.write("c", [Put(f"new{turn % 10}", ONE)]).result(),
        lambda turn: db.fetch("c", ["1999"], 0.0),
    ]
    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        given_back = [db.compact() for _ in range(3)]
    finally:
        stop.set()
        for thread in threads:
            thread.join(60.0)
    assert faults == []
    assert sum(given_back) > 500_000
    assert db.verify().ok
    assert [record and record.id for record in db.fetch("c", ["1999", "3"], 0.0)] == ["1999", None]


def test_closing_abandons_a_build_and_the_next_start_takes_it_up(
    db: EmbeddedEngine, start: Callable[..., EmbeddedEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qstore_db.engines.embedded.engine.SEAL_ROWS", 8)
    vectors = rows(4_000, 3)
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(vectors)]).result()
    db.collection("c").seal(1)
    db._builder.wake()
    db.close()
    again = start()
    again.wait_indexed(60.0)
    assert any(part.graph is not None for part in again.view("c").parts)
    assert again.view("c").count(ALL) == 4_000


def test_closing_during_the_check_after_a_crash_leaves_it_to_the_next_start(
    db: EmbeddedEngine, start: Callable[..., EmbeddedEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(50))]).result()
    shutil.copytree(tmp_path / "db", tmp_path / "crashed", ignore=shutil.ignore_patterns("LOCK", "lock.mdb"))
    checking = threading.Event()
    breathe = "qstore_db.engines.embedded.soundness.Soundness._breathe"

    def wait(self: Any) -> None:
        checking.set()
        assert self._stop.wait(60.0)
        raise ClosedError("the database is closing")

    with monkeypatch.context() as patch:
        patch.setattr(breathe, wait)
        patch.setattr("qstore_db.engines.embedded.verify._BREATHE_EVERY", 10)
        again = start(tmp_path / "crashed")
        assert checking.wait(60.0)
        assert again.statistics()["verification"] == "running"
        again.close()
    once_more = start(tmp_path / "crashed")
    assert once_more.statistics()["verification"] in ("running", "passed")


def test_a_start_that_fails_gives_the_directory_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise UnavailableError("no")

    with monkeypatch.context() as patch:
        patch.setattr("qstore_db.engines.embedded.soundness.Soundness.begin", fail)
        with pytest.raises(UnavailableError):
            EmbeddedEngine(tmp_path)
    EmbeddedEngine(tmp_path).close()


@pytest.mark.parametrize("table", [layout.IDS, layout.ROWS, layout.VECTORS, layout.TOTALS])
def test_a_check_finds_an_entry_that_is_gone(db: EmbeddedEngine, table: str) -> None:
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(20))]).result()
    with (
        db._environment.write() as transaction,
        transaction.cursor(db._environment.tables[table]) as cursor,
    ):
        cursor.first()
        cursor.delete()
    assert not db.verify().ok
    assert db.statistics()["read_only"]


def test_a_check_finds_a_damaged_index_file_and_takes_no_record_for_damaged(db: EmbeddedEngine) -> None:
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(20))]).result()
    db.collection("c").seal(1)
    db.snapshot()
    (path,) = db.roster.index_files(db.collection("c").cid).directory.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    report = db.verify()
    assert report.problems == ()
    assert path.name in report.index_problems[0]
    assert db.statistics()["read_only"] is None
