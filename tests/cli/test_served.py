"""Commands on a database that a server has: by its address, and by the directory through the socket there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from qstore_db import QuantumDatabase
from qstore_db.cli import exits
from qstore_db.testing.serving import ServerThread

VECTOR = ("--vector", "[0.5, -0.1, 0.2, 1]")
READING = [
    ("query", *VECTOR, "--top-k", "5", "--context", "it"),
    ("query", "--id", "r7", "--filter", '{"year": {"$lt": 2020}}', "--explain"),
    ("tunnel", *VECTOR, "--top-k", "3", "--explain"),
    ("collections",),
]


@pytest.fixture
def server(path: Path) -> Iterator[ServerThread]:
    with ServerThread(path=path) as server:
        yield server


@pytest.fixture(params=["path", "url"])
def place(request: pytest.FixtureRequest, path: Path, server: ServerThread) -> tuple[str, str]:
    """How a command names the database that is served."""
    return ("--path", str(path)) if request.param == "path" else ("--url", server.url)


@pytest.mark.parametrize("command", READING, ids=lambda command: " ".join(command[:2]))
def test_what_is_read_is_what_the_directory_itself_says(run, path, request, command):
    alone = run(*command, "--path", path, "--json").data
    server = request.getfixturevalue("server")
    assert run(*command, "--path", path, "--json").data == alone
    assert run(*command, "--url", server.url, "--json").data == alone


def test_stats_has_what_the_server_did(run, place):
    run("query", *VECTOR, *place)
    ended = run("stats", *place, "--json").data
    assert ended["collections"]["default"]["records"] == 40
    assert ended["server"]["operations"]["db.query"]["count"] == 1
    text = run("stats", *place).out
    assert "db.query" in text
    assert "Served to 1 connections" in text


def test_verify_checks_it_while_it_is_served(run, place):
    ended = run("verify", *place, "--json")
    assert ended.code == exits.OK
    assert (ended.data["ok"], ended.data["records"], ended.data["path"]) == (True, 43, place[1])
    assert "everything stored is what was written" in run("verify", *place).out


def test_damage_is_found_while_it_is_served(run, path, server):
    file = path / "records" / "data.mdb"
    content = file.read_bytes()
    with file.open("r+b") as opened:  # in place: the server has the file mapped
        for found in re.finditer(rb"\[odd\]", content):
            opened.seek(found.start())
            opened.write(b"[old]")
    assert run("verify", "--url", server.url).code == exits.CORRUPTION


def test_an_import_goes_through_the_server(run, place, server, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"id": "n{i}", "vector": [{i}, 1, 2], "tag": {i}}}\n' for i in range(50)))
    arguments = ("import", rows, "--collection", "new", "--create", "--metric", "l2", *place, "--json")
    made = run(*arguments)
    assert (made.data["imported"], made.data["created"]) == (50, True)
    again = run(*arguments)
    assert (again.code, again.data["error"]["code"]) == (exits.REQUEST, "duplicate_id")
    assert run(*arguments, "--upsert").data["imported"] == 50
    with QuantumDatabase.connect(server.url) as database:
        assert database.count(collection="new") == 50
        record = database.get("n7", collection="new")
        assert record is not None
        assert record.metadata == {"tag": 7}


def test_a_backup_of_a_served_directory_goes_where_the_command_is(run, path, server, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    ended = run("backup", "copy", "--path", path, "--json").data
    assert ended["destination"] == str(tmp_path / "here" / "copy")
    assert ended["files"] > 0
    assert run("restore", "copy", "--path", "restored").code == exits.OK
    assert run("stats", "--path", "restored", "--json").data["sequence"] == 43


def test_a_backup_by_address_goes_where_the_server_is(run, server, tmp_path):
    there = tmp_path / "copy"
    ended = run("backup", there, "--url", server.url, "--json").data
    assert ended == {"source": server.url, "destination": str(there)}
    assert any(there.iterdir())
    assert "over there" in run("backup", tmp_path / "second", "--url", server.url).out
    relative = run("backup", "copy", "--url", server.url)
    assert relative.code == exits.USAGE
    assert "whole path" in relative.err


def test_doctor_asks_the_server_about_the_inside(run, path, server):
    ended = run("doctor", "--path", path, "--json")
    assert ended.code == exits.OK
    found = {finding["subject"]: finding for finding in ended.data["findings"]}
    assert f"served by process {os.getpid()}" in found["lock"]["message"]
    assert found["lock"]["message"].endswith("connections besides this one: 0")
    assert "40 records" in found["collection 'default'"]["message"]


def test_a_new_directory_is_not_what_a_server_gets(run, server, path):
    """`restore` makes a database where there is none; a served one is there already."""
    backup = path.parent / "copy"
    run("backup", backup, "--path", path)
    assert run("restore", backup, "--path", path).code == exits.REQUEST


# How the database is named


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "QSTORE_PATH"),
        (("--path", "x", "--url", "qstore://localhost"), "one of them"),
        (("--path", "x", "--token", "t"), "goes with --url"),
        (("--path", "x", "--tls", "t"), "goes with --url"),
    ],
)
def test_a_database_is_named_in_one_way(run, options, message):
    ended = run("stats", *options)
    assert ended.code == exits.USAGE
    assert message in ended.err


def test_variables_of_the_other_way_are_no_contradiction(run, path, server, monkeypatch):
    monkeypatch.setenv("QSTORE_PATH", str(path.parent / "elsewhere"))
    assert run("stats", "--url", server.url).code == exits.OK
    monkeypatch.setenv("QSTORE_PATH", str(path))
    monkeypatch.setenv("QSTORE_TOKEN", "of another server")
    monkeypatch.setenv("QSTORE_TLS", "absent.pem")
    assert run("stats").code == exits.OK


@pytest.mark.parametrize(
    ("options", "subject"),
    [
        (("--url", "http://localhost:7740"), "where"),
        (("--url", "qstore://localhost", "--tls", "absent.pem"), "tls"),
        (("--url", "qstore://10.0.0.7", "--token", "t"), "tls"),
    ],
)
def test_an_address_that_cannot_be_meant_is_a_configuration_error(run, options, subject):
    ended = run("stats", *options, "--json")
    assert (ended.code, ended.data["error"]["subject"]) == (exits.CONFIGURATION, subject)


def test_where_no_server_answers_it_is_worth_trying_again(run, server, path):
    server.stop()
    ended = run("stats", "--url", server.url, "--json")
    assert (ended.code, ended.data["error"]["code"]) == (exits.UNAVAILABLE, "unreachable")


def test_no_repr_shows_the_token() -> None:
    from qstore_db.cli.opening import Place

    assert "qst_" not in repr(Place.of(None, "qstore://localhost", "qst_secret", None))
