"""`qstore serve`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qstore_db.cli import options
from qstore_db.cli.output import print_json, print_warnings, show, table

if TYPE_CHECKING:
    from rich.console import Console

    from qstore_server.config import ServerConfig
    from qstore_server.running import Listening


def serve(
    path: Annotated[
        Path | None,
        typer.Option(
            "--path",
            metavar="DIR",
            help="Directory of the database, made if absent; or QSTORE_PATH.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="ADDRESS", help="Where to listen.", show_default="127.0.0.1"),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", help="0: any free one.", show_default="7740")
    ] = None,
    http_port: Annotated[
        str | None,
        typer.Option(
            "--http-port",
            metavar="N|off",
            help="Of health and metrics; 0: any free one.",
            show_default="7741",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Further settings, as TOML.", show_default=False),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option("--tls-certificate", metavar="FILE", help="Certificate, PEM.", show_default=False),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", metavar="FILE", help="Its private key, PEM.", show_default=False),
    ] = None,
    dev_certificate: Annotated[
        bool | None,
        typer.Option(
            "--dev-certificate",
            help="TLS with a certificate of its own, made in DIR/tls; for development.",
            show_default=False,
        ),
    ] = None,
    require_token: Annotated[
        bool | None,
        typer.Option(
            "--require-token/--no-require-token",
            help="Whether clients show a token.",
            show_default="unless both addresses are loopback",
        ),
    ] = None,
    allow_insecure: Annotated[
        bool | None,
        typer.Option(
            "--allow-insecure",
            help="Let others reach it without tokens or TLS, where the network is trusted.",
            show_default=False,
        ),
    ] = None,
    log_format: Annotated[
        Literal["json", "text"] | None,
        typer.Option("--log-format", help="Of the log on stderr.", show_default="json"),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option("--log-level", help="The least that is logged.", show_default="info"),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Say whether it would start, and with what settings from where; do not start.",
            show_default=False,
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Serve a database to many clients until SIGTERM or SIGINT.

    Flags go before environment variables (QSTORE_SERVER_PORT), those before --config, that before the defaults. The
    line "listening on qstore://HOST:PORT" says that clients may connect. Where clients need a token and there is
    none yet, one is made and printed, once.
    """
    from qstore_server import running
    from qstore_server.config import ServerConfig

    settings = ServerConfig.load(
        config,
        os.environ,
        path=path,
        host=host,
        port=port,
        http_port=http_port,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        dev_certificate=dev_certificate,
        require_token=require_token,
        allow_insecure=allow_insecure,
        log_format=log_format,
        log_level=log_level,
    )
    if check:
        _checked(settings, json)
    else:
        running.serve(settings, _announce_json if json else _announce)


def _announce(listening: Listening) -> None:
    """What people want to know, and last the line that scripts wait for."""
    lines = []
    if listening.token is not None:
        lines.append(f"token for administrators, shown this once: {listening.token}")
    if listening.certificate is not None:
        lines.append(f"certificate {listening.certificate}")
    lines.append(f"listening on {listening.url}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _announce_json(listening: Listening) -> None:
    print_json(
        {
            "listening": listening.url,
            "host": listening.host,
            "port": listening.port,
            "http_port": listening.http_port,
            "certificate": None if listening.certificate is None else str(listening.certificate),
            "token": listening.token,
            "pid": os.getpid(),
        }
    )


def _checked(settings: ServerConfig, json: bool) -> None:
    """What `--check` prints. Raises the error that starting would."""
    from qstore_server.checking import check

    warnings = check(settings)
    found = settings.describe()

    def draw(console: Console) -> None:
        drawn = table("setting", "source", "value")
        for each in found:
            drawn.add_row(each.name, each.source, _shown(each.value))
        console.print(drawn)
        print_warnings(console, warnings)
        console.print("a server would start with these settings, if its ports are free", style="green")

    told = [{"name": each.name, "value": each.value, "source": each.source} for each in found]
    show({"ok": True, "settings": told, "warnings": warnings}, json, draw)


def _shown(value: object) -> str:
    """As a file or variable would say it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
