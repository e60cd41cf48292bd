"""Whether a directory holds a database, or may become one."""

from __future__ import annotations

from pathlib import Path

from qstore_db.errors import ConfigurationError

_HARMLESS = frozenset({"lost+found", "tls"})
"""What a new directory may hold: some file systems have the first, a server keeps a certificate in the second."""


def is_database(path: Path) -> bool:
    """Whether a directory holds an embedded database."""
    return (path / "records").is_dir()


def check_new(path: Path) -> None:
    """Raises ConfigurationError where making a database at `path` would mix it with other files."""
    if not path.exists() or is_database(path):
        return
    if not path.is_dir() or {file.name for file in path.iterdir()} - _HARMLESS:
        raise ConfigurationError(
            f"{path} holds other files and no database; name a new or empty directory", subject=str(path)
        )
