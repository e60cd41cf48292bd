"""Records as tables: Arrow out; Arrow, pandas or records in.

| column | out | in |
|---|---|---|
| `id` | string | string, required |
| `vector` | fixed_size_list<float32>[d] | any list of numbers, required; float32 is not copied |
| `contexts` | list<struct<name, weight>>, weights as given | the same, map<string, double>, or a mapping |
| `metadata` | string, one JSON object | JSON, struct, map or a mapping |
| `version` | uint64 | ignored: the store counts |
| `updated_at` | | ignored |
| `expires_at` | float64, nullable, seconds since the epoch | the same |
| any other | | a top-level metadata key; null means absent |

A null inside a struct or map is an absent key too; inside a list and in JSON it stays null.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from qstore_db.errors import ArgumentError, ConfigurationError, VectorError
from qstore_db.records import cells
from qstore_db.records.metadata import check_metadata
from qstore_db.records.record import Record
from qstore_db.records.vector import Vectors, as_matrix

if TYPE_CHECKING:
    import pyarrow as pa

    from qstore_db.records.results import Match

_RESERVED = ("id", "vector", "contexts", "metadata", "version", "updated_at", "expires_at")


@dataclass(frozen=True, slots=True)
class Rows:
    """Records in columns, all of length n, on their way into a collection.

    Checked: ids are strings, vectors finite. The other rules for ids, contexts and metadata are the insert's.
    """

    ids: list[str]
    vectors: Vectors
    """(n, d) float32; may be a read-only view of the table it came from."""
    contexts: list[tuple[tuple[str, float], ...]]
    metadata: list[dict[str, Any]]
    expires_at: list[float | None] | None
    """Seconds since the epoch; None when no row expires."""

    def __len__(self) -> int:
        return len(self.ids)


def rows_from(source: object) -> Rows:
    """Rows of an Arrow table or record batch, a pandas DataFrame, or an iterable of `Record`.

    Whatever exports Arrow streams (a polars frame, a RecordBatchReader) counts as a table. Raises
    ArgumentError for another source or a missing column, and the error of the part that is wrong (IdError,
    VectorError, ContextError, MetadataError) naming its row or column.
    """
    pandas = sys.modules.get("pandas")  # nobody holds a DataFrame without having imported it
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return _from_pandas(source)
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        pyarrow = _pyarrow()
        try:
            table = pyarrow.table(source)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"rows of a {type(source).__name__}: {error}", subject="source") from error
        return _from_arrow(table)
    if isinstance(source, Iterable):
        return _from_records(source)
    raise _unreadable(source)


def records_to_arrow(records: Iterable[Record]) -> pa.Table:
    """One row a record, in the columns above. Without records the vectors' length is taken to be 0."""
    pa = _pyarrow()
    records = list(records)
    vectors = cells.read_vectors([record.vector for record in records])
    dimension = vectors.shape[1]
    columns = {
        "id": pa.array([record.id for record in records], pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dimension)
        if records
        else pa.array([], pa.list_(pa.float32(), dimension)),
        **_described(records),
        "version": pa.array([record.version for record in records], pa.uint64()),
        "expires_at": pa.array([record.expires_at for record in records], pa.float64()),
    }
    return pa.table(columns)


def matches_to_arrow(result: Iterable[Match]) -> pa.Table:
    """One row a match, best first.

    Columns: id, score, distance, similarity, weight, tunneled, contexts (Born weights), metadata (JSON),
    version, vector (list<float32>); the same for every result, with nulls where the query gave no weight,
    tunneled or vector.
    """
    pa = _pyarrow()
    matches = list(result)
    columns = {
        "id": pa.array([match.id for match in matches], pa.string()),
        **{
            name: pa.array([getattr(match, name) for match in matches], pa.float64())
            for name in ("score", "distance", "similarity", "weight")
        },
        "tunneled": pa.array([match.tunneled for match in matches], pa.bool_()),
        **_described(matches),
        "version": pa.array([match.version for match in matches], pa.uint64()),
        "vector": pa.array([match.vector for match in matches], pa.list_(pa.float32())),
    }
    return pa.table(columns)


def _described(items: Sequence[Record | Match]) -> dict[str, pa.Array]:
    """The columns `contexts` and `metadata`."""
    pa = _pyarrow()
    pair = pa.struct([("name", pa.string()), ("weight", pa.float64())])
    return {
        "contexts": pa.array(
            [list(getattr(item, "raw_contexts", ()) or item.contexts) for item in items], pa.list_(pair)
        ),
        "metadata": pa.array(
            [json.dumps(check_metadata(item.metadata), ensure_ascii=False) for item in items], pa.string()
        ),
    }


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ConfigurationError(
            'tables need pyarrow: pip install "qstore-db[arrow]"', subject="pyarrow"
        ) from error
    return pa


