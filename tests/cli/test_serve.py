"""`qstore serve` as a process: how it begins, what it says, how it ends, and what stops it from starting."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from qstore_db import QuantumDatabase
from qstore_db.cli import exits
from qstore_db.wire.frames import FrameReader
from qstore_db.wire.greeting import Hello
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, decode, encode

PATIENCE = 120.0
PROGRAM = "import sys; [sys.modules.update({name: None}) for name in sys.argv.pop(1).split()]\n"
PROGRAM += "from qstore_db.cli import main; sys.exit(main())"


class Serving:
    """A `qstore serve` of its own, on a free port."""

    def __init__(self, folder: Path, *options: object, missing: str = "") -> None:
        """missing: modules that are not installed as far as it can see."""
        self._log = folder / f"log-{len(list(folder.glob('log-*')))}"
        words = [sys.executable, "-c", PROGRAM, missing, "serve", "--port", "0", *map(str, options)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("QSTORE_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        assert self.process.stdout is not None
        self._out: IO[str] = self.process.stdout

    def line(self) -> str:
        """The next line that it prints; "" where there is none any more."""
        return self._out.readline()

    def told(self) -> dict[str, Any]:
        """What it says with --json."""
        line = self.line()
        assert line, self.log
        told: dict[str, Any] = json.loads(line)
        return told

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def end(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(signum)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self._out.close()


Serve = Callable[..., Serving]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """`serve("--path", directory)`; whatever still runs at the end is killed."""
    started: list[Serving] = []

    def start(*options: object, http_port: str | None = "off", **more: str) -> Serving:
        port = () if http_port is None else ("--http-port", http_port)
        started.append(Serving(tmp_path, *options, *port, **more))
        return started[-1]

    yield start
    for each in started:
        each.close()


class Peer:
    """A connection in our own hands, to leave requests half sent."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._reader = FrameReader(Limits())
        self._came: list[Message] = []
        self.send(Message(Kind.HELLO, 0, "", Hello().body()))
        assert self.next().kind is Kind.HELLO

    def send(self, message: Message) -> None:
        self._socket.sendall(b"".join(encode(message)))

    def next(self) -> Message:
        while not self._came:
            data = self._socket.recv(1 << 16)
            assert data, "the server closed the connection"
            self._came += [decode(frame, Limits()) for frame in self._reader.feed(data)]
        return self._came.pop(0)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def peer() -> Iterator[Callable[[int], Peer]]:
    made: list[Peer] = []

    def connect(port: int) -> Peer:
        made.append(Peer(port))
        return made[-1]

    yield connect
    for each in made:
        each.close()


HALF = Message(
    Kind.REQUEST,
    1,
    "db.put",
    {"id": "late", "vector": [1.0, 2.0], "$key": bytes(16), "$more": True},
)
"""A request that is accepted, and has more to come."""


# A life


@pytest.mark.parametrize("missing", ["", "uvloop"])
def test_what_is_written_through_a_server_is_there_after_its_orderly_end(serve, run, tmp_path, missing):
    server = serve("--path", tmp_path / "db", missing=missing)
    line = server.line()
    assert line.startswith("listening on qstore://127.0.0.1:")
    url = line.split()[-1]
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "vector": [1, 2]}\n{"id": "b", "vector": [2, 1]}\n')
    assert run("import", tmp_path / "rows.jsonl", "--url", url, "--json").data["imported"] == 2
    command = [sys.executable, "-m", "qstore_db.cli", "query", "--url", url, "--vector", "[1, 2]", "--json"]
    asked = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert [match["id"] for match in json.loads(asked.stdout)["matches"]] == ["a", "b"]
    assert server.end() == exits.OK
    assert server.line() == ""
    assert server.events[-1]["event"] == "stopped"
    assert not (tmp_path / "db" / "server.sock").exists()
    with QuantumDatabase.connect(tmp_path / "db") as database:
        assert database.count() == 2
        assert database.stats()["verification"] == "not needed"


