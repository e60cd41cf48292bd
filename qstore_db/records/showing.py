"""Results as HTML and pictures: what notebooks show of them, and `TunnelResult.plot`.

The HTML is self-contained: inline styles that read on light and on dark ground, no script, and every text escaped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np

from qstore_db.pictures.inline import walk_legend, walk_svg
from qstore_db.pictures.walk import WalkPicture, directions_only, walk_picture
from qstore_db.records.metadata import Value
from qstore_db.records.results import Walked
from qstore_db.records.vector import unit_rows

if TYPE_CHECKING:
    from qstore_db.records.results import Match, QueryResult, TunnelResult

ROWS: Final = 20
"""Matches that a table shows."""
_FIELDS: Final = 3
_LONGEST: Final = 60
_CELL: Final = "padding:.25em .7em;border-bottom:1px solid rgba(128,128,128,.35);vertical-align:top;"
_SOFT: Final = "margin:.4em 0;opacity:.75"


def query_html(result: QueryResult) -> str:
    """A line about the result and the table of its matches."""
    return f"<div>{_line(_about(result))}{_warnings(result)}{matches_table(result)}</div>"


def tunnel_html(result: TunnelResult) -> str:
    """The same, with the well and, where the search asked for vectors, the picture of the walk."""
    well = f"{result.well_size:,} of {result.eligible:,} eligible records lie in the well"
    picture = "" if result.walked is None else picture_html(walk_of(result))
    return (
        f"<div>{_line(f'{_about(result)}; {well}')}{_warnings(result)}{picture}{matches_table(result)}</div>"
    )


def picture_html(picture: WalkPicture) -> str:
    """The walk as SVG, its legend below."""
    return f'<div style="max-width:40rem">{walk_svg(picture)}{walk_legend()}</div>'


def matches_table(matches: Sequence[Match], rows: int = ROWS) -> str:
    """One row a match, best first; of a longer result the first `rows`, and how many more there are."""
    shown = matches[:rows]
    weighted = any(match.weight is not None for match in shown)
    marked = any(match.tunneled is not None for match in shown)
    names = ["rank", "id", "distance", "similarity", *(["weight"] if weighted else []), "score"]
    names += [*(["tunneled"] if marked else []), "metadata"]
    head = "".join(f'<th style="{_CELL}text-align:left">{name}</th>' for name in names)
    body = "".join(_row(rank, match, weighted, marked) for rank, match in enumerate(shown, 1))
    more = len(matches) - len(shown)
    rest = _line(f"and {more:,} more") if more else ""
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;font-variant-numeric:tabular-nums">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{rest}"
    )


def walk_of(result: TunnelResult) -> WalkPicture:
    """The picture of a result whose search asked for vectors.

    Matches that have no links yet were reached but not walked over: they are shown without edges.
    """
    found = {match.id: match for match in result if match.tunneled}
    well = {match.id: match for match in result.inside}
    walked = result.walked or _nothing(len(result.query))
    known = set(walked.ids)
    hung = [match for match in (*found.values(), *well.values()) if match.id not in known]
    names = [*walked.ids, *(match.id for match in hung)]
    stored = np.array([match.vector for match in hung], np.float32).reshape(-1, len(result.query))
    searched = unit_rows(stored) if directions_only(walked.vectors) and hung else stored
    return walk_picture(
        query=result.query,
        names=names,
        vectors=np.vstack([walked.vectors, searched]),
        probability=np.concatenate([walked.probability, [_came(match) for match in hung]]),
        inside=np.array([name in well for name in names], np.bool_),
        beyond=np.array([name in found for name in names], np.bool_),
        edges=walked.edges,
        weights=walked.weights,
    )


def _nothing(d: int) -> Walked:
    """What was walked over in a collection without records."""
    none = np.empty(0)
    return Walked(
        [], np.empty((0, d), np.float32), none, np.empty(0, np.bool_), np.empty((0, 2), np.int64), none
    )


def _came(match: Match) -> float:
    """The probability that reached a match: its score says strength times log p."""
    explanation = match.explain()
    strength = explanation.scale.get("strength", 0.0)
    return math.exp(explanation.terms["walk"] / strength) if strength > 0.0 else 0.0


def _row(rank: int, match: Match, weighted: bool, marked: bool) -> str:
    terms = " ".join(f"{value:+.4g} {name}" for name, value in match.explain().terms.items() if value)
    cells = [str(rank), match.id, f"{match.distance:.5g}", f"{match.similarity:.4g}"]
    if weighted:
        cells.append("" if match.weight is None else f"{match.weight:.3f}")
    cells.append(f"{match.score:.5g} = {terms}" if terms else f"{match.score:.5g}")
    if marked:
        cells.append("yes" if match.tunneled else "no")
    cells.append(_brief(match.metadata))
    drawn = "".join(
        f'<td style="{_CELL}text-align:left;white-space:nowrap">{escape(cell)}</td>' for cell in cells
    )
    return f"<tr>{drawn}</tr>"


def _brief(metadata: Mapping[str, Value]) -> str:
    """The first fields, long values cut."""
    shown = [
        f"{name}: {_cut(json.dumps(value, ensure_ascii=False))}"
        for name, value in list(metadata.items())[:_FIELDS]
    ]
    return ", ".join([*shown, "…"] if len(metadata) > _FIELDS else shown)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _about(result: QueryResult) -> str:
    kind = "exact" if result.exact else "by the index"
    return f"{type(result).__name__}: {len(result):,} matches, {kind}"


def _warnings(result: QueryResult) -> str:
    return "".join(_line(f"warning: {warning}") for warning in result.warnings)


def _line(text: str) -> str:
    return f'<p style="{_SOFT}">{escape(text)}</p>'
