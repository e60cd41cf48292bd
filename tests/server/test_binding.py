"""Addresses are taken before anything is made, so that a start that cannot be leaves nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import ConfigurationError
from qstore_db.testing.serving import ServerThread
from qstore_server.binding import bind, close
from qstore_server.config import ServerConfig

HOST = "127.0.0.1"
METRICS = 7741


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server((HOST, 0)) as other:
        yield int(other.getsockname()[1])


def test_all_addresses_of_a_name_have_one_port_and_nobody_gets_in_before_they_listen() -> None:
    bound = bind("localhost", 0, "port")
    try:
        (port,) = {each.getsockname()[1] for each in bound}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port), 60.0)
    finally:
        close(bound)


@pytest.mark.parametrize("setting", ["port", "http_port"])
@pytest.mark.parametrize("dev_certificate", [False, True])
def test_a_port_that_is_taken_leaves_nothing_behind(
    tmp_path: Path, taken: int, setting: str, dev_certificate: bool
) -> None:
    settings: dict[str, Any] = {"path": tmp_path / "db", "dev_certificate": dev_certificate, setting: taken}
    with pytest.raises(ConfigurationError, match=f"listen on {HOST}:{taken}.* another {setting}") as caught:
        ServerThread(**settings)
    assert caught.value.subject == setting
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_no_machine_here_is_named(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"listen on {host}:0"):
        bind(host, 0, "port")


def test_the_default_port_of_metrics_is_done_without_where_it_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.ExitStack() as around:
        with contextlib.suppress(OSError):  # it is taken already, which is as well
            around.enter_context(socket.create_server((HOST, METRICS)))
        with (
            ServerThread(path=tmp_path / "db", http_port=METRICS) as server,
            QuantumDatabase.connect(server.url) as db,
        ):
            assert server.server.http_port is None
            assert db.list_collections() == []
        (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert "--http-port" in vars(warning)["remedy"]
        assert str(METRICS) in vars(warning)["reason"]
        asked = ServerConfig.load(None, {}, path=tmp_path / "db", http_port=METRICS)
        assert not asked.is_http_port_default


def test_metrics_are_served_where_their_port_is_free(tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db", http_port=0) as server:
        address = f"http://{HOST}:{server.server.http_port}/health"
        with urllib.request.urlopen(address, timeout=60.0) as answer:
            assert json.load(answer) == {"status": "ok"}