def test_with_json_it_says_where_it_listens_as_one_object(serve, tmp_path):
    server = serve("--path", tmp_path / "db", "--json", http_port="0")
    told = server.told()
    assert told.keys() == {"listening", "host", "port", "http_port", "certificate", "token", "pid"}
    assert told["listening"] == f"qstore://127.0.0.1:{told['port']}"
    assert told["pid"] == server.process.pid
    assert (told["certificate"], told["token"]) == (None, None)
    for port in (told["port"], told["http_port"]):
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    assert server.end(signal.SIGINT) == exits.OK
    assert server.line() == ""


def test_an_end_waits_for_what_was_accepted(serve, peer, tmp_path):
    server = serve("--path", tmp_path / "db", "--json")
    client = peer(server.told()["port"])
    client.send(HALF)
    client.send(Message(Kind.PING, 1))
    assert client.next().kind is Kind.PONG  # so that the request has been read
    server.process.send_signal(signal.SIGTERM)
    assert client.next() == Message(Kind.GOAWAY, 1, "", None)
    client.send(Message(Kind.END, 1))
    assert client.next().body == {"sequence": 1, "count": 1}
    assert server.process.wait(PATIENCE) == exits.OK
    with QuantumDatabase.connect(tmp_path / "db") as database:
        assert database.get("late") is not None


def test_a_second_signal_ends_it_at_once_and_leaves_what_was_acknowledged(serve, peer, tmp_path):
    (tmp_path / "server.toml").write_text("[server]\ndrain_seconds = 600\n")
    server = serve("--path", tmp_path / "db", "--json", "--config", tmp_path / "server.toml")
    told = server.told()
    with QuantumDatabase.connect(told["listening"]) as database:
        database.insert("early", [1.0, 2.0])
    client = peer(told["port"])
    client.send(HALF)
    client.send(Message(Kind.PING, 1))
    assert client.next().kind is Kind.PONG
    server.process.send_signal(signal.SIGTERM)
    assert client.next().kind is Kind.GOAWAY
    assert server.end(signal.SIGTERM) == -signal.SIGTERM
    with QuantumDatabase.connect(tmp_path / "db") as database:
        assert database.get("early") is not None
        assert database.get("late") is None


def test_after_a_kill_the_next_one_takes_its_place(serve, run, tmp_path):
    first = serve("--path", tmp_path / "db", "--json")
    with QuantumDatabase.connect(first.told()["listening"]) as database:
        database.insert("a", [1.0, 2.0])
    first.end(signal.SIGKILL)
    assert (tmp_path / "db" / "server.sock").exists()
    assert run("stats", "--path", tmp_path / "db").code == exits.OK  # the socket of the dead is no server
    second = serve("--path", tmp_path / "db", "--json")
    with QuantumDatabase.connect(second.told()["listening"]) as database:
        assert database.get("a") is not None


# Tokens and TLS


def test_the_first_token_is_printed_once_and_nowhere_else(serve, run, tmp_path):
    path = tmp_path / "db"
    first = serve("--path", path, "--json", "--require-token", "--log-level", "debug")
    told = first.told()
    assert run("stats", "--url", told["listening"], "--token", told["token"]).code == exits.OK
    assert first.end() == exits.OK
    second = serve("--path", path, "--json", "--require-token")
    again = second.told()
    assert again["token"] is None
    assert run("stats", "--url", again["listening"], "--token", told["token"]).code == exits.OK
    (only,) = run("token", "list", "--path", path, "--json").data["tokens"]
    assert (only["name"], only["role"], only["collections"]) == ("first", "admin", None)
    assert second.end() == exits.OK
    secret = told["token"].rpartition("_")[2].encode()
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file for file in written if secret in file.read_bytes()] == []
    assert "tokens.create" in (path / "audit.log").read_text()


def test_for_people_the_token_stands_before_the_line_that_scripts_wait_for(serve, tmp_path):
    server = serve("--path", tmp_path / "db", "--require-token")
    assert server.line().startswith("token for administrators, shown this once: qst_")
    assert server.line().startswith("listening on qstore://")


