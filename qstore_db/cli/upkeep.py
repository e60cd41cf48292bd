"""`qstore collections`, `stats`, `verify`, `backup` and `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qstore_db.cli import exits, options
from qstore_db.cli.opening import Place, check_database, is_served, opened, reached
from qstore_db.cli.output import pairs, show, size, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from qstore_db.engines.embedded.verify import Report

_TO = "DESTINATION"


def collections(
    path: options.Where = None,
    url: options.Url = None,
    token: options.Token = None,
    tls: options.Tls = None,
    json: options.Json = False,
) -> None:
    """The collections of a database, as far as the token may see them: what they hold and how they are searched."""
    from qstore_db.database.operations import COLLECTION, COUNT, LIST_COLLECTIONS

    listed = []
    with reached(Place.of(path, url, token, tls)) as edge:
        for name in edge.run(LIST_COLLECTIONS):
            spec = edge.run(COLLECTION, name)
            if spec is not None:  # dropped meanwhile
                listed.append({**COLLECTION.answer(spec), "records": edge.run(COUNT, None, name)})

    def draw(console: Console) -> None:
        drawn = table("name", "records", "dimension", "metric", "index", right=("records", "dimension"))
        for c in listed:
            index = f"{c['index']}, {c['storage']}, recall {c['target_recall']:g}"
            drawn.add_row(c["name"], f"{c['records']:,}", str(c["dimension"]), c["metric"], index)
        console.print(drawn if listed else "no collections yet")

    show({"collections": listed}, json, draw)


def stats(
    path: options.Where = None,
    url: options.Url = None,
    token: options.Token = None,
    tls: options.Tls = None,
    json: options.Json = False,
) -> None:
    """Counts, disk and memory, index lag and faults; of a server also what it did."""
    with opened(Place.of(path, url, token, tls)) as database:
        found = database.stats()

    def draw(console: Console) -> None:
        console.print(
            pairs(
                {
                    "directory": found["directory"],
                    "op sequence": f"{found['sequence']:,}",
                    "on disk": size(found["disk_bytes"]),
                    "read-only": found["read_only"] or "no",
                    "faults in the background": _faults(found) or "none",
                    "check after start": found["verification"],
                }
            )
        )
        drawn = table(
            "collection",
            "records",
            "dead",
            "not indexed",
            "segments",
            "memory",
            "recall",
            right=("records", "dead", "not indexed", "segments", "memory", "recall"),
        )
        for name, c in found["collections"].items():
            drawn.add_row(
                name,
                f"{c['records']:,}",
                f"{c['dead_rows']:,}",
                f"{c['index_lag_rows']:,}",
                str(c["segments"]),
                size(c["memory_bytes"]),
                "exact" if c["graph_recall"] is None else f"{c['graph_recall']:.3f}",
            )
        console.print(drawn)
        if "server" in found:
            console.print(_requests(found["server"]))

    show(found, json, draw)


def _faults(found: dict[str, Any]) -> str:
    return "; ".join(found[part] for part in ("builder_fault", "janitor_fault") if found[part])


def _requests(server: dict[str, Any]) -> Table:
    """One row for each op that was asked for."""
    numbers = ("requests", "errors", "p50 ms", "p99 ms")
    drawn = table(
        "op", *numbers, right=numbers, title=f"Served to {server['gauges']['connections']:.0f} connections"
    )
    for name, op in server["operations"].items():
        errors = sum(op["errors"].values())
        drawn.add_row(name, f"{op['count']:,}", f"{errors:,}", f"{op['p50_ms']:g}", f"{op['p99_ms']:g}")
    return drawn


def verify(
    path: options.Where = None,
    url: options.Url = None,
    token: options.Token = None,
    tls: options.Tls = None,
    json: options.Json = False,
) -> None:
    """Check every stored byte against its checksum. Exits with 6 where something is damaged."""
    from dataclasses import asdict

    place = Place.of(path, url, token, tls)
    report = _report(place)
    data: dict[str, Any] = {"ok": report.ok, "path": place.name, **asdict(report)}

    def draw(console: Console) -> None:
        console.print(
            f"checked {report.records:,} records, {report.oplog_entries:,} log entries, "
            f"{report.catalog_entries:,} catalog entries, {report.index_files:,} index files"
        )
        for problem in report.problems:
            console.print(f"damaged: {problem}", style="bold red")
        for problem in report.index_problems:
            console.print(f"index: {problem}", style="yellow")
        if report.ok:
            console.print("everything stored is what was written", style="green")
        elif report.problems:
            console.print("restore a backup: qstore restore BACKUP --path NEW-DIRECTORY")
        else:
            console.print("no record is affected: the index is rebuilt at the next start")

    show(data, json, draw)
    if not report.ok:
        raise typer.Exit(exits.CORRUPTION)


def _report(place: Place) -> Report:
    """By whoever has the database open, else in a process of its own."""
    from qstore_db.engines.embedded.verify import Report, verify_directory

    if place.path is not None:
        check_database(place.path)
        if not is_served(place.path):
            return verify_directory(place.path)
    with opened(place) as database:
        return Report.of(database.verify())


def backup(
    destination: Annotated[
        Path,
        typer.Argument(
            help="A folder that does not exist yet; with --url one on the server's machine, by its whole path.",
            show_default=False,
        ),
    ],
    path: options.Where = None,
    url: options.Url = None,
    token: options.Token = None,
    tls: options.Tls = None,
    json: options.Json = False,
) -> None:
    """A consistent copy in a new folder, with a checksum for every file."""
    place = Place.of(path, url, token, tls)
    if place.url is not None and not destination.is_absolute():
        raise typer.BadParameter("name a folder of the server's machine by its whole path", param_hint=_TO)
    with opened(place) as database:
        # A server works in another folder than this command.
        made = database.backup(destination if place.url is not None else destination.absolute())
    if place.url is None:
        _done("backed up", place.name, made, json)
    else:  # the files are out of sight
        data = {"source": place.name, "destination": str(made)}
        show(data, json, lambda console: console.print(f"backed up {place.name} to {made}, over there"))


def restore(
    source: Annotated[Path, typer.Argument(help="A folder that `qstore backup` made.", show_default=False)],
    path: Annotated[
        Path,
        typer.Option(
            "--path", metavar="DIR", help="The new database; must not exist yet.", show_default=False
        ),
    ],
    json: options.Json = False,
) -> None:
    """Make a database from a backup; every checksum is verified first."""
    from qstore_db.database import restore as restore_backup

    _done("restored", str(source), restore_backup(source, path), json)


def _done(verb: str, source: str, made: Path, json: bool) -> None:
    files = [file for file in made.rglob("*") if file.is_file()]
    bytes_ = sum(file.stat().st_size for file in files)
    data = {"source": source, "destination": str(made), "files": len(files), "bytes": bytes_}
    show(data, json, lambda c: c.print(f"{verb} {source} to {made}: {len(files)} files, {size(bytes_)}"))
