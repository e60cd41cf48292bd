"""`qstore token`: on a directory of one's own and on one that is served, and what becomes of live sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qstore_db import QuantumDatabase
from qstore_db.cli import exits
from qstore_db.errors import AuthenticationError, ForbiddenError
from qstore_db.testing.serving import ServerThread


@pytest.fixture
def server(path: Path) -> Iterator[ServerThread]:
    """Serves the database at `path`, to those who have a token."""
    with ServerThread(path=path, require_token=True) as server:
        yield server


@pytest.fixture(params=["not served", "served"])
def place(request: pytest.FixtureRequest, path: Path) -> Path:
    """The database at `path`, in both states."""
    if request.param == "served":
        request.getfixturevalue("server")
    return path


def create(run: Any, path: Path, name: str, role: str, *options: str) -> dict[str, Any]:
    ended = run("token", "create", "--path", path, "--name", name, "--role", role, *options, "--json")
    assert ended.code == exits.OK, ended.out
    return ended.data


def audited(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "audit.log").read_text().splitlines()]


def test_a_token_is_made_listed_and_revoked(run, place):
    made = create(run, place, "app", "write", "--collection", "notes", "--collection", "default")
    text = made.pop("token")
    assert text.startswith(f"qst_{made['id']}_")
    assert (made["name"], made["role"]) == ("app", "write")
    assert made["collections"] == ["notes", "default"]
    assert run("token", "list", "--path", place, "--json").data == {"tokens": [made]}
    assert run("token", "revoke", "app", "--path", place, "--json").data == {"revoked": made}
    assert run("token", "list", "--path", place, "--json").data == {"tokens": []}
    gone = run("token", "revoke", "app", "--path", place, "--json")
    assert (gone.code, gone.data["error"]["code"]) == (exits.REQUEST, "argument")


def test_as_text_the_token_is_the_last_line_and_the_list_does_not_have_it(run, place):
    made = run("token", "create", "--path", place, "--name", "app", "--role", "read")
    text = made.out.splitlines()[-1]
    assert text.startswith("qst_")
    listed = run("token", "list", "--path", place)
    assert "app" in listed.out
    assert text not in listed.out
    assert "revoked token 'app'" in run("token", "revoke", text.split("_")[1], "--path", place).out
    assert "no tokens yet" in run("token", "list", "--path", place).out


def test_every_act_is_in_the_audit_log_and_no_secret_is(run, place):
    secret = create(run, place, "app", "read")["token"].rpartition("_")[2]
    run("token", "revoke", "nobody", "--path", place)
    run("token", "revoke", "app", "--path", place)
    acts = [(line["op"], line["outcome"], line["principal"]) for line in audited(place)]
    assert acts == [
        (op, outcome, "local")
        for op, end in (
            ("tokens.create", "done"),
            ("tokens.revoke", "argument"),
            ("tokens.revoke", "done"),
        )
        for outcome in ("begun", end)
    ]
    assert [
        file for file in place.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()
    ] == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("create", "--name", "a"), exits.USAGE),
        (("create", "--name", "a", "--role", "root"), exits.USAGE),
        (("create", "--name", "", "--role", "read"), exits.REQUEST),
        (("create", "--name", "a", "--role", "admin", "--collection", "notes"), exits.REQUEST),
        (("create", "--name", "a", "--role", "read", "--collection", ""), exits.REQUEST),
        (("revoke",), exits.USAGE),
        (("revoke", "a"), exits.REQUEST),
    ],
)
def test_what_makes_no_token_is_refused_and_leaves_none(run, place, arguments, code):
    assert run("token", *arguments, "--path", place).code == code
    assert run("token", "list", "--path", place, "--json").data["tokens"] == []


def test_without_a_command_the_commands_are_shown(run):
    assert "revoke" in run("token").out


def test_a_token_gets_in_where_its_role_and_collections_allow_it(run, path, server):
    text = create(run, path, "app", "read", "--collection", "notes")["token"]
    with QuantumDatabase.connect(server.url, token=text) as database:
        assert database.query([1.0, 1.0], collection="notes").ids
        with pytest.raises(ForbiddenError):
            database.query([1.0, 1.0, 1.0, 1.0])
        with pytest.raises(ForbiddenError):
            database.insert("new", [1.0, 1.0], collection="notes")
    address = ("--url", server.url, "--token", text, "--json")
    listed = run("collections", *address).data["collections"]
    assert [(each["name"], each["records"], each["dimension"]) for each in listed] == [("notes", 3, 2)]
    refused = run("stats", *address)
    assert (refused.code, refused.data["error"]["code"]) == (exits.CONFIGURATION, "forbidden")


def test_revoking_ends_the_live_sessions_of_that_token_and_no_others(run, path, server):
    one, two = (create(run, path, name, "read")["token"] for name in ("one", "two"))
    with (
        QuantumDatabase.connect(server.url, token=one) as first,
        QuantumDatabase.connect(server.url, token=two) as second,
    ):
        assert first.count() == second.count() == 40
        assert run("token", "revoke", "one", "--path", path).code == exits.OK
        with pytest.raises(AuthenticationError):
            first.count()
        assert second.count() == 40
    assert server.run(connected(server)) == 0


async def connected(server: ServerThread) -> float:
    """How many connections the server has, once those that ended are gone."""
    import asyncio

    for _ in range(1_000):
        if not server.server.statistics.gauges()["connections"]:
            break
        await asyncio.sleep(0.01)
    found = server.server.statistics.gauges()["connections"]
    assert isinstance(found, (int, float))
    return found


def test_over_an_address_only_an_admin_manages_tokens_and_may_give_up_its_own(run, path, server):
    admin, writer = (create(run, path, role, role)["token"] for role in ("admin", "write"))
    address = ("--url", server.url)
    refused = run("token", "list", *address, "--token", writer, "--json")
    assert (refused.code, refused.data["error"]["code"]) == (exits.CONFIGURATION, "forbidden")
    listed = run("token", "list", *address, "--token", admin, "--json").data["tokens"]
    assert [each["name"] for each in listed] == ["admin", "write"]
    assert run("token", "revoke", admin, *address, "--token", admin).code == exits.OK
    again = run("token", "list", *address, "--token", admin, "--json")
    assert (again.code, again.data["error"]["code"]) == (exits.CONFIGURATION, "authentication")
    names = {line["principal"]["name"] for line in audited(path) if line["principal"] != "local"}
    assert names == {"admin"}
