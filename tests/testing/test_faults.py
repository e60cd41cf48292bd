"""The fault tools prove themselves here: each fault really fires, where it should and nowhere else."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import qstore_db
from qstore_db.errors import ArgumentError, ConfigurationError, WaitTimeoutError
from qstore_db.testing.faults import FaultShim, KilledWriter, KillMoment, flip_bit, random_flips, shim

# Answers each line of Python with its value, or with the class and number of the error it raised.
CHILD = """
import ctypes, mmap, os, sys
sys.path.insert(0, sys.argv[1])
scope = {"ctypes": ctypes, "mmap": mmap, "os": os, "libc": ctypes.CDLL(None)}
scope["libc"].fopen.restype = ctypes.c_void_p
for line in sys.stdin:
    try:
        answer = repr(eval(line, scope))
    except SyntaxError:
        exec(line, scope)
        answer = ""
    except Exception as error:
        answer = f"{type(error).__name__} {getattr(error, 'errno', None) or getattr(error, 'code', error)}"
    print(answer, flush=True)
"""

ENOSPC, EIO = "OSError 28", "OSError 5"
LMDB_FULL, LMDB_EIO, LMDB_PANIC = "DiskError 28", "Error 5", "PanicError -30795"

Child = Callable[[str], str]


@pytest.fixture
def faults(require_tool: Callable[[str], str]) -> Iterator[FaultShim]:
    require_tool("cc")
    with FaultShim() as shim:
        yield shim


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    directory = tmp_path / "watched"
    directory.mkdir()
    return directory


@pytest.fixture
def child(faults: FaultShim, watched: Path) -> Iterator[Child]:
    """A plain Python process under the shim, with `fd` a file of 8 bytes in the watched directory."""
    argv = [sys.executable, "-c", CHILD, str(Path(qstore_db.__file__).parents[1])]
    with subprocess.Popen(
        argv,
        env=faults.environment(watched),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=watched,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(line: str) -> str:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return process.stdout.readline().rstrip("\n")

        ask("fd = os.open('file', os.O_RDWR | os.O_CREAT); os.write(fd, b'original')")
        yield ask
        process.stdin.close()


@pytest.fixture
def lmdb_child(child: Child) -> Child:
    """The same with an open LMDB environment, one committed key, and `put(key, size)` that commits."""
    child("import lmdb")
    child("reopen = lambda: lmdb.open('db', map_size=1 << 40, max_dbs=16, lib_version=0)")
    child("env = reopen()")
    child("exec('def put(key, size=1):\\n with env.begin(write=True) as t: t.put(key, bytes(size))')")
    child("exec('def get(key):\\n with env.begin() as t: return t.get(key)')")
    assert child("put(b'old')") == "None"
    return child


@pytest.mark.parametrize(
    "call",
    [
        "os.write(fd, b'new')",
        "os.pwrite(fd, b'new', 0)",
        "os.writev(fd, [b'new', b'er'])",
        "os.pwritev(fd, [b'new', b'er'], 0)",
        "os.posix_fallocate(fd, 0, 100)",
        "os.ftruncate(fd, 100)",
    ],
)
def test_a_full_disk_fails_every_writing_call_and_leaves_the_file_as_it_was(
    faults: FaultShim, child: Child, watched: Path, call: str
) -> None:
    with faults.disk_full():
        assert child(call) == ENOSPC
    assert (watched / "file").read_bytes() == b"original"
    assert faults.counts.writes_failed == 1


def test_a_full_disk_fails_buffered_c_streams(faults: FaultShim, child: Child) -> None:
    child("stream = ctypes.c_void_p(libc.fopen(b'stream', b'w'))")
    with faults.disk_full():
        assert child("libc.fwrite(b'new', 1, 3, stream)") == "0"
    assert child("libc.fwrite(b'new', 1, 3, stream)") == "3"


def test_a_full_disk_still_lets_a_file_shrink(faults: FaultShim, child: Child, watched: Path) -> None:
    with faults.disk_full():
        assert child("os.ftruncate(fd, 4)") == "None"
    assert (watched / "file").read_bytes() == b"orig"


def test_files_elsewhere_never_meet_a_fault(faults: FaultShim, child: Child, tmp_path: Path) -> None:
    (tmp_path / "watched-not").mkdir()
    child(f"other = os.open({str(tmp_path / 'watched-not' / 'file')!r}, os.O_RDWR | os.O_CREAT)")
    with faults.disk_full():
        assert child("os.write(other, b'new')") == "3"
    with faults.sync_fails():
        assert child("os.fdatasync(other)") == "None"


def test_files_deep_below_the_directory_meet_the_fault(faults: FaultShim, child: Child) -> None:
    child("os.makedirs('a/b'); deep = os.open('a/b/file', os.O_RDWR | os.O_CREAT)")
    with faults.disk_full():
        assert child("os.write(deep, b'new')") == ENOSPC


def test_the_directory_may_be_named_by_a_symbolic_link(
    faults: FaultShim, watched: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(watched)
    program = "import os; os.write(os.open('file', os.O_RDWR | os.O_CREAT), b'new')"
    with faults.disk_full():
        run = subprocess.run(
            [sys.executable, "-c", program],
            env=faults.environment(tmp_path / "link"),
            cwd=watched,
            capture_output=True,
        )
    assert b"No space left on device" in run.stderr


@pytest.mark.parametrize("call", ["os.fsync(fd)", "os.fdatasync(fd)", "os.fsync(folder)", "mapped.flush()"])
def test_a_failing_sync_fails_files_mappings_and_the_directory_itself(
    faults: FaultShim, child: Child, call: str
) -> None:
    child("folder = os.open('.', os.O_RDONLY); mapped = mmap.mmap(fd, 8)")
    with faults.sync_fails():
        assert child(call) == EIO
    assert child(call) == "None"
    assert (faults.counts.syncs_seen, faults.counts.syncs_failed) == (2, 1)


def test_an_anonymous_mapping_never_fails_to_sync(faults: FaultShim, child: Child) -> None:
    child("mapped = mmap.mmap(-1, 8)")
    with faults.sync_fails():
        assert child("mapped.flush()") == "None"


def test_writes_go_on_while_syncs_fail(faults: FaultShim, child: Child) -> None:
    with faults.sync_fails():
        assert child("os.pwrite(fd, b'new', 0)") == "3"


def test_a_fault_is_switched_on_and_off_while_the_child_runs(faults: FaultShim, child: Child) -> None:
    answers = []
    for _ in range(2):
        answers.append(child("os.pwrite(fd, b'new', 0)"))
        with faults.disk_full():
            answers.append(child("os.pwrite(fd, b'new', 0)"))
    assert answers == ["3", ENOSPC] * 2


def test_a_fault_waits_for_the_calls_it_was_told_to_let_pass(faults: FaultShim, child: Child) -> None:
    with faults.disk_full(after=2):
        assert [child("os.pwrite(fd, b'new', 0)") for _ in range(4)] == ["3", "3", ENOSPC, ENOSPC]


def test_every_call_below_the_directory_is_counted(faults: FaultShim, child: Child) -> None:
    before = faults.counts
    child("[os.pwrite(fd, b'new', 0) for _ in range(5)] and os.fsync(fd)")
    after = faults.counts
    assert (after.writes_seen - before.writes_seen, after.syncs_seen - before.syncs_seen) == (5, 1)
    assert (after.writes_failed, after.syncs_failed) == (0, 0)


def test_a_disk_that_fills_up_in_a_write_takes_the_first_half(
    faults: FaultShim, child: Child, watched: Path
) -> None:
    with faults.disk_full(short_write=True):
        assert [child("os.pwrite(fd, b'REPLACED', 0)") for _ in range(2)] == ["4", ENOSPC]
    assert (watched / "file").read_bytes() == b"REPLinal"


def test_a_failed_dsync_write_is_in_the_file_all_the_same(
    faults: FaultShim, child: Child, watched: Path
) -> None:
    child("direct = os.open('file', os.O_WRONLY | os.O_DSYNC)")
    with faults.sync_fails(dsync_writes=True):
        assert child("os.pwrite(direct, b'new', 0)") == EIO
        assert child("os.pwrite(fd, b'al', 6)") == "2"
    assert (watched / "file").read_bytes() == b"newginal"


def test_the_child_can_turn_its_own_faults_on(faults: FaultShim, child: Child) -> None:
    child("from qstore_db.testing.faults import FaultControl")
    child("control = FaultControl.from_environment()")
    assert child("control.fill_disk()") == "None"
    assert child("os.pwrite(fd, b'new', 0)") == ENOSPC
    assert faults.counts.writes_failed == 1


def test_a_process_without_a_shim_has_no_control(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QSTORE_FAULT_CONTROL", raising=False)
    with pytest.raises(ConfigurationError, match="QSTORE_FAULT_CONTROL is not set"):
        FaultShim.from_environment()


def test_a_child_whose_control_file_is_gone_does_not_start(faults: FaultShim, watched: Path) -> None:
    environment = {**faults.environment(watched), "QSTORE_FAULT_CONTROL": "/nowhere/control"}
    run = subprocess.run([sys.executable, "-c", ""], env=environment, capture_output=True)
    assert run.returncode == 127


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    shim._library.cache_clear()
    with pytest.raises(ConfigurationError, match="no-such-compiler") as caught:
        FaultShim()
    assert caught.value.subject == "no-such-compiler"


def test_lmdb_survives_a_full_disk_without_being_reopened(faults: FaultShim, lmdb_child: Child) -> None:
    with faults.disk_full():
        assert lmdb_child("put(b'new')") == LMDB_FULL
        assert lmdb_child("get(b'old')") == r"b'\x00'"
    assert lmdb_child("put(b'new')") == "None"


def test_lmdb_reports_a_disk_that_fills_up_in_a_commit_as_eio(faults: FaultShim, lmdb_child: Child) -> None:
    with faults.disk_full(short_write=True):
        assert lmdb_child("put(b'new', 100_000)") == LMDB_EIO
    assert lmdb_child("get(b'new')") == "None"
    assert lmdb_child("put(b'new')") == "None"


def test_lmdb_commits_again_after_a_failed_sync(faults: FaultShim, lmdb_child: Child) -> None:
    with faults.sync_fails():
        assert lmdb_child("put(b'new')") == LMDB_EIO
    assert lmdb_child("get(b'new')") == "None"
    assert lmdb_child("put(b'new')") == "None"


def test_lmdb_panics_until_reopened_after_a_failed_meta_page(faults: FaultShim, lmdb_child: Child) -> None:
    with faults.sync_fails(after=1, dsync_writes=True):
        assert lmdb_child("put(b'new')") == LMDB_EIO
    assert lmdb_child("get(b'old')") == LMDB_PANIC
    lmdb_child("env.close(); env = reopen()")
    assert lmdb_child("get(b'old'), get(b'new')") == r"(b'\x00', None)"


def test_an_lmdb_commit_that_failed_can_turn_up_after_reopening(faults: FaultShim, lmdb_child: Child) -> None:
    faults.break_sync(after=1, dsync_writes=True)
    faults.fill_disk(after=2)  # the page and the meta page pass; putting the old meta page back does not
    assert lmdb_child("put(b'new')") == LMDB_EIO
    faults.clear()
    lmdb_child("env.close(); env = reopen()")
    assert lmdb_child("get(b'new')") == r"b'\x00'"


def writer(program: str) -> KilledWriter:
    return KilledWriter([sys.executable, "-c", f"import os, sys, time\n{program}"])


COUNTING = "i = 0\nwhile True:\n    print(i, flush=True)\n    i += 1\n"


def test_a_killed_writer_leaves_its_acknowledgements_in_order() -> None:
    run = writer(COUNTING).run(KillMoment(acks=10))
    assert run.killed
    assert len(run.acknowledged) >= 10
    assert run.acknowledged == tuple(map(str, range(len(run.acknowledged))))


def test_a_writer_can_be_killed_before_its_first_acknowledgement() -> None:
    run = writer("time.sleep(600)").run(KillMoment(acks=0, delay=0.05))
    assert (run.killed, run.acknowledged) == (True, ())


def test_a_line_cut_off_by_the_kill_is_no_acknowledgement() -> None:
    run = writer("os.write(1, b'whole\\npart'); time.sleep(600)").run(KillMoment(acks=1, delay=0.2))
    assert run.acknowledged == ("whole",)


def test_a_writer_that_ends_by_itself_was_not_killed() -> None:
    run = writer("print('done')").run(KillMoment(acks=2))
    assert (run.killed, run.acknowledged) == (False, ("done",))


def test_a_writer_that_fails_by_itself_raises_with_what_it_said() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        writer("sys.exit('cannot open')").run(KillMoment(acks=1))
    assert "cannot open" in caught.value.stderr


def test_a_writer_that_never_acknowledges_is_killed_and_reported() -> None:
    with pytest.raises(WaitTimeoutError, match="0 of 1 acknowledgements"):
        writer("time.sleep(600)").run(KillMoment(acks=1), patience=0.2)


def test_random_moments_repeat_with_their_seed() -> None:
    first, second = (KillMoment.at_random(random.Random(7), max_acks=50) for _ in range(2))
    assert first == second
    assert 1 <= first.acks <= 50


def test_one_bit_is_flipped_and_flipping_again_restores_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(4))
    flip_bit(path, 17)
    assert path.read_bytes() == b"\x00\x00\x02\x00"
    flip_bit(path, 17)
    assert path.read_bytes() == bytes(4)


@pytest.mark.parametrize("bit_index", [-1, 32])
def test_a_bit_beyond_the_file_is_refused(tmp_path: Path, bit_index: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(4))
    with pytest.raises(ArgumentError, match="32 bits"):
        flip_bit(path, bit_index)


def test_random_flips_change_one_bit_each_and_restore_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    original = os.urandom(100)
    path.write_bytes(original)
    seen = []
    for bit_index in random_flips(path, 50, seed=3):
        difference = int.from_bytes(original, "little") ^ int.from_bytes(path.read_bytes(), "little")
        assert difference == 1 << bit_index
        seen.append(bit_index)
    assert path.read_bytes() == original
    assert len(set(seen)) == 50
    assert seen == list(random_flips(path, 50, seed=3))


def test_random_flips_restore_the_file_when_the_caller_stops_early(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(4))
    flips = random_flips(path, 5, seed=0)
    next(flips)
    flips.close()
    assert path.read_bytes() == bytes(4)


def test_the_tools_need_no_test_framework() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import qstore_db.testing.faults;"
        "assert not {'pytest', 'hypothesis'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(Path(qstore_db.__file__).parents[1])], check=True)