def test_a_wrong_token_is_a_configuration_error_with_its_remedy(serve, run, tmp_path):
    url = serve("--path", tmp_path / "db", "--json", "--require-token").told()["listening"]
    for token in ((), ("--token", "qst_000000000000_" + "x" * 43)):
        ended = run("stats", "--url", url, *token)
        assert ended.code == exits.CONFIGURATION
        assert "`qstore token create` makes" in ended.err
        assert run("stats", "--url", url, *token, "--json").data["error"]["code"] == "authentication"


def test_a_development_certificate_serves_from_end_to_end_and_is_kept(serve, run, tmp_path, monkeypatch):
    path = tmp_path / "db"
    first = serve("--path", path, "--json", "--require-token", "--dev-certificate")
    told = first.told()
    assert told["certificate"] == str(path / "tls" / "development.crt")
    monkeypatch.setenv("QSTORE_TOKEN", told["token"])
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "vector": [1, 2]}\n')
    address = ("--url", told["listening"], "--tls", told["certificate"])
    assert run("import", tmp_path / "rows.jsonl", *address).code == exits.OK
    assert run("query", "--vector", "[1, 2]", *address, "--json").data["matches"][0]["id"] == "a"
    untrusted = run("stats", "--url", told["listening"], "--tls", "system", "--json")
    assert (untrusted.code, untrusted.data["error"]["subject"]) == (exits.CONFIGURATION, "tls")
    plain = run("stats", "--url", told["listening"])
    assert plain.code == exits.UNAVAILABLE
    assert "give tls=" in plain.err
    certificate = Path(told["certificate"]).read_bytes()
    assert first.end() == exits.OK
    second = serve("--path", path, "--json", "--require-token", "--dev-certificate").told()
    assert Path(second["certificate"]).read_bytes() == certificate
    monkeypatch.setenv("QSTORE_TLS", second["certificate"])
    assert run("stats", "--url", second["listening"]).code == exits.OK


