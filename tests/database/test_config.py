"""DatabaseConfig and connection strings."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

from qstore_db import DatabaseConfig, QuantumDatabase
from qstore_db.errors import ConfigurationError


def test_an_unknown_field_is_refused_with_the_nearest_known_one() -> None:
    for make in (DatabaseConfig, DatabaseConfig().replace, DatabaseConfig.from_environment):
        with pytest.raises(ConfigurationError, match="did you mean 'enable_superposition'") as caught:
            make(enable_superpositions=False)
        assert caught.value.subject == "enable_superpositions"


def test_a_field_like_no_other_is_refused_with_all_there_are() -> None:
    with pytest.raises(ConfigurationError, match="there are: path, engine"):
        DatabaseConfig(xyzzy=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", ""),
        ("path", 7),
        ("engine", "sqlite"),
        ("engine", None),
        ("pinecone_api_key", 7),
        ("enable_superposition", "yes"),
        ("enable_superposition", 1),
        ("build_threads", 0),
        ("build_threads", 1.0),
        ("build_threads", True),
    ],
)
def test_a_wrong_value_is_refused_by_field(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DatabaseConfig(**{field: value})
    assert caught.value.subject == field


def test_a_configuration_is_frozen_and_keyword_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DatabaseConfig().path = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        DatabaseConfig("x")  # type: ignore[call-arg]


def test_secrets_are_never_shown() -> None:
    config = DatabaseConfig(pinecone_api_key="sk-secret")
    assert "secret" not in repr(config)
    assert "secret" not in str(config)
    with pytest.raises(ConfigurationError) as caught:
        DatabaseConfig(pinecone_api_key=["sk-secret"])
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        QuantumDatabase(config)
    assert "secret" not in str(caught.value)


def test_every_field_is_read_from_its_environment_variable() -> None:
    found = DatabaseConfig.from_environment(
        {
            "QSTORE_PATH": "somewhere",
            "QSTORE_ENGINE": "embedded",
            "PINECONE_API_KEY": "key",
            "QSTORE_ENABLE_SUPERPOSITION": "Off",
            "QSTORE_BUILD_THREADS": "3",
            "QSTORE_OTHER": "ignored",
        }
    )
    assert found == DatabaseConfig(
        path="somewhere",
        engine="embedded",
        pinecone_api_key="key",
        enable_superposition=False,
        build_threads=3,
    )
    assert set(DatabaseConfig.variables()) == {field.name for field in dataclasses.fields(DatabaseConfig)}


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTORE_BUILD_THREADS", "not read")
    assert DatabaseConfig.from_environment(build_threads=2).build_threads == 2


def test_the_constructor_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTORE_PATH", "elsewhere")
    assert DatabaseConfig().path is None


@pytest.mark.parametrize(
    ("variable", "text", "field"),
    [
        ("QSTORE_ENABLE_SUPERPOSITION", "maybe", "enable_superposition"),
        ("QSTORE_BUILD_THREADS", "two", "build_threads"),
        ("QSTORE_BUILD_THREADS", "0", "build_threads"),
        ("QSTORE_ENGINE", "sqlite", "engine"),
    ],
)
def test_a_wrong_environment_variable_is_refused(variable: str, text: str, field: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        DatabaseConfig.from_environment({variable: text})
    assert caught.value.subject == field


# Which engine


def test_a_pinecone_key_alone_means_pinecone_and_is_refused_with_the_remedy() -> None:
    config = DatabaseConfig(pinecone_api_key="key")
    assert config.engine == "pinecone"
    with pytest.raises(ConfigurationError, match="engine='embedded'") as caught:
        QuantumDatabase(config)
    assert caught.value.subject == "engine"


@pytest.mark.parametrize("settings", [{"engine": "embedded"}, {"path": "x"}], ids=["engine", "path"])
def test_a_pinecone_key_beside_a_choice_changes_nothing(settings: dict[str, Any]) -> None:
    assert DatabaseConfig(pinecone_api_key="key", **settings).engine == "embedded"


def test_a_default_engine_follows_later_changes_and_a_chosen_one_stays() -> None:
    assert DatabaseConfig().replace(pinecone_api_key="key").engine == "pinecone"
    assert DatabaseConfig(pinecone_api_key="key").replace(path="x").engine == "embedded"
    assert DatabaseConfig(engine="embedded").replace(pinecone_api_key="key").engine == "embedded"
    assert DatabaseConfig(engine="pinecone").replace(path="x").engine == "pinecone"


def test_a_configuration_travels_between_processes() -> None:
    config = DatabaseConfig(pinecone_api_key="key", build_threads=2)
    assert pickle.loads(pickle.dumps(config)) == config


# Where


def test_memory_is_a_temporary_database_even_beside_a_pinecone_key() -> None:
    with QuantumDatabase.connect(":memory:", pinecone_api_key="key") as db:
        directory = Path(db.stats()["directory"])
        assert directory.is_dir()
    assert not directory.exists()


def test_a_directory_is_made_where_it_is_absent(tmp_path: Path) -> None:
    for where in (tmp_path / "a" / "b", str(tmp_path / "c")):
        with QuantumDatabase.connect(where) as db:
            db.insert("x", [1.0])
        assert Path(where).is_dir()


def test_a_leading_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with QuantumDatabase.connect("~/db"):
        assert (tmp_path / "db").is_dir()


def test_connect_takes_further_settings(tmp_path: Path) -> None:
    db = QuantumDatabase.connect(tmp_path / "db", enable_superposition=False)
    with db, pytest.raises(ConfigurationError):
        db.insert("a", [1.0], contexts={"c": 1.0})
    with pytest.raises(ConfigurationError, match="did you mean"):
        QuantumDatabase.connect(tmp_path / "db", enginee="embedded")


@pytest.mark.parametrize(
    ("where", "options", "subject"),
    [
        (7, {}, "where"),
        ("", {}, "path"),
        ("x", {"token": "t"}, "token"),
        (":memory:", {"tls": True}, "tls"),
        ("x", {"path": "y"}, "path"),
    ],
)
def test_a_place_that_cannot_be_opened_so_is_refused(
    where: Any, options: dict[str, Any], subject: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        QuantumDatabase.connect(where, **options)
    assert caught.value.subject == subject
    assert not Path("x").exists()


def test_a_path_in_place_of_a_configuration_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="connect"):
        QuantumDatabase(str(tmp_path))  # type: ignore[arg-type]


def test_a_temporary_database_that_cannot_be_opened_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qstore_db.engines.embedded import engine

    def refuse(*args: object, **options: object) -> None:
        raise ConfigurationError("no")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(engine, "EmbeddedEngine", refuse)
    with pytest.raises(ConfigurationError):
        QuantumDatabase()
    assert list(tmp_path.iterdir()) == []
