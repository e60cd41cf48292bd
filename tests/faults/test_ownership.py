"""One process per directory; handles after a fork and after close."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qstore_db import AsyncQuantumDatabase, QuantumDatabase
from qstore_db.errors import ClosedError, DatabaseLockedError

Child = Callable[[str], str]

READS = [
    "db.get('0')",
    "db.get(['0', '1'])",
    "db.query([1.0, 0.0])",
    "db.query_batch([[1.0, 0.0]])",
    "db.query([1.0, 0.0], context='c')",
    "db.tunnel_search([1.0, 0.0])",
    "db.tunnel_search_batch([[1.0, 0.0]])",
    "db.neighbours('0')",
    "db.scroll()",
    "db.count()",
    "db.count({'x': 1})",
    "db.list_collections()",
    "db.stats()",
    "db.verify()",
]
WRITES = [
    "db.insert('n', [1.0, 0.0])",
    "db.upsert('n', [1.0, 0.0])",
    "db.insert_many(ids=['n'], vectors=[[1.0, 0.0]])",
    "db.upsert_many(ids=['n'], vectors=[[1.0, 0.0]])",
    "db.update('0', metadata={'x': 1})",
    "db.delete('0')",
    "db.delete(filter={'x': 1})",
    "db.create_collection('other', dimension=2)",
    "db.rename_collection('default', 'other')",
    "db.drop_collection('default')",
    "db.reindex('default', index='flat')",
    "db.wait_indexed()",
    "db.snapshot()",
    "db.compact()",
    "db.backup('backup')",
]


def run(program: str, *arguments: object) -> str:
    """What a Python program prints; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_another_process_is_refused_and_told_who_has_the_directory(
    console: Callable[[], Child], directory: Path
) -> None:
    owner = console()
    owner("open_database()")
    with pytest.raises(
        DatabaseLockedError, match=f"process {owner('os.getpid()')} on .*console.py"
    ) as caught:
        QuantumDatabase.connect(directory)
    assert caught.value.subject == str(directory)
    assert owner("put_many(db, 0, 10), holds(db, 0, 10)") == "(10, True)"


def test_the_same_process_is_refused_a_second_handle(directory: Path) -> None:
    with QuantumDatabase.connect(directory) as db:
        with pytest.raises(DatabaseLockedError, match=f"process {os.getpid()} "):
            QuantumDatabase.connect(directory)
        db.insert("a", [1.0, 0.0])
    with QuantumDatabase.connect(directory) as db:
        assert db.count() == 1


def test_another_name_of_the_directory_is_the_same_directory(directory: Path, tmp_path: Path) -> None:
    with QuantumDatabase.connect(directory):
        (tmp_path / "link").symlink_to(directory)
        with pytest.raises(DatabaseLockedError):
            QuantumDatabase.connect(tmp_path / "link")


def test_a_process_that_is_killed_leaves_no_lock(console: Callable[[], Child], directory: Path) -> None:
    owner = console()
    owner("open_database()")
    owner("put_many(db, 0, 10)")
    os.kill(int(owner("os.getpid()")), signal.SIGKILL)
    with pytest.raises(AssertionError, match="the process ended"):
        owner("db.count()")
    with QuantumDatabase.connect(directory) as db:
        assert db.count() == 10


def test_a_database_that_is_only_forgotten_leaves_no_lock(directory: Path) -> None:
    run(
        """
        import sys
        from qstore_db import QuantumDatabase
        QuantumDatabase.connect(sys.argv[1]).insert("a", [1.0, 0.0])
        """,
        directory,
    )
    with QuantumDatabase.connect(directory) as db:
        assert db.count() == 1
        assert db.stats()["verification"] == "not needed"


