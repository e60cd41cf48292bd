"""`qstore doctor`: what it finds on directories in every state."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from qstore_db import QuantumDatabase
from qstore_db.cli import exits


def findings(ended) -> dict[str, list[dict]]:
    by_subject: dict[str, list[dict]] = {}
    for finding in ended.data["findings"]:
        by_subject.setdefault(finding["subject"], []).append(finding)
    return by_subject


def test_without_a_path_it_lists_what_is_installed(run):
    ended = run("doctor", "--json")
    assert ended.code == 0
    assert {
        "python",
        "qstore-db",
        "numpy",
        "faiss-cpu",
        "lmdb",
        "pyarrow",
        "torch",
        "keras",
        "jax",
        "qiskit",
    } <= findings(ended).keys()


def test_a_database_that_is_well_is_healthy(run, path):
    ended = run("doctor", "--path", path, "--json")
    assert ended.code == 0
    found = findings(ended)
    assert ended.data["healthy"] is True
    assert found["last stop"][0]["message"] == "clean"
    assert {"file system", "disk", "lock", "format", "collection 'default'"} <= found.keys()


def test_as_text_each_finding_is_a_line(run, path):
    ended = run("doctor", "--path", path)
    assert "last stop: clean" in ended.out
    assert "problem" not in ended.out


def test_on_a_locked_directory_it_says_who_owns_it(run, path):
    with QuantumDatabase.connect(path):
        ended = run("doctor", "--path", path, "--json")
    lock = findings(ended)["lock"][0]
    assert ended.code == 0
    assert lock["level"] == "note"
    assert f"process {os.getpid()}" in lock["message"]
    assert lock["remedy"]


def test_an_unclean_stop_is_noted(run, path):
    script = (
        "import os, sys; from qstore_db import QuantumDatabase\n"
        "db = QuantumDatabase.connect(sys.argv[1]); db.insert('late', [1, 2, 3, 4]); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    ended = run("doctor", "--path", path, "--json")
    assert ended.code == 0
    assert "not clean" in findings(ended)["last stop"][0]["message"]


def test_a_directory_that_is_not_there_is_a_problem(run, tmp_path):
    ended = run("doctor", "--path", tmp_path / "absent", "--json")
    assert ended.code == exits.REQUEST
    assert ended.data["healthy"] is False


def test_a_damaged_file_is_a_problem_with_a_remedy(run, path):
    (path / "records" / "data.mdb").write_bytes(os.urandom(64 * 1024))
    ended = run("doctor", "--path", path, "--json")
    assert ended.code == exits.REQUEST
    problems = [finding for finding in ended.data["findings"] if finding["level"] == "problem"]
    assert problems
    assert all(problem["remedy"] for problem in problems)


def test_a_process_that_dies_of_the_file_is_reported(run, path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    ended = run("doctor", "--path", path, "--json")
    assert ended.code == exits.REQUEST
    assert "did not survive" in findings(ended)["opening"][0]["message"]


def test_a_nearly_full_disk_is_a_problem(run, path, monkeypatch):
    usage = type(shutil.disk_usage(path))(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    ended = run("doctor", "--path", path, "--json")
    assert findings(ended)["disk"][0]["level"] == "problem"
