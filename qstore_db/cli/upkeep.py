"""`qstore collections`, `stats`, `verify`, `backup` and `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qstore_db.cli import exits, options
from qstore_db.cli.opening import check_database, opened
from qstore_db.cli.output import pairs, show, size, table

if TYPE_CHECKING:
    from rich.console import Console


def collections(path: options.Where, json: options.Json = False) -> None:
    """The collections of a database: what they hold and how they are searched."""
    with opened(path) as database:
        described = database.stats()["collections"]
    listed = [{**c["spec"], "records": c["records"]} for c in described.values()]

    def draw(console: Console) -> None:
        drawn = table("name", "records", "dimension", "metric", "index", right=("records", "dimension"))
        for c in listed:
            index = f"{c['index']}, {c['storage']}, recall {c['target_recall']:g}"
            drawn.add_row(c["name"], f"{c['records']:,}", str(c["dimension"]), c["metric"], index)
        console.print(drawn if listed else "no collections yet")

    show({"collections": listed}, json, draw)


def stats(path: options.Where, json: options.Json = False) -> None:
    """Counts, disk and memory, index lag and faults."""
    with opened(path) as database:
        found = database.stats()

    def draw(console: Console) -> None:
        console.print(
            pairs(
                {
                    "directory": found["directory"],
                    "op sequence": f"{found['sequence']:,}",
                    "on disk": size(found["disk_bytes"]),
                    "read-only": found["read_only"] or "no",
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

    show(found, json, draw)


def verify(path: options.Where, json: options.Json = False) -> None:
    """Check every stored byte against its checksum. Exits with 6 where something is damaged."""
    check_database(path)
    from dataclasses import asdict

    from qstore_db.engines.embedded.verify import verify_directory

    report = verify_directory(path)
    data: dict[str, Any] = {"ok": report.ok, "path": str(path), **asdict(report)}

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


def backup(
    destination: Annotated[
        Path, typer.Argument(help="A folder that does not exist yet.", show_default=False)
    ],
    path: options.Where,
    json: options.Json = False,
) -> None:
    """A consistent copy in a new folder, with a checksum for every file."""
    with opened(path) as database:
        made = database.backup(destination)
    _done("backed up", path, made, json)


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

    _done("restored", source, restore_backup(source, path), json)


def _done(verb: str, source: Path, made: Path, json: bool) -> None:
    files = [file for file in made.rglob("*") if file.is_file()]
    bytes_ = sum(file.stat().st_size for file in files)
    data = {"source": str(source), "destination": str(made), "files": len(files), "bytes": bytes_}
    show(data, json, lambda c: c.print(f"{verb} {source} to {made}: {len(files)} files, {size(bytes_)}"))