def _unreadable(source: object) -> ArgumentError:
    return ArgumentError(
        f"rows of a {type(source).__name__}: give an Arrow table or record batch, a pandas DataFrame, "
        "or an iterable of Record",
        subject="source",
    )


def _from_records(source: Iterable[object]) -> Rows:
    records: list[Record] = []
    for record in source:
        if not isinstance(record, Record):
            raise _unreadable(source)
        records.append(record)
    return Rows(
        ids=cells.read_ids([record.id for record in records]),
        vectors=cells.read_vectors([record.vector for record in records]),
        contexts=[tuple(record.raw_contexts or record.contexts) for record in records],
        metadata=[dict(record.metadata) for record in records],
        expires_at=cells.read_expiries([record.expires_at for record in records]),
    )


def _from_pandas(frame: Any) -> Rows:
    names = _checked(list(frame.columns))
    columns = {name: _pandas_cells(frame[name]) for name in names}
    return _assembled(columns, cells.read_vectors(columns.pop("vector")))


def _pandas_cells(series: Any) -> list[object]:
    """Whatever pandas takes for missing (None, NaN, NaT, NA) is null."""
    return [
        None if null else cell for cell, null in zip(series.tolist(), series.isna().tolist(), strict=True)
    ]


def _from_arrow(table: pa.Table) -> Rows:
    names = _checked(table.column_names)
    vectors = _arrow_vectors(table.column("vector"))
    columns = {name: _arrow_cells(table.column(name)) for name in names if name not in ("vector", "contexts")}
    if "contexts" in names:  # as Arrow gives them: a repeated name in a map must not vanish in a dict
        columns["contexts"] = table.column("contexts").to_pylist()
    return _assembled(columns, vectors)


def _checked(names: list[Any]) -> list[Any]:
    """The columns to read. Raises ArgumentError for one that is missing or there twice."""
    for name in ("id", "vector"):
        if name not in names:
            raise ArgumentError(
                f"no column {name!r}; found {', '.join(map(repr, names)) or 'none'}", subject=name
            )
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(f"column {name!r} is there more than once", subject=str(name))
    return [name for name in names if name not in ("version", "updated_at")]


def _assembled(columns: Mapping[Any, Sequence[object]], vectors: Vectors) -> Rows:
    ids = cells.read_ids(columns["id"])
    nothing: list[None] = [None] * len(ids)
    metadata = [cells.read_metadata(cell, row) for row, cell in enumerate(columns.get("metadata", nothing))]
    for name, values in columns.items():
        if name not in _RESERVED:
            cells.add_field(metadata, name, values)
    return Rows(
        ids=ids,
        vectors=vectors,
        contexts=[
            cells.read_contexts(cell, row) for row, cell in enumerate(columns.get("contexts", nothing))
        ],
        metadata=metadata,
        expires_at=cells.read_expiries(columns.get("expires_at", nothing)),
    )


def _arrow_vectors(column: pa.ChunkedArray) -> Vectors:
    """(n, d) float32, a view of the column if that is one chunk of float32."""
    kind = column.type
    types = _pyarrow().types
    fixed = types.is_fixed_size_list(kind)
    if not (fixed or types.is_list(kind) or types.is_large_list(kind)):
        raise VectorError(f"column 'vector' is of type {kind}; give lists of numbers", subject="vector")
    if column.null_count:
        what = f"vector of row {column.is_null().to_pylist().index(True)}"
        raise VectorError(f"{what} is null", subject=what)
    if not len(column):
        return np.empty((0, kind.list_size if fixed else 0), dtype=np.float32)
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    if not fixed:
        lengths = np.concatenate([chunk.value_lengths().to_numpy() for chunk in chunks])
        for row in np.flatnonzero(lengths != lengths[0]):
            cells.check_width(int(row), int(lengths[row]), int(lengths[0]))
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
    whole = flat[0] if len(flat) == 1 else np.concatenate(flat)
    return as_matrix(whole.reshape(len(column), -1), copy=False)


_Reader: TypeAlias = "Callable[[Any], Any]"


def _arrow_cells(column: pa.ChunkedArray) -> list[object]:
    read = _arrow_reader(column.type)
    return [None if cell is None else read(cell) for cell in column.to_pylist()]


def _arrow_reader(kind: pa.DataType) -> _Reader:
    """How a cell of that type, as Arrow gives it to Python, becomes a metadata value."""
    types = _pyarrow().types
    if types.is_struct(kind):
        fields = {field.name: _arrow_reader(field.type) for field in kind}
        return lambda cell: {name: fields[name](part) for name, part in cell.items() if part is not None}
    if types.is_map(kind):
        item = _arrow_reader(kind.item_type)
        return lambda cell: {name: item(part) for name, part in cell if part is not None}
    if types.is_nested(kind) and not types.is_union(kind):
        part_of = _arrow_reader(kind.value_type)
        return lambda cell: [None if part is None else part_of(part) for part in cell]
    return lambda cell: cell
