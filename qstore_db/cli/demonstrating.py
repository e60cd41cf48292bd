"""`qstore demo`."""

from __future__ import annotations

import shlex
import shutil
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qstore_db.cli import options
from qstore_db.cli.output import print_json

if TYPE_CHECKING:
    from qstore_db.demo.serving import ServerProcess


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the database and the report go.")
    ] = Path("out/demo"),
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="The full Fashion-MNIST; left out: the bundled sample."),
    ] = None,
    keep_serving: Annotated[
        bool,
        typer.Option(
            "--keep-serving",
            help="Leave its server up until Ctrl-C, for other terminals to ask.",
            show_default=False,
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Start a server; through a client import images, query in contexts, tunnel; kill the server amid writes, start
    it again, and write a report.

    Takes less than two minutes with the bundled sample. An earlier demo in the same directory is replaced.
    Needs the extra `server`.
    """
    from qstore_db.demo.run import demonstration

    with demonstration(out, data, quiet=json) as (summary, server):
        ending = suppress(KeyboardInterrupt) if keep_serving else nullcontext()  # how serving is meant to end
        with ending:
            if not json:
                _say_what_next(server, out / "database", keep_serving)
            elif keep_serving:
                access = {"url": server.url, "certificate": server.certificate, "token": server.token}
                print_json({**summary, "serving": access})
            else:
                print_json(summary)
            if keep_serving:
                server.wait()


def _say_what_next(server: ServerProcess, directory: Path, serving: bool) -> None:
    """Lines for a shell, which work as they stand."""
    query = f"{_program()} query --id train-00007 --context outdoor"
    if serving:
        lines = [
            "Serving until Ctrl-C. In another terminal:",
            f"  export QSTORE_TOKEN={server.token}",
            f"  {query} --url {server.url} --tls {shlex.quote(str(Path(server.certificate).absolute()))}",
        ]
    else:
        lines = [
            "The database stays, and may be asked without a server; --keep-serving leaves the server up:",
            f"  {query} --path {shlex.quote(str(directory))}",
        ]
    sys.stdout.write("\n".join(["", *lines, ""]))
    sys.stdout.flush()


def _program() -> str:
    """How a shell starts the program that this is."""
    script = Path(sys.executable).with_name("qstore")
    found = shutil.which("qstore")
    if found is not None and Path(found) == script:
        return "qstore"
    return f"{shlex.quote(sys.executable)} -m qstore_db.cli"
