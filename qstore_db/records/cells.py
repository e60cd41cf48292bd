"""From the cells of a table to the parts of records. None is null, whatever library the table came from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qstore_db.errors import ArgumentError, ContextError, IdError, MetadataError, VectorError
from qstore_db.records.vector import Vectors, as_vector

_STORABLE = (str, int, float, list, tuple, Mapping, np.ndarray, np.number, np.bool_)


def read_ids(cells: Sequence[object]) -> list[str]:
    """Raises IdError naming the row."""
    ids: list[str] = []
    for row, cell in enumerate(cells):
        if not isinstance(cell, str):
            found = "is null" if cell is None else f"is a {type(cell).__name__}: cast the column to string"
            raise IdError(f"id of row {row} {found}", subject=f"row {row}")
        ids.append(cell)
    return ids


def read_vectors(cells: Sequence[Any]) -> Vectors:
    """(n, d) float32 from n array-likes of one length. Raises VectorError naming the row."""
    rows: list[Vectors] = []
    for row, cell in enumerate(cells):
        what = f"vector of row {row}"
        if cell is None:
            raise VectorError(f"{what} is null", subject=what)
        rows.append(as_vector(cell, what=what))
        check_width(row, len(rows[-1]), len(rows[0]))
    return np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32)


def check_width(row: int, width: int, first: int) -> None:
    """All rows of a table have one dimension."""
    if width != first:
        what = f"vector of row {row}"
        raise VectorError(f"{what} has {width} components, row 0 has {first}", subject=what)


def read_contexts(cell: object, row: int) -> tuple[tuple[str, float], ...]:
    """Pairs from a mapping, or from a list of pairs or of {"name", "weight"}; not checked further."""
    if cell is None:
        return ()
    if isinstance(cell, Mapping):
        return tuple((name, weight) for name, weight in cell.items() if weight is not None)
    if not isinstance(cell, (list, tuple, np.ndarray)):
        raise ContextError(
            f"contexts of row {row} are a {type(cell).__name__}, not (name, weight) pairs or a mapping",
            subject=f"row {row}",
        )
    return tuple(_pair(entry, row) for entry in cell)


def _pair(entry: object, row: int) -> tuple[str, float]:
    if isinstance(entry, Mapping) and entry.keys() == {"name", "weight"}:
        return entry["name"], entry["weight"]
    if isinstance(entry, (list, tuple, np.ndarray)) and len(entry) == 2:
        return entry[0], entry[1]
    raise ContextError(
        f"contexts of row {row} hold {entry!r}, which is no (name, weight) pair", subject=f"row {row}"
    )


def read_metadata(cell: object, row: int) -> dict[str, Any]:
    """A mapping from JSON, a mapping or a list of pairs (a map column). Its values are checked elsewhere."""
    if cell is None:
        return {}
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError) as error:
            raise MetadataError(f"metadata of row {row} is not JSON: {error}", subject=f"row {row}") from None
    if isinstance(cell, Mapping):
        return dict(cell)
    if isinstance(cell, list) and all(isinstance(entry, tuple) and len(entry) == 2 for entry in cell):
        return dict(cell)
    raise MetadataError(
        f"metadata of row {row} is a {type(cell).__name__}, not a mapping or a JSON object",
        subject=f"row {row}",
    )


def add_field(metadata: Sequence[dict[str, Any]], column: object, cells: Sequence[object]) -> None:
    """One more column becomes a top-level key of each row's metadata; a null is an absent key.

    Raises MetadataError naming the column and the remedy for a cell that cannot be stored or a key that is
    there already.
    """
    if not isinstance(column, str):
        raise MetadataError(
            f"column {column!r} must have a string for its name; rename it", subject=repr(column)
        )
    for row, (values, cell) in enumerate(zip(metadata, cells, strict=True)):
        if cell is None:
            continue
        if not isinstance(cell, _STORABLE):
            raise MetadataError(
                f"column {column!r} holds a {type(cell).__name__} (row {row}), which metadata cannot store; "
                "cast it to a number (seconds since the epoch for a time) or a string, or drop the column",
                subject=column,
            )
        if column in values:
            raise MetadataError(
                f"row {row} has {column!r} both in `metadata` and as a column; rename or drop one",
                subject=column,
            )
        values[column] = cell


def read_expiries(cells: Sequence[object]) -> list[float | None] | None:
    """Seconds since the epoch, or None where no row has any. Raises ArgumentError naming the row."""
    expiries: list[float | None] = []
    for row, cell in enumerate(cells):
        if cell is not None and (
            isinstance(cell, bool)
            or not isinstance(cell, (int, float, np.integer, np.floating))
            or not math.isfinite(cell)
        ):
            raise ArgumentError(
                f"expires_at of row {row} is {cell!r}; give finite seconds since the epoch (float64)",
                subject="expires_at",
            )
        expiries.append(None if cell is None else float(cell))
    return expiries if any(expiry is not None for expiry in expiries) else None
