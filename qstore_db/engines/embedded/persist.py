"""Segments on disk and the manifests that name them. All of it is derived: losing it costs a rebuild, no
record.

A manifest is written to the catalog only after every file it names is durable. The two newest are kept, so
that a damaged file costs a longer replay of the oplog first and a rebuild from the records only after that.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.catalog.base import Catalog, CatalogDelete
from qstore_db.engines.base import CollectionSpec
from qstore_db.engines.embedded import files
from qstore_db.engines.embedded.columns import Column, Columns, Entries, Growable
from qstore_db.engines.embedded.files import FileMark
from qstore_db.engines.embedded.graph import Graph, Width
from qstore_db.engines.embedded.part import Part
from qstore_db.engines.embedded.segment import PackedIds, Segment
from qstore_db.engines.links import Links
from qstore_db.errors import CorruptionError, DiskFullError

KEPT = 2
_LINK_ARRAYS = ("indptr", "own", "indices", "weights", "root")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One snapshot of a collection's index: its files and dead rows as of op sequence `sequence`.

    Rows above `last_row` are in no file: they are read from the records.
    """

    sequence: int
    last_row: int
    segments: tuple[Mapping[str, Any], ...]
    links: FileMark | None

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Manifest:
        links = value.get("links")
        return cls(
            value["sequence"],
            value["last_row"],
            tuple(value["segments"]),
            None if links is None else FileMark(*links),
        )

    def files(self) -> list[FileMark]:
        marks = [FileMark(*m) for s in self.segments for m in (s["file"], s["graph"]) if m is not None]
        return marks if self.links is None else [*marks, self.links]


@dataclass(frozen=True, slots=True)
class SavedLinks:
    """Links with the row of every node, which names it for good."""

    links: Links
    rows: NDArray[np.int64]
    """(n,) ascending."""
    file: str | None = None
    """The file that holds them, once they are saved."""

    def over(self, rows: NDArray[np.int64]) -> SavedLinks:
        """The same for a collection with `rows`, of which some may be gone and later ones come."""
        there = np.isin(self.rows, rows, assume_unique=True)
        if there.all():
            return self
        return SavedLinks(self.links.kept(there), self.rows[there])


