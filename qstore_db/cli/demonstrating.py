"""`qstore demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qstore_db.cli import options
from qstore_db.cli.output import print_json


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the database and the report go.")
    ] = Path("out/demo"),
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="The full Fashion-MNIST; left out: the bundled sample."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Import images, query them in contexts, tunnel, kill a writer, reopen, and write a report.

    Takes less than two minutes with the bundled sample. An earlier demo in the same directory is replaced.
    """
    from qstore_db.demo.run import run

    summary = run(out, data, quiet=json)
    if json:
        print_json(summary)
