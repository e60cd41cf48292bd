"""What `qstore import` reads: files of several kinds, as batches of rows.

| ending | rows |
|---|---|
| .npy | one (n, d) array of vectors |
| .npz | arrays of length n by name; one of them (n, d), the vectors |
| .jsonl, .ndjson | one JSON object a line |
| .parquet, .arrow, .feather, .csv | tables, by the `arrow` extra; lists in .csv are JSON |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qstore_db.errors import ArgumentError, IdError, MetadataError
from qstore_db.records import cells
from qstore_db.records.tabular import Rows

BATCH = 5_000
TABLES = (".parquet", ".arrow", ".feather", ".csv")
_RESERVED = ("id", "vector", "contexts", "metadata", "expires_at")


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields are id, vector and contexts; None for the usual names."""

    id: str | None = None
    vector: str | None = None
    contexts: str | None = None

    def renamed(self, names: Sequence[str]) -> Mapping[str, str]:
        """The usual name of each field that has another one. Raises ArgumentError for one that is not there."""
        out: dict[str, str] = {}
        for usual, given in (("id", self.id), ("vector", self.vector), ("contexts", self.contexts)):
            if given is None or given == usual:
                continue
            if given not in names:
                raise ArgumentError(
                    f"there is no field {given!r}; there are {', '.join(map(repr, names))}", subject=given
                )
            out[given] = usual
        return out


@dataclass(frozen=True, slots=True)
class Source:
    """Rows to import, in batches. `batches` may be called once."""

    name: str
    total: int
    dimension: int
    batches: Callable[[], Iterator[Rows]]


def open_source(file: Path, fields: Fields, ids: Path | None) -> Source:
    """The rows of a file. Raises ArgumentError for a kind of file that is not read here."""
    if not file.is_file():
        raise ArgumentError(f"there is no file {file}", subject=str(file))
    kind = file.suffix.lower()
    if ids is not None and kind not in (".npy", ".npz"):
        raise ArgumentError(f"--ids goes with .npy and .npz; {file.name} names its own ids", subject="ids")
    if kind in (".npy", ".npz"):
        return _arrays(file, fields, ids)
    if kind in (".jsonl", ".ndjson"):
        return _json_lines(file, fields)
    if kind in TABLES:
        from qstore_db.cli.tables import open_table

        return open_table(file, fields)
    raise ArgumentError(
        f"{file.name} is of no known kind; give .npz, .npy, .jsonl, {', '.join(TABLES)}", subject=str(file)
    )


def fashion_mnist(data: Path | None) -> Source:
    """The training images of Fashion-MNIST with contexts made from their labels."""
    from qstore_db.demo.contexts import rows
    from qstore_db.demo.dataset import load

    images = load(data)
    count = len(images.train_labels)

    def batches() -> Iterator[Rows]:
        for start in range(0, count, BATCH):
            part = slice(start, start + BATCH)
            yield rows(images.train_images[part], images.train_labels[part], start)

    return Source(images.source, count, images.train_images.shape[1], batches)


def rows_of(columns: Mapping[str, Sequence[Any]], count: int, first: int) -> Rows:
    """Rows from cells under the usual names; without ids a row's number is its id."""
    if "vector" not in columns:
        raise ArgumentError(
            f"there is no field 'vector'; there are {', '.join(map(repr, columns))}: name one by --vector-field",
            subject="vector",
        )
    nothing: list[None] = [None] * count
    given = columns.get("metadata", nothing)
    metadata = [cells.read_metadata(cell, first + row) for row, cell in enumerate(given)]
    for name, values in columns.items():
        if name not in _RESERVED:
            cells.add_field(metadata, name, values)
    return Rows(
        ids=[_id(cell, first + row) for row, cell in enumerate(columns.get("id", nothing))],
        vectors=cells.read_vectors([parsed(cell) for cell in columns["vector"]]),
        contexts=[
            context_pairs(cell, first + row) for row, cell in enumerate(columns.get("contexts", nothing))
        ],
        metadata=metadata,
        expires_at=cells.read_expiries(columns.get("expires_at", nothing)),
    )


