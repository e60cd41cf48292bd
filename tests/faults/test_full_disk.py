"""A full disk: writes say so and store nothing, reads go on, and writes resume once there is room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qstore_db.testing.faults import FaultShim

Child = Callable[[str], str]


@pytest.fixture
def stored(child: Child) -> Child:
    """A process with an open database of 100 records."""
    child("open_database()")
    assert child("put_many(db, 0, 100)") == "100"
    return child


@pytest.mark.parametrize(
    "write",
    [
        "db.insert('new', vector(5))",
        "db.upsert('0', vector(5))",
        "db.update('0', metadata={'x': 1})",
        "db.update('0', vector=vector(5))",
        "db.delete('0')",
        "db.delete(filter={'number': {'$lt': 50}})",
        "put_many(db, 100, 2_000)",
        "db.create_collection('other', dimension=3)",
        "db.rename_collection('default', 'other')",
        "db.drop_collection('default')",
    ],
)
def test_a_write_is_refused_and_stores_nothing(stored: Child, faults: FaultShim, write: str) -> None:
    with faults.disk_full():
        assert stored(write) == "DiskFullError"
        assert stored("holds(db, 0, 100)") == "True"
        assert stored("db.list_collections()") == "['default']"
    assert faults.counts.writes_failed > 0
    assert stored("db.close()") == "None"
    stored("open_database()")
    assert stored("holds(db, 0, 100)") == "True"
    assert stored("db.stats()['sequence']") == "100"


def test_writes_resume_without_a_restart(stored: Child, faults: FaultShim) -> None:
    with faults.disk_full():
        assert stored("put_many(db, 100, 200)") == "DiskFullError"
    assert stored("put_many(db, 100, 200)") == "200"
    assert stored("holds(db, 0, 200), db.verify()['problems'], db.stats()['read_only']") == "(True, (), None)"


@pytest.mark.parametrize("after", range(6))
def test_a_disk_that_fills_up_in_the_middle_of_a_write_stores_all_of_it_or_none(
    stored: Child, faults: FaultShim, after: int
) -> None:
    with faults.disk_full(after=after, short_write=after % 2 == 1):
        outcome = stored("put_many(db, 100, 2_100)")
    assert outcome in ("2100", "DiskFullError", "ReadOnlyError")
    if outcome == "ReadOnlyError":  # the meta page itself: what the disk holds is known after reopening only
        assert stored("db.close()") == "None"
        stored("open_database()")
        assert stored("holds(db, 0, 100) or holds(db, 0, 2100)") == "True"
    else:
        assert stored(f"holds(db, 0, {2100 if outcome == '2100' else 100})") == "True"
        stored("db.close()")
        stored("open_database()")
        assert stored(f"holds(db, 0, {2100 if outcome == '2100' else 100})") == "True"
    assert stored("db.verify()['problems']") == "()"


def test_many_writers_at_once_each_learn_the_truth(stored: Child, faults: FaultShim) -> None:
    stored("from concurrent.futures import ThreadPoolExecutor")
    stored("pool = ThreadPoolExecutor(8)")
    stored("ask = lambda i: pool.submit(db.insert, str(i), vector(i), None, {'number': i})")
    with faults.disk_full(after=20):
        stored("tickets = [ask(i) for i in range(100, 400)]")
        stored("outcomes = [ticket.exception() for ticket in tickets]")
    assert stored("{type(error).__name__ for error in outcomes if error}") == "{'DiskFullError'}"
    missing = "[i for i, error in enumerate(outcomes, 100) if error]"
    assert stored(f"[i for i in range(100, 400) if db.get(str(i)) is None] == {missing}") == "True"
    assert stored(f"[ask(i).result() for i in {missing}] and holds(db, 0, 400)") == "True"


def test_opening_a_new_database_is_refused_and_leaves_nothing_half_made(
    child: Child, faults: FaultShim
) -> None:
    with faults.disk_full():
        assert child("open_database()") == "DiskFullError"
    child("open_database()")
    assert child("put_many(db, 0, 10), holds(db, 0, 10)") == "(10, True)"


@pytest.mark.parametrize("after", range(8))
def test_a_new_database_that_meets_the_full_disk_half_way_can_be_made_later(
    child: Child, faults: FaultShim, after: int
) -> None:
    with faults.disk_full(after=after):
        outcome = child("open_database()")
    assert outcome in ("None", "DiskFullError", "ReadOnlyError")  # the last where a meta page failed
    if outcome != "None":
        child("open_database()")
    assert child("put_many(db, 0, 10), holds(db, 0, 10)") == "(10, True)"


def test_an_existing_database_is_opened_and_read_on_a_full_disk(stored: Child, faults: FaultShim) -> None:
    stored("db.close()")
    with faults.disk_full():
        assert stored("open_database()") == "None"
        assert stored("holds(db, 0, 100)") == "True"
        assert stored("db.insert('new', vector(5))") == "DiskFullError"
    assert stored("put_many(db, 100, 200), holds(db, 0, 200)") == "(200, True)"


def test_closing_on_a_full_disk_loses_nothing(stored: Child, faults: FaultShim) -> None:
    with faults.disk_full():
        assert stored("db.close()") == "None"
    stored("open_database()")
    assert stored("holds(db, 0, 100), db.verify()['problems']") == "(True, ())"


def test_the_index_is_built_in_memory_and_saved_once_there_is_room(
    console: Callable[..., Child], faults: FaultShim, directory: Path
) -> None:
    child = console(faults.environment(directory / "index"))
    child("hurry()")
    child("open_database()")
    with faults.disk_full():
        child("put_many(db, 0, 400)")
        assert child("until(lambda: 'DiskFullError' in (db.stats()['janitor_fault'] or ''))") == "True"
        assert child("db.wait_indexed(), holds(db, 0, 400)") == "(None, True)"
    assert child("until(lambda: db.stats()['collections']['default']['indexed_sequence'] == 400)") == "True"
    assert child("until(lambda: db.stats()['janitor_fault'] is None)") == "True"
    assert child("holds(db, 0, 400), db.verify()['index_problems']") == "(True, ())"


def test_an_index_that_cannot_be_saved_is_refused_by_name(child: Child, faults: FaultShim) -> None:
    child("hurry()")
    child("janitor.PERIOD = 600")
    child("open_database()")
    child("put_many(db, 0, 400)")
    child("db.wait_indexed()")
    with faults.disk_full():
        assert child("db.snapshot()") == "DiskFullError"
        assert child("holds(db, 0, 400)") == "True"
    assert child("db.snapshot(), db.verify()['index_problems']") == "(400, ())"


@pytest.mark.parametrize("after", [0, 1])
def test_a_backup_that_does_not_fit_leaves_nothing(stored: Child, faults: FaultShim, after: int) -> None:
    with faults.disk_full(after=after):
        assert stored("db.backup(DIRECTORY.parent / 'backup')") == "DiskFullError"
    assert stored("sorted(p.name for p in DIRECTORY.parent.iterdir())") == "['db']"
    stored("db.backup(DIRECTORY.parent / 'backup')")
    stored("db.close()")
    stored("restore(DIRECTORY.parent / 'backup', DIRECTORY.parent / 'restored')")
    stored("db = QuantumDatabase.connect(DIRECTORY.parent / 'restored')")
    assert stored("holds(db, 0, 100)") == "True"


@pytest.mark.parametrize("after", range(4))
def test_compacting_on_a_full_disk_changes_nothing(stored: Child, faults: FaultShim, after: int) -> None:
    stored("db.delete([str(i) for i in range(50, 100)])")
    with faults.disk_full(after=after):
        assert stored("db.compact()") in ("DiskFullError", "0") or after > 1
        assert stored("holds(db, 0, 50)") == "True"
    assert int(stored("db.compact()")) >= 0
    assert stored("put_many(db, 50, 60), holds(db, 0, 60)") == "(160, True)"


def test_a_real_full_file_system_behaves_the_same(console: Callable[[], Child], small_disk: Path) -> None:
    child = console()
    child(f"DIRECTORY = Path({str(small_disk / 'db')!r})")
    child("open_database()")
    child("put_many(db, 0, 1_000, 256), db.backup(DIRECTORY.parent / 'backup')")
    child("stop = 1_000")
    child("exec('while True:\\n put_many(db, stop, stop + 50, 256); stop += 50')")
    assert int(child("stop")) > 1_000
    assert child("put_many(db, stop, stop + 50, 256)") == "DiskFullError"
    assert child("holds(db, 0, stop, 256)") == "True"
    assert child("db.backup(DIRECTORY.parent / 'second')") == "DiskFullError"
    assert child("restore(DIRECTORY.parent / 'backup', DIRECTORY.parent / 'restored')") == "DiskFullError"
    assert child("sorted(p.name for p in DIRECTORY.parent.iterdir())") == "['backup', 'ballast', 'db']"
    assert child("db.close()") == "None"
    assert child("open_database()") == "None"
    assert child("holds(db, 0, stop, 256), db.verify()['problems']") == "(True, ())"
    child("(DIRECTORY.parent / 'ballast').unlink()")
    assert child("put_many(db, stop, stop + 50, 256) > 0 and holds(db, 0, stop + 50, 256)") == "True"
