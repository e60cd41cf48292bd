"""Which format a directory has, and whether its records are still there.

The number stands in the database itself; a marker file beside it says that there was one. A lost data file would
otherwise look like a new, empty database.
"""

from __future__ import annotations

from pathlib import Path

from qstore_db.catalog.environment import DATA_FILE, Environment
from qstore_db.engines.embedded import files
from qstore_db.engines.embedded.layout import ADDED_TABLES, FORMAT, RECORDS_FOLDER, TABLES
from qstore_db.engines.embedded.ownership import DirectoryLock
from qstore_db.engines.embedded.store import Store
from qstore_db.errors import CorruptionError, FormatError

MARKER = "FORMAT"


def check_openable(directory: Path) -> None:
    """Raises what opening the database in `directory` would raise first, and changes nothing.

    That is DatabaseLockedError, ConfigurationError where it must not be written to, FormatError, CorruptionError.
    """
    records = directory / RECORDS_FOLDER
    with files.room_in(directory):
        lock = DirectoryLock(directory)
    try:
        check_records(directory, records)
        if (records / DATA_FILE).exists():
            environment = Environment(records, tables=TABLES, added=ADDED_TABLES, read_only=True)
            try:
                read_format(directory, Store(environment))
            finally:
                environment.close()
    finally:
        lock.release()


def check_records(directory: Path, records: Path) -> None:
    """Raises CorruptionError where the directory held a database whose data file is gone or empty."""
    data = records / DATA_FILE
    if (directory / MARKER).exists() and (not data.exists() or data.stat().st_size == 0):
        raise CorruptionError(
            f"{data} is {'empty' if data.exists() else 'missing'}, though {directory} holds a database; "
            "restore it from a backup",
            subject=str(data),
        )


def read_format(directory: Path, store: Store) -> int | None:
    """The format of a directory, None for a new one.

    Raises FormatError for a number other than ours, and CorruptionError where there are records but no number.
    """
    found = store.meta("format")
    if found is None:
        if store.meta("sequence") is not None:
            raise CorruptionError(f"{directory} has lost its format number", subject=str(directory))
    elif found != FORMAT:
        remedy = "install a newer release" if found > FORMAT else "export it with the release that wrote it"
        raise FormatError(
            f"{directory} has format {found}, this release reads format {FORMAT}; {remedy}",
            subject=str(directory),
        )
    return found


def check_format(directory: Path, store: Store) -> None:
    """Give a new database its format number and marker. Raises what `read_format` raises."""
    if read_format(directory, store) is None:
        with store.environment.write() as transaction:
            store.put_meta(transaction, "format", FORMAT)
    marker = directory / MARKER
    if not marker.exists():
        with files.room_in(directory):
            marker.write_text(f"qstore-db database, format {FORMAT}\n")
            files.sync_file(marker)
            files.sync_directory(directory)
