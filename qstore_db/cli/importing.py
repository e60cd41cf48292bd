"""`qstore import`: records from files into a collection."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qstore_db.cli import options
from qstore_db.cli.opening import Place, opened
from qstore_db.cli.output import print_warnings, show
from qstore_db.errors import ArgumentError, QStoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from qstore_db.cli.sources import Source
    from qstore_db.database import QuantumDatabase

Metric = Literal["cosine", "l2", "dot"]


def import_records(
    path: options.Where = None,
    url: options.Url = None,
    token: options.Token = None,
    tls: options.Tls = None,
    file: Annotated[
        Path | None,
        typer.Argument(help=".npz, .npy, .jsonl, .parquet, .arrow, .feather or .csv.", show_default=False),
    ] = None,
    collection: options.Collection = "default",
    create: Annotated[
        bool, typer.Option("--create", help="Make the collection if there is none.", show_default=False)
    ] = False,
    metric: Annotated[
        Metric | None,
        typer.Option("--metric", help="Of the collection that --create makes.", show_default="cosine"),
    ] = None,
    id_field: Annotated[
        str | None,
        typer.Option("--id-field", metavar="NAME", help="Where ids are.", show_default="id, or the row"),
    ] = None,
    vector_field: Annotated[
        str | None,
        typer.Option("--vector-field", metavar="NAME", help="Where vectors are.", show_default="vector"),
    ] = None,
    context_field: Annotated[
        str | None,
        typer.Option(
            "--context-field",
            metavar="NAME",
            help="Where contexts are: a name, or names with weights.",
            show_default="contexts",
        ),
    ] = None,
    ids: Annotated[
        Path | None, typer.Option("--ids", metavar="FILE", help="Ids for .npy and .npz, one a line.")
    ] = None,
    upsert: Annotated[
        bool, typer.Option("--upsert", help="Replace records that exist.", show_default=False)
    ] = False,
    fashion_mnist: Annotated[
        bool,
        typer.Option(
            "--fashion-mnist", help="Import the training images of Fashion-MNIST.", show_default=False
        ),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="With --fashion-mnist: the folder of its four files."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Store the records of a file, or of Fashion-MNIST, durably and in order, and index them.

    Fields other than id, vector, contexts, metadata and expires_at become metadata. The database is made if
    there is none; a collection other than "default" needs --create. Up to 5,000 records at a time are stored
    all or nothing.
    """
    from qstore_db.cli import sources

    if (file is None) == (not fashion_mnist):
        raise typer.BadParameter("give a file, or --fashion-mnist", param_hint="FILE / --fashion-mnist")
    if metric is not None and not create:
        raise typer.BadParameter("a metric is chosen once: add --create", param_hint="--metric")
    if data is not None and not fashion_mnist:
        raise typer.BadParameter("it belongs to --fashion-mnist", param_hint="--data")
    place = Place.of(path, url, token, tls)
    fields = sources.Fields(id_field, vector_field, context_field)
    source = sources.fashion_mnist(data) if file is None else sources.open_source(file, fields, ids)
    started = time.monotonic()
    with opened(place, create=True) as database:
        made = create and _create(database, collection, source.dimension, metric)
        stored = _store(database, collection, source, upsert)
        seconds = time.monotonic() - started
        warnings = _index(database)
    indexing = time.monotonic() - started - seconds
    result = {
        "collection": collection,
        "created": made,
        "imported": stored,
        "source": source.name,
        "seconds": round(seconds, 3),
        "indexing_seconds": round(indexing, 3),
        "warnings": warnings,
    }
    rate = f"{stored / seconds:,.0f} a second" if seconds else "at once"

    def draw(console: Console) -> None:
        console.print(
            f"imported {stored:,} records from {source.name} into {collection!r} in {seconds:.1f} s ({rate}), "
            f"indexed in {indexing:.1f} s"
        )
        print_warnings(console, warnings)

    show(result, json, draw)


def _create(database: QuantumDatabase, name: str, dimension: int, metric: Metric | None) -> bool:
    """Whether the collection had to be made. Raises ArgumentError if it is there with another metric."""
    if name not in database.list_collections():
        database.create_collection(name, dimension=dimension, metric=metric or "cosine")
        return True
    if metric is not None:
        known = database.stats()["collections"][name]["spec"]["metric"]
        if metric != known:
            raise ArgumentError(
                f"collection {name!r} exists with metric {known!r}, not {metric!r}", subject="metric"
            )
    return False


def _store(database: QuantumDatabase, collection: str, source: Source, upsert: bool) -> int:
    """Write every batch; how many records there were. A failing batch says how many were stored before it."""
    store = database.upsert_many if upsert else database.insert_many
    stored = 0
    with _bar(source.total) as advance:
        for rows in source.batches():
            try:
                store(
                    ids=rows.ids,
                    vectors=rows.vectors,
                    contexts=rows.contexts,
                    metadata=rows.metadata,
                    expires_at=rows.expires_at,
                    collection=collection,
                    progress=False,
                )
            except QStoreError as error:
                if stored == 0:
                    raise
                message = f"{error.message}; {stored:,} records before this batch are stored"
                raise type(error)(message, subject=error.subject) from error
            stored += len(rows)
            advance(len(rows))
    return stored


def _index(database: QuantumDatabase) -> list[str]:
    """Wait for the index, which would be given up if the process ended; why there is none, if there is none.

    The records are stored in any case.
    """
    with _status("indexing"):
        try:
            database.wait_indexed()
        except UnavailableError as error:
            return [error.message]
    return []


def _status(what: str) -> AbstractContextManager[object]:
    """A turning sign on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, silence elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("importing", total=total)
        yield lambda count: bar.advance(task, count)
