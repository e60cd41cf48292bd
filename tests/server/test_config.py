"""ServerConfig: what it refuses, where its settings come from, and which wins."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

from qstore_db import DatabaseConfig
from qstore_db.errors import ConfigurationError
from qstore_db.settings import variables_of
from qstore_server.config import ServerConfig, Setting, is_loopback

MIB = 1 << 20
TLS = {"tls_certificate": "cert.pem", "tls_key": "key.pem"}


def config(**settings: Any) -> ServerConfig:
    return ServerConfig(**{"path": "db", **settings})


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "qstore.toml"


def described(settings: ServerConfig) -> dict[str, Setting]:
    return {each.name: each for each in settings.describe()}


# Names and values


def test_an_unknown_field_is_refused_with_the_nearest_known_one() -> None:
    for make in (config, config().replace, ServerConfig.load):
        with pytest.raises(ConfigurationError, match="did you mean 'max_connections'") as caught:
            make(max_conections=7)
        assert caught.value.subject == "max_conections"


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("path", ["", 7, None]),
        ("host", ["", " ", "a b", "qstore://x", "[::1]", 7, None]),
        ("port", [-1, 65_536, 7740.0, True, "7740", None]),
        ("http_host", ["", 7]),
        ("http_port", [-1, 65_536, False, "off"]),
        ("tls_certificate", ["", 7]),
        ("tls_key", ["", 7]),
        ("require_token", [1, "yes"]),
        ("allow_insecure", [1, "yes", None]),
        ("max_connections", [0, 1.0, True, None]),
        ("max_unauthenticated", [0, "1"]),
        ("max_requests", [0, -1]),
        ("connection_bytes", [0, "64MiB", 1.0]),
        ("server_bytes", [0, None]),
        ("request_bytes", [0, True]),
        ("window", [0, -1]),
        ("idle_seconds", [0, -1.0, float("nan"), float("inf"), True, "1"]),
        ("frame_seconds", [0, None]),
        ("frame_rate", [0, 0.5]),
        ("drain_seconds", [0, -1]),
        ("slow_query_ms", [-1, float("nan"), None]),
        ("log_level", ["trace", "INFO", 7, None]),
        ("log_format", ["xml", []]),
        ("database", [None, {"build_threads": 1}]),
    ],
)
def test_a_wrong_value_is_refused_by_field_value_and_remedy(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ConfigurationError, match=r"must be|is not set") as caught:
            config(**{field: value})
        assert caught.value.subject == field
        assert field in str(caught.value)
        assert repr(value) in str(caught.value) or value == ""


def test_every_field_has_a_wrong_value_in_the_test_above() -> None:
    (mark,) = test_a_wrong_value_is_refused_by_field_value_and_remedy.pytestmark  # type: ignore[attr-defined]
    assert {field for field, _ in mark.args[1]} == {f.name for f in dataclasses.fields(ServerConfig)} - {
        "sources"
    }


def test_a_server_needs_a_path() -> None:
    for make in (ServerConfig, lambda: ServerConfig.load(environment={})):
        with pytest.raises(ConfigurationError, match=r"--path, QSTORE_PATH or path in \[server\]") as caught:
            make()
        assert caught.value.subject == "path"


def test_a_configuration_is_frozen_keyword_only_and_travels_between_processes(toml: Path) -> None:
    toml.write_text("[server]\nport = 1")
    loaded = ServerConfig.load(toml, {"QSTORE_PATH": "db"})
    copy = pickle.loads(pickle.dumps(loaded))
    assert (copy, copy.describe()) == (loaded, loaded.describe())
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.port = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        ServerConfig("db")  # type: ignore[call-arg]


def test_certificate_and_key_come_together() -> None:
    for one, other in (("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")):
        with pytest.raises(ConfigurationError, match="both") as caught:
            config(**{one: "file.pem"})
        assert caught.value.subject == other
    assert config(**TLS).tls == (Path("cert.pem"), Path("key.pem"))
    assert config().tls is None


def test_server_and_http_do_not_share_a_port() -> None:
    with pytest.raises(ConfigurationError, match="another") as caught:
        config(port=8000, http_port=8000)
    assert caught.value.subject == "http_port"
    assert config(port=0, http_port=0).http_port == 0
    assert config(port=8000, http_port=8000, http_host="127.0.0.2").port == 8000


def test_a_leading_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    settings = config(path="~/db", tls_certificate="~/c.pem", tls_key="~/k.pem")
    assert settings.directory == Path("/home/someone/db")
    assert settings.tls == (Path("/home/someone/c.pem"), Path("/home/someone/k.pem"))


# Who can reach it


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("db.internal", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "db.internal"])
def test_an_address_that_others_reach_needs_tls_and_tokens(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"without TLS.*allow_insecure") as caught:
        config(host=host)
    assert caught.value.subject == "host"
    with pytest.raises(ConfigurationError, match=r"without tokens.*require_token"):
        config(host=host, require_token=False, **TLS)
    assert config(host=host, **TLS).needs_token
    assert config(host=host, require_token=True, **TLS).needs_token


def test_metrics_are_not_shown_to_others_unless_that_is_allowed() -> None:
    with pytest.raises(ConfigurationError, match="allow_insecure") as caught:
        config(http_host="0.0.0.0", **TLS)
    assert caught.value.subject == "http_host"
    assert config(http_host="0.0.0.0", http_port=None).http_port is None
    assert config(http_host="0.0.0.0", allow_insecure=True).http_host == "0.0.0.0"


def test_tokens_are_needed_unless_only_this_machine_reaches_the_server() -> None:
    assert not config().needs_token
    assert config(require_token=True).needs_token
    assert config(host="0.0.0.0", allow_insecure=True).needs_token
    assert config(http_host="0.0.0.0", allow_insecure=True).needs_token
    assert not config(http_host="0.0.0.0", http_port=None).needs_token
    assert not config(host="0.0.0.0", allow_insecure=True, require_token=False).needs_token


# Where settings come from


def test_every_setting_is_read_from_its_environment_variable() -> None:
    texts = {
        "path": ("somewhere", "somewhere"),
        "host": ("0.0.0.0", "0.0.0.0"),
        "port": ("1", 1),
        "http_host": ("::", "::"),
        "http_port": ("off", None),
        "tls_certificate": ("c", "c"),
        "tls_key": ("k", "k"),
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
    assert config().port == 7740


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
    assert ServerConfig.load(None, {"QSTORE_OTHER": "x", "SERVER_PORT": "y"}, path="db") == config()


def test_a_flag_may_be_text_and_is_named_in_its_refusal() -> None:
    assert ServerConfig.load(None, {}, path="db", window="8MiB").window == 8 * MIB
    with pytest.raises(ConfigurationError, match="--max-requests='x'"):
        ServerConfig.load(None, {}, path="db", max_requests="x")
    with pytest.raises(ConfigurationError, match=r"\(set by --max-requests\)"):
        ServerConfig.load(None, {}, path="db", max_requests=0)


# What is shown


def test_the_description_has_every_setting_in_effect_as_plain_data() -> None:
    shown = described(config(path=Path("db"), host="0.0.0.0", **TLS))
    assert set(shown) == set(variables_of(ServerConfig)) | {
        f"database.{name}" for name in DatabaseConfig.variables() if name != "path"
    }
    assert all(isinstance(each.value, (str, int, float, bool, type(None))) for each in shown.values())
    assert shown["path"].value == "db"
    assert shown["require_token"].value is True
    assert shown["database.engine"].value == "embedded"


def test_no_secret_is_shown() -> None:
    found = ServerConfig.load(None, {"PINECONE_API_KEY": "sk-hidden"}, path="db")
    assert found.to_open.pinecone_api_key == "sk-hidden"
    assert described(found)["database.pinecone_api_key"] == Setting(
        "database.pinecone_api_key", "<secret>", "environment"
    )
    for shown in (repr(found), str(found), repr(found.describe())):
        assert "sk-hidden" not in shown
    assert described(config())["database.pinecone_api_key"].value is None
