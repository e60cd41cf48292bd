"""A disk that fails a sync: nobody knows what it holds, so nothing more is promised until it is reopened."""

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


@pytest.fixture
def broken(stored: Child, faults: FaultShim) -> Child:
    """The same after a write that met a failing sync; the disk is well again."""
    with faults.sync_fails():
        assert stored("db.insert('lost', vector(0))") == "ReadOnlyError"
    assert faults.counts.syncs_failed == 1
    return stored


@pytest.mark.parametrize(
    "write",
    [
        "db.insert('new', vector(0))",
        "db.upsert('0', vector(0))",
        "db.update('0', metadata={})",
        "db.delete('0')",
        "put_many(db, 0, 10)",
        "db.create_collection('other', dimension=3)",
        "db.drop_collection('default')",
        "db.rename_collection('default', 'other')",
        "db.reindex('default', index='flat')",
        "db.compact()",
    ],
)
def test_no_write_is_taken_after_a_failed_sync(broken: Child, write: str) -> None:
    assert broken(write) == "ReadOnlyError"


def test_reads_go_on_after_a_failed_sync(broken: Child) -> None:
    assert broken("holds(db, 0, 100)") == "True"
    assert broken("db.get('lost')") == "None"
    assert broken("len(db.query(vector(1), top_k=100)), len(db.scroll(limit=200))") == "(100, 100)"
    assert broken("len(db.tunnel_search(vector(1), top_k=5).inside)") == "5"


def test_stats_say_why_the_store_is_read_only(broken: Child) -> None:
    assert "Input/output error" in broken("db.stats()['read_only']")


def test_all_who_waited_for_a_failed_commit_are_told(stored: Child, faults: FaultShim) -> None:
    stored("from concurrent.futures import ThreadPoolExecutor")
    stored("pool = ThreadPoolExecutor(8)")
    with faults.sync_fails(after=3):
        stored("tickets = [pool.submit(db.insert, f'n{i}', vector(i)) for i in range(100)]")
        stored("outcomes = {i: ticket.exception() for i, ticket in enumerate(tickets)}")
    assert stored("{type(error).__name__ for error in outcomes.values() if error}") == "{'ReadOnlyError'}"
    stored("done = [f'n{i}' for i, error in outcomes.items() if not error]")
    assert stored("all(db.get(done)) and db.count() == 100 + len(done)") == "True"
    stored("db.close()")
    stored("open_database()")
    assert stored("all(db.get(done)) and db.verify()['problems']") == "()"


def test_reopening_brings_back_every_acknowledged_write_and_takes_new_ones(broken: Child) -> None:
    assert broken("db.close()") == "None"
    broken("open_database()")
    broken("db.delete('lost')")  # it was never acknowledged: it may be there or not
    assert broken("holds(db, 0, 100), db.verify()['problems'], db.stats()['read_only']") == "(True, (), None)"
    assert broken("put_many(db, 0, 200) > 100 and holds(db, 0, 200)") == "True"


def test_a_meta_page_that_fails_ends_reads_too_until_the_database_is_reopened(
    stored: Child, faults: FaultShim
) -> None:
    with faults.sync_fails(after=1, dsync_writes=True):  # the pages are synced, the meta page is not
        assert stored("db.insert('lost', vector(0))") == "ReadOnlyError"
    assert stored("db.get('0')") == "ReadOnlyError"
    assert stored("db.insert('new', vector(0))") == "ReadOnlyError"
    assert stored("bool(db.stats()['read_only'])") == "True"
    assert stored("db.close()") == "None"
    stored("open_database()")
    stored("db.delete('lost')")
    assert stored("holds(db, 0, 100), db.verify()['problems']") == "(True, ())"
    assert stored("put_many(db, 0, 200) > 100 and holds(db, 0, 200)") == "True"


def test_a_backup_whose_sync_fails_is_not_kept(stored: Child, faults: FaultShim) -> None:
    with faults.sync_fails():
        assert stored("db.backup(DIRECTORY.parent / 'backup')") == "ConfigurationError"
    assert stored("sorted(p.name for p in DIRECTORY.parent.iterdir())") == "['db']"
    assert stored("put_many(db, 0, 200) > 100 and holds(db, 0, 200)") == "True"


def test_an_index_whose_sync_fails_is_not_used(
    console: Callable[..., Child], faults: FaultShim, directory: Path
) -> None:
    child = console(faults.environment(directory / "index"))
    child("hurry()")
    child("open_database()")
    with faults.sync_fails():
        child("put_many(db, 0, 400)")
        assert child("until(lambda: db.stats()['janitor_fault'])") == "True"
        assert child("db.stats()['collections']['default']['indexed_sequence']") == "0"
    child("db.close()")
    child("open_database()")
    assert child("holds(db, 0, 400), db.verify()['index_problems']") == "(True, ())"


def test_closing_while_syncs_fail_loses_nothing(stored: Child, faults: FaultShim) -> None:
    with faults.sync_fails():
        assert stored("db.close()") == "None"
    stored("open_database()")
    assert stored("holds(db, 0, 100), db.verify()['problems']") == "(True, ())"


def test_opening_while_syncs_fail_is_refused_and_works_later(stored: Child, faults: FaultShim) -> None:
    stored("db.close()")
    with faults.sync_fails():
        assert stored("open_database()") in ("ReadOnlyError", "ConfigurationError")
    assert stored("open_database()") == "None"
    assert stored("holds(db, 0, 100)") == "True"
