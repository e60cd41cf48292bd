"""Flipped bits: whatever byte of a database they hit, no answer is ever wrong."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb
import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.catalog.environment import LIB_VERSION
from qstore_db.engines.base import Delete
from qstore_db.engines.embedded import collection, engine, graph, layout
from qstore_db.engines.embedded.verify import check_directory
from qstore_db.errors import CorruptionError
from qstore_db.testing.faults import flip_bit
from qstore_db.testing.faults.ledger import DIMENSIONS, Step

FLIPS = Path(__file__).parent / "children" / "flips.py"
DATA = Path("records") / "data.mdb"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database of two collections: deleted and superseded records, two saved indexes of each, free
    pages, and the whole of it covered by its index."""
    directory = tmp_path_factory.mktemp("flips") / "db"
    rng = random.Random(1)
    present: dict[int, set[str]] = {0: set(), 1: set()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "TAIL_ROWS", 32)
        patch.setattr(engine, "SEAL_ROWS", 1)
        patch.setattr(graph, "_CHUNK", 8)
        with QuantumDatabase.connect(directory) as db:
            for name, dimension in DIMENSIONS.items():
                db.create_collection(name, dimension=dimension, index="hnsw")
            for number in range(1, 50):
                for writer in (0, 1):
                    step = Step.choose(writer, number, present[writer], rng)
                    step.run(db)
                    change = set.difference_update if step.kind.startswith("delete") else set.update
                    change(present[writer], step.ids)
                db._edge.core.engine.write("wide", [Delete("absent")], key=rng.randbytes(16)).result()
                if number in (40, 49):
                    db.wait_indexed()
                    db.snapshot()
    return directory


@pytest.fixture
def copy(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "copy"))


