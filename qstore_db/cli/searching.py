"""`qstore query` and `qstore tunnel`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qstore_db.cli import options
from qstore_db.cli.opening import Place, opened
from qstore_db.cli.output import brief, print_warnings, show, table
from qstore_db.cli.page import write_tunnel_page
from qstore_db.errors import ArgumentError, RecordNotFoundError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from rich.console import Console

    from qstore_db.database import QuantumDatabase
    from qstore_db.records import Match


def query(
    path: options.Where = None,
    url: options.Url = None,
    token: options.Token = None,
    tls: options.Tls = None,
    vector: options.Vector = None,
    vector_file: options.VectorFile = None,
    id: options.Id = None,
    collection: options.Collection = "default",
    top_k: options.TopK = 10,
    context: options.Context = None,
    context_strength: options.ContextStrength = 0.5,
    soft: options.Soft = False,
    denoise: options.Denoise = False,
    coherence_time: options.CoherenceTime = None,
    filter: options.Filter = None,
    explain: options.Explain = False,
    json: options.Json = False,
) -> None:
    """The nearest records, plain or in a context.

    Give the vector by one of --vector, --vector-file and --id; with --id the record itself is left out.
    """
    asked, where = options.read_context(context), options.read_filter(filter)
    given, place = _given(vector, vector_file, id), Place.of(path, url, token, tls)
    with opened(place) as database:
        result = database.query(
            given if given is not None else _stored(database, id, collection),
            top_k=top_k if id is None else top_k + 1,
            context=asked,
            filter=where,
            soft=soft,
            denoise=denoise,
            context_strength=context_strength,
            coherence_time=coherence_time,
            collection=collection,
        )
        found = [match for match in result if match.id != id][:top_k]
    data = {
        "collection": collection,
        "exact": result.exact,
        "warnings": list(result.warnings),
        "matches": [describe(match, explain) for match in found],
    }

    def draw(console: Console) -> None:
        draw_matches(console, found, explain)
        print_warnings(console, result.warnings)
        console.print(f"{len(found)} records, {'exact' if result.exact else 'by the index'}", style="dim")

    show(data, json, draw)


def tunnel(
    path: options.Where = None,
    url: options.Url = None,
    token: options.Token = None,
    tls: options.Tls = None,
    vector: options.Vector = None,
    vector_file: options.VectorFile = None,
    id: options.Id = None,
    collection: options.Collection = "default",
    top_k: options.TopK = 10,
    barrier_threshold: Annotated[
        float | None,
        typer.Option(
            "--barrier-threshold",
            "--barrier",
            metavar="B",
            help="From 0 to 1: the well holds the n^(1-B) nearest of n records. Left out: the --top-k nearest.",
        ),
    ] = None,
    tunneling_strength: Annotated[
        float,
        typer.Option(
            "--tunneling-strength",
            "--strength",
            metavar="S",
            help="0 is plain distance order, 1 the walk alone.",
        ),
    ] = 1.0,
    barrier_scale: Annotated[
        Literal["rank", "similarity", "distance"],
        typer.Option("--barrier-scale", help="The unit of --barrier-threshold."),
    ] = "rank",
    engine: Annotated[
        Literal["diffusion", "walk"],
        typer.Option("--engine", help="How probability spreads: as a fluid, or as a quantum walk."),
    ] = "diffusion",
    candidates: Annotated[
        int, typer.Option("--candidates", metavar="N", help="How many records the walk may reach.")
    ] = 2000,
    walk_through: Annotated[
        bool,
        typer.Option(
            "--walk-through",
            help="Walk over records that context and filter leave out; they are no results.",
            show_default=False,
        ),
    ] = False,
    diversity: Annotated[
        float,
        typer.Option(
            "--diversity", metavar="D", help="From 0 to 1: how much unlikeness counts against the score."
        ),
    ] = 0.0,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            metavar="FIELD",
            help="The best of each basin of this number in the metadata, in place of the walk.",
            show_default=False,
        ),
    ] = None,
    min_prominence: Annotated[
        float | None,
        typer.Option(
            "--min-prominence",
            metavar="P",
            help="With --objective: how far a basin's best has to stand out.",
            show_default=False,
        ),
    ] = None,
    with_inside: Annotated[
        bool,
        typer.Option(
            "--all", help="Rank the records inside the well too, marked as such.", show_default=False
        ),
    ] = False,
    context: options.Context = None,
    context_strength: options.ContextStrength = 0.5,
    soft: options.Soft = False,
    denoise: options.Denoise = False,
    coherence_time: options.CoherenceTime = None,
    filter: options.Filter = None,
    explain: options.Explain = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write a page with a picture of the walk.", show_default=False
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Records of the same kind beyond the query's nearest neighbours, and those neighbours beside them.

    The well is the query's dense neighbourhood; what is found beyond it was reached over the neighbour graph.
    With --id the record itself is left out of the lists, but counts in its own well.
    """
    asked, where = options.read_context(context), options.read_filter(filter)
    given, place = _given(vector, vector_file, id), Place.of(path, url, token, tls)
    with opened(place) as database:
        result = database.tunnel_search(
            given if given is not None else _stored(database, id, collection),
            barrier_threshold=barrier_threshold,
            tunneling_strength=tunneling_strength,
            top_k=top_k,
            barrier_scale=barrier_scale,
            engine=engine,
            beyond_only=not with_inside,
            candidates=candidates,
            context=asked,
            context_strength=context_strength,
            soft=soft,
            denoise=denoise,
            coherence_time=coherence_time,
            filter=where,
            walk_through=walk_through,
            diversity=diversity,
            objective=objective,
            min_prominence=min_prominence,
            include_vectors=html is not None,
            collection=collection,
        )
        beyond = [match for match in result if match.id != id]
        inside = [match for match in result.inside if match.id != id]
        if html is not None:
            parameters = {
                "collection": collection,
                "id": id,
                "top_k": top_k,
                "barrier_threshold": barrier_threshold,
                "barrier_scale": barrier_scale,
                "tunneling_strength": tunneling_strength,
                "engine": engine,
                "candidates": candidates,
                "context": context,
                "context_strength": None if context is None else context_strength,
                "denoise": denoise or None,
                "coherence_time": coherence_time,
                "filter": filter,
                "walk_through": walk_through or None,
                "diversity": diversity or None,
                "objective": objective,
                "min_prominence": min_prominence,
            }
            write_tunnel_page(html, result, beyond, inside, parameters)
    data = {
        "collection": collection,
        "exact": result.exact,
        "warnings": list(result.warnings),
        "well_size": result.well_size,
        "eligible": result.eligible,
        "matches": [describe(match, explain) for match in beyond],
        "inside": [describe(match, explain) for match in inside],
    }
    if html is not None:
        data["html"] = str(html)

    title = "Ranked by the walk" if with_inside else "Beyond the barrier"
    if objective is not None:
        title = f"The best {objective} of each basin"

    def draw(console: Console) -> None:
        draw_matches(console, beyond, explain, title=title)
        shown = inside[:top_k]
        more = f", the {len(shown)} nearest" if len(inside) > len(shown) else ""
        draw_matches(console, shown, explain, title=f"Inside the well: {result.well_size} records{more}")
        print_warnings(console, result.warnings)
        console.print(f"{result.eligible} eligible records", style="dim")
        if html is not None:
            console.print(f"picture: {html}", soft_wrap=True)

    show(data, json, draw)


