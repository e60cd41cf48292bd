"""The audit log: no act without its line, whatever happens to the disk or the process."""

from __future__ import annotations

import errno
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db.errors import CollectionNotFoundError, DiskFullError, UnavailableError
from qstore_server import audit
from qstore_server.access import LOCAL, Role, Token
from qstore_server.audit import AUDIT_FILE, OLDER_FILE, AuditLog

ALICE = Token("0123456789ab", "alice", Role.ADMIN, None, 0.0)
PEER = "127.0.0.1:50000"


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path, lambda: 1_800_000_000.25)


def lines(directory: Path, file: str = AUDIT_FILE) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / file).read_text().splitlines()]


def drop(log: AuditLog, name: object = "clothes") -> None:
    with log.act(ALICE, PEER, "db.drop_collection", {"name": name}):
        pass


# What a line says


def test_an_act_is_recorded_before_and_after(log: AuditLog, tmp_path: Path) -> None:
    with log.act(ALICE, PEER, "db.drop_collection", {"name": "clothes"}):
        (begun,) = lines(tmp_path)
    assert begun == {
        "time": "2027-01-15T08:00:00.250000+00:00",
        "act": begun["act"],
        "principal": {"id": "0123456789ab", "name": "alice"},
        "peer": PEER,
        "op": "db.drop_collection",
        "arguments": {"name": "clothes"},
        "outcome": "begun",
    }
    assert lines(tmp_path) == [begun, {**begun, "outcome": "done"}]


def test_acts_have_numbers_of_their_own_and_follow_each_other(log: AuditLog, tmp_path: Path) -> None:
    for name in ("a", "b"):
        drop(log, name)
    drop(AuditLog(tmp_path), "c")
    found = lines(tmp_path)
    assert [line["arguments"]["name"] for line in found] == ["a", "a", "b", "b", "c", "c"]
    assert len({line["act"] for line in found}) == 3


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CollectionNotFoundError("no"), "collection_not_found"),
        (ZeroDivisionError("no"), "ZeroDivisionError"),
        (KeyboardInterrupt(), "cut off"),
    ],
)
def test_an_act_that_fails_says_how_and_its_error_passes(
    log: AuditLog, tmp_path: Path, error: BaseException, outcome: str
) -> None:
    with pytest.raises(type(error)), log.act(ALICE, PEER, "db.drop_collection", {}):
        raise error
    assert [line["outcome"] for line in lines(tmp_path)] == ["begun", outcome]


def test_a_local_client_is_called_local(log: AuditLog, tmp_path: Path) -> None:
    with log.act(LOCAL, PEER, "db.compact", {}):
        pass
    assert lines(tmp_path)[0]["principal"] == "local"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("clothes", "clothes"),
        (7, 7),
        (0.5, 0.5),
        (True, True),
        (None, None),
        (["a", "b"], ["a", "b"]),
        (("a",), ["a"]),
        ("x" * 1_000, "x" * 500),
        (["x" * 1_000] * 200, ["x" * 500] * 100),
        (np.zeros(3), "<ndarray>"),
        ([0.1, 0.2], "<list>"),
        ({"a": 1}, "<dict>"),
        (b"bytes", "<bytes>"),
        (float("nan"), "<float>"),
        ("a\nb\u2028c\x00", "a\nb\u2028c\x00"),
        ("\ud800", "\ud800"),
        ("é☃", "é☃"),
        (f"qst_0123456789ab_{'s' * 43}", "qst_***"),
        (["x", f"a qst_0123456789ab_{'s' * 43}."], ["x", "a qst_***."]),
    ],
)
def test_arguments_are_plain_short_and_neither_vectors_nor_secrets(
    log: AuditLog, tmp_path: Path, value: object, shown: object
) -> None:
    drop(log, value)
    raw = (tmp_path / AUDIT_FILE).read_bytes()
    assert raw.count(b"\n") == 2
    assert [json.loads(line)["arguments"]["name"] for line in raw.split(b"\n")[:2]] == [shown, shown]


def test_only_the_owner_can_read_it(log: AuditLog, tmp_path: Path) -> None:
    drop(log)
    assert stat.S_IMODE((tmp_path / AUDIT_FILE).stat().st_mode) == 0o600


