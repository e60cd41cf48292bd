"""Tables by pyarrow, the `arrow` extra: .parquet, .arrow and .feather (Arrow IPC), .csv."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qstore_db.cli.sources import BATCH, Fields, Source, context_pairs, parsed
from qstore_db.errors import ArgumentError, ConfigurationError
from qstore_db.records.tabular import Rows, rows_from


def open_table(file: Path, fields: Fields) -> Source:
    """The rows of a table. Raises ConfigurationError without pyarrow, ArgumentError for an unreadable file."""
    try:
        import pyarrow as pa
    except ImportError:
        raise ConfigurationError(
            f'{file.name} needs pyarrow: pip install "qstore-db[arrow]"', subject="pyarrow"
        ) from None
    try:
        table = _read(file)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise ArgumentError(f"{file} cannot be read: {reason}", subject=str(file)) from None
    renamed = fields.renamed(table.column_names)
    table = table.rename_columns([renamed.get(name, name) for name in table.column_names])

    def batches() -> Iterator[Rows]:
        for start in range(0, table.num_rows, BATCH):
            yield rows_from(_usual(table.slice(start, BATCH), start))

    head = rows_from(_usual(table.slice(0, 1), 0))
    return Source(file.name, table.num_rows, max(head.vectors.shape[1], 1), batches)


def _read(file: Path) -> Any:
    if file.suffix.lower() == ".csv":
        from pyarrow import csv

        return csv.read_csv(file)
    if file.suffix.lower() == ".parquet":
        from pyarrow import parquet

        return parquet.read_table(file, page_checksum_verification=True)
    from pyarrow import ipc

    content = file.read_bytes()
    is_file = content.startswith(b"ARROW1")
    return (ipc.open_file if is_file else ipc.open_stream)(content).read_all()


def _usual(table: Any, start: int) -> Any:
    """The columns as `rows_from` takes them: ids as strings, JSON text read, a lone context name as a pair."""
    import pyarrow as pa

    if "id" not in table.column_names:
        table = table.append_column("id", pa.array([str(start + row) for row in range(table.num_rows)]))
    position = table.column_names.index("id")
    if pa.types.is_integer(table.column("id").type):
        table = table.set_column(position, "id", table.column("id").cast(pa.string()))
    pair = pa.struct([("name", pa.string()), ("weight", pa.float64())])
    for name, kind in (("vector", pa.list_(pa.float32())), ("contexts", pa.list_(pair))):
        if name in table.column_names and pa.types.is_string(table.column(name).type):
            found = table.column(name).to_pylist()
            if name == "vector":
                values = [parsed(cell) for cell in found]
            else:
                values = [context_pairs(cell, start + row) for row, cell in enumerate(found)]
            try:
                column = pa.array(values, kind)
            except (pa.ArrowException, TypeError) as error:
                raise ArgumentError(f"column {name!r}: {error}", subject=name) from None
            table = table.set_column(table.column_names.index(name), name, column)
    return table
