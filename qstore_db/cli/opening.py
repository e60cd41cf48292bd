"""Opening the database that a command names. Only `import` and `restore` make one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qstore_db.errors import ConfigurationError

if TYPE_CHECKING:
    from qstore_db.database import QuantumDatabase


def is_database(path: Path) -> bool:
    """Whether a directory holds an embedded database."""
    return (path / "records").is_dir()


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


def check_new(path: Path) -> None:
    """Raises ConfigurationError where making a database at `path` would mix it with other files."""
    if path.exists() and not is_database(path) and (not path.is_dir() or any(path.iterdir())):
        raise ConfigurationError(
            f"{path} holds other files and no database; name a new or empty directory", subject=str(path)
        )


@contextmanager
def opened(path: Path, *, create: bool = False) -> Iterator[QuantumDatabase]:
    """The database at `path`, closed at the end; further settings come from the environment."""
    check_new(path) if create else check_database(path)
    from qstore_db.config import DatabaseConfig
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase(DatabaseConfig.from_environment(path=path, engine="embedded")) as database:
        yield database
