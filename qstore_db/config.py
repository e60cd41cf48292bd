"""What a database is opened with. One value, frozen; every field is typed and has its environment variable."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from qstore_db.errors import ConfigurationError

EngineName: TypeAlias = Literal["embedded", "pinecone"]


class _Default(str):
    """A default that can be told from the same word given by the caller."""

    __slots__ = ()


def _flag(text: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("must be true or false")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be an integer") from None


def _setting(default: Any, variable: str, *, parse: Callable[[str], Any] = str, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"variable": variable, "parse": parse})


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
    enable_superposition: bool = _setting(True, "QSTORE_ENABLE_SUPERPOSITION", parse=_flag)
    """False: `contexts=` and `context=` are refused."""
    build_threads: int | None = _setting(None, "QSTORE_BUILD_THREADS", parse=_whole)
    """Threads that build graphs in the background. None: half of the cores, at least one."""

    def __new__(cls, **settings: Any) -> DatabaseConfig:
        _check_names(settings)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        if isinstance(self.engine, _Default):
            alone = self.pinecone_api_key is not None and self.path is None
            object.__setattr__(self, "engine", _Default("pinecone" if alone else "embedded"))
        engines = get_args(EngineName)
        if self.engine not in engines:
            raise _refusal("engine", self.engine, f"is unknown; use one of {', '.join(map(repr, engines))}")
        if self.path is not None and not isinstance(self.path, (str, os.PathLike)):
            raise _refusal("path", self.path, "must be a string or a path")
        if self.path is not None and not os.fspath(self.path):
            raise _refusal("path", self.path, "is empty; leave it out for a temporary database")
        if self.pinecone_api_key is not None and not isinstance(self.pinecone_api_key, str):
            raise ConfigurationError("pinecone_api_key must be a string", subject="pinecone_api_key")
        if not isinstance(self.enable_superposition, bool):
            raise _refusal("enable_superposition", self.enable_superposition, "must be True or False")
        threads = self.build_threads
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise _refusal("build_threads", threads, "must be a positive integer or None")

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, **settings: Any
    ) -> DatabaseConfig:
        """Settings from environment variables (None: those of the process); those given as arguments win."""
        variables = os.environ if environment is None else environment
        found: dict[str, Any] = {}
        for f in fields(cls):
            text = variables.get(f.metadata["variable"])
            if text is None or f.name in settings:
                continue
            try:
                found[f.name] = f.metadata["parse"](text)
            except ValueError as error:
                raise _refusal(f.metadata["variable"], text, str(error), field=f.name) from None
        return cls(**found, **settings)

    def replace(self, **settings: Any) -> DatabaseConfig:
        """The same settings with some changed."""
        _check_names(settings)
        return replace(self, **settings)

    @property
    def directory(self) -> Path | None:
        """`path`, with a leading ~ expanded."""
        return None if self.path is None else Path(self.path).expanduser()

    @staticmethod
    def variables() -> dict[str, str]:
        """The environment variable of each field."""
        return {f.name: f.metadata["variable"] for f in fields(DatabaseConfig)}


def _check_names(settings: Iterable[str]) -> None:
    known = [f.name for f in fields(DatabaseConfig)]
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
            raise ConfigurationError(f"DatabaseConfig has no field {name!r}; {hint}", subject=name)


def _refusal(name: str, value: object, why: str, *, field: str | None = None) -> ConfigurationError:
    return ConfigurationError(f"{name}={value!r} {why}", subject=field or name)