def _id(cell: object, row: int) -> str:
    """Ids that are numbers are written out; without any the row's number is the id."""
    if cell is None:
        return str(row)
    if isinstance(cell, bool) or not isinstance(cell, (str, int, np.integer)):
        raise IdError(f"id of row {row} is {cell!r}; give a string or an integer", subject=f"row {row}")
    return str(cell)


def context_pairs(cell: object, row: int) -> tuple[tuple[str, float], ...]:
    """A plain string is the name of a record's only context."""
    cell = parsed(cell)
    return ((cell, 1.0),) if isinstance(cell, str) else cells.read_contexts(cell, row)


def parsed(cell: object) -> object:
    """Lists and mappings written as JSON inside a string, as .csv has them."""
    if isinstance(cell, str) and cell[:1] in ("[", "{"):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def _arrays(file: Path, fields: Fields, ids: Path | None) -> Source:
    try:
        loaded = np.load(file, allow_pickle=False)
        arrays = (
            {"vector": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded}
        )
    except (ValueError, OSError, EOFError) as error:
        raise ArgumentError(f"{file} cannot be read: {error}", subject=str(file)) from None
    for plural, usual in (("vectors", "vector"), ("ids", "id")):
        if plural in arrays and usual not in arrays:
            arrays[usual] = arrays.pop(plural)
    renamed = fields.renamed(list(arrays))
    arrays = {renamed.get(name, name): array for name, array in arrays.items()}
    vectors = arrays.get("vector")
    if vectors is None or vectors.ndim != 2:
        found = ", ".join(f"{name!r} {array.shape}" for name, array in arrays.items())
        raise ArgumentError(f"{file.name} needs one (n, d) array 'vector'; it has {found}", subject="vector")
    if ids is not None:
        arrays["id"] = np.array(ids.read_text().splitlines(), dtype=object)
    for name, array in arrays.items():
        if len(np.atleast_1d(array)) != len(vectors):
            raise ArgumentError(
                f"{len(vectors)} vectors come with {len(np.atleast_1d(array))} entries of {name!r}",
                subject=name,
            )

    def batches() -> Iterator[Rows]:
        for start in range(0, len(vectors), BATCH):
            part = {name: array[start : start + BATCH] for name, array in arrays.items()}
            columns = {n: list(a) if n == "vector" else a.tolist() for n, a in part.items()}
            yield rows_of(columns, len(part["vector"]), start)

    return Source(file.name, len(vectors), vectors.shape[1], batches)


def _json_lines(file: Path, fields: Fields) -> Source:
    with file.open("rb") as lines:
        total = sum(1 for line in lines if line.strip())
    first = next(_objects(file, fields), None)
    vector = None if first is None else first.get("vector")
    if first is not None and not isinstance(vector, list):
        raise ArgumentError(
            f"line 1 of {file.name} has no list 'vector'; it has {', '.join(map(repr, first))}: "
            "name the field by --vector-field",
            subject="vector",
        )

    def batches() -> Iterator[Rows]:
        batch: list[dict[str, Any]] = []
        start = 0
        for found in _objects(file, fields):
            batch.append(found)
            if len(batch) == BATCH:
                yield _rows_of_objects(batch, start)
                start += len(batch)
                batch = []
        if batch:
            yield _rows_of_objects(batch, start)

    return Source(file.name, total, len(vector) if isinstance(vector, list) else 1, batches)


def _objects(file: Path, fields: Fields) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise MetadataError(
                    f"line {number} of {file.name} is no JSON: {error}", subject=f"line {number}"
                ) from None
            if not isinstance(found, dict):
                raise MetadataError(
                    f"line {number} of {file.name} is no JSON object", subject=f"line {number}"
                )
            renamed = (
                fields.renamed(list(found)) if number == 1 else fields.renamed([*found, *_given(fields)])
            )
            yield {renamed.get(name, name): value for name, value in found.items()}


def _given(fields: Fields) -> list[str]:
    return [name for name in (fields.id, fields.vector, fields.contexts) if name is not None]


def _rows_of_objects(batch: list[dict[str, Any]], start: int) -> Rows:
    names = dict.fromkeys(name for found in batch for name in found)
    return rows_of({name: [found.get(name) for found in batch] for name in names}, len(batch), start)
