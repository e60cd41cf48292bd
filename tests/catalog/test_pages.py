"""The check of LMDB's pages: silent about every file that LMDB writes, and about no damaged one."""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path

import pytest

from qstore_db.catalog.environment import DATA_FILE, Environment
from qstore_db.catalog.pages import check_metas, check_pages
from qstore_db.errors import CorruptionError
from qstore_db.testing.faults import flip_bit


def fill(directory: Path, seed: int) -> Path:
    """Many transactions: keys and values of all sizes, deletions, parts that fail, transactions that fail."""
    directory.mkdir()
    rng = random.Random(seed)
    environment = Environment(directory, tables=("one", "two"), durable=False)
    for _ in range(40):
        with contextlib.suppress(InterruptedError), environment.write() as transaction:
            for _ in range(rng.randrange(1, 30)):
                write(environment, transaction, rng)
            with contextlib.suppress(InterruptedError), environment.nested(transaction) as part:
                for _ in range(20):
                    write(environment, part, rng)
                fail_sometimes(rng, 0.5)
            fail_sometimes(rng, 0.1)
    environment.close()
    return directory / DATA_FILE


def fail_sometimes(rng: random.Random, share: float) -> None:
    if rng.random() < share:
        raise InterruptedError


def write(environment: Environment, transaction: object, rng: random.Random) -> None:
    table = environment.tables[rng.choice(("one", "two"))]
    key = rng.randbytes(rng.choice((4, 4, 4, 40, 400)))[: rng.choice((2, 400))]
    if rng.random() < 0.4:
        transaction.delete(key, db=table)  # type: ignore[attr-defined]
    else:
        size = rng.choice((0, 8, 100, 1_300, 2_100, 5_000, 30_000))
        transaction.put(key, bytes(size), db=table)  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(6))
def test_files_that_lmdb_wrote_pass(tmp_path: Path, seed: int) -> None:
    path = fill(tmp_path / "db", seed)
    check_metas(path)
    assert check_pages(path) > 50


def test_a_deep_tree_passes(tmp_path: Path) -> None:
    environment = Environment(tmp_path, tables=("one",), durable=False)
    with environment.write() as transaction:
        for i in range(5_000):
            transaction.put(f"{i:0200}".encode(), bytes(20), db=environment.tables["one"])
    environment.close()
    assert check_pages(tmp_path / DATA_FILE) > 250


def test_a_new_file_and_a_compacted_copy_pass(tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    environment.close()
    assert check_pages(tmp_path / DATA_FILE) >= 2
    path = fill(tmp_path / "db", seed=9)
    environment = Environment(path.parent, tables=("one", "two"))
    environment.compact()
    environment.close()
    check_metas(path)
    check_pages(path)


def test_a_page_that_does_not_know_its_number_is_found(tmp_path: Path) -> None:
    path = fill(tmp_path / "db", seed=1)
    found = []
    for page in range(2, 60):
        flip_bit(path, 8 * 4096 * page + 3)
        try:
            check_pages(path)
        except CorruptionError as error:
            found.append(error.subject)
        flip_bit(path, 8 * 4096 * page + 3)
    assert len(found) > 10  # the others are free, or inside of large values
    assert all(subject is not None and subject.startswith("page ") for subject in found)


@pytest.mark.parametrize("rounds", range(5, 9))
@pytest.mark.parametrize("page", [0, 1])
@pytest.mark.parametrize("bit", [0, 1, 2, 5, 31, 63])
def test_a_meta_page_that_lost_its_number_is_found(tmp_path: Path, rounds: int, page: int, bit: int) -> None:
    environment = Environment(tmp_path, durable=False)
    for i in range(rounds):
        with environment.write() as transaction:
            transaction.put(b"key", bytes([i]), db=environment.tables["catalog"])
    environment.close()
    check_metas(tmp_path / DATA_FILE, both=True)
    flip_bit(tmp_path / DATA_FILE, 8 * (4096 * page + 144) + bit)
    with pytest.raises(CorruptionError, match="name the transactions"):
        check_metas(tmp_path / DATA_FILE, both=True)


@pytest.mark.parametrize("length", [0, 100, 4_096, 8_192, 100_000])
def test_a_file_that_was_cut_is_found(tmp_path: Path, length: int) -> None:
    path = fill(tmp_path / "db", seed=3)
    with path.open("r+b") as file:
        file.truncate(length)
    with pytest.raises(CorruptionError):
        check_pages(path)


@pytest.mark.parametrize("page", [0, 1])
@pytest.mark.parametrize("bit", [12, 40, 52, 55, 60, 63])
def test_a_list_of_free_pages_that_lies_beyond_every_file_is_found(
    tmp_path: Path, page: int, bit: int
) -> None:
    path = fill(tmp_path / "db", seed=4)
    flip_bit(path, 8 * (4096 * page + 80) + bit)  # in the number of the tree's first page
    with pytest.raises(CorruptionError):
        check_metas(path, both=True)


@pytest.mark.parametrize("table", ["full", "bare"])
@pytest.mark.parametrize("bit", range(16))
def test_a_tree_that_lost_count_of_its_levels_is_found(tmp_path: Path, table: str, bit: int) -> None:
    """A tree without entries has none, one of a single page has one; writes would go wrong from there."""
    environment = Environment(tmp_path, tables=("full", "bare"), durable=False)
    with environment.write() as transaction:
        transaction.put(b"key", b"value", db=environment.tables["full"])
    environment.close()
    path = tmp_path / DATA_FILE
    check_pages(path)
    content, at = path.read_bytes(), -1
    while (at := content.find(table.encode(), at + 1)) >= 0:  # pages of earlier transactions hold it too
        flip_bit(path, 8 * (at + len(table) + 6) + bit)
    with pytest.raises(CorruptionError):
        check_pages(path)


@pytest.mark.parametrize("bit", range(64))
def test_a_list_of_free_pages_that_is_longer_or_shorter_than_it_says_is_found(
    tmp_path: Path, bit: int
) -> None:
    """A count that is too high makes LMDB take whatever lies behind the list for free pages."""
    environment = Environment(tmp_path, tables=("one",), durable=False)
    for value in (b"1", b"2", b"3"):
        with environment.write() as transaction:
            transaction.put(b"key", value, db=environment.tables["one"])
    environment.close()
    path = tmp_path / DATA_FILE
    check_pages(path)
    flipped = 0
    content = path.read_bytes()
    for page in range(len(content) // 4096):
        # Leaves whose one key is a number of a transaction, with a list of a few pages behind it.
        number, _, flags, lower, _upper = struct.unpack_from("=QHHHH", content, 4096 * page)
        for at in (
            struct.unpack_from(f"={(lower - 16) // 2}H", content, 4096 * page + 16) if flags == 2 else ()
        ):
            size, _, _, length = struct.unpack_from("=HHHH", content, 4096 * page + at)
            start = 4096 * page + at + 8 + length
            if (
                number == page
                and length == 8
                and struct.unpack_from("=Q", content, start)[0] == size // 8 - 1
            ):
                flip_bit(path, 8 * start + bit)
                flipped += 1
    assert flipped
    with pytest.raises(CorruptionError):
        check_pages(path)