@pytest.fixture(scope="module")
def truth(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The vectors of each collection by id."""
    copy = Path(shutil.copytree(source, tmp_path_factory.mktemp("truth") / "db"))
    with QuantumDatabase.connect(copy) as db:
        return {
            name: {r.id: r.vector.tobytes() for r in db.scroll(limit=10_000, collection=name)}
            for name in DIMENSIONS
        }


def stored_values(directory: Path, table: str) -> list[tuple[bytes, int, int]]:
    """Key, offset and length of every value of a table in the data file."""
    with (
        lmdb.open(str(directory / DATA.parent), max_dbs=16, lib_version=LIB_VERSION) as env,
        env.begin(db=env.open_db(table.encode(), create=False), buffers=True) as transaction,
    ):
        mappings = Path("/proc/self/maps").read_text().splitlines()
        start = min(int(line.split("-")[0], 16) for line in mappings if line.endswith(str(directory / DATA)))
        return [
            (bytes(key), np.frombuffer(value, np.uint8).ctypes.data - start, len(value))
            for key, value in transaction.cursor()
        ]


def flips(source: Path, scratch: Path, mode: str, bits: Sequence[int], file: Path = DATA) -> Counter[str]:
    """Outcomes of flipping each of the bits alone."""
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, str(FLIPS), str(source), str(scratch), mode, str(file)],
        input="".join(f"{bit}\n" for bit in bits),
        capture_output=True,
        text=True,
        check=True,
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [bit for bit, _ in outcomes] == list(bits)
    for bit, outcome in outcomes:
        assert outcome in ("found", "harmless"), f"bit {bit}: {outcome}"
    return Counter(outcome for _, outcome in outcomes)


def uniform_bits(path: Path, count: int, seed: int) -> list[int]:
    return random.Random(seed).sample(range(path.stat().st_size * 8), count)


def structural_bits(path: Path, count: int, seed: int) -> list[int]:
    """Bits of what LMDB itself wrote: both meta pages, and the headers, offsets and first entries of pages."""
    pages = path.stat().st_size // 4096
    bytes_ = [*range(160), *range(4096, 4096 + 160)]
    bytes_ += [4096 * page + at for page in range(2, pages) for at in (*range(32), *range(4000, 4096))]
    return random.Random(seed).sample([8 * byte + bit for byte in bytes_ for bit in range(8)], count)


@pytest.mark.parametrize("table", [layout.ROWS, layout.VECTORS])
@pytest.mark.parametrize("seed", range(6))
def test_a_flip_in_a_stored_record_is_named_and_never_served(
    copy: Path, truth: dict[str, dict[str, bytes]], table: str, seed: int
) -> None:
    """One flip in each of some hundred values at once; each is found on its own."""
    rng = random.Random(f"{table}/{seed}")
    with QuantumDatabase.connect(copy) as db:
        rows = {
            (number, record.version): (name, record.id)
            for number, name in enumerate(DIMENSIONS, 1)
            for record in db.scroll(limit=10_000, collection=name)
        }
    damaged = set()
    for key, offset, length in stored_values(copy, table):
        owner = rows.get(layout.split_row_key(key[:12]))
        if owner is not None and owner not in damaged:
            flip_bit(copy / DATA, 8 * offset + rng.randrange(8 * length))
            damaged.add(owner)
    assert len(damaged) == sum(len(records) for records in truth.values())
    with QuantumDatabase.connect(copy) as db:
        for name, id in damaged:
            with pytest.raises(CorruptionError):
                db.get(id, collection=name)
        assert db.stats()["read_only"] is not None
        for name in DIMENSIONS:
            with pytest.raises(CorruptionError):
                db.scroll(collection=name)
        assert len(db.verify()["problems"]) > 10
    assert not check_directory(copy).ok


def test_a_record_damaged_before_it_was_indexed_is_named_when_the_database_is_opened(
    copy: Path,
) -> None:
    with QuantumDatabase.connect(copy) as db:
        key = layout.row_key(1, db.scroll(limit=1).records[0].version)
    shutil.rmtree(copy / "index")
    ((offset, length),) = [
        (at, n) for found, at, n in stored_values(copy, layout.VECTORS) if found[:12] == key
    ]
    flip_bit(copy / DATA, 8 * (offset + length // 2))
    with pytest.raises(CorruptionError, match="checksum") as caught:
        QuantumDatabase.connect(copy)
    assert caught.value.subject is not None
    assert not check_directory(copy).ok


@pytest.mark.parametrize("seed", range(30))
def test_flips_in_index_files_cost_a_rebuild_and_no_answer(
    copy: Path, truth: dict[str, dict[str, bytes]], seed: int
) -> None:
    """One flip in every index file at once, then in half of them."""
    rng = random.Random(seed)
    files = sorted(p for p in (copy / "index").rglob("*") if p.is_file())
    assert {p.suffix for p in files} == {".segment", ".graph", ".links"}
    for path in files if seed % 2 else rng.sample(files, len(files) // 2):
        flip_bit(path, rng.randrange(path.stat().st_size * 8))
    assert check_directory(copy).index_problems
    with QuantumDatabase.connect(copy) as db:
        for name, vectors in truth.items():
            assert {r.id: r.vector.tobytes() for r in db.scroll(limit=10_000, collection=name)} == vectors
            matrix = np.stack([np.frombuffer(vector, np.float32) for vector in vectors.values()])
            found = db.query_batch(matrix, top_k=1, collection=name)
            assert [result[0].id for result in found] == list(vectors)
            assert db.count({"writer": {"$gte": 0}}, collection=name) == len(vectors)
            assert db.stats()["read_only"] is None


@pytest.mark.parametrize(
    "table", ["catalog", layout.OPLOG, layout.TOTALS, layout.META, layout.IDS, layout.RECEIPTS]
)
def test_a_flip_in_an_entry_beside_the_records_is_found_by_verify(
    source: Path, tmp_path: Path, table: str
) -> None:
    rng = random.Random(table)
    values = stored_values(Path(shutil.copytree(source, tmp_path / "copy")), table)
    chosen = rng.sample(values, min(15, len(values)))
    bits = [8 * offset + rng.randrange(8 * length) for _, offset, length in chosen]
    assert flips(source, tmp_path / "scratch", "verify", bits)["found"] == len(bits)


def test_a_flip_anywhere_in_the_data_file_is_harmless_or_found_by_verify(
    source: Path, tmp_path: Path
) -> None:
    outcomes = flips(source, tmp_path / "scratch", "verify", uniform_bits(source / DATA, 24, 1))
    assert outcomes["found"] > 1


def test_a_flip_in_the_structure_of_pages_is_harmless_or_found_by_verify(
    source: Path, tmp_path: Path
) -> None:
    outcomes = flips(source, tmp_path / "scratch", "verify", structural_bits(source / DATA, 48, 2))
    assert outcomes["found"] > 10


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("choose", [uniform_bits, structural_bits])
def test_thousands_of_flips_in_the_data_file_are_harmless_or_found_by_verify(
    source: Path, tmp_path: Path, choose: Callable[[Path, int, int], list[int]]
) -> None:
    flips(source, tmp_path / "scratch", "verify", choose(source / DATA, 5_000, 3))


def test_no_flip_of_a_meta_page_takes_the_last_commit_away(source: Path, tmp_path: Path) -> None:
    """Opening, without verify: either all is there, or it is refused."""
    bits = [
        8 * byte + bit for start in (0, 4096) for byte in range(start + 144, start + 152) for bit in (0, 5)
    ]
    flips(source, tmp_path / "scratch", "read", bits)


def test_a_file_that_ends_the_process_that_reads_it_is_reported_as_damage(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qstore_db.engines.embedded import verify

    (copy / "sitecustomize.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.syspath_prepend(copy)
    report = verify.verify_directory(copy)
    assert not report.ok
    assert "crashed reading the file: Segmentation fault" in report.problems[0]


def test_verifying_a_whole_directory_finds_nothing_and_changes_nothing(copy: Path, truth: object) -> None:
    from qstore_db.engines.embedded.verify import verify_directory

    before = (copy / DATA).read_bytes()
    report = verify_directory(copy)
    assert (report.ok, report.problems, report.index_problems) == (True, (), ())
    assert report.records == sum(len(v) for v in truth.values())  # type: ignore[attr-defined]
    assert report.index_files >= 4
    assert (copy / DATA).read_bytes() == before