class IndexFiles:
    """The index folder of one collection and its manifests."""

    def __init__(self, root: Path, catalog: Catalog, cid: int) -> None:
        self.directory = root / f"{cid:08d}"
        self._catalog = catalog
        self._prefix = f"index/{cid:08d}/"

    def _key(self, sequence: int) -> str:
        return f"{self._prefix}{sequence:020d}"

    def manifests(self) -> list[Manifest]:
        """Newest first."""
        return [Manifest.of(entry.value) for entry in reversed(list(self._catalog.scan(self._prefix)))]

    def save(self, parts: Sequence[Part], sequence: int, links: SavedLinks | None) -> SavedLinks | None:
        """Write what is not yet on disk, then the manifest, then drop files that no kept manifest names.

        Gives back the links as they are saved now. Raises DiskFullError or ConfigurationError naming the folder;
        the manifests before stay valid.
        """
        with files.room_in(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        known = {mark.name: mark for manifest in self.manifests() for mark in manifest.files()}
        entries: list[Mapping[str, Any]] = []
        last_row = 0
        for part in parts:
            segment = part.source
            assert isinstance(segment, Segment)
            if segment.file is None or f"{segment.file}.segment" not in known:
                name = _name(segment.rows)
                marks = self._write(segment, name)
                segment.file = name
            else:
                marks = (known[f"{segment.file}.segment"], known.get(f"{segment.file}.graph"))
            last_row = max(last_row, int(segment.rows[-1]))
            entries.append(_entry(part, segment, *marks))
        value: dict[str, Any] = {"sequence": sequence, "last_row": last_row, "segments": entries}
        if links is not None:
            mark = known.get(links.file or "") or self._write_links(links)
            links = replace(links, file=mark.name)
            value["links"] = mark.as_data()
        self._catalog.put(self._key(sequence), value)
        self.prune()
        return links

    def prune(self) -> None:
        """Keep the newest manifests and the files they name."""
        keys = [entry.key for entry in self._catalog.scan(self._prefix)]
        self._catalog.apply([CatalogDelete(key) for key in keys[:-KEPT]])
        named = {mark.name for manifest in self.manifests() for mark in manifest.files()}
        with files.room_in(self.directory):
            if self.directory.is_dir():
                for path in self.directory.iterdir():
                    if path.name not in named:
                        path.unlink(missing_ok=True)

    def drop(self, manifest: Manifest) -> None:
        """Forget a manifest that cannot be loaded, where the disk has room for that."""
        with contextlib.suppress(DiskFullError):
            self._catalog.delete(self._key(manifest.sequence))

    def forget(self) -> None:
        """Drop every manifest and file."""
        self._catalog.apply([CatalogDelete(entry.key) for entry in self._catalog.scan(self._prefix)])
        self.prune()
        with contextlib.suppress(FileNotFoundError):
            self.directory.rmdir()

    def load(self, manifest: Manifest, spec: CollectionSpec) -> list[Part]:
        """The manifest's segments, every file verified first. Raises CorruptionError naming the file."""
        try:
            return [self._load(entry, spec) for entry in manifest.segments]
        except (KeyError, ValueError, TypeError, IndexError, OSError, RuntimeError) as error:
            raise CorruptionError(f"the index of collection {spec.name!r} cannot be read: {error}") from error

    def load_links(self, manifest: Manifest) -> SavedLinks | None:
        """The manifest's links, verified first; None where it has none. Raises CorruptionError naming the file."""
        if manifest.links is None:
            return None
        try:
            values, arrays = files.read_arrays(files.check(self.directory, manifest.links))
            links = Links.of(**{name: arrays[name] for name in _LINK_ARRAYS}, lost=values["lost"])
            return SavedLinks(links, arrays["rows"], manifest.links.name)
        except (KeyError, ValueError, TypeError, OSError) as error:
            name = manifest.links.name
            raise CorruptionError(f"index file {name} cannot be read: {error}", subject=name) from error

    def verify(self) -> int:
        """Check every file of every manifest; how many. Raises CorruptionError naming the first bad one."""
        marks = [mark for manifest in self.manifests() for mark in manifest.files()]
        for mark in marks:
            files.check(self.directory, mark)
        return len(marks)

    def _write(self, segment: Segment, name: str) -> tuple[FileMark, FileMark | None]:
        values, arrays = dump_columns(segment.columns)
        arrays |= {
            "rows": segment.rows,
            "id_bytes": segment.packed.blob,
            "id_offsets": segment.packed.offsets,
        }
        if segment.graph is None:
            arrays["matrix"] = segment.matrix
        temporary = self.directory / "writing.tmp"
        try:
            with files.room_in(self.directory):
                files.write_arrays(temporary, values, arrays)
                mark = files.settle(temporary, self.directory / f"{name}.segment")
                if segment.graph is None:
                    return mark, None
                segment.graph.save(temporary)
                return mark, files.settle(temporary, self.directory / f"{name}.graph")
        finally:
            temporary.unlink(missing_ok=True)  # on a full disk its space is wanted

    def _write_links(self, saved: SavedLinks) -> FileMark:
        links = saved.links
        temporary = self.directory / "writing.tmp"
        try:
            with files.room_in(self.directory):
                arrays = {name: getattr(links, name) for name in _LINK_ARRAYS}
                files.write_arrays(temporary, {"lost": links.lost}, {"rows": saved.rows, **arrays})
                return files.settle(temporary, self.directory / f"{_name(saved.rows)}.links")
        finally:
            temporary.unlink(missing_ok=True)

    def _load(self, entry: Mapping[str, Any], spec: CollectionSpec) -> Part:
        path = files.check(self.directory, FileMark(*entry["file"]))
        values, arrays = files.read_arrays(path)
        graph: Graph | None = None
        if entry["graph"] is not None:
            graph_path = files.check(self.directory, FileMark(*entry["graph"]))
            width = Width(*entry["width"])
            graph = Graph.load(graph_path, spec.metric, entry["storage"], width)
        rows = arrays["rows"]
        matrix = arrays["matrix"] if graph is None else graph.matrix
        if matrix.shape != (len(rows), spec.dimension):
            raise CorruptionError(
                f"index file {path.name} holds another shape than its collection", subject=path.name
            )
        ids = PackedIds(arrays["id_bytes"], arrays["id_offsets"])
        columns = load_columns(values, arrays)
        settled = None if entry["settled"] is None else (entry["settled"][0], entry["settled"][1])
        segment = Segment(rows, ids, matrix, columns, graph, path.stem, settled)
        dead = np.frombuffer(entry["dead"], np.uint8) if entry["dead_count"] else None
        return Part(segment, len(rows), dead, entry["dead_count"])


def _name(rows: NDArray[np.int64]) -> str:
    """Never the name of another file."""
    return f"{int(rows[-1]):016x}-{secrets.token_hex(8)}"


def _entry(part: Part, segment: Segment, file: FileMark, graph: FileMark | None) -> Mapping[str, Any]:
    width = None if segment.graph is None else segment.graph.width
    return {
        "file": file.as_data(),
        "graph": None if graph is None else graph.as_data(),
        "width": None if width is None else [width.ten, width.hundred, width.recall],
        "storage": None if segment.graph is None else segment.graph.storage,
        "settled": None if segment.settled is None else list(segment.settled),
        "dead": b"" if part.dead is None else part.dead.tobytes(),
        "dead_count": part.dead_count,
    }


def dump_columns(columns: Columns) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    arrays: dict[str, NDArray[Any]] = {}

    def dump(name: str, entries: Entries) -> None:
        arrays[f"{name}/positions"] = entries.positions.view()
        if entries.values is not None:
            arrays[f"{name}/values"] = entries.values.view()

    paths = list(columns.paths)
    for i, column in enumerate(columns.paths.values()):
        for kind, entries in column.entries.items():
            dump(f"path/{i}/{kind}", entries)
    names = list(columns.contexts)
    for i, entries in enumerate(columns.contexts.values()):
        dump(f"context/{i}", entries)
    dump("expiry", columns.expiry)
    arrays["updated"] = columns.updated.view()
    values = {
        "paths": paths,
        "kinds": [list(column.entries) for column in columns.paths.values()],
        "texts": [column.texts for column in columns.paths.values()],
        "contexts": names,
        "overflow": columns.overflow,
    }
    return values, arrays


def load_columns(values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Columns:
    def load(name: str) -> Entries:
        held = arrays.get(f"{name}/values")
        positions = Growable(np.int32, arrays[f"{name}/positions"])
        return Entries(None if held is None else Growable(held.dtype, held), positions)

    columns = Columns()
    columns.overflow = values["overflow"]
    for i, path in enumerate(values["paths"]):
        column = columns.paths[path] = Column()
        column.texts = values["texts"][i]
        column.codes = {text: code for code, text in enumerate(column.texts)}
        column.entries = {kind: load(f"path/{i}/{kind}") for kind in values["kinds"][i]}
    for i, name in enumerate(values["contexts"]):
        columns.contexts[name] = load(f"context/{i}")
    columns.expiry = load("expiry")
    columns.updated = Growable(np.float64, arrays["updated"])
    return columns
