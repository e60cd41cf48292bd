"""What goes wrong: exit codes, one clean line on stderr, or one JSON object on stdout."""

from __future__ import annotations

import pytest

from qstore_db import QuantumDatabase
from qstore_db.cli import app, exits
from qstore_db.errors import (
    ClosedError,
    ConfigurationError,
    CorruptionError,
    DatabaseLockedError,
    DiskFullError,
    DuplicateIdError,
    OutcomeUnknownError,
    ProtocolError,
    QStoreError,
    ReadOnlyError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DuplicateIdError, 1),
        (ConfigurationError, 3),
        (DatabaseLockedError, 3),
        (DiskFullError, 4),
        (ClosedError, 5),
        (ReadOnlyError, 5),
        (CorruptionError, 6),
        (OutcomeUnknownError, 7),
        (ProtocolError, 3),
    ],
)
def test_each_group_of_errors_has_its_exit_code(error: type[QStoreError], code: int):
    assert exits.exit_code(error("anything")) == code
    assert code in exits.MEANINGS


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("stats",),
        ("query", "--path", "x", "--top-k", "many", "--vector", "[1]"),
        ("query", "--path", "x"),
        ("query", "--path", "x", "--vector", "[1", "--context", "a"),
        ("query", "--path", "x", "--vector", '["a"]'),
        ("query", "--path", "x", "--vector", "[1]", "--id", "a"),
        ("query", "--path", "x", "--vector", "[1]", "--filter", "{"),
        ("query", "--path", "x", "--vector", "[1]", "--filter", "[]"),
        ("query", "--path", "x", "--vector", "[1]", "--context", "{a"),
        ("tunnel", "--path", "x", "--vector", "[1]", "--barrier-scale", "metres"),
        ("tunnel", "--path", "x", "--vector", "[1]", "--unknown"),
        ("import", "--path", "x"),
        ("import", "file.npy", "--path", "x", "--metric", "l2"),
        ("import", "file.npy", "--path", "x", "--data", "y"),
        ("restore", "--path", "x"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_one_line(run, arguments):
    ended = run(*arguments)
    assert ended.code == exits.USAGE
    assert ended.out == ""
    assert ended.err.startswith("qstore: ")
    assert ended.err.count("\n") == 1
    error = run(*arguments, "--json").data["error"]
    assert error["code"] == "usage"


def test_a_usage_error_names_its_option(run):
    ended = run("query", "--path", "x", "--vector", "[1]", "--top-k", "many", "--json")
    assert ended.data["error"]["subject"] == "--top-k"


@pytest.mark.parametrize("command", ["stats", "collections", "verify", "query", "tunnel", "backup"])
def test_an_unknown_path_is_named_with_its_remedy(run, tmp_path, command):
    more = {"query": ["--vector", "[1]"], "tunnel": ["--vector", "[1]"], "backup": [tmp_path / "to"]}
    absent = tmp_path / "absent"
    ended = run(command, *more.get(command, []), "--path", absent)
    assert ended.code == exits.CONFIGURATION
    assert str(absent) in ended.err
    assert "qstore import" in ended.err
    assert ended.err.count("\n") == 1
    error = run(command, *more.get(command, []), "--path", absent, "--json").data["error"]
    assert error["code"] == "configuration"
    assert error["subject"] == str(absent)


def test_a_directory_of_something_else_is_no_database(run, tmp_path):
    (tmp_path / "letter.txt").write_text("hello")
    ended = run("stats", "--path", tmp_path)
    assert ended.code == exits.CONFIGURATION
    assert "not a database directory" in ended.err
    assert run("import", "--fashion-mnist", "--path", tmp_path).code == exits.CONFIGURATION
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("command", ["stats", "collections", "verify", "query"])
def test_a_locked_directory_is_refused_with_the_name_of_its_owner(run, path, command):
    more = ["--vector", "[1, 2, 3, 4]"] if command == "query" else []
    with QuantumDatabase.connect(path):
        ended = run(command, *more, "--path", path)
        error = run(command, *more, "--path", path, "--json").data["error"]
    assert ended.code == exits.CONFIGURATION
    assert "process" in ended.err
    assert error["code"] == "locked"
    assert error["subject"] == str(path)


def test_an_unknown_id_is_a_request_error(run, path):
    ended = run("query", "--path", path, "--id", "nobody", "--json")
    assert ended.code == exits.REQUEST
    assert ended.data["error"] == {
        "code": "record_not_found",
        "message": "there is no record 'nobody' in collection 'default'",
        "subject": "nobody",
    }


def test_an_unknown_collection_is_a_request_error(run, path):
    ended = run("query", "--path", path, "--vector", "[1]", "--collection", "typo", "--json")
    assert ended.code == exits.REQUEST
    assert ended.data["error"]["code"] == "collection_not_found"


def test_a_wrong_dimension_is_a_request_error(run, path):
    ended = run("tunnel", "--path", path, "--vector", "[1, 2]", "--json")
    assert (ended.code, ended.data["error"]["code"]) == (exits.REQUEST, "dimension")


def test_a_backup_onto_something_is_refused(run, path, tmp_path):
    ended = run("backup", tmp_path, "--path", path, "--json")
    assert (ended.code, ended.data["error"]["code"]) == (exits.REQUEST, "argument")


def test_restoring_what_is_no_backup_is_refused(run, tmp_path):
    ended = run("restore", tmp_path, "--path", tmp_path / "new", "--json")
    assert (ended.code, ended.data["error"]["code"]) == (exits.CONFIGURATION, "format")


def test_a_damaged_database_fails_its_verification(run, path):
    file = path / "records" / "data.mdb"
    file.write_bytes(file.read_bytes().replace(b"[odd]", b"[old]"))
    ended = run("verify", "--path", path, "--json")
    assert ended.code == exits.CORRUPTION
    assert ended.data["ok"] is False
    assert ended.data["problems"]
    text = run("verify", "--path", path)
    assert text.code == exits.CORRUPTION
    assert "damaged:" in text.out


def test_an_error_of_the_system_is_one_line_too(run, path, tmp_path):
    ended = run("query", "--path", path, "--vector-file", tmp_path / "absent.json")
    assert ended.code == exits.CONFIGURATION
    assert ended.err.count("\n") == 1
    assert "absent.json" in ended.err


def test_an_interruption_has_its_own_exit_code(run, path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(QuantumDatabase, "stats", interrupt)
    assert run("stats", "--path", path).code == exits.INTERRUPTED


def test_a_mistake_of_qstore_itself_shows_where_it_happened(run, path, monkeypatch):
    def mistake(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(QuantumDatabase, "stats", mistake)
    ended = run("stats", "--path", path, "--json")
    assert ended.code == exits.INTERNAL
    assert ended.data["error"]["code"] == "internal"
    assert "Traceback" in ended.err


def test_help_lists_every_exit_code(run):
    out = run("--help").out
    assert all(str(code) in out for code in exits.MEANINGS)
    assert len(app.app.registered_commands) == 11