def describe(match: Match, explain: bool) -> dict[str, Any]:
    """A match as JSON data; what does not apply to the query is left out."""
    data: dict[str, Any] = {
        "id": match.id,
        "score": match.score,
        "distance": match.distance,
        "similarity": match.similarity,
        "metadata": match.metadata,
        "contexts": dict(match.contexts),
        "version": match.version,
    }
    if match.weight is not None:
        data["weight"] = match.weight
    if match.tunneled is not None:
        data["tunneled"] = match.tunneled
    if explain:
        explanation = match.explain()
        path = {"path": list(explanation.path)} if explanation.path else {}
        data["explain"] = {"terms": dict(explanation.terms), "scale": dict(explanation.scale), **path}
    return data


def draw_matches(
    console: Console, matches: Sequence[Match], explain: bool, *, title: str | None = None
) -> None:
    """One row a match; a column of context weights where the query had a context."""
    weighted = any(match.weight is not None for match in matches)
    columns = ["", "id", "distance", *(["weight"] if weighted else []), "score", "metadata"]
    drawn = table(*columns, right=("", "distance", "weight", "score"), title=title)
    for rank, match in enumerate(matches, 1):
        weight = [f"{match.weight:.3f}" if match.weight is not None else ""] if weighted else []
        drawn.add_row(
            str(rank), match.id, f"{match.distance:.5g}", *weight, f"{match.score:.5g}", brief(match.metadata)
        )
    console.print(drawn)
    for rank, match in enumerate(matches if explain else (), 1):
        console.print(f"{rank:>3}  {match.explain()}", style="dim", soft_wrap=True)


def _given(vector: str | None, vector_file: Path | None, id: str | None) -> ArrayLike | None:
    """The vector of --vector or --vector-file, None for --id; exactly one of the three is given."""
    if sum(option is not None for option in (vector, vector_file, id)) != 1:
        raise typer.BadParameter("give exactly one of them", param_hint="--vector / --vector-file / --id")
    if vector is not None:
        return _numbers(options.read_json(vector, "--vector"), "--vector")
    if vector_file is None:
        return None
    if str(vector_file) == "-":
        return _numbers(options.read_json(sys.stdin.read(), "--vector-file"), "--vector-file")
    if vector_file.suffix == ".npy":
        import numpy as np

        try:
            return np.load(vector_file, allow_pickle=False)  # type: ignore[no-any-return]
        except ValueError as error:
            raise ArgumentError(f"{vector_file} is no vector: {error}", subject=str(vector_file)) from None
    return _numbers(options.read_json(vector_file.read_text(), "--vector-file"), "--vector-file")


def _numbers(value: Any, option: str) -> list[float]:
    if not isinstance(value, list) or not all(isinstance(x, (int, float)) for x in value):
        raise typer.BadParameter("give a JSON list of numbers", param_hint=option)
    return value


def _stored(database: QuantumDatabase, id: str | None, collection: str) -> ArrayLike:
    """The vector of a stored record. Raises RecordNotFoundError."""
    assert id is not None
    record = database.get(id, collection=collection)
    if record is None:
        raise RecordNotFoundError(f"there is no record {id!r} in collection {collection!r}", subject=id)
    return record.vector
