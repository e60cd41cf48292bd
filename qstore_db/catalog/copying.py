"""A compacting copy of LMDB's data file that is durable, or is not there at all."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb

from qstore_db.catalog import faults
from qstore_db.errors import ArgumentError


def compacted_copy(environment: lmdb.Environment, source: Path, destination: Path) -> Path:
    """Copy the data file `source` of an open environment into the folder `destination`; the copy's path.

    Raises `ArgumentError` if there is no such folder or it holds a data file already, and what
    `faults.copying_error` makes of a failure.
    """
    target = destination / source.name
    if not destination.is_dir() or target.exists():
        raise ArgumentError(
            f"a copy goes into an existing folder without a {source.name}, {destination} is none",
            subject="destination",
        )
    try:
        environment.copy(str(destination), compact=True)
        for path in (target, destination):  # LMDB itself never syncs a copy
            sync(path)
    except (lmdb.Error, OSError) as error:
        target.unlink(missing_ok=True)
        raise faults.copying_error(source.parent, destination, error) from error
    return target


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
