"""What a connection string means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeGuard

from qstore_db.config import DatabaseConfig
from qstore_db.errors import ConfigurationError

MEMORY = ":memory:"
_SCHEME = "qstore://"


def is_address(where: object) -> TypeGuard[str]:
    """Whether it names a server."""
    return isinstance(where, str) and where.startswith(_SCHEME)


def config_for(where: str | Path, token: str | None, tls: Any, config: dict[str, Any]) -> DatabaseConfig:
    """The configuration behind `QuantumDatabase.connect(where)`."""
    if "path" in config:
        raise ConfigurationError(
            "connect takes the directory as its first argument, not as path=", subject="path"
        )
    if not isinstance(where, (str, os.PathLike)):
        raise ConfigurationError(f"where={where!r} must be a string or a path", subject="where")
    for name, value in (("token", token), ("tls", tls)):
        if value is not None:
            raise ConfigurationError(
                f"{name} belongs to a server; {os.fspath(where)!r} is opened in-process", subject=name
            )
    if isinstance(where, str) and where == MEMORY:
        return DatabaseConfig(**{"engine": "embedded", **config})
    return DatabaseConfig(path=where, **config)
