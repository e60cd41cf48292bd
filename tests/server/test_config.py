"""ServerConfig: what it refuses, who can reach the server, and what is shown of it."""

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
        ("dev_certificate", [1, "yes", None]),
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


def test_the_database_lies_where_the_server_is_told() -> None:
    assert config(database=DatabaseConfig(build_threads=2)).to_open == DatabaseConfig(
        path="db", build_threads=2
    )
    with pytest.raises(ConfigurationError, match="belongs in path") as caught:
        config(database=DatabaseConfig(path="elsewhere"))
    assert caught.value.subject == "database"


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


def test_a_certificate_for_development_lies_in_the_directory_and_takes_the_place_of_files() -> None:
    folder = Path("db/tls")
    assert config(dev_certificate=True).tls == (folder / "development.crt", folder / "development.key")
    assert config(dev_certificate=True, host="0.0.0.0").needs_token
    with pytest.raises(ConfigurationError, match="give one") as caught:
        config(**TLS, dev_certificate=True)
    assert caught.value.subject == "dev_certificate"


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
    assert described(found)["database.engine"].value == "embedded"  # as it is opened, with its path
    for shown in (repr(found), str(found), repr(found.describe())):
        assert "sk-hidden" not in shown
    assert described(config())["database.pinecone_api_key"].value is None