def test_its_certificate_is_for_the_address_that_it_listens_on(serve, tmp_path):
    options = ("--require-token", "--dev-certificate", "--host", "127.0.0.3")
    told = serve("--path", tmp_path / "db", "--json", *options).told()
    context = ssl.create_default_context(cafile=told["certificate"])
    with (
        socket.create_connection(("127.0.0.3", told["port"]), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.3") as connection,
    ):
        assert connection.version() == "TLSv1.3"


# What keeps it from starting


def test_a_port_that_is_taken_is_a_configuration_error(serve, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = serve("--path", tmp_path / "db", "--json", "--port", taken.getsockname()[1])
        assert server.told()["error"]["subject"] == "port"
    assert server.process.wait(PATIENCE) == exits.CONFIGURATION
    assert "Traceback" not in server.log


def test_a_directory_that_is_served_cannot_be_served_again(serve, tmp_path):
    first = serve("--path", tmp_path / "db", "--json")
    first.told()
    second = serve("--path", tmp_path / "db", "--json")
    assert second.told()["error"]["code"] == "locked"
    assert second.process.wait(PATIENCE) == exits.CONFIGURATION
    assert (tmp_path / "db" / "server.sock").exists()
    assert first.end() == exits.OK


def test_others_cannot_be_let_in_without_tls_by_oversight(serve, tmp_path):
    server = serve("--path", tmp_path / "db", "--json", "--host", "0.0.0.0")
    assert server.told()["error"]["subject"] == "host"
    assert server.process.wait(PATIENCE) == exits.CONFIGURATION
    assert not (tmp_path / "db").exists()


def test_a_directory_of_something_else_is_left_alone(serve, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("hello")
    server = serve("--path", tmp_path / "letters", "--json", "--dev-certificate")
    assert "holds other files" in server.told()["error"]["message"]
    assert server.process.wait(PATIENCE) == exits.CONFIGURATION
    assert [file.name for file in (tmp_path / "letters").iterdir()] == ["letter.txt"]


def test_without_the_extra_it_serves_and_warns_unless_http_was_asked_for(serve, tmp_path):
    server = serve("--path", tmp_path / "db", "--json", http_port=None, missing="aiohttp")
    assert server.told()["http_port"] is None
    (warning,) = [event for event in server.events if event["level"] == "warning"]
    assert warning["event"] == "no health and metrics"
    assert "qstore-db[server]" in warning["remedy"]
    assert server.end() == exits.OK
    asked = serve("--path", tmp_path / "db", "--json", http_port="0", missing="aiohttp")
    assert "qstore-db[server]" in asked.told()["error"]["message"]
    assert asked.process.wait(PATIENCE) == exits.CONFIGURATION


# --check


def tree(folder: Path) -> dict[Path, bytes]:
    return {
        file: file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name not in ("LOCK", "lock.mdb")
    }


def test_check_shows_every_setting_with_its_source(run, path, tmp_path, monkeypatch):
    (tmp_path / "server.toml").write_text("[server]\nwindow = '1MiB'\n[database]\nbuild_threads = 3\n")
    monkeypatch.setenv("QSTORE_SERVER_MAX_REQUESTS", "7")
    arguments = ("serve", "--check", "--path", path, "--config", tmp_path / "server.toml", "--port", 0)
    before = tree(path)
    data = run(*arguments, "--json").data
    assert tree(path) == before
    assert data["ok"] is True
    found = {each["name"]: (each["value"], each["source"]) for each in data["settings"]}
    assert found["port"] == (0, "flag")
    assert found["max_requests"] == (7, "environment")
    assert found["window"] == (1 << 20, "file")
    assert found["database.build_threads"] == (3, "file")
    assert found["idle_seconds"] == (3600, "default")
    text = run(*arguments)
    assert text.code == exits.OK
    assert all(name in text.out for name in found)


def test_check_makes_no_directory_and_no_certificate(run, tmp_path):
    ended = run("serve", "--check", "--path", tmp_path / "db", "--dev-certificate", "--host", "0.0.0.0")
    assert ended.code == exits.OK
    assert list(tmp_path.iterdir()) == []


def test_check_says_what_is_missing_for_health_and_metrics(run, path, monkeypatch):
    monkeypatch.setattr("qstore_server.checking.find_spec", lambda _name: None)
    (warning,) = run("serve", "--check", "--path", path, "--json").data["warnings"]
    assert "qstore-db[server]" in warning
    assert run("serve", "--check", "--path", path, "--http-port", "off", "--json").data["warnings"] == []
    asked = run("serve", "--check", "--path", path, "--http-port", 7741, "--json")
    assert (asked.code, asked.data["error"]["subject"]) == (exits.CONFIGURATION, "http_port")
    certificate = run("serve", "--check", "--path", path, "--http-port", "off", "--dev-certificate", "--json")
    assert certificate.data["error"]["subject"] == "dev_certificate"


@pytest.mark.parametrize(
    ("options", "subject"),
    [
        (("--port", "70000"), "port"),
        (("--http-port", "soon"), "http_port"),
        (("--host", "0.0.0.0"), "host"),
        (("--tls-certificate", "cert.pem"), "tls_key"),
        (("--tls-certificate", "cert.pem", "--tls-key", "key.pem"), "cert.pem"),
        (("--config", "absent.toml"), "absent.toml"),
    ],
)
def test_check_refuses_what_a_start_would(run, path, tmp_path, monkeypatch, options, subject):
    monkeypatch.chdir(tmp_path)
    ended = run("serve", "--check", "--path", path, *options, "--json")
    assert ended.code == exits.CONFIGURATION
    assert ended.data["error"]["subject"] == subject


def test_check_wants_a_directory_that_can_be_opened(run, path, tmp_path):
    assert "path is not set" in run("serve", "--check").err
    (tmp_path / "file").write_text("hello")
    for other in (tmp_path, tmp_path / "file"):
        assert run("serve", "--check", "--path", other).code == exits.CONFIGURATION
    with QuantumDatabase.connect(path):
        locked = run("serve", "--check", "--path", path, "--json")
    assert (locked.code, locked.data["error"]["code"]) == (exits.CONFIGURATION, "locked")
    (path / "records" / "data.mdb").unlink()
    assert run("serve", "--check", "--path", path).code == exits.CORRUPTION
