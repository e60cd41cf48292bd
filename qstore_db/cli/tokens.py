"""`qstore token create`, `list` and `revoke`."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec, TypeVar

import typer

from qstore_db.cli import options
from qstore_db.cli.opening import Place, reached
from qstore_db.cli.output import show, table

if TYPE_CHECKING:
    from rich.console import Console

    from qstore_db.database.operations import Operation
    from qstore_server.access import Token

P = ParamSpec("P")
T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    help="Who may use a server of the database. Changes take effect at once, on open connections too.",
)


@app.command("create")
def create(
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="What you call it.", show_default=False)
    ],
    role: Annotated[
        Literal["read", "write", "admin"],
        typer.Option("--role", help="Each may do what those before it may.", show_default=False),
    ],
    collection: Annotated[
        list[str] | None,
        typer.Option(
            "--collection",
            metavar="NAME",
            help="Limit it to this one; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    path: options.Where = None,
    url: options.Url = None,
    token: options.Token = None,
    tls: options.Tls = None,
    json: options.Json = False,
) -> None:
    """Make a token and print it: the only time that it is shown."""
    from qstore_server.tokens import CREATE

    made, text = _run(Place.of(path, url, token, tls), CREATE, name, role, collection or None)

    def draw(console: Console) -> None:
        limits = "all collections" if made.collections is None else ", ".join(made.collections)
        console.print(f"token {made.name!r}, id {made.id}: {made.role}, {limits}", soft_wrap=True)
        console.print("its text, which is shown this once:", style="dim")
        console.print(text, soft_wrap=True)

    show({**_described(made), "token": text}, json, draw)


@app.command("list")
def list_tokens(
    path: options.Where = None,
    url: options.Url = None,
    token: options.Token = None,
    tls: options.Tls = None,
    json: options.Json = False,
) -> None:
    """The tokens that there are, oldest first, without their texts."""
    from qstore_server.tokens import LIST

    found = _run(Place.of(path, url, token, tls), LIST)

    def draw(console: Console) -> None:
        drawn = table("id", "name", "role", "made", "collections")
        for each in found:
            made = datetime.fromtimestamp(each.created_at).astimezone().isoformat(" ", "seconds")
            limits = "all" if each.collections is None else ", ".join(each.collections)
            drawn.add_row(each.id, each.name, str(each.role), made, limits)
        console.print(drawn if found else "no tokens yet")

    show({"tokens": [_described(each) for each in found]}, json, draw)


@app.command("revoke")
def revoke(
    which: Annotated[
        str, typer.Argument(metavar="ID|NAME", help="As `qstore token list` shows it.", show_default=False)
    ],
    path: options.Where = None,
    url: options.Url = None,
    token: options.Token = None,
    tls: options.Tls = None,
    json: options.Json = False,
) -> None:
    """Make a token invalid for good, and end the connections that came with it."""
    from qstore_server.tokens import REVOKE

    gone = _run(Place.of(path, url, token, tls), REVOKE, which)
    show(
        {"revoked": _described(gone)},
        json,
        lambda console: console.print(f"revoked token {gone.name!r}, id {gone.id}"),
    )


def _run(place: Place, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Perform an operation, with its lines in the audit log; a server writes them itself."""
    from qstore_db.database.local import LocalEdge
    from qstore_server.access import LOCAL
    from qstore_server.audit import AuditLog

    with reached(place) as edge:
        act: Any = nullcontext()
        if isinstance(edge, LocalEdge):
            arguments = operation.pack(*args, **kwargs)
            act = AuditLog(Path(edge.where)).act(LOCAL, "command line", operation.name, arguments)
        with act:
            return edge.run(operation, *args, **kwargs)


def _described(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "role": str(token.role),
        "collections": None if token.collections is None else list(token.collections),
        "created_at": token.created_at,
    }