FORK = """
import os, sys, traceback
from qstore_db import QuantumDatabase
from qstore_db.errors import ForkedError

directory, calls = sys.argv[1], sys.argv[2:]
db = QuantumDatabase.connect(directory)
db.upsert('0', [1.0, 0.0], [('c', 1.0)], {'x': 1})
db.upsert('1', [0.0, 1.0])
ready, go_on = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    try:
        os.close(go_on[1])
        for call in calls:
            try:
                eval(call)
            except ForkedError:
                continue
            os.write(ready[1], f'{call} was taken;'.encode())
        os.write(ready[1], b'.')
        os.read(go_on[0], 1)
    except BaseException:
        os.write(ready[1], traceback.format_exc().encode() + b'.')
    finally:
        os._exit(0)
os.close(ready[1])
os.close(go_on[0])
said = b''
while not said.endswith(b'.'):
    said += os.read(ready[0], 65536)
print(said.decode())
"""


@pytest.mark.parametrize("calls", [READS, WRITES], ids=["reads", "writes"])
def test_every_call_on_a_handle_from_before_a_fork_is_refused(directory: Path, calls: list[str]) -> None:
    assert run(FORK + "db.close(); os.write(go_on[1], b'.'); os.wait()", directory, *calls) == "."


def test_closing_a_forked_handle_leaves_the_parents_database_open(directory: Path) -> None:
    program = """
print(db.insert('2', [1.0, 1.0]), db.count(), db.verify()['problems'])
try:
    QuantumDatabase.connect(directory)
except Exception as error:
    print(type(error).__name__)
"""
    said = run(FORK + program, directory, "db.close()")
    assert re.sub(r"^db\.close\(\) was taken;", "", said).split("\n") == [
        ".",
        "3 3 ()",
        "DatabaseLockedError",
    ]


def test_the_parent_works_on_and_frees_the_directory_though_a_forked_child_lives(directory: Path) -> None:
    program = """
db.insert('2', [1.0, 1.0])
db.close()
with QuantumDatabase.connect(directory) as again:
    print(again.count())
os.write(go_on[1], b'.')
os.wait()
"""
    assert run(FORK + program, directory) == ".\n3"


def test_a_forked_child_may_open_a_database_of_its_own(directory: Path, tmp_path: Path) -> None:
    program = "db.close(); os.write(go_on[1], b'.'); os.wait()"
    call = f"QuantumDatabase.connect({str(tmp_path / 'own')!r}).insert('a', [1.0])"
    assert run(FORK + program, directory, call) == f"{call} was taken;."


def test_a_child_that_ends_in_the_usual_way_does_the_parent_no_harm(directory: Path) -> None:
    said = run(
        """
        import os, sys
        from qstore_db import QuantumDatabase
        db = QuantumDatabase.connect(sys.argv[1])
        db.insert("a", [1.0, 0.0])
        child = os.fork()
        if child == 0:
            sys.exit(0)  # runs finalizers and exit handlers
        print(os.waitpid(child, 0)[1])
        print(db.insert("b", [1.0, 0.0]), db.verify()["problems"])
        """,
        directory,
    )
    assert said == "0\n2 ()"


@pytest.mark.parametrize("call", READS + WRITES)
def test_every_call_on_a_closed_database_is_refused(directory: Path, call: str) -> None:
    db = QuantumDatabase.connect(directory)
    db.upsert("0", [1.0, 0.0], [("c", 1.0)], {"x": 1})
    db.close()
    with pytest.raises(ClosedError):
        eval(call, {"db": db})


def test_closing_again_does_nothing(directory: Path) -> None:
    db = QuantumDatabase.connect(directory)
    db.close()
    db.close()


async def test_calls_on_a_closed_asynchronous_database_are_refused(directory: Path) -> None:
    db = await AsyncQuantumDatabase.connect(directory)
    await db.insert("0", [1.0, 0.0])
    await db.close()
    for call in (db.get("0"), db.query([1.0, 0.0]), db.insert("1", [1.0, 0.0]), db.stats(), db.verify()):
        with pytest.raises(ClosedError):
            await call
    await db.close()


def test_results_that_were_not_read_before_close_are_refused(directory: Path) -> None:
    db = QuantumDatabase.connect(directory)
    db.insert("0", [1.0, 0.0], metadata={"x": 1})
    result = db.query(np.array([1.0, 0.0]))
    db.close()
    with pytest.raises(ClosedError):
        assert result[0].metadata
