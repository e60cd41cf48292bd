"""The server of the demonstration: what others can do with it, and that it is gone afterwards, whatever happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qstore_db import QuantumDatabase
from qstore_db.cli import exits, main
from qstore_db.demo import crash, showcase
from qstore_db.demo.serving import ServerProcess
from qstore_db.errors import AuthenticationError, ConfigurationError, UnavailableError, UnreachableError

pytestmark = pytest.mark.usefixtures("shorter")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def start(tmp_path: Path) -> ServerProcess:
    return ServerProcess(tmp_path / "database", tmp_path / "server.log")


def test_it_speaks_tls_to_those_who_have_the_certificate_and_a_token(tmp_path: Path):
    with start(tmp_path) as server:
        with QuantumDatabase.connect(server.url, token=server.token, tls=server.certificate) as database:
            assert database.list_collections() == []
        with pytest.raises(AuthenticationError):
            QuantumDatabase.connect(server.url, tls=server.certificate)
        with pytest.raises(UnreachableError, match="TLS"):
            QuantumDatabase.connect(server.url, token=server.token, tls=True, retries=0)


def test_a_client_goes_on_with_the_process_that_takes_a_killed_one_s_place(tmp_path: Path):
    with start(tmp_path) as server:
        first = server.pid
        with QuantumDatabase.connect(
            server.url, token=server.token, tls=server.certificate, timeout=120, retries=100
        ) as database:
            database.insert("a", [1.0, 0.0])
            server.kill()
            assert not is_running(first)
            server.start_again()
            assert database.get("a") is not None
            assert server.pid != first


def test_its_process_is_gone_after_the_block_also_after_an_error(tmp_path: Path):
    with pytest.raises(KeyError), start(tmp_path) as server:
        raise KeyError
    assert not is_running(server.pid)


def test_a_server_that_cannot_start_says_why_as_an_error(tmp_path: Path):
    (tmp_path / "database").mkdir()
    (tmp_path / "database" / "letter.txt").write_text("hello")
    with pytest.raises(ConfigurationError, match="holds other files"):
        start(tmp_path)


def test_one_that_ends_by_itself_is_an_error_with_the_place_of_its_log(tmp_path: Path):
    with start(tmp_path) as server:
        os.kill(server.pid, signal.SIGTERM)
        with pytest.raises(UnavailableError, match=re.escape(str(tmp_path / "server.log"))):
            server.wait()


def test_settings_of_another_server_in_the_environment_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("QSTORE_SERVER_PORT", "1")
    monkeypatch.setenv("QSTORE_SERVER_TLS_KEY", "/nowhere")
    with start(tmp_path) as server:
        assert server.pid


def remember(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The process of each server that is started from now on."""
    pids: list[int] = []
    started = ServerProcess._started

    def noting(server: ServerProcess, port: int) -> object:
        process, told = started(server, port)
        pids.append(process.pid)
        return process, told

    monkeypatch.setattr(ServerProcess, "_started", noting)
    return pids


def failing(*_arguments: object) -> None:
    raise UnavailableError("the disk is full")


@pytest.mark.parametrize(("owner", "name"), [(showcase, "ask"), (crash, "_wait_for")])
def test_a_demonstration_that_fails_halfway_leaves_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
):
    pids = remember(monkeypatch)
    monkeypatch.setattr(owner, name, failing)
    assert main(["demo", "--out", str(tmp_path), "--json"]) == exits.UNAVAILABLE
    assert pids
    assert not any(map(is_running, pids))


def test_a_second_terminal_can_do_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pids = remember(monkeypatch)
    shown: list[str] = []

    def in_another_terminal(_server: ServerProcess) -> None:
        told = capsys.readouterr().out
        lines = told[told.index("Serving until Ctrl-C") :].splitlines()[1:]
        done = subprocess.run(
            ["sh", "-ec", "\n".join(lines)], capture_output=True, text=True, timeout=120, check=True, cwd="/"
        )
        shown.append(done.stdout)
        raise KeyboardInterrupt

    monkeypatch.setattr(ServerProcess, "wait", in_another_terminal)
    assert main(["demo", "--out", str(tmp_path), "--keep-serving"]) == exits.OK
    assert "train-" in shown[0]
    assert not any(map(is_running, pids))


def test_what_is_printed_without_a_server_left_can_be_done_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["demo", "--out", str(tmp_path)]) == exits.OK
    command = capsys.readouterr().out.splitlines()[-1]
    done = subprocess.run(["sh", "-ec", command], capture_output=True, text=True, timeout=120, check=True)
    assert "train-" in done.stdout


@pytest.fixture
def demonstrating(tmp_path: Path, shorter_source: str) -> Callable[..., subprocess.Popen[str]]:
    """Starts a demonstration in a process of its own. `more`: lines of Python that come first."""

    def start(more: str, *options: str) -> subprocess.Popen[str]:
        arguments = ["demo", "--out", str(tmp_path), *options]
        script = f"""{shorter_source}
import sys
from qstore_db.cli import main
for owner, name, value in values:
    setattr(owner, name, value)
{more}
sys.exit(main({arguments!r}))
"""
        return subprocess.Popen([sys.executable, "-uc", script], stdout=subprocess.PIPE, text=True)

    return start


WRITE_FOREVER = "crash._ACKNOWLEDGEMENTS = (10**9, 10**9)"


@pytest.mark.parametrize(
    ("number", "more", "options", "stage", "code"),
    [
        (signal.SIGINT, WRITE_FOREVER, [], "  better on", exits.INTERRUPTED),
        (signal.SIGTERM, WRITE_FOREVER, [], "  better on", exits.INTERRUPTED),
        (signal.SIGHUP, WRITE_FOREVER, [], "  better on", exits.INTERRUPTED),
        (signal.SIGINT, "", ["--keep-serving"], "  export QSTORE_TOKEN", exits.OK),
        (signal.SIGTERM, "", ["--keep-serving"], "  export QSTORE_TOKEN", exits.OK),
    ],
    ids=["INT-amid-writes", "TERM-amid-writes", "HUP-amid-writes", "INT-serving", "TERM-serving"],
)
def test_an_interrupted_demonstration_ends_its_server(
    demonstrating: Callable[..., subprocess.Popen[str]],
    number: signal.Signals,
    more: str,
    options: list[str],
    stage: str,
    code: int,
):
    pid = 0
    with demonstrating(more, *options) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"process (\d+)", line):
                    pid = int(found[1])
                if line.startswith(stage):
                    break
            process.send_signal(number)
            assert process.wait(120) == code
        finally:
            process.kill()
    assert pid
    assert not is_running(pid)
