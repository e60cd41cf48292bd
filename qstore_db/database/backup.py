"""Backups: one folder with a consistent copy of the records, the index files they name, and one manifest."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qstore_db.errors import ArgumentError, CorruptionError, FormatError

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine

MANIFEST = "backup.json"
FORMAT = 1


def backup(engine: EmbeddedEngine, destination: Path) -> Path:
    """Copy an open database into a folder that must not exist yet. It appears only once it is complete.

    Raises ArgumentError if it exists, DiskFullError or ConfigurationError where it cannot be written.
    """
    from qstore_db.engines.embedded import files
    from qstore_db.engines.embedded.layout import INDEX_FOLDER, RECORDS_FOLDER

    with _whole_or_absent(destination) as partial:
        (partial / RECORDS_FOLDER).mkdir()
        with engine.paused_upkeep():
            sequence = engine.sequence
            engine.copy_records(partial / RECORDS_FOLDER)
            for collection in engine.roster.live():
                index = engine.roster.index_files(collection.cid)
                if index.directory.is_dir():
                    _copy_files(index.directory, partial / INDEX_FOLDER / index.directory.name)
        marks: list[list[Any]] = []
        for path in sorted(p for p in partial.rglob("*") if p.is_file()):
            files.sync_file(path)
            marks.append([str(path.relative_to(partial)), *files.mark(path).as_data()[1:]])
        manifest = {
            "format": FORMAT,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "sequence_at_least": sequence,
            "files": marks,
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return destination


def restore(source: str | Path, destination: str | Path) -> Path:
    """Make a database directory from a backup, every checksum verified first. `destination` must not exist.

    Raises FormatError where `source` is no backup, CorruptionError naming a damaged or missing file, and what
    `backup` raises.
    """
    from qstore_db.engines.embedded import files

    source, destination = Path(source), Path(destination)
    marks = [(Path(name), size, crc) for name, size, crc in _manifest(source)["files"]]
    with _whole_or_absent(destination) as partial:
        for path, size, crc in marks:
            expected = files.FileMark(path.name, size, crc)
            files.check(source / path.parent, expected)
            (partial / path.parent).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, partial / path)
            files.check(partial / path.parent, expected)
    return destination


@contextmanager
def _whole_or_absent(destination: Path) -> Iterator[Path]:
    """A folder to fill. It takes its name, durably, once the block ends; if the block raises it is removed."""
    from qstore_db.engines.embedded import files

    if destination.exists():
        raise ArgumentError(f"{destination} exists already; name a new folder", subject=str(destination))
    partial = destination.with_name(destination.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with files.room_in(destination):
            partial.mkdir(parents=True)
            yield partial
            files.sync_tree(partial)
            partial.rename(destination)
            files.sync_directory(destination.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy_files(source: Path, destination: Path) -> None:
    destination.mkdir(parents=True)
    for path in source.iterdir():
        shutil.copyfile(path, destination / path.name)


def _manifest(source: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((source / MANIFEST).read_text())
    except FileNotFoundError:
        raise FormatError(f"{source} is no backup: it has no {MANIFEST}", subject=str(source)) from None
    except ValueError as error:
        raise CorruptionError(f"{source / MANIFEST} is unreadable: {error}", subject=MANIFEST) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise FormatError(
            f"{source} is a backup of another format, this release reads {FORMAT}", subject=str(source)
        )
    return manifest
