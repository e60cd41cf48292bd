"""Index files are derived: deleted, truncated, stale or foreign ones cost a rebuild and no answer."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.engines.embedded import collection, engine, graph, layout, persist
from qstore_db.engines.embedded.columns import Columns
from qstore_db.engines.embedded.persist import dump_columns
from qstore_db.engines.embedded.verify import check_directory, verify_directory
from qstore_db.errors import CorruptionError, DatabaseLockedError, FormatError

COUNT, DIMENSION = 300, 8


def vectors(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((COUNT, DIMENSION), np.float32)


@pytest.fixture(autouse=True, scope="module")
def small_segments() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "TAIL_ROWS", 128)
        patch.setattr(engine, "SEAL_ROWS", 1)
        patch.setattr(graph, "_CHUNK", 16)
        yield


def fill(directory: Path, seed: int = 0) -> Path:
    """A closed database with graphs and two saved indexes."""
    with QuantumDatabase.connect(directory) as db:
        db.create_collection("c", dimension=DIMENSION, index="hnsw")
        half = COUNT // 2
        for start, stop in ((0, half), (half, COUNT)):
            db.insert_many(
                ids=[str(i) for i in range(start, stop)],
                vectors=vectors(seed)[start:stop],
                metadata=[{"number": i} for i in range(start, stop)],
                collection="c",
            )
            db.wait_indexed()
            db.snapshot()
    assert {path.suffix for path in index_files(directory)} == {".segment", ".graph", ".links"}
    return directory


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("index-files") / "db")


@pytest.fixture
def filled(source: Path, directory: Path) -> Path:
    """A copy of such a database, to be harmed."""
    return Path(shutil.copytree(source, directory))


def index_files(directory: Path) -> list[Path]:
    return sorted(path for path in (directory / "index").rglob("*") if path.is_file())


def check(directory: Path, seed: int = 0) -> None:
    """Every answer is right, now and after the index was saved anew."""
    for _ in range(2):
        with QuantumDatabase.connect(directory) as db:
            assert db.count(collection="c") == COUNT
            assert db.count({"number": {"$lt": 100}}, collection="c") == 100
            found = db.query_batch(vectors(seed), top_k=1, collection="c")
            assert [result[0].id for result in found] == [str(i) for i in range(COUNT)]
            assert not db.verify()["problems"]
            db.wait_indexed()
            db.snapshot()
    assert not verify_directory(directory).problems


def delete_all(directory: Path, rng: random.Random) -> None:
    shutil.rmtree(directory / "index")


def delete_one(directory: Path, rng: random.Random) -> None:
    rng.choice(index_files(directory)).unlink()


def truncate(directory: Path, rng: random.Random) -> None:
    for path in index_files(directory):
        with path.open("r+b") as file:
            file.truncate(rng.randrange(path.stat().st_size))


def empty(directory: Path, rng: random.Random) -> None:
    for path in index_files(directory):
        path.write_bytes(b"")


def extend(directory: Path, rng: random.Random) -> None:
    for path in index_files(directory):
        with path.open("ab") as file:
            file.write(b"more")


def swap(directory: Path, rng: random.Random) -> None:
    for suffix in (".segment", ".graph", ".links"):
        files = [path for path in index_files(directory) if path.suffix == suffix]
        contents = [path.read_bytes() for path in files]
        for path, content in zip(files, contents[::-1], strict=True):
            path.write_bytes(content)


def fill_with_noise(directory: Path, rng: random.Random) -> None:
    for path in index_files(directory):
        path.write_bytes(rng.randbytes(path.stat().st_size))


def leave_strangers(directory: Path, rng: random.Random) -> None:
    for folder in (directory / "index").iterdir():
        (folder / "stranger").write_bytes(b"?")
        (folder / "writing.tmp").write_bytes(b"half")


@pytest.mark.parametrize(
    "harm",
    [
        delete_all,
        delete_one,
        truncate,
        empty,
        extend,
        swap,
        fill_with_noise,
        leave_strangers,
    ],
)
def test_whatever_happens_to_index_files_no_answer_is_wrong(
    filled: Path, harm: Callable[[Path, random.Random], None]
) -> None:
    harm(filled, random.Random(harm.__name__))
    check(filled)
    assert verify_directory(filled).ok  # the damaged index is gone


def test_index_files_of_another_database_are_not_taken(filled: Path, tmp_path: Path) -> None:
    other = fill(tmp_path / "other", seed=1)
    shutil.rmtree(filled / "index")
    shutil.copytree(other / "index", filled / "index")
    check(filled)


def test_an_index_older_than_the_records_is_brought_up_to_date(filled: Path, tmp_path: Path) -> None:
    shutil.copytree(filled / "index", tmp_path / "old")
    with QuantumDatabase.connect(filled) as db:
        db.delete([str(i) for i in range(COUNT)], collection="c")
        db.upsert_many(
            ids=[str(i) for i in range(COUNT)],
            vectors=vectors(2),
            metadata=[{"number": i} for i in range(COUNT)],
            collection="c",
        )
        db.wait_indexed()
        db.snapshot()
    shutil.rmtree(filled / "index")
    shutil.copytree(tmp_path / "old", filled / "index")
    check(filled, seed=2)


def test_records_of_an_older_state_do_not_follow_a_newer_index(directory: Path, tmp_path: Path) -> None:
    """As after restoring the data file alone from an old copy."""
    fill(directory)
    shutil.copytree(directory / "records", tmp_path / "old")
    with QuantumDatabase.connect(directory) as db:
        db.delete([str(i) for i in range(0, COUNT, 2)], collection="c")
        db.wait_indexed()
        db.snapshot()
    shutil.rmtree(directory / "records")
    shutil.copytree(tmp_path / "old", directory / "records")
    check(directory)


def test_recovery_says_what_it_skipped(filled: Path) -> None:
    empty(filled, random.Random(0))
    with QuantumDatabase.connect(filled) as db:
        recovery = db.stats()["collections"]["c"]["recovery"]
    assert recovery["from_sequence"] == 0
    assert len(recovery["skipped"]) == 2
    assert "damaged or stale" in recovery["skipped"][0]


def test_index_files_that_lack_an_array_are_skipped_and_made_anew(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those from before there were times of writing in them."""

    def without_times(columns: Columns) -> tuple[dict[str, Any], dict[str, Any]]:
        values, arrays = dump_columns(columns)
        del arrays["updated"]
        return values, arrays

    with monkeypatch.context() as older:
        older.setattr(persist, "dump_columns", without_times)
        fill(directory)
    with QuantumDatabase.connect(directory) as db:
        recovery = db.stats()["collections"]["c"]["recovery"]
    assert (recovery["from_sequence"], recovery["rows_read"]) == (0, COUNT)
    assert all("updated" in reason for reason in recovery["skipped"])
    check(directory)


