"""Backups: one folder with a consistent copy of the records, the index files they name, and one manifest."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qstore_db.errors import ArgumentError, CorruptionError, FormatError

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine

MANIFEST = "backup.json"
FORMAT = 1


def backup(engine: EmbeddedEngine, destination: Path) -> Path:
    """Copy an open database into a folder that must not exist yet. It appears only once it is complete."""
    from qstore_db.engines.embedded import files
    from qstore_db.engines.embedded.engine import INDEX_FOLDER, RECORDS_FOLDER

    _must_be_absent(destination)
    partial = _partial(destination)
    try:
        (partial / RECORDS_FOLDER).mkdir(parents=True)
        with engine.paused_upkeep():
            sequence = engine.sequence
            engine.copy_records(partial / RECORDS_FOLDER)
            for collection in engine.live_collections():
                index = engine.index_files(collection)
                if index.directory.is_dir():
                    shutil.copytree(index.directory, partial / INDEX_FOLDER / index.directory.name)
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
        files.sync_tree(partial)
        partial.rename(destination)
        files.sync_directory(destination.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return destination


def restore(source: str | Path, destination: str | Path) -> Path:
    """Make a database directory from a backup, every checksum verified first. `destination` must not exist.

    Raises FormatError where `source` is no backup, CorruptionError naming a damaged or missing file.
    """
    from qstore_db.engines.embedded import files

    source, destination = Path(source), Path(destination)
    _must_be_absent(destination)
    for mark in _manifest(source)["files"]:
        name, size, crc = mark
        files.check(source / Path(name).parent, files.FileMark(Path(name).name, size, crc))
    partial = _partial(destination)
    try:
        shutil.copytree(source, partial, ignore=shutil.ignore_patterns(MANIFEST))
        for mark in _manifest(source)["files"]:
            name, size, crc = mark
            files.check(partial / Path(name).parent, files.FileMark(Path(name).name, size, crc))
        files.sync_tree(partial)
        partial.rename(destination)
        files.sync_directory(destination.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return destination


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


def _must_be_absent(path: Path) -> None:
    if path.exists():
        raise ArgumentError(f"{path} exists already; name a new folder", subject=str(path))


def _partial(destination: Path) -> Path:
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(destination.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    return partial
