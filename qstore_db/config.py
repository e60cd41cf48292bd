"""What a database is opened with. One value, frozen; every field is typed and has its environment variable."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from qstore_db.errors import ConfigurationError

EngineName = Literal["embedded", "pinecone"]
_ENGINES = ("embedded", "pinecone")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class _Default(str):
    """A default that can be told from the same word given by the caller."""

    __slots__ = ()


def _setting(default: Any, variable: str, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"variable": variable})


@dataclass(frozen=True, kw_only=True)
class DatabaseConfig:
    """Settings of one database. Unknown names and wrong values raise ConfigurationError naming the field.

    `from_environment` reads the variables named beside each field; the constructor itself never does, so that a
    program means what it says.
    """

    path: str | os.PathLike[str] | None = _setting(None, "QSTORE_PATH")
    """Directory of an embedded database, made if absent. None: a temporary database, gone at close."""
    engine: EngineName = _setting(_Default("embedded"), "QSTORE_ENGINE")
    """Where records live. Given a Pinecone key and neither `engine` nor `path`, it is "pinecone"."""
    pinecone_api_key: str | None = _setting(None, "PINECONE_API_KEY", secret=True)
    """Key of a Pinecone account; never shown."""
    enable_superposition: bool = _setting(True, "QSTORE_ENABLE_SUPERPOSITION")
    """False: `contexts=` and `context=` are refused."""
    build_threads: int | None = _setting(None, "QSTORE_BUILD_THREADS")
    """Threads that build graphs in the background. None: half of the cores, at least one."""

    def __new__(cls, **settings: Any) -> DatabaseConfig:
        known = [f.name for f in fields(cls)]
        for name in settings:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known)}"
                raise ConfigurationError(f"DatabaseConfig has no field {name!r}{hint}", subject=name)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        if isinstance(self.engine, _Default):
            alone = self.pinecone_api_key is not None and self.path is None
            object.__setattr__(self, "engine", "pinecone" if alone else "embedded")
        if self.engine not in _ENGINES:
            raise ConfigurationError(
                f"engine={self.engine!r} is unknown; use one of {', '.join(map(repr, _ENGINES))}",
                subject="engine",
            )
        if self.path is not None and not isinstance(self.path, (str, os.PathLike)):
            raise ConfigurationError(f"path={self.path!r} must be a string or a path", subject="path")
        if self.path is not None and not os.fspath(self.path):
            raise ConfigurationError("path is empty; leave it out for a temporary database", subject="path")
        if self.pinecone_api_key is not None and not isinstance(self.pinecone_api_key, str):
            raise ConfigurationError("pinecone_api_key must be a string", subject="pinecone_api_key")
        if not isinstance(self.enable_superposition, bool):
            raise ConfigurationError(
                f"enable_superposition={self.enable_superposition!r} must be True or False",
                subject="enable_superposition",
            )
        threads = self.build_threads
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise ConfigurationError(
                f"build_threads={threads!r} must be a positive integer or None", subject="build_threads"
            )

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, **settings: Any
    ) -> DatabaseConfig:
        """Settings from environment variables; those given as arguments win."""
        variables = os.environ if environment is None else environment
        found: dict[str, Any] = {}
        for f in fields(cls):
            text = variables.get(f.metadata["variable"])
            if text is not None:
                found[f.name] = _parse(f.name, f.metadata["variable"], text)
        return cls(**{**found, **settings})

    def replace(self, **settings: Any) -> DatabaseConfig:
        """The same settings with some changed."""
        for name in settings:
            type(self).__new__(type(self), **{name: None})
        return replace(self, **settings)

    @property
    def directory(self) -> Path | None:
        return None if self.path is None else Path(self.path).expanduser()

    @staticmethod
    def variables() -> dict[str, str]:
        """The environment variable of each field."""
        return {f.name: f.metadata["variable"] for f in fields(DatabaseConfig) if f.default is not MISSING}


def _parse(name: str, variable: str, text: str) -> Any:
    if name == "enable_superposition":
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ConfigurationError(f"{variable}={text!r} must be true or false", subject=name)
    if name == "build_threads":
        try:
            return int(text)
        except ValueError:
            raise ConfigurationError(f"{variable}={text!r} must be an integer", subject=name) from None
    return text
