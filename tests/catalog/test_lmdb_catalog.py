"""The LMDB catalog: the promises of every catalog, and what happens when its bytes are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qstore_db.catalog.base import Catalog, Entry
from qstore_db.catalog.environment import CATALOG_TABLE, DATA_FILE, Environment
from qstore_db.catalog.lmdb import LmdbCatalog
from qstore_db.errors import ClosedError, CorruptionError
from qstore_db.testing.catalogs import CatalogConformance, Reopen
from qstore_db.testing.faults import flip_bit


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    environment = Environment(tmp_path / "db")
    yield environment
    environment.close()


@pytest.fixture
def catalog(environment: Environment) -> LmdbCatalog:
    return LmdbCatalog(environment)


class TestLmdbCatalog(CatalogConformance):
    @pytest.fixture
    def catalog(self, environment: Environment) -> Catalog:
        return LmdbCatalog(environment)

    @pytest.fixture
    def reopen(self, environment: Environment) -> Iterator[Reopen]:
        opened: list[Environment] = []

        def again() -> Catalog:
            environment.close()
            opened.append(Environment(environment.directory))
            return LmdbCatalog(opened[-1])

        yield again
        for one in opened:
            one.close()


def places(path: Path, stored: bytes) -> list[int]:
    """Where in the file `stored` lies: LMDB may have left older copies of a page."""
    data = path.read_bytes()
    found = [0]
    while (at := data.find(stored, found[-1] + 1)) >= 0:
        found.append(at)
    return found[1:]


def stored_value(environment: Environment, key: bytes) -> bytes:
    with environment.read() as transaction:
        return transaction.get(key, b"", environment.tables[CATALOG_TABLE])


def test_a_bit_flipped_anywhere_in_an_entry_is_a_corruption_error_that_names_it(
    environment: Environment, catalog: LmdbCatalog
) -> None:
    catalog.put("victim", ["some", "value", 42])
    path = environment.directory / DATA_FILE
    stored = stored_value(environment, b"victim")
    where = places(path, stored)
    assert where
    for bit in range(len(stored) * 8):
        for place in where:
            flip_bit(path, place * 8 + bit)
        for read in (lambda: catalog.get("victim"), lambda: catalog.scan(""), catalog.verify):
            with pytest.raises(CorruptionError) as caught:
                read()
            assert caught.value.subject == "victim"
        for place in where:
            flip_bit(path, place * 8 + bit)
    assert catalog.get("victim") == Entry("victim", ["some", "value", 42], 1)


def test_a_damaged_entry_is_not_overwritten_unseen(environment: Environment, catalog: LmdbCatalog) -> None:
    catalog.put("victim", "value")
    path = environment.directory / DATA_FILE
    for place in places(path, stored_value(environment, b"victim")):
        flip_bit(path, place * 8)
    with pytest.raises(CorruptionError):
        catalog.put("victim", "other")
    with pytest.raises(CorruptionError):
        catalog.delete("victim")


def test_other_entries_are_served_beside_a_damaged_one(
    environment: Environment, catalog: LmdbCatalog
) -> None:
    catalog.put("victim", "value")
    catalog.put("sound", "value")
    path = environment.directory / DATA_FILE
    for place in places(path, stored_value(environment, b"victim")):
        flip_bit(path, place * 8)
    assert catalog.get("sound") == Entry("sound", "value", 1)


def test_an_entry_that_lies_under_another_key_is_found_damaged(
    environment: Environment, catalog: LmdbCatalog
) -> None:
    catalog.put("one", 1)
    stored = stored_value(environment, b"one")
    with environment.write() as transaction:
        transaction.put(b"two", stored, db=environment.tables[CATALOG_TABLE])
    with pytest.raises(CorruptionError) as caught:
        catalog.get("two")
    assert caught.value.subject == "two"


def test_verify_counts_entries_and_sequences(catalog: LmdbCatalog) -> None:
    assert catalog.verify() == 0
    for n in range(10):
        catalog.put(f"k{n % 4}", n)
    catalog.sequence("s")
    catalog.sequence("s")
    catalog.delete("k0")
    catalog.delete("k0")
    assert catalog.verify() == 4


@pytest.mark.parametrize("lost", [b"k1", b"\xffs", b"\xff"], ids=["entry", "sequence", "tally"])
def test_verify_notices_what_is_missing_as_a_whole(
    environment: Environment, catalog: LmdbCatalog, lost: bytes
) -> None:
    for n in range(3):
        catalog.put(f"k{n}", n)
    catalog.sequence("s")
    with environment.write() as transaction:
        assert transaction.delete(lost, db=environment.tables[CATALOG_TABLE])
    with pytest.raises(CorruptionError):
        catalog.verify()


def test_verify_notices_an_older_version_in_the_place_of_a_newer(
    environment: Environment, catalog: LmdbCatalog
) -> None:
    catalog.put("k", "old")
    old = stored_value(environment, b"k")
    catalog.put("k", "new")
    with environment.write() as transaction:
        transaction.put(b"k", old, db=environment.tables[CATALOG_TABLE])
    with pytest.raises(CorruptionError):
        catalog.verify()


def test_the_catalog_of_a_closed_environment_is_closed(
    environment: Environment, catalog: LmdbCatalog
) -> None:
    environment.close()
    for call in (
        lambda: catalog.get("k"),
        lambda: catalog.scan(""),
        lambda: catalog.put("k", 1),
        lambda: catalog.delete("k"),
        lambda: catalog.apply([]),
        lambda: catalog.sequence("s"),
        catalog.verify,
    ):
        with pytest.raises(ClosedError):
            call()


def test_the_catalog_goes_on_after_a_compaction(environment: Environment, catalog: LmdbCatalog) -> None:
    catalog.put("k", 1)
    environment.compact()
    assert catalog.put("k", 2) == 2
    assert catalog.verify() == 1
