"""`qstore import`: every kind of file, and what is refused before or while it is stored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, ipc, parquet

from qstore_db import QuantumDatabase
from qstore_db.cli import exits
from qstore_db.errors import UnavailableError

VECTORS = np.random.default_rng(2).standard_normal((12, 3)).astype(np.float32)
TABLE = pa.table(
    {
        "id": [f"t{i}" for i in range(12)],
        "vector": pa.array(VECTORS.tolist(), pa.list_(pa.float32(), 3)),
        "team": ["red", "blue"] * 6,
        "year": list(range(2000, 2012)),
    }
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def records(target: Path, ids: list[str], collection: str = "default") -> list:
    with QuantumDatabase.connect(target) as database:
        return database.get(ids, collection=collection)


def write_table(file: Path) -> Path:
    if file.suffix == ".parquet":
        parquet.write_table(TABLE, file)
    elif file.suffix == ".csv":
        text = [json.dumps(vector) for vector in VECTORS.tolist()]
        csv.write_csv(TABLE.set_column(1, "vector", pa.array(text)), file)
    else:
        opened = ipc.new_file if file.suffix == ".arrow" else ipc.new_stream
        with pa.OSFile(str(file), "wb") as sink, opened(sink, TABLE.schema) as writer:
            writer.write_table(TABLE)
    return file


@pytest.mark.parametrize("kind", [".parquet", ".arrow", ".feather", ".csv"])
def test_a_table_keeps_ids_vectors_and_metadata(run, target, tmp_path, kind):
    ended = run("import", write_table(tmp_path / f"table{kind}"), "--path", target, "--json")
    assert ended.data["imported"] == 12
    record = records(target, ["t3"])[0]
    assert record.vector.tobytes() == VECTORS[3].tobytes()
    assert record.metadata == {"team": "blue", "year": 2003}


def test_a_column_of_names_becomes_contexts(run, target, tmp_path):
    file = write_table(tmp_path / "table.parquet")
    run("import", file, "--path", target, "--context-field", "team")
    record = records(target, ["t3"])[0]
    assert record.contexts == (("blue", 1.0),)
    assert record.metadata == {"year": 2003}


def test_json_lines_keep_contexts_metadata_and_expiry(run, target, tmp_path):
    file = tmp_path / "records.jsonl"
    lines = [
        {
            "key": 7,
            "numbers": [1, 2, 3],
            "contexts": {"a": 3, "b": 1},
            "metadata": {"deep": {"x": [1]}},
            "n": 5,
        },
        {"key": "eight", "numbers": [4, 5, 6], "contexts": [["a", 1]], "expires_at": 4e9},
    ]
    file.write_text("\n\n".join(json.dumps(line) for line in lines))
    ended = run("import", file, "--path", target, "--id-field", "key", "--vector-field", "numbers", "--json")
    assert ended.data["imported"] == 2
    first, second = records(target, ["7", "eight"])
    assert first.contexts == (("a", 0.75), ("b", 0.25))
    assert first.metadata == {"deep": {"x": [1]}, "n": 5}
    assert second.expires_at == 4e9


def test_an_npz_file_may_name_ids_and_metadata(run, target, tmp_path):
    file = tmp_path / "records.npz"
    np.savez(file, vectors=VECTORS, ids=np.array([f"n{i}" for i in range(12)]), year=np.arange(12))
    run("import", file, "--path", target)
    record = records(target, ["n4"])[0]
    assert record.metadata == {"year": 4}
    assert record.vector.tobytes() == VECTORS[4].tobytes()


def test_an_npy_file_takes_ids_from_beside_it(run, target, tmp_path):
    np.save(tmp_path / "vectors.npy", VECTORS)
    (tmp_path / "ids.txt").write_text("\n".join(f"line {i}" for i in range(12)))
    run("import", tmp_path / "vectors.npy", "--ids", tmp_path / "ids.txt", "--path", target)
    assert records(target, ["line 11"])[0] is not None


def test_without_ids_rows_are_numbered(run, target, tmp_path):
    np.save(tmp_path / "vectors.npy", VECTORS)
    run("import", tmp_path / "vectors.npy", "--path", target)
    assert [record is not None for record in records(target, ["0", "11", "12"])] == [True, True, False]


def test_records_are_imported_even_if_no_index_can_be_built(run, target, tmp_path, monkeypatch):
    def fail(self, timeout=None):
        raise UnavailableError("the index could not be built")

    np.save(tmp_path / "vectors.npy", VECTORS)
    monkeypatch.setattr(QuantumDatabase, "wait_indexed", fail)
    ended = run("import", tmp_path / "vectors.npy", "--path", target, "--json")
    assert (ended.code, ended.data["imported"]) == (0, 12)
    assert ended.data["warnings"] == ["the index could not be built"]
    assert records(target, ["0"])[0] is not None


def test_fashion_mnist_comes_with_contexts_and_is_indexed_for_the_next_command(run, target):
    ended = run("import", "--fashion-mnist", "--path", target, "--json")
    assert ended.data["imported"] >= 6_000
    assert ended.data["warnings"] == []
    assert run("tunnel", "--path", target, "--id", "train-00000", "--json").data["exact"] is False
    with QuantumDatabase.connect(target) as database:
        assert database.stats()["collections"]["default"]["unlinked_rows"] == 0
    record = records(target, ["train-00000"])[0]
    assert sum(weight for _, weight in record.contexts) == pytest.approx(1)
    assert set(record.metadata) == {"class", "label", "brightness"}


def test_create_makes_a_collection_of_the_given_metric_once(run, target, tmp_path):
    np.save(tmp_path / "vectors.npy", VECTORS)
    arguments = (
        "import",
        tmp_path / "vectors.npy",
        "--path",
        target,
        "--collection",
        "c",
        "--create",
        "--upsert",
    )
    assert run(*arguments, "--metric", "l2", "--json").data["created"] is True
    assert run(*arguments, "--json").data["created"] is False
    ended = run(*arguments, "--metric", "dot", "--json")
    assert (ended.code, ended.data["error"]["subject"]) == (exits.REQUEST, "metric")


def test_an_unknown_collection_needs_create(run, target, tmp_path):
    np.save(tmp_path / "vectors.npy", VECTORS)
    ended = run("import", tmp_path / "vectors.npy", "--path", target, "--collection", "typo", "--json")
    assert (ended.code, ended.data["error"]["code"]) == (exits.REQUEST, "collection_not_found")


def test_existing_ids_are_refused_without_upsert_and_replaced_with_it(run, target, tmp_path):
    np.save(tmp_path / "vectors.npy", VECTORS)
    arguments = ("import", tmp_path / "vectors.npy", "--path", target, "--json")
    run(*arguments)
    assert run(*arguments).data["error"]["code"] == "duplicate_id"
    assert run(*arguments, "--upsert").data["imported"] == 12


def test_a_failing_batch_says_how_many_were_stored_before_it(run, target, tmp_path, monkeypatch):
    monkeypatch.setattr("qstore_db.cli.sources.BATCH", 5)
    file = tmp_path / "records.jsonl"
    lines = [json.dumps({"id": f"x{min(i, 6)}", "vector": [1, i]}) for i in range(8)]
    file.write_text("\n".join(lines))
    ended = run("import", file, "--path", target)
    assert ended.code == exits.REQUEST
    assert "5 records before this batch are stored" in ended.err


@pytest.mark.parametrize(
    ("name", "content", "subject"),
    [
        ("x.jsonl", b'{"id": "a"}\n', "vector"),
        ("x.jsonl", b'{"id": "a", "vector": [1]}\nnot json\n', "line 2"),
        ("x.jsonl", b"[1, 2]\n", "line 1"),
        ("x.jsonl", b'{"id": 1.5, "vector": [1]}\n', "row 0"),
        ("x.npy", b"not an array", None),
        ("x.npz", b"not an archive", None),
        ("x.parquet", b"not parquet", None),
        ("x.arrow", b"not arrow", None),
        ("x.csv", b"a,b\n1,2\n", "vector"),
        ("x.txt", b"1 2 3", None),
    ],
)
def test_an_unreadable_file_is_refused_by_name(run, target, tmp_path, name, content, subject):
    file = tmp_path / name
    file.write_bytes(content)
    ended = run("import", file, "--path", target, "--json")
    assert ended.code == exits.REQUEST
    assert ended.data["error"]["subject"] == (subject or str(file))


def test_a_missing_field_is_named_with_those_that_are_there(run, target, tmp_path):
    file = write_table(tmp_path / "table.parquet")
    ended = run("import", file, "--path", target, "--vector-field", "embedding", "--json")
    assert ended.data["error"]["subject"] == "embedding"
    assert "'vector'" in ended.data["error"]["message"]


def test_arrays_of_unequal_length_are_refused(run, target, tmp_path):
    np.savez(tmp_path / "x.npz", vectors=VECTORS, year=np.arange(3))
    ended = run("import", tmp_path / "x.npz", "--path", target, "--json")
    assert ended.data["error"]["subject"] == "year"


def test_a_table_without_pyarrow_names_the_extra(run, target, tmp_path, monkeypatch):
    file = write_table(tmp_path / "table.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    ended = run("import", file, "--path", target, "--json")
    assert ended.code == exits.CONFIGURATION
    assert "qstore-db[arrow]" in ended.data["error"]["message"]