def test_a_damaged_index_is_told_apart_from_damaged_records(filled: Path) -> None:
    empty(filled, random.Random(0))
    report = verify_directory(filled)
    assert not report.problems
    assert report.index_problems


def test_a_newer_format_is_refused_by_its_number(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("qstore_db.engines.embedded.format.FORMAT", layout.FORMAT + 1)
        QuantumDatabase.connect(directory).close()
    for refuse in (QuantumDatabase.connect, verify_directory, check_directory):
        with pytest.raises(FormatError, match=f"format {layout.FORMAT + 1}") as caught:
            refuse(directory)
        assert caught.value.subject == str(directory)


def test_a_folder_without_a_database_is_not_verified_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(FormatError, match="holds no database"):
        verify_directory(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_an_open_database_is_not_verified_from_outside(directory: Path) -> None:
    with QuantumDatabase.connect(directory), pytest.raises(DatabaseLockedError):
        verify_directory(directory)


@pytest.mark.parametrize("harm", ["unlink", "empty", "half", "page", "noise"])
def test_a_lost_or_cut_data_file_is_an_error_and_never_an_empty_database(filled: Path, harm: str) -> None:
    data = filled / "records" / "data.mdb"
    content = data.read_bytes()
    if harm == "unlink":
        data.unlink()
    else:
        noise = random.Random(0).randbytes(len(content))
        cut = {"empty": b"", "half": content[: len(content) // 2], "page": content[:4096], "noise": noise}
        data.write_bytes(cut[harm])
    with pytest.raises((CorruptionError, FormatError)), QuantumDatabase.connect(filled) as db:
        db.get([str(i) for i in range(COUNT)], collection="c")
    if harm != "unlink":
        assert data.read_bytes()[:4096] == cut[harm][:4096]
    assert not verify_directory(filled).ok
