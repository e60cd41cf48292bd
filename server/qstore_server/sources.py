"""Where settings come from: flags, environment variables, a TOML file, in this order of precedence."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from qstore_db.config import DatabaseConfig
from qstore_db.errors import ConfigurationError
from qstore_db.settings import Given, check_names, in_environment, variables_of

Source: TypeAlias = Literal["flag", "environment", "file", "default"]

DATABASE = "database."
"""Before the name of a setting of the database."""
_PREFIX = "QSTORE_SERVER_"


@dataclass(frozen=True, slots=True)
class Found:
    """The settings that were given, by name, each by the source that wins, and which source that is."""

    given: Mapping[str, Given]
    sources: Mapping[str, Source]

    def of_server(self) -> dict[str, Given]:
        return {name: each for name, each in self.given.items() if not name.startswith(DATABASE)}

    def of_database(self) -> dict[str, Given]:
        return {
            name.removeprefix(DATABASE): each
            for name, each in self.given.items()
            if name.startswith(DATABASE)
        }

    def placed(self, error: ConfigurationError) -> ConfigurationError:
        """The same refusal, with the place where its subject was set."""
        each = self.given.get(f"{error.subject}") or self.given.get(f"{DATABASE}{error.subject}")
        if each is None:
            return error
        return ConfigurationError(f"{error.message} (set by {each.where})", subject=error.subject)


def find(kind: type, file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Found:
    """What was given for the settings of `kind` and for those of its database.

    Raises ConfigurationError for a name that is no setting: a flag, a table or field of the file, or a variable
    that begins as the server's do.
    """
    known = variables_of(kind)
    check_names(kind.__name__, flags, known)
    ours = [name for name in environment if name.startswith(_PREFIX)]
    check_names("the server", ours, known.values(), "variable")
    of_database = in_environment(DatabaseConfig, environment)
    of_database.pop("path", None)  # its variable is the server's own
    layers: dict[Source, dict[str, Given]] = {
        "file": {} if file is None else _in_file(file, list(known)),
        "environment": {
            **in_environment(kind, environment),
            **{DATABASE + name: each for name, each in of_database.items()},
        },
        "flag": {
            name: Given(value, f"--{name.replace('_', '-')}")
            for name, value in flags.items()
            if value is not None
        },
    }
    return Found(
        {name: each for layer in layers.values() for name, each in layer.items()},
        {name: source for source, layer in layers.items() for name in layer},
    )


def _in_file(file: Path, of_server: list[str]) -> dict[str, Given]:
    try:
        tables = tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}", subject=str(file)) from None
    except ValueError as error:  # no UTF-8, or no TOML
        raise ConfigurationError(f"{file} is no TOML: {error}", subject=str(file)) from None
    # Keys are read from the environment only: a file is copied, kept and shown.
    of_database = [f.name for f in fields(DatabaseConfig) if f.name != "path" and not f.metadata["secret"]]
    check_names(f"{file}: the server", tables, ("server", "database"), "table")
    found: dict[str, Given] = {}
    for table, prefix, known in (("server", "", of_server), ("database", DATABASE, of_database)):
        values = tables.get(table, {})
        if not isinstance(values, dict):
            raise ConfigurationError(f"{file}: {table} must be a table, [{table}]", subject=table)
        check_names(f"{file}: [{table}]", values, known)
        for name, value in values.items():
            found[prefix + name] = Given(value, f"{name} in [{table}] of {file}")
    return found
