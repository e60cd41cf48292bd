"""`qstore doctor`: what is installed, and what state a directory is in, with a remedy for what is wrong."""

from __future__ import annotations

import json as json_module
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qstore_db.cli import exits, options
from qstore_db.cli.output import show, size
from qstore_db.engines.embedded.directory import is_database

if TYPE_CHECKING:
    from rich.console import Console

Level = Literal["ok", "note", "problem"]
LOW_DISK = 256 << 20
"""Free bytes below which the next import or compaction may not fit."""

_EXTRAS = (
    "arrow",
    "pandas",
    "plot",
    "quantum",
    "cirq",
    "qiskit",
    "torch",
    "jax",
    "keras",
    "sklearn",
    "server",
)
"""Each before those that include it: the first is what is told to install."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. A "note" is worth knowing, a "problem" wants its remedy."""

    level: Level
    subject: str
    message: str
    remedy: str | None = None


def doctor(
    path: Annotated[
        Path | None,
        typer.Option(
            "--path", metavar="DIR", envvar="QSTORE_PATH", help="A directory to look at.", show_default=False
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """What is installed, and what state a database directory is in. Exits with 1 where something is wrong.

    Works on a directory that another process has open, and says which. A server is asked about its inside; where it
    is no server, the inside is left alone.
    """
    findings = [*_installed(), *(() if path is None else _directory(path))]
    healthy = all(finding.level != "problem" for finding in findings)

    def draw(console: Console) -> None:
        styles = {"ok": "green", "note": "yellow", "problem": "bold red"}
        for finding in findings:
            console.print(f"{finding.level:>8} ", style=styles[finding.level], end="")
            console.print(f"{finding.subject}: {finding.message}", soft_wrap=True)
            if finding.remedy:
                console.print(f"         -> {finding.remedy}", style="bold", soft_wrap=True)
        if path is None:
            console.print("\nname a directory by --path to have it looked at", style="dim")

    data = {"healthy": healthy, "path": None if path is None else str(path)}
    show({**data, "findings": [asdict(finding) for finding in findings]}, json, draw)
    if not healthy:
        raise typer.Exit(exits.REQUEST)


def _installed() -> Iterator[Finding]:
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("ok", "qstore-db", version("qstore-db"))
    seen: set[str] = set()
    for extra, name in _requirements():
        package = re.split(r"[^\w.-]", name)[0]
        if package in seen:
            continue
        seen.add(package)
        try:
            yield Finding("ok", package, version(package))
        except PackageNotFoundError:
            if extra:
                yield Finding("ok", package, f'not installed (optional): pip install "qstore-db[{extra}]"')
            else:
                yield Finding("problem", package, "not installed", f'pip install --force-reinstall "{name}"')


def _requirements() -> list[tuple[str, str]]:
    """(extra, requirement): first what is always needed, of the extra "", then in the order of `_EXTRAS`."""
    found = []
    for requirement in requires("qstore-db") or ():
        name, _, marker = requirement.partition(";")
        found.append((marker.partition("extra ==")[2].strip(" '\""), name.strip()))
    order = ("", *_EXTRAS)
    return sorted((each for each in found if each[0] in order), key=lambda each: order.index(each[0]))


def _directory(path: Path) -> Iterator[Finding]:
    if not path.is_dir() or not is_database(path):
        what = "there is no such directory" if not path.is_dir() else "it holds no database"
        yield Finding("problem", str(path), what, "check the path, or make a database by `qstore import`")
        return
    yield from _disk(path)
    yield from _inside(path)


def _disk(path: Path) -> Iterator[Finding]:
    from qstore_db.engines.embedded.ownership import NETWORK_FILE_SYSTEMS, file_system

    kind = file_system(path)
    if kind in NETWORK_FILE_SYSTEMS:
        yield Finding(
            "problem", "file system", f"{kind}, a network one", "move the directory to a local disk"
        )
    else:
        yield Finding("ok", "file system", kind or "unknown")
    used = sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())
    free = shutil.disk_usage(path).free
    disk = f"{size(used)} used by the database, {size(free)} free"
    if free < LOW_DISK:
        yield Finding("problem", "disk", disk, "free some space: reads go on, writes will soon be refused")
    elif free < used:
        yield Finding("note", "disk", disk, "a backup or compaction beside the database may not fit")
    else:
        yield Finding("ok", "disk", disk)


def _inside(path: Path) -> Iterator[Finding]:
    """What `qstore stats` says, asked in a process of its own: a damaged file may end the one that reads it."""
    command = [sys.executable, "-m", "qstore_db.cli", "stats", "--json", "--path", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer = json_module.loads(run.stdout)
    except ValueError:
        ended = f"ended by signal {-run.returncode}" if run.returncode < 0 else f"exit code {run.returncode}"
        yield Finding(
            "problem",
            "opening",
            f"the process that opened the database did not survive it ({ended})",
            "restore a backup: qstore restore BACKUP --path NEW-DIRECTORY",
        )
        return
    error = answer.get("error")
    if error is None:
        yield _lock(path, answer)
        yield from _statistics(answer)
    elif error["code"] == "locked":
        yield Finding(
            "note", "lock", error["message"], "ask that process for stats(), or close it and look again"
        )
    else:
        yield Finding("problem", error["code"], error["message"], _REMEDIES.get(error["code"]))


_REMEDIES = {
    "format": "use the release that wrote it, or a newer one",
    "corruption": "restore a backup: qstore restore BACKUP --path NEW-DIRECTORY",
    "system": "check who owns the directory and what its permissions are",
}


def _lock(path: Path, stats: dict[str, Any]) -> Finding:
    if "server" not in stats:
        return Finding("ok", "lock", "free: no process has the directory open")
    from qstore_db.engines.embedded.ownership import owner_of

    others = stats["server"]["gauges"]["connections"] - 1
    return Finding("ok", "lock", f"served by {owner_of(path)}; connections besides this one: {others:,.0f}")


def _statistics(stats: dict[str, Any]) -> Iterator[Finding]:
    from qstore_db.engines.embedded.layout import FORMAT

    yield Finding("ok", "format", str(FORMAT))
    if stats["read_only"]:
        yield Finding("problem", "store", f"read-only: {stats['read_only']}", "run `qstore verify`")
    if stats["verification"] == "not needed":
        yield Finding("ok", "last stop", "clean")
    else:
        known = {"running": "note", "passed": "note"}.get(stats["verification"])
        yield Finding(
            "note" if known else "problem",
            "last stop",
            f"not clean; nothing acknowledged is lost by that (the check after it: {stats['verification']})",
            "run `qstore verify` for a full check",
        )
    for part in ("builder", "janitor"):
        if stats[f"{part}_fault"]:
            yield Finding(
                "problem", f"background {part}", stats[f"{part}_fault"], "reopen; report it if it stays"
            )
    for name, collection in stats["collections"].items():
        yield from _collection(name, collection)


def _collection(name: str, collection: dict[str, Any]) -> Iterator[Finding]:
    spec, lag = collection["spec"], collection["index_lag_rows"]
    subject = f"collection {name!r}"
    yield Finding(
        "ok", subject, f"{collection['records']:,} records of {spec['dimension']} numbers, {spec['metric']}"
    )
    if lag:
        yield Finding(
            "ok", subject, f"{lag:,} records wait for their graph; they are searched exactly until then"
        )
    recovery = collection["recovery"]
    if recovery and recovery["rows_read"]:
        yield Finding("ok", subject, f"{recovery['rows_read']:,} records were read again at this start")
    for skipped in recovery["skipped"] if recovery else ():
        yield Finding("note", subject, f"index file not used: {skipped}", "nothing to do: it is rebuilt")
