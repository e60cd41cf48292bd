"""Receipts that are damaged or lost, and directories from before there were any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qstore_db.catalog.environment import DATA_FILE, Environment
from qstore_db.engines.base import CollectionSpec, Put, Selection, Write
from qstore_db.engines.embedded import layout
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.engines.embedded.layout import RECEIPTS, RECORDS_FOLDER
from qstore_db.engines.embedded.verify import check_directory
from qstore_db.errors import CorruptionError
from qstore_db.records import Metric
from qstore_db.testing.faults import flip_bit

ONE = np.ones(3, np.float32)
KEY = b"0123456789abcdef"

pytestmark = pytest.mark.usefixtures("resting_janitor")


def insert(id: str) -> list[Write]:
    return [Put(id, ONE, exclusive=True)]


def keyed_directory(start: Callable[..., EmbeddedEngine]) -> Path:
    """A closed database of 20 records, each with a receipt."""
    db = start()
    db.create_collection(CollectionSpec("c", 3, Metric.L2))
    for i in range(20):
        db.write("c", insert(f"{i}"), key=b"%016d" % i).result()
    db.close()
    return db.directory


def change_receipts(directory: Path, change: Callable[[Environment], None]) -> None:
    """`change` under the engine's back, in one transaction."""
    environment = Environment(
        directory / RECORDS_FOLDER, tables=layout.TABLES, added=layout.ADDED_TABLES, durable=False
    )
    change(environment)
    environment.close()


def flip(directory: Path, needle: bytes, at: int) -> None:
    """Flip a bit `at` bytes after where `needle` begins, wherever it stands in the data file."""
    path = directory / RECORDS_FOLDER / DATA_FILE
    content = path.read_bytes()
    places = [i for i in range(len(content)) if content.startswith(needle, i)]
    assert places
    for place in places:
        flip_bit(path, 8 * (place + at) + 1)


@pytest.mark.parametrize("at", [16, 20, 24, 32], ids=["checksum", "fingerprint", "sequence", "count"])
def test_a_damaged_receipt_is_never_believed(start: Callable[..., EmbeddedEngine], at: int) -> None:
    directory = keyed_directory(start)
    key = b"%016d" % 7
    flip(directory, key, at)
    report = check_directory(directory)
    assert [key.hex() in problem for problem in report.problems] == [True]
    db = start()
    with pytest.raises(CorruptionError) as caught:
        db.write("c", insert("7"), key=key).result()
    assert caught.value.subject == f"receipt {key.hex()}"
    assert db.statistics()["read_only"] is not None
    assert db.view("c").count(Selection()) == 20


def test_a_scan_stops_at_a_damaged_receipt(start: Callable[..., EmbeddedEngine]) -> None:
    directory = keyed_directory(start)
    flip(directory, b"%016d" % 7, 24)
    db = start()
    with pytest.raises(CorruptionError):
        list(db.receipts.scan())
    assert db.statistics()["read_only"] is not None


def test_verify_finds_a_receipt_under_another_key(start: Callable[..., EmbeddedEngine]) -> None:
    directory = keyed_directory(start)
    flip(directory, b"%016d" % 7, 15)
    assert not check_directory(directory).ok
    assert not start().verify().ok


def exchange(environment: Environment) -> None:
    """A receipt that was never given in place of another one: each is whole by itself."""
    with environment.write() as transaction:
        table = environment.tables[RECEIPTS]
        assert transaction.delete(b"%016d" % 7, db=table)
        value = layout.encode_receipt(KEY, layout.Receipt(1, 2, 3))
        transaction.put(KEY, value, db=table)


def test_verify_finds_a_receipt_in_place_of_another(start: Callable[..., EmbeddedEngine]) -> None:
    directory = keyed_directory(start)
    change_receipts(directory, exchange)
    assert "receipts" in check_directory(directory).problems[0]
    assert "receipts" in start().verify().problems[0]


def lose_one(environment: Environment) -> None:
    with environment.write() as transaction:
        assert transaction.delete(b"%016d" % 7, db=environment.tables[RECEIPTS])


def lose_all(environment: Environment) -> None:
    with environment.write() as transaction:
        transaction.drop(environment.tables[RECEIPTS], delete=False)


def lose_table(environment: Environment) -> None:
    with environment.write() as transaction:
        transaction.drop(environment.tables[RECEIPTS], delete=True)


@pytest.mark.parametrize("lose", [lose_one, lose_all, lose_table])
def test_lost_receipts_are_found_at_opening_and_by_verify(
    start: Callable[..., EmbeddedEngine], lose: Callable[[Environment], None]
) -> None:
    directory = keyed_directory(start)
    change_receipts(directory, lose)
    assert "receipts" in check_directory(directory).problems[0]
    with pytest.raises(CorruptionError) as caught:
        start()
    assert caught.value.subject == RECEIPTS


def forget_that_there_were_any(environment: Environment) -> None:
    lose_table(environment)
    with environment.write() as transaction:
        transaction.delete(layout.collection_key(layout.RECEIPTS_CID), db=environment.tables[layout.TOTALS])


def test_a_directory_from_before_there_were_receipts_opens_and_takes_keys(
    start: Callable[..., EmbeddedEngine],
) -> None:
    directory = keyed_directory(start)
    change_receipts(directory, forget_that_there_were_any)
    before = check_directory(directory)
    assert (before.ok, before.receipts) == (True, 0)
    db = start()
    assert db.write("c", insert("new"), key=KEY).result().count == 1
    assert db.verify().ok
    db.compact()
    assert db.write("c", insert("new"), key=KEY).result().count == 1
    db.close()
    after = check_directory(directory)
    assert (after.ok, after.receipts) == (True, 1)
