"""The LMDB environment: what it promises where LMDB or its Python binding would hang, crash or keep silent."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from qstore_db.catalog import environment as environment_module
from qstore_db.catalog import faults
from qstore_db.catalog.environment import DATA_FILE, Environment
from qstore_db.errors import (
    ArgumentError,
    ClosedError,
    ConfigurationError,
    CorruptionError,
    DatabaseLockedError,
    DiskFullError,
    FormatError,
    ReadOnlyError,
    UnavailableError,
)
from qstore_db.testing.faults import FaultShim


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    environment = Environment(tmp_path / "db", tables=["t"])
    yield environment
    environment.close()


@pytest.fixture
def small_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_module, "MAP_SIZE", 1 << 18)


def put(environment: Environment, key: bytes, value: bytes = b"v") -> None:
    with environment.write() as transaction:
        transaction.put(key, value, db=environment.tables["t"])


def get(environment: Environment, key: bytes) -> bytes | None:
    with environment.read() as transaction:
        return transaction.get(key, None, environment.tables["t"])


def zero_all_but_the_meta_pages(environment: Environment) -> None:
    path = environment.directory / DATA_FILE
    with path.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(bytes(path.stat().st_size - 2 * 4096))


def run(script: str, *arguments: Path, env: dict[str, str] | None = None) -> str:
    """What a Python program of its own printed; its first lines are common to all."""
    head = """
        import os, sys
        from pathlib import Path
        from qstore_db.catalog.environment import DATA_FILE, Environment
        from qstore_db.errors import QStoreError

        def put(environment, key, value=b"v"):
            with environment.write() as transaction:
                transaction.put(key, value, db=environment.tables["t"])

        def get(environment, key):
            with environment.read() as transaction:
                return transaction.get(key, None, environment.tables["t"])

        def outcome(call, *arguments):
            try:
                return call(*arguments)
            except QStoreError as error:
                return type(error).__name__

        environment = Environment(Path(sys.argv[1]), tables=["t"])
    """
    program = textwrap.dedent(head) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Transactions


def test_a_write_whose_block_raises_stores_nothing(environment: Environment) -> None:
    with pytest.raises(KeyError), environment.write() as transaction:
        transaction.put(b"k", b"v", db=environment.tables["t"])
        raise KeyError
    assert get(environment, b"k") is None
    put(environment, b"k")


def test_a_read_sees_one_moment(environment: Environment) -> None:
    put(environment, b"k", b"1")
    with environment.read() as transaction:
        put(environment, b"k", b"2")
        assert transaction.get(b"k", None, environment.tables["t"]) == b"1"
    assert get(environment, b"k") == b"2"


def test_a_nested_part_fails_alone(environment: Environment) -> None:
    table = environment.tables["t"]
    with environment.write() as transaction:
        transaction.put(b"before", b"", db=table)
        with pytest.raises(KeyError), environment.nested(transaction) as part:
            part.put(b"doomed", b"", db=table)
            part.delete(b"before", db=table)
            raise KeyError
        with environment.nested(transaction) as part:
            part.put(b"after", b"", db=table)
    assert [get(environment, key) for key in (b"before", b"doomed", b"after")] == [b"", None, b""]


def test_a_mistaken_call_is_no_fault_of_the_store(environment: Environment) -> None:
    with pytest.raises(lmdb.BadValsizeError):
        put(environment, b"k" * 600)
    with pytest.raises(lmdb.BadValsizeError):
        get(environment, b"")
    assert environment.fault is None
    put(environment, b"k")


def test_a_write_within_a_write_is_refused_rather_than_waited_for(environment: Environment) -> None:
    with environment.write() as transaction:
        with environment.nested(transaction) as part:
            part.put(b"k", b"v", db=environment.tables["t"])
        with pytest.raises(lmdb.Error, match="deadlock"):
            put(environment, b"k")
    assert get(environment, b"k") == b"v"


def test_opening_another_environment_does_not_wait_for_a_writer(
    environment: Environment, tmp_path: Path
) -> None:
    with environment.write():
        Environment(tmp_path / "other", tables=["t"]).close()


def test_writes_of_8_threads_are_all_kept(environment: Environment) -> None:
    def work(number: int) -> None:
        for n in range(10):
            put(environment, b"%d/%d" % (number, n))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with environment.read() as transaction:
        assert transaction.stat(environment.tables["t"])["entries"] == 80


def test_more_reads_than_slots_are_told_to_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_module, "_MAX_READERS", 2)
    environment = Environment(tmp_path / "db", tables=["t"])
    with environment.read(), environment.read(), pytest.raises(UnavailableError), environment.read():
        pass
    assert get(environment, b"k") is None
    environment.close()


# Closing


def test_a_closed_environment_refuses_everything(environment: Environment, tmp_path: Path) -> None:
    environment.close()
    environment.close()
    for call in (
        lambda: get(environment, b"k"),
        lambda: put(environment, b"k"),
        lambda: environment.copy(tmp_path),
        environment.compact,
        environment.check,
    ):
        with pytest.raises(ClosedError):
            call()


def test_closing_within_a_write_fails_the_write(environment: Environment) -> None:
    with pytest.raises(ClosedError), environment.write() as transaction:
        transaction.put(b"k", b"v", db=environment.tables["t"])
        environment.close()
    again = Environment(environment.directory, tables=["t"])
    assert get(again, b"k") is None
    again.close()


def test_a_close_waits_for_the_write_of_another_thread(environment: Environment) -> None:
    writing, written = threading.Event(), threading.Event()

    def write() -> None:
        with environment.write() as transaction:
            transaction.put(b"k", b"v", db=environment.tables["t"])
            writing.set()
            written.wait(60)
            with environment.nested(transaction) as part:
                part.put(b"last", b"v", db=environment.tables["t"])

    writer = threading.Thread(target=write)
    writer.start()
    writing.wait(60)
    closer = threading.Thread(target=environment.close)
    closer.start()
    while not environment._closed:
        pass
    written.set()
    writer.join()
    closer.join()
    again = Environment(environment.directory, tables=["t"])
    assert get(again, b"k") == get(again, b"last") == b"v"
    again.close()


def test_readers_and_writers_survive_a_close_or_learn_of_it(environment: Environment) -> None:
    outcomes: list[type[Exception]] = []

    def use(call: Callable[[], object]) -> None:
        try:
            while True:
                call()
        except Exception as error:  # noqa: BLE001 - the class is what is tested
            outcomes.append(type(error))

    calls = [lambda: get(environment, b"k")] * 4 + [lambda: put(environment, b"k")] * 2
    threads = [threading.Thread(target=use, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    environment.close()
    for thread in threads:
        thread.join()
    assert outcomes == [ClosedError] * 6


# Opening


def test_a_directory_opens_once_in_a_process(environment: Environment) -> None:
    with pytest.raises(DatabaseLockedError) as caught:
        Environment(environment.directory)
    assert caught.value.subject == str(environment.directory)
    put(environment, b"k")


def test_a_directory_opens_again_after_a_failed_opening(tmp_path: Path) -> None:
    Environment(tmp_path / "db").close()
    with pytest.raises(CorruptionError) as caught:
        Environment(tmp_path / "db", tables=["missing"], read_only=True)
    assert caught.traceback  # which keeps alive what the constructor had opened
    Environment(tmp_path / "db", read_only=True).close()
    Environment(tmp_path / "db").close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_lost_table_is_a_corruption_error_and_not_made_anew(
    environment: Environment, read_only: bool
) -> None:
    environment.close()
    path = environment.directory / DATA_FILE
    path.write_bytes(path.read_bytes().replace(b"catalog", b"catalof"))
    with pytest.raises(CorruptionError, match="catalog"):
        Environment(environment.directory, tables=["t"], read_only=read_only)


def test_a_table_that_was_added_later_is_made_where_it_is_missing(environment: Environment) -> None:
    put(environment, b"k")
    environment.close()
    reader = Environment(environment.directory, tables=["t"], added=["later"], read_only=True)
    assert {*reader.tables} == {"catalog", "t"}
    reader.close()
    for expected in (None, b"v"):
        again = Environment(environment.directory, tables=["t"], added=["later"])
        with again.write() as transaction:
            assert transaction.get(b"l", None, again.tables["later"]) == expected
            transaction.put(b"l", b"v", db=again.tables["later"])
        assert get(again, b"k") is not None
        again.close()
    reader = Environment(environment.directory, tables=["t"], added=["later"], read_only=True)
    with reader.read() as transaction:
        assert transaction.get(b"l", None, reader.tables["later"]) == b"v"
    reader.close()


@pytest.mark.parametrize("content", [b"no database" * 1_000, b"short"])
def test_a_file_of_another_kind_is_a_format_error_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATA_FILE).write_bytes(content)
    with pytest.raises(FormatError):
        Environment(tmp_path)
    assert (tmp_path / DATA_FILE).read_bytes() == content


def test_a_file_of_the_other_engine_is_a_format_error(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path / "db"), lib_version=1).close()
    with pytest.raises(FormatError):
        Environment(tmp_path / "db")


def test_a_place_that_cannot_hold_a_database_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "missing" / "db"):
        with pytest.raises(ConfigurationError) as caught:
            Environment(directory)
        assert caught.value.subject == str(directory)
    with pytest.raises(ConfigurationError):
        Environment(tmp_path / "missing", read_only=True)


def test_a_read_only_environment_reads_and_refuses_writes(environment: Environment) -> None:
    put(environment, b"k")
    environment.close()
    reader = Environment(environment.directory, tables=["t"], read_only=True)
    assert get(reader, b"k") == b"v"
    with pytest.raises(ReadOnlyError):
        put(reader, b"k")
    with pytest.raises(ReadOnlyError):
        reader.compact()
    reader.close()


def test_a_file_that_was_cut_short_is_damage_and_no_crash(tmp_path: Path) -> None:
    script = """
        for n in range(200):
            put(environment, b"%03d" % n, bytes(3_000))
        environment.close()
        path = Path(sys.argv[1]) / DATA_FILE
        os.truncate(path, path.stat().st_size // 8)

        def read_all():
            again = Environment(Path(sys.argv[1]), tables=["t"])
            return [get(again, b"%03d" % n) for n in range(200)]

        print(outcome(read_all))
    """
    assert run(script, tmp_path / "db") == "CorruptionError\n"


def test_reader_slots_of_killed_processes_are_freed_at_opening(tmp_path: Path) -> None:
    # Another process keeps the lock file in use; without it, opening would begin a new one anyway.
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, tmp_path / "db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        keeper.stdout.readline()
        killed = subprocess.run([sys.executable, "-c", KILLED_READER, tmp_path / "db"], check=False)
        assert killed.returncode < 0
        environment = Environment(tmp_path / "db")
        assert "no active readers" in environment._env.readers()
        environment.close()
        keeper.stdin.close()


KEEPER = """
import sys
from pathlib import Path
from qstore_db.catalog.environment import Environment

environment = Environment(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""

KILLED_READER = """
import os, signal, sys
from pathlib import Path
from qstore_db.catalog.environment import Environment

with Environment(Path(sys.argv[1])).read():
    os.kill(os.getpid(), signal.SIGKILL)
"""


# Forks


def test_a_handle_from_before_a_fork_is_refused_in_the_child(tmp_path: Path) -> None:
    script = """
        put(environment, b"k", b"parent")
        if os.fork() == 0:
            calls = [
                (get, environment, b"k"),
                (put, environment, b"k", b"child"),
                (environment.copy, Path(sys.argv[1])),
                (environment.compact,),
                (environment.check_owner,),
            ]
            print({outcome(*call) for call in calls}, environment.close(), flush=True)
            os._exit(0)
        os.wait()
        print(get(environment, b"k"), outcome(put, environment, b"k"))
    """
    assert run(script, tmp_path / "db") == "{'ForkedError'} None\nb'parent' None\n"


def test_a_child_forked_within_a_write_commits_nothing(tmp_path: Path) -> None:
    script = """
        def write():
            with environment.write() as transaction:
                child = os.fork()
                name = b"parent" if child else b"child"
                transaction.put(name, b"", db=environment.tables["t"])
                if child:
                    os.waitpid(child, 0)

        parent = os.getpid()
        print(outcome(write), flush=True)
        if os.getpid() == parent:
            print(get(environment, b"parent"), get(environment, b"child"), outcome(put, environment, b"k"))
        else:
            os._exit(0)
    """
    assert run(script, tmp_path / "db") == "ForkedError\nNone\nb'' None None\n"


def test_a_child_forked_within_a_read_leaves_the_parents_slot_alone(tmp_path: Path) -> None:
    script = """
        put(environment, b"k", b"old")
        with environment.read() as transaction:
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                slots = environment._env.readers()
                assert str(os.getpid()) in slots, slots
                for n in range(200):
                    put(environment, b"k", b"%d" % n * 1_000)
                print(transaction.get(b"k", None, environment.tables["t"]))
        if not child:
            os._exit(0)
    """
    assert run(script, tmp_path / "db") == "b'old'\n"


# Faults


def test_a_full_map_stores_nothing_and_later_writes_go_on(small_map: None, environment: Environment) -> None:
    put(environment, b"k")
    with pytest.raises(DiskFullError, match="may not grow"):
        put(environment, b"big", bytes(1 << 20))
    assert environment.fault is None
    assert get(environment, b"big") is None
    put(environment, b"small")
    assert get(environment, b"k") == get(environment, b"small") == b"v"


def test_a_nested_part_that_finds_the_map_full_fails_alone(small_map: None, environment: Environment) -> None:
    table = environment.tables["t"]
    with environment.write() as transaction:
        transaction.put(b"before", b"", db=table)
        with pytest.raises(DiskFullError), environment.nested(transaction) as part:
            part.put(b"big", bytes(1 << 20), db=table)
        transaction.put(b"after", b"", db=table)
    assert [get(environment, key) for key in (b"before", b"big", b"after")] == [b"", None, b""]


def test_a_condemned_environment_reads_and_refuses_writes(environment: Environment) -> None:
    put(environment, b"k")
    environment.condemn("the first reason")
    environment.condemn("another")
    assert environment.fault == "the first reason"
    with pytest.raises(ReadOnlyError, match="the first reason"):
        put(environment, b"k")
    assert get(environment, b"k") == b"v"


def test_damaged_pages_are_a_corruption_error_and_end_writing(environment: Environment) -> None:
    for n in range(200):
        put(environment, b"%03d" % n, bytes(3_000))
    zero_all_but_the_meta_pages(environment)
    with pytest.raises(CorruptionError) as caught:
        get(environment, b"000")
    assert caught.value.subject == str(environment.directory)
    with pytest.raises(ReadOnlyError):
        put(environment, b"k")


def test_a_write_that_meets_damaged_pages_is_a_corruption_error(environment: Environment) -> None:
    for n in range(200):
        put(environment, b"%03d" % n, bytes(3_000))
    zero_all_but_the_meta_pages(environment)
    with pytest.raises(CorruptionError):
        put(environment, b"k")
    assert environment.fault is not None


def test_a_copy_of_damaged_pages_is_refused_and_removed(environment: Environment, tmp_path: Path) -> None:
    for n in range(200):
        put(environment, b"%03d" % n, bytes(3_000))
    zero_all_but_the_meta_pages(environment)
    (tmp_path / "copy").mkdir()
    with pytest.raises(CorruptionError):
        environment.copy(tmp_path / "copy")
    assert not list((tmp_path / "copy").iterdir())
    assert environment.fault is not None


@pytest.mark.parametrize(
    ("code", "committing", "fatal"),
    [
        (errno.EIO, True, True),
        (errno.ENOMEM, True, True),
        (errno.EIO, False, True),
        (errno.ENOMEM, False, False),
        (0, True, False),
    ],
)
def test_a_failing_disk_and_any_system_error_of_a_commit_are_fatal(
    code: int, committing: bool, fatal: bool
) -> None:
    error = lmdb.Error("a call")
    vars(error)["code"] = code  # as the binding does
    assert faults.is_fatal(error, committing=committing) is fatal


FAULTY = """
    from qstore_db.testing.faults import FaultControl

    faults = FaultControl.from_environment()
    put(environment, b"k", b"kept")
"""


@pytest.fixture
def run_faulty(tmp_path: Path, require_tool: Callable[[str], str]) -> Iterator[Callable[[str], str]]:
    """`run` with faults to be switched on in `faults`; the directory is `tmp_path / "db"`."""
    require_tool("cc")
    (tmp_path / "db").mkdir()
    with FaultShim() as shim:
        yield lambda script: run(
            textwrap.dedent(FAULTY) + textwrap.dedent(script),
            tmp_path / "db",
            env=shim.environment(tmp_path / "db"),
        )
        assert shim.counts.writes_failed + shim.counts.syncs_failed > 0


def test_a_full_disk_fails_the_write_alone(run_faulty: Callable[[str], str]) -> None:
    script = """
        for after in range(2):
            with faults.disk_full(after=after):
                print(outcome(put, environment, b"new", bytes(20_000)), get(environment, b"k"))
            print(get(environment, b"new"), outcome(put, environment, b"k", b"kept"), environment.fault)
    """
    assert run_faulty(script) == "DiskFullError b'kept'\nNone None None\n" * 2


def test_a_failed_sync_makes_the_environment_read_only_until_reopened(
    run_faulty: Callable[[str], str],
) -> None:
    script = """
        with faults.sync_fails():
            print(outcome(put, environment, b"new"))
        print(get(environment, b"k"), outcome(put, environment, b"more"), environment.fault is not None)
        environment.close()
        again = Environment(environment.directory, tables=["t"])
        print(get(again, b"k"), outcome(put, again, b"more"), again.fault)
    """
    assert run_faulty(script) == "ReadOnlyError\nb'kept' ReadOnlyError True\nb'kept' None None\n"


@pytest.mark.parametrize("fault", ["disk_full(after=after)", "sync_fails(after=after, dsync_writes=True)"])
def test_a_failed_meta_page_takes_reads_away_too_until_reopened(
    run_faulty: Callable[[str], str], fault: str
) -> None:
    script = f"""
        # The last call of a commit writes the meta page; how many go before it differs from commit to commit.
        for after in (4, 3, 2, 1) * 10:
            with faults.{fault}:
                found = outcome(put, environment, b"new")
            if outcome(get, environment, b"k") == "ReadOnlyError":
                break
        print(found)
        print(outcome(get, environment, b"k"), outcome(put, environment, b"more"))
        environment.close()
        again = Environment(environment.directory, tables=["t"])
        print(get(again, b"k"), outcome(put, again, b"more"), again.fault)
    """
    assert run_faulty(script) == "ReadOnlyError\nReadOnlyError ReadOnlyError\nb'kept' None None\n"


def test_a_compaction_that_finds_the_disk_full_changes_nothing(run_faulty: Callable[[str], str]) -> None:
    script = """
        with faults.disk_full():
            print(outcome(environment.compact))
        print(get(environment, b"k"), outcome(put, environment, b"more"), sorted(os.listdir(sys.argv[1])))
        print(outcome(environment.compact), get(environment, b"k"))
    """
    assert run_faulty(script) == ("DiskFullError\nb'kept' None ['data.mdb', 'lock.mdb']\nNone b'kept'\n")


# Copies and compaction


def test_a_copy_holds_what_was_committed_and_opens(environment: Environment, tmp_path: Path) -> None:
    put(environment, b"k")
    (tmp_path / "copy").mkdir()
    assert environment.copy(tmp_path / "copy") == tmp_path / "copy" / DATA_FILE
    copy = Environment(tmp_path / "copy", tables=["t"])
    assert get(copy, b"k") == b"v"
    copy.close()


def test_a_copy_never_overwrites_and_needs_its_folder(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / DATA_FILE).write_text("mine")
    for destination in (tmp_path / "taken", tmp_path / "missing", environment.directory):
        with pytest.raises(ArgumentError):
            environment.copy(destination)
    assert (tmp_path / "taken" / DATA_FILE).read_text() == "mine"
    assert environment.fault is None
    put(environment, b"k")


def test_compaction_gives_space_back_and_keeps_the_rest(environment: Environment) -> None:
    put(environment, b"k")
    put(environment, b"big", bytes(1 << 20))
    with environment.write() as transaction:
        transaction.delete(b"big", db=environment.tables["t"])
    before = environment.file_size()
    environment.compact()
    assert environment.file_size() < before - (1 << 19)
    assert get(environment, b"k") == b"v"
    put(environment, b"more")
    assert {path.name for path in environment.directory.iterdir()} == {DATA_FILE, "lock.mdb"}


def test_reads_and_writes_go_on_around_compactions(environment: Environment) -> None:
    put(environment, b"k")
    done = threading.Event()
    seen: set[bytes | None] = set()

    def use() -> None:
        while not done.is_set():
            put(environment, b"more")
            seen.add(get(environment, b"k"))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        environment.compact()
    done.set()
    for thread in threads:
        thread.join()
    assert seen == {b"v"}
    assert environment.fault is None


def test_a_read_within_a_write_does_not_wait_for_a_compaction_that_waits_for_the_write(
    environment: Environment,
) -> None:
    put(environment, b"k")
    compaction = threading.Thread(target=environment.compact)
    with environment.write():
        compaction.start()
        while not environment._gate._alone:
            pass
        assert get(environment, b"k") == b"v"
    compaction.join()
    assert get(environment, b"k") == b"v"