def test_acts_of_many_threads_each_have_their_lines(log: AuditLog, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: drop(log, str(i)), range(100)))
    found = lines(tmp_path)
    assert sorted(line["arguments"]["name"] for line in found) == sorted(
        str(i) for i in range(100) for _ in range(2)
    )


# Faults


def test_a_line_is_synced_before_the_act_and_before_it_is_acknowledged(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, int]] = []
    fsync = os.fsync

    def seen(descriptor: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), os.fstat(descriptor).st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    file = tmp_path / AUDIT_FILE
    with log.act(ALICE, PEER, "db.compact", {}):
        assert synced[0] == (str(file), file.stat().st_size)
        assert synced[1][0] == str(tmp_path)  # the name of a new file is durable too
        del synced[:]
    assert synced == [(str(file), file.stat().st_size)]


def test_a_line_that_a_crash_cut_off_becomes_a_line_of_its_own(log: AuditLog, tmp_path: Path) -> None:
    drop(log, "first")
    file = tmp_path / AUDIT_FILE
    file.write_bytes(file.read_bytes()[:-20])
    drop(AuditLog(tmp_path), "second")
    first, torn, *second = file.read_text().splitlines()
    assert json.loads(first)["arguments"] == {"name": "first"}
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn)
    assert [json.loads(line)["outcome"] for line in second] == ["begun", "done"]


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def broken(*_: object) -> int:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(
    ("call", "fault", "kind"),
    [("write", full, DiskFullError), ("fsync", full, DiskFullError), ("fsync", broken, UnavailableError)],
)
def test_an_act_that_cannot_be_recorded_is_not_done_and_leaves_no_line(
    log: AuditLog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    fault: Any,
    kind: type[Exception],
) -> None:
    drop(log, "before")
    before = (tmp_path / AUDIT_FILE).read_bytes()
    done = []
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fault)
        with pytest.raises(kind) as caught, log.act(ALICE, PEER, "db.drop_collection", {}):
            done.append("dropped")
    assert type(caught.value) is kind
    assert caught.value.subject == str(tmp_path / AUDIT_FILE)  # type: ignore[attr-defined]
    assert done == []
    assert (tmp_path / AUDIT_FILE).read_bytes() == before
    drop(log, "after")
    assert [line["arguments"]["name"] for line in lines(tmp_path)] == ["before", "before", "after", "after"]


def test_a_line_that_finds_room_for_its_first_half_only_is_taken_back(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(log, "before")
    before = (tmp_path / AUDIT_FILE).read_bytes()
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
        with pytest.raises(DiskFullError):
            drop(log)
    assert (tmp_path / AUDIT_FILE).read_bytes() == before


def test_a_disk_that_fills_up_during_the_act_does_not_undo_it(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with log.act(ALICE, PEER, "db.compact", {}):
        monkeypatch.setattr(os, "write", full)
    assert [line["outcome"] for line in lines(tmp_path)] == ["begun"]


def test_a_real_full_disk_refuses_acts_until_there_is_room(small_disk: Path) -> None:
    log = AuditLog(small_disk)
    drop(log, "before")
    with pytest.raises(OSError, match="space"):
        (small_disk / "filler").write_bytes(bytes(16 << 20))
    with pytest.raises(DiskFullError):
        for _ in range(100):  # the last page of the file has room for a few more lines
            drop(log)
    assert all(line["op"] == "db.drop_collection" for line in lines(small_disk))
    (small_disk / "filler").unlink()
    drop(log, "after")
    assert lines(small_disk)[-1]["arguments"] == {"name": "after"}


# Rotation


def test_a_full_file_makes_way_for_a_new_one_and_one_older_is_kept(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(log)
    monkeypatch.setattr(audit, "_MAX_BYTES", 3 * (tmp_path / AUDIT_FILE).stat().st_size)
    for i in range(20):
        drop(log, f"{i:07}")
    names = [line["arguments"]["name"] for file in (OLDER_FILE, AUDIT_FILE) for line in lines(tmp_path, file)]
    assert names == [f"{i // 2:07}" for i in range(40)][-len(names) :]
    assert len(names) > 6
    assert {file.name for file in tmp_path.iterdir()} == {AUDIT_FILE, OLDER_FILE}
    assert (tmp_path / AUDIT_FILE).stat().st_size <= audit._MAX_BYTES
