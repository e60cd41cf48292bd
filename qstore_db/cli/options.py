"""Options that several commands share, and how their text is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from qstore_db.records import ContextLike

Where: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--path",
        metavar="DIR",
        help="Directory of the database; or the variable QSTORE_PATH.",
        show_default=False,
    ),
]
Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="In place of --path: a server, qstore://HOST:PORT.", show_default=False
    ),
]
Token: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TEXT",
        help="For --url; better in the variable QSTORE_TOKEN, which no other user sees.",
        show_default=False,
    ),
]
Tls: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--tls",
        metavar="FILE|system|off",
        help="For --url: a file with the server's certificate, or system for one that this machine trusts; "
        "or the variable QSTORE_TLS.",
        show_default=False,
    ),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout, errors too.", show_default=False)
]
Collection: TypeAlias = Annotated[str, typer.Option("--collection", metavar="NAME", help="Its collection.")]
Vector: TypeAlias = Annotated[
    str | None, typer.Option("--vector", metavar="JSON", help="The query vector: '[0.1, 0.2, ...]'.")
]
VectorFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--vector-file", metavar="FILE", help="The query vector: a .npy file, JSON, or - for stdin."
    ),
]
Id: TypeAlias = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="Query with the vector of this stored record.")
]
Context: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="NAME|JSON",
        help='A context, or a superposition: \'{"a": 0.5, "b": 0.5}\', with phases \'{"a": [0.5, 0], ...}\'.',
    ),
]
ContextStrength: TypeAlias = Annotated[
    float, typer.Option("--context-strength", help="How much context and age count against distance.")
]
CoherenceTime: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--coherence-time",
        metavar="SECONDS",
        help="Half-life: with each of them since its last write, a record counts half as much.",
    ),
]
Soft: TypeAlias = Annotated[
    bool,
    typer.Option("--soft", help="Keep records outside the context, at a low weight.", show_default=False),
]
Denoise: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--denoise",
        help="Smooth noisy context weights over near records; does harm where contexts do not follow vectors.",
        show_default=False,
    ),
]
Filter: TypeAlias = Annotated[
    str | None,
    typer.Option("--filter", metavar="JSON", help='Metadata filter: \'{"year": {"$gte": 2020}}\'.'),
]
TopK: TypeAlias = Annotated[int, typer.Option("--top-k", help="How many results.")]
Explain: TypeAlias = Annotated[
    bool, typer.Option("--explain", help="Show the parts of each score.", show_default=False)
]


def read_context(text: str | None) -> ContextLike:
    """A name as it stands; text that starts with "{" is JSON."""
    if text is None or not text.lstrip().startswith("{"):
        return text
    parsed = read_json(text, "--context")
    return {name: tuple(v) if isinstance(v, list) else v for name, v in parsed.items()}


def read_filter(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    parsed = read_json(text, "--filter")
    if not isinstance(parsed, dict):
        raise typer.BadParameter("give a JSON object", param_hint="--filter")
    return parsed


def read_json(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"this is no JSON: {error}", param_hint=option) from None
