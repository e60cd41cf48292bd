"""The command tree of `qstore`, and the one place where errors become exit codes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from qstore_db.cli import exits
from qstore_db.cli.demonstrating import demo
from qstore_db.cli.doctor import doctor
from qstore_db.cli.importing import import_records
from qstore_db.cli.output import print_error
from qstore_db.cli.searching import query, tunnel
from qstore_db.cli.serving import serve
from qstore_db.cli.tokens import app as tokens
from qstore_db.cli.upkeep import backup, collections, restore, stats, verify
from qstore_db.errors import QStoreError

_ERROR_CODES = "\n".join(f"[bold]{code:>3}[/bold]  {meaning}" for code, meaning in exits.MEANINGS.items())
# The base of all of Typer's complaints about a command line; it has moved between modules over its releases.
_UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="qstore",
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo)
app.command("import")(import_records)
app.command("query")(query)
app.command("tunnel")(tunnel)
app.command("collections")(collections)
app.command("stats")(stats)
app.command("verify")(verify)
app.command("backup")(backup)
app.command("restore")(restore)
app.command("doctor")(doctor)
app.command("serve")(serve)
app.add_typer(tokens, name="token")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"qstore {version('qstore-db')}\n")
        raise typer.Exit


def _top(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")
        raise typer.Exit


app.callback(
    invoke_without_command=True,
    help="A vector database with superposed contexts and tunnelling search.\n\n"
    "Commands that use a database take --path, or the environment variable QSTORE_PATH; or --url, for a server.\n\n"
    f"[bold]Exit codes[/bold]\n\n{_ERROR_CODES}",
)(_top)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and say how it ended. Errors go to stderr, or with --json to stdout as one object."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    try:
        code = app(given, prog_name="qstore", standalone_mode=False)
    except _UsageError as error:
        print_error("usage", error.format_message(), _option(error), as_json)
        return exits.USAGE
    except QStoreError as error:
        print_error(error.code, error.message, error.subject, as_json)
        return exits.exit_code(error)
    except typer.Abort:
        return exits.INTERRUPTED
    except OSError as error:
        print_error("system", f"{error.strerror or error}", error.filename, as_json)
        return exits.CONFIGURATION
    except Exception as error:  # noqa: BLE001  # whatever else it is, a script that asked for JSON gets JSON
        traceback.print_exc()
        print_error("internal", f"{type(error).__name__}: {error}", None, as_json)
        return exits.INTERNAL
    return code if isinstance(code, int) else exits.OK


def _option(error: Any) -> str | None:
    """The option that a usage error is about."""
    name = getattr(error, "option_name", None) or getattr(error, "param_hint", None)
    parameter = getattr(error, "param", None)
    if name is None and parameter is not None:
        name = parameter.opts[-1]
    return name if isinstance(name, str) else None
