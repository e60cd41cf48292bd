"""Where a server's settings come from, which source wins, and how a wrong one is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from qstore_db import DatabaseConfig
from qstore_db.errors import ConfigurationError
from qstore_db.settings import variables_of
from qstore_server.config import ServerConfig, Setting

MIB = 1 << 20


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "qstore.toml"


def described(settings: ServerConfig) -> dict[str, Setting]:
    return {each.name: each for each in settings.describe()}


def test_every_setting_is_read_from_its_environment_variable() -> None:
    texts = {
        "path": ("somewhere", "somewhere"),
        "host": ("0.0.0.0", "0.0.0.0"),
        "port": ("1", 1),
        "http_host": ("::", "::"),
        "http_port": ("off", None),
        "tls_certificate": ("c", "c"),
        "tls_key": ("k", "k"),
        "dev_certificate": ("no", False),
        "require_token": ("Yes", True),
        "allow_insecure": ("1", True),
        "max_connections": ("2", 2),
        "max_unauthenticated": ("3", 3),
        "max_requests": ("4", 4),
        "connection_bytes": ("5", 5),
        "server_bytes": ("6 KiB", 6 << 10),
        "request_bytes": ("7mib", 7 << 20),
        "window": ("8B", 8),
        "idle_seconds": ("9.5", 9.5),
        "frame_seconds": ("10", 10.0),
        "frame_rate": ("11GiB", 11 << 30),
        "drain_seconds": ("1e1", 10.0),
        "slow_query_ms": ("0", 0.0),
        "log_level": ("debug", "debug"),
        "log_format": ("text", "text"),
    }
    variables = variables_of(ServerConfig)
    assert (
        set(texts)
        == set(variables)
        == {f.name for f in dataclasses.fields(ServerConfig)} - {"database", "sources"}
    )
    assert variables["path"] == "QSTORE_PATH"
    assert all(variables[name] == f"QSTORE_SERVER_{name.upper()}" for name in texts if name != "path")
    found = ServerConfig.load(None, {variables[name]: text for name, (text, _) in texts.items()})
    assert {name: getattr(found, name) for name in texts} == {
        name: value for name, (_, value) in texts.items()
    }
    assert {each.source for each in found.describe() if not each.name.startswith("database.")} == {
        "environment"
    }


def test_flags_win_over_variables_these_over_the_file_and_that_over_defaults(toml: Path) -> None:
    toml.write_text("[server]\npath = 'db'\nport = 1\nwindow = '1MiB'\nmax_requests = 1\n")
    environment = {"QSTORE_SERVER_WINDOW": "2MiB", "QSTORE_SERVER_MAX_REQUESTS": "2"}
    found = ServerConfig.load(toml, environment, max_requests=3, host=None)
    assert (found.port, found.window, found.max_requests, found.host) == (1, 2 * MIB, 3, "127.0.0.1")
    shown = described(found)
    assert [shown[name].source for name in ("port", "window", "max_requests", "host")] == [
        "file",
        "environment",
        "flag",
        "default",
    ]


def test_what_loses_is_not_even_read(toml: Path) -> None:
    toml.write_text("[server]\nport = 'many'")
    assert ServerConfig.load(toml, {"QSTORE_PATH": "x", "QSTORE_SERVER_PORT": "7"}, path="db").port == 7


def test_a_later_source_can_undo_what_an_earlier_one_set(toml: Path) -> None:
    toml.write_text(
        "[server]\npath = 'db'\nrequire_token = true\nhttp_port = 9\ntls_certificate = 'c'\ntls_key = 'k'"
    )
    names = ("REQUIRE_TOKEN", "HTTP_PORT", "TLS_CERTIFICATE", "TLS_KEY")
    undone = {
        f"QSTORE_SERVER_{name}": word for name, word in zip(names, ("auto", "off", "off", "off"), strict=True)
    }
    found = ServerConfig.load(toml, undone)
    assert (found.require_token, found.http_port, found.tls) == (None, None, None)


def test_load_reads_the_environment_of_the_process_where_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QSTORE_PATH", "db")
    monkeypatch.setenv("QSTORE_SERVER_PORT", "7")
    assert ServerConfig.load().port == 7
    assert ServerConfig(path="db").port == 7740


def test_the_database_has_a_table_and_variables_of_its_own(toml: Path) -> None:
    toml.write_text("[server]\npath = 'db'\n[database]\nbuild_threads = 2\nenable_superposition = false\n")
    found = ServerConfig.load(toml, {"QSTORE_BUILD_THREADS": "3"})
    assert found.to_open == DatabaseConfig(path="db", build_threads=3, enable_superposition=False)
    shown = described(found)
    assert shown["database.build_threads"] == Setting("database.build_threads", 3, "environment")
    assert shown["database.enable_superposition"] == Setting("database.enable_superposition", False, "file")


@pytest.mark.parametrize(
    ("text", "match", "subject"),
    [
        ("[server]\nprot = 1", r"qstore.toml: \[server\] has no field 'prot'; did you mean 'port'", "prot"),
        ("[sever]\nport = 1", "table 'sever'; did you mean 'server'", "sever"),
        ("port = 1", "table 'port'", "port"),
        ("server = 1", r"must be a table, \[server\]", "server"),
        ("[database]\npath = 'x'", "no field 'path'", "path"),
        ("[database]\npinecone_api_key = 'x'", "no field 'pinecone_api_key'", "pinecone_api_key"),
        (
            "[database]\nbuild_threads = 0",
            r"positive.*build_threads in \[database\] of .*qstore.toml",
            "build_threads",
        ),
        ("[server]\nport = 70000", r"port=70000 must.*port in \[server\] of .*qstore.toml", "port"),
        ("[server]\nport = 1.5", "port=1.5 must", "port"),
        ("[server]\nwindow = '4MB'", r"window in \[server\] of .*='4MB' must be.*64MiB", "window"),
        ("[server]\nlog_level = ['info']", "must be one of 'debug', 'info'", "log_level"),
        ("[server]\nhost = '0.0.0.0'", r"without TLS.*host in \[server\]", "host"),
    ],
)
def test_a_wrong_file_is_refused_by_place(toml: Path, text: str, match: str, subject: str) -> None:
    toml.write_text(text)
    with pytest.raises(ConfigurationError, match=match) as caught:
        ServerConfig.load(toml, {"QSTORE_PATH": "db"})
    assert caught.value.subject == subject


@pytest.mark.parametrize("content", [b"[server", b"\xff\xfe", b"[server]\nport = 1\nport = 2"])
def test_a_file_that_is_no_toml_is_refused_by_name(toml: Path, content: bytes) -> None:
    toml.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is no TOML") as caught:
        ServerConfig.load(toml, {}, path="db")
    assert caught.value.subject == str(toml)


def test_a_file_that_cannot_be_read_is_refused_by_name(toml: Path, tmp_path: Path) -> None:
    for file in (toml, tmp_path):
        with pytest.raises(ConfigurationError, match="cannot read") as caught:
            ServerConfig.load(file, {}, path="db")
        assert caught.value.subject == str(file)


@pytest.mark.parametrize(
    ("variable", "text", "subject"),
    [
        ("QSTORE_SERVER_PORT", "many", "port"),
        ("QSTORE_SERVER_PORT", "70000", "port"),
        ("QSTORE_SERVER_HTTP_PORT", "none", "http_port"),
        ("QSTORE_SERVER_REQUIRE_TOKEN", "maybe", "require_token"),
        ("QSTORE_SERVER_WINDOW", "4MB", "window"),
        ("QSTORE_SERVER_WINDOW", "-1", "window"),
        ("QSTORE_SERVER_WINDOW", "1.5MiB", "window"),
        ("QSTORE_SERVER_IDLE_SECONDS", "inf", "idle_seconds"),
        ("QSTORE_SERVER_IDLE_SECONDS", "soon", "idle_seconds"),
        ("QSTORE_SERVER_TLS_KEY", "", "tls_key"),
        ("QSTORE_BUILD_THREADS", "0", "build_threads"),
    ],
)
def test_a_wrong_environment_variable_is_refused_by_name(variable: str, text: str, subject: str) -> None:
    with pytest.raises(ConfigurationError, match=variable) as caught:
        ServerConfig.load(None, {variable: text}, path="db")
    assert caught.value.subject == subject


def test_a_misspelt_variable_of_the_server_is_refused_and_others_are_not_ours() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'QSTORE_SERVER_REQUIRE_TOKEN'"):
        ServerConfig.load(None, {"QSTORE_SERVER_REQUIRE_TOKENS": "yes"}, path="db")
    assert ServerConfig.load(None, {"QSTORE_OTHER": "x", "SERVER_PORT": "y"}, path="db") == ServerConfig(
        path="db"
    )


def test_a_flag_may_be_text_and_is_named_in_its_refusal() -> None:
    assert ServerConfig.load(None, {}, path="db", window="8MiB").window == 8 * MIB
    with pytest.raises(ConfigurationError, match="--max-requests='x'"):
        ServerConfig.load(None, {}, path="db", max_requests="x")
    with pytest.raises(ConfigurationError, match=r"\(set by --max-requests\)"):
        ServerConfig.load(None, {}, path="db", max_requests=0)
