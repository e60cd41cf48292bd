"""Reaching the database that a command names: by an address, through its server's socket, or by opening it.

Only `import`, `restore` and `serve` make one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qstore_db.engines.embedded.directory import check_new, is_database
from qstore_db.errors import ConfigurationError

if TYPE_CHECKING:
    from qstore_db.database import QuantumDatabase
    from qstore_db.database.edge import SyncEdge

_BOTH = "--path / --url"
_DOOR_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the database of a command is: in a directory, or behind an address."""

    path: Path | None = None
    url: str | None = None
    token: str | None = field(default=None, repr=False)
    tls: str | None = None
    """A file, "system", or "off"."""

    @classmethod
    def of(cls, path: Path | None, url: str | None, token: str | None, tls: str | None) -> Place:
        """What the options say, and where they say nothing the environment.

        A variable that belongs to the other kind of place is no contradiction: it is left alone.
        """
        if url is not None:
            if path is not None:
                raise typer.BadParameter("give one of them", param_hint=_BOTH)
            return cls(None, url, token or _variable("QSTORE_TOKEN"), tls or _variable("QSTORE_TLS"))
        for option, value in (("--token", token), ("--tls", tls)):
            if value is not None:
                raise typer.BadParameter("it goes with --url", param_hint=option)
        where = path or _variable("QSTORE_PATH")
        if where is None:
            raise typer.BadParameter("name the database by one of them, or by QSTORE_PATH", param_hint=_BOTH)
        return cls(Path(where).expanduser())

    @property
    def name(self) -> str:
        """For people."""
        return str(self.path if self.url is None else self.url)


def _variable(name: str) -> str | None:
    return os.environ.get(name) or None


def check_database(path: Path) -> None:
    """Raises ConfigurationError where `path` is no database: a mistyped path must not become a new one."""
    if not path.exists():
        raise ConfigurationError(
            f"there is no database at {path}; `qstore import` makes one, `qstore restore` brings one back",
            subject=str(path),
        )
    if not is_database(path):
        raise ConfigurationError(
            f"{path} is not a database directory; name the folder that holds `records` and `index`",
            subject=str(path),
        )


def is_served(path: Path) -> bool:
    """Whether a server has the directory and lets this user in by its socket there."""
    from qstore_db.wire.greeting import DOOR

    if not (path / DOOR).exists():
        return False
    from qstore_client.target import connect_in

    try:
        connect_in(path, _DOOR_SECONDS).close()
    except OSError:  # none, that of a server that died, or not this user's: opening the directory says more
        return False
    return True


@contextmanager
def reached(place: Place, *, create: bool = False) -> Iterator[SyncEdge]:
    """What performs operations on the database, closed at the end.

    A directory that a server has open is reached through its socket. Where this process opens it, further
    settings come from the environment.
    """
    edge = _edge(place, create=create)
    try:
        yield edge
    finally:
        edge.close()


@contextmanager
def opened(place: Place, *, create: bool = False) -> Iterator[QuantumDatabase]:
    """The same with the face of a database."""
    from qstore_db.database import QuantumDatabase

    with reached(place, create=create) as edge:
        yield QuantumDatabase._over(edge)


def _edge(place: Place, *, create: bool) -> SyncEdge:
    if place.url is not None:
        from qstore_client import RemoteEdge, Target

        known = {None: None, "off": False, "system": True}
        tls = known.get(place.tls, place.tls)
        return RemoteEdge.open(Target.parse(place.url, place.token, tls, {}))
    assert place.path is not None
    check_new(place.path) if create else check_database(place.path)
    if is_served(place.path):
        from qstore_client import RemoteEdge, Target

        return RemoteEdge.open(Target(host="", port=0, directory=place.path))
    from qstore_db.config import DatabaseConfig
    from qstore_db.database.local import LocalEdge

    return LocalEdge.open(DatabaseConfig.from_environment(path=place.path, engine="embedded"))
