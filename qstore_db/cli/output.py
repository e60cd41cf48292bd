"""What goes to the terminal: tables for people, or with `--json` one JSON value on stdout and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Draw: TypeAlias = "Callable[[Console], None]"


def show(data: Mapping[str, Any], as_json: bool, draw: Draw) -> None:
    """Print `data` as JSON, or let `draw` print it for people."""
    if as_json:
        print_json(data)
        return
    from rich.console import Console

    draw(Console(highlight=False, markup=False, emoji=False))


def print_json(data: Mapping[str, Any]) -> None:
    """One line of strict JSON: NaN and infinity, which it cannot say, are refused rather than printed."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_error(code: str, message: str, subject: str | None, as_json: bool) -> None:
    """An error as one JSON object on stdout, or as one line on stderr."""
    if as_json:
        print_json({"error": {"code": code, "message": message, "subject": subject}})
        return
    about = f" [{subject}]" if subject and subject not in message else ""
    sys.stderr.write(f"qstore: {' '.join(message.split())}{about}\n")


def print_warnings(console: Console, warnings: Iterable[str]) -> None:
    for warning in warnings:
        console.print("warning:", style="bold yellow", end=" ")
        console.print(warning)


def table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    """An empty table; the columns named in `right` are numbers. The last column takes what width is left."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", no_wrap=name != columns[-1])
    return made


def pairs(rows: Mapping[str, str]) -> Table:
    """Names and values side by side."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows.items():
        made.add_row(name, Text(value))
    return made


def size(count: float) -> str:
    """Bytes in words: 1536 is "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def brief(value: Any) -> Text:
    """A value as compact JSON on one line, cut where the terminal ends."""
    from rich.text import Text

    return Text(json.dumps(value, ensure_ascii=False) if value else "", no_wrap=True, overflow="ellipsis")
