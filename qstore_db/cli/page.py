"""The page of `qstore tunnel --html`: one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qstore_db.errors import ArgumentError

if TYPE_CHECKING:
    from qstore_db.records import Match, TunnelResult

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    'body{margin:0;font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}'
    "main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem}"
    "table{font-size:.88rem}dl{display:grid;grid-template-columns:max-content 1fr;"
    "gap:.1em 1em;font-size:.9rem}dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}"
)


def write_tunnel_page(
    file: Path,
    result: TunnelResult,
    beyond: Sequence[Match],
    inside: Sequence[Match],
    parameters: Mapping[str, object],
) -> None:
    """Write the picture, both lists and the parameters; those that are None are left out.

    Raises ArgumentError where the file cannot be written.
    """
    from qstore_db.pictures.page import whole_page
    from qstore_db.records.showing import matches_table, picture_html, walk_of

    told = {**parameters, "well_size": result.well_size, "eligible": result.eligible, "exact": result.exact}
    terms = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>"
        for name, value in told.items()
        if value is not None
    )
    warnings = "".join(f"<p>warning: {escape(warning)}</p>" for warning in result.warnings)
    body = (
        f"<h1>tunnel_search</h1>{warnings}{picture_html(walk_of(result))}"
        f"<h2>Found</h2>{matches_table(beyond, len(beyond))}"
        f"<h2>Inside the well</h2>{matches_table(inside)}<h2>Parameters</h2><dl>{terms}</dl>"
    )
    try:
        file.write_text(whole_page("tunnel_search", _STYLE, body), encoding="utf-8")
    except OSError as error:
        raise ArgumentError(f"{file} cannot be written: {error.strerror}", subject=str(file)) from error
