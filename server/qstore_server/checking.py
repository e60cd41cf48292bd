"""What can be said of a configuration before a server is started with it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from qstore_db.engines.embedded.directory import check_new, is_database
from qstore_db.errors import ConfigurationError
from qstore_server.certificates import server_context
from qstore_server.config import ServerConfig

REMEDY = 'pip install "qstore-db[server]"'
_HTTP_MODULES = ("aiohttp", "prometheus_client")


def check(config: ServerConfig) -> list[str]:
    """Warnings, none where all is well.

    Raises the error with which a server would not start, as far as that shows without starting: nothing is changed,
    and nothing listened on, so that whether the ports are free is not known.
    """
    if config.dev_certificate:
        if find_spec("cryptography") is None:
            raise ConfigurationError(
                f"a development certificate needs cryptography: {REMEDY}", subject="dev_certificate"
            )
    elif config.tls is not None:
        server_context(*config.tls)
    missing = missing_for_http(config)
    check_directory(config.directory)
    return [f"no health and metrics without {' and '.join(missing)}: {REMEDY}"] if missing else []


def missing_for_http(config: ServerConfig) -> list[str]:
    """The packages that health and metrics lack; none where they are switched off.

    Raises ConfigurationError where their port was asked for by name: then they are wanted.
    """
    missing = [name for name in _HTTP_MODULES if find_spec(name) is None]
    if config.http_port is None or not missing:
        return []
    if "http_port" in config.sources:
        raise ConfigurationError(
            f"/health and /metrics need {' and '.join(missing)}: {REMEDY}", subject="http_port"
        )
    return missing


def check_directory(directory: Path) -> None:
    """Raises what opening the database there would raise, or making one; changes nothing."""
    if is_database(directory):
        from qstore_db.engines.embedded.format import check_openable

        check_openable(directory)
        return
    check_new(directory)
    nearest = next(folder for folder in (directory, *directory.absolute().parents) if folder.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigurationError(f"cannot write to {nearest}", subject=str(directory))
