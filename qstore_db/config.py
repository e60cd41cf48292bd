"""What a database is opened with. One value, frozen; every field is typed and has its environment variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from qstore_db.errors import ConfigurationError
from qstore_db.settings import (
    check_names,
    flag,
    in_environment,
    refusal,
    setting,
    values_of,
    variables_of,
    whole,
)

EngineName: TypeAlias = Literal["embedded", "pinecone"]


class _Default(str):
    """A default that can be told from the same word given by the caller."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class DatabaseConfig:
    """Settings of one database. Unknown names and wrong values raise ConfigurationError naming the field.

    `from_environment` reads the variables named beside each field; the constructor itself never does, so that a
    program means what it says.
    """

    path: str | os.PathLike[str] | None = setting(None, "QSTORE_PATH")
    """Directory of an embedded database, made if absent. None: a temporary database, gone at close."""
    engine: EngineName = setting(_Default("embedded"), "QSTORE_ENGINE")
    """Where records live. Given a Pinecone key and neither `engine` nor `path`, it is "pinecone"."""
    pinecone_api_key: str | None = setting(None, "PINECONE_API_KEY", secret=True)
    """Key of a Pinecone account; never shown."""
    enable_superposition: bool = setting(True, "QSTORE_ENABLE_SUPERPOSITION", parse=flag)
    """False: `contexts=` and `context=` are refused."""
    build_threads: int | None = setting(None, "QSTORE_BUILD_THREADS", parse=whole)
    """Threads that build graphs in the background. None: half of the cores, at least one."""

    def __new__(cls, **settings: Any) -> DatabaseConfig:
        check_names("DatabaseConfig", settings, DatabaseConfig.variables())
        return super().__new__(cls)

    def __post_init__(self) -> None:
        if isinstance(self.engine, _Default):
            alone = self.pinecone_api_key is not None and self.path is None
            object.__setattr__(self, "engine", _Default("pinecone" if alone else "embedded"))
        engines = get_args(EngineName)
        if self.engine not in engines:
            raise refusal("engine", self.engine, f"is unknown; use one of {', '.join(map(repr, engines))}")
        if self.path is not None and not isinstance(self.path, (str, os.PathLike)):
            raise refusal("path", self.path, "must be a string or a path")
        if self.path is not None and not os.fspath(self.path):
            raise refusal("path", self.path, "is empty; leave it out for a temporary database")
        if self.pinecone_api_key is not None and not isinstance(self.pinecone_api_key, str):
            raise ConfigurationError("pinecone_api_key must be a string", subject="pinecone_api_key")
        if not isinstance(self.enable_superposition, bool):
            raise refusal("enable_superposition", self.enable_superposition, "must be True or False")
        threads = self.build_threads
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise refusal("build_threads", threads, "must be a positive integer or None")

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, **settings: Any
    ) -> DatabaseConfig:
        """Settings from environment variables (None: those of the process); those given as arguments win."""
        found = in_environment(cls, os.environ if environment is None else environment)
        values = values_of(cls, {name: given for name, given in found.items() if name not in settings})
        return cls(**values, **settings)

    def replace(self, **settings: Any) -> DatabaseConfig:
        """The same settings with some changed."""
        check_names("DatabaseConfig", settings, DatabaseConfig.variables())
        return replace(self, **settings)

    @property
    def directory(self) -> Path | None:
        """`path`, with a leading ~ expanded."""
        return None if self.path is None else Path(self.path).expanduser()

    @staticmethod
    def variables() -> dict[str, str]:
        """The environment variable of each field."""
        return variables_of(DatabaseConfig)
