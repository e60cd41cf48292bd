"""Results of searches as columns, and back.

One set of columns serves the results of several queries, one after the other; `ends` says where each one ends.
Records travel as they are packed in the store, so that a server need not decode them and a client decodes those
that are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.database.operations.base import Fields, required
from qstore_db.records import Body, QueryResult, Ranked, Record, TunnelResult, Vectors, Walked
from qstore_db.records.results import empty_ranked, holds_vectors, ranked_of

_TERM = "term."
_INSIDE = "inside."
_WALKED = "walked."
_COLUMNS = ("score", "distance", "similarity", "weight", "prominence")
"""The last two are not always there."""


class Received:
    """Records behind ranked columns as they came over a connection, taken apart when somebody asks."""

    __slots__ = ("_given", "_start", "_stop")

    def __init__(self, given: Fields, start: int, stop: int) -> None:
        """Of the records of an answer, those from `start` to `stop`."""
        self._given = given
        self._start = start
        self._stop = stop

    def ids(self) -> list[str]:
        ids: list[str] = self._own("ids")
        return ids

    def rows(self) -> NDArray[np.int64]:
        return np.array(self._own("versions"), np.int64)

    def bodies(self) -> list[bytes]:
        return [bytes(body) for body in self._packed()]

    def records(self, *, vectors: bool) -> list[Record]:
        own = (
            self._own("vectors")
            if vectors and "vectors" in self._given
            else np.empty((self._stop - self._start, 0), np.float32)
        )
        return [
            Body.unpacked(body).record(version, vector)
            for body, version, vector in zip(self._packed(), self._own("versions"), own, strict=True)
        ]

    def _own(self, column: str) -> Any:
        return self._given[column][self._start : self._stop]

    def _packed(self) -> list[memoryview]:
        return _slices(self._given, self._start, self._stop)


def pack_results(results: Sequence[QueryResult]) -> Fields:
    every = [ranked_of(result) for result in results]
    # Integers go as lists: an array costs more than packing the few that most results have.
    packed: Fields = {
        "ends": list(accumulate(len(ranked.score) for ranked in every)),
        "exact": [result.exact for result in results],
        "warnings": [list(result.warnings) for result in results],
        "ids": [id for ranked in every for id in ranked.found.ids()],
        "versions": [row for ranked in every for row in ranked.found.rows().tolist()],
        **_bodies([body for ranked in every for body in ranked.found.bodies()]),
    }
    if not every:
        return packed
    names = [name for name in _COLUMNS if getattr(every[0], name) is not None]
    terms = list(every[0].terms)
    packed["columns"] = [*names, *(_TERM + name for name in terms)]
    packed["values"] = _joined(
        [
            np.array([*(getattr(ranked, name) for name in names), *(ranked.terms[name] for name in terms)]).T
            for ranked in every
        ]
    )
    packed["scale"] = dict(every[0].scale)
    if every[0].tunneled is not None:
        packed["tunneled"] = _joined([ranked.tunneled for ranked in every]).view(np.uint8)
    paths = [path for ranked in every for path in ranked.paths()]
    if paths:
        packed["paths"] = paths
    if holds_vectors(results[0]):
        packed["vectors"] = _stacked(
            [record.vector for r in every for record in r.found.records(vectors=True)]
        )
    return packed


def unpack_results(given: Fields) -> list[QueryResult]:
    include = "vectors" in given
    return [
        QueryResult(ranked, exact=exact, warnings=tuple(warnings), include_vectors=include)
        for ranked, exact, warnings in zip(_ranked(given), given["exact"], given["warnings"], strict=True)
    ]


def pack_tunnels(results: Sequence[TunnelResult]) -> Fields:
    packed = pack_results(results)
    inside = pack_results([result.inside for result in results])
    packed |= {_INSIDE + name: column for name, column in inside.items()}
    packed["well_size"] = [result.well_size for result in results]
    packed["eligible"] = [result.eligible for result in results]
    packed["query"] = _stacked([result.query for result in results])
    walked = [result.walked for result in results if result.walked is not None]
    if walked:
        packed["has_walked"] = [result.walked is not None for result in results]
        packed |= {_WALKED + name: column for name, column in _pack_walked(walked).items()}
    return packed


def unpack_tunnels(given: Fields) -> list[TunnelResult]:
    inside = unpack_results(_under(given, _INSIDE))
    has_walked = given.get("has_walked")
    there = iter(_unpack_walked(_under(given, _WALKED)) if has_walked is not None else ())
    walked = [next(there) if has else None for has in has_walked or []]
    return [
        TunnelResult(
            ranked_of(result),
            exact=result.exact,
            inside=inside[at],
            well_size=given["well_size"][at],
            eligible=given["eligible"][at],
            query=given["query"][at],
            walked=walked[at] if walked else None,
            warnings=result.warnings,
            include_vectors=holds_vectors(result),
        )
        for at, result in enumerate(unpack_results(given))
    ]


def pack_records(records: Sequence[Record | None]) -> Fields:
    """Absent ones have version 0 and neither a body nor a vector."""
    there = [record for record in records if record is not None]
    return {
        "versions": [0 if record is None else record.version for record in records],
        "vectors": _stacked([record.vector for record in there]),
        **_bodies([Body.of(record).packed() for record in there]),
    }


def unpack_records(given: Fields) -> list[Record | None]:
    there = zip(_slices(given), given["vectors"], strict=True)
    records: list[Record | None] = []
    for version in required(given, "versions"):
        if version:
            body, vector = next(there)
            records.append(Body.unpacked(body).record(version, vector))
        else:
            records.append(None)
    return records


def _ranked(given: Fields) -> list[Ranked]:
    ends = given["ends"]
    if not ends or not given["ids"]:
        return [empty_ranked(**_empty_columns(given)) for _ in ends]
    _check_lengths(given, ends[-1])
    paths, tunneled = given.get("paths"), given.get("tunneled")
    values = dict(zip(given["columns"], given["values"].T, strict=True))
    ranked: list[Ranked] = []
    for start, stop in zip([0, *ends], ends, strict=False):
        cut = slice(start, stop)
        columns = {name: column[cut] for name, column in values.items()}
        ranked.append(
            Ranked(
                **{name: columns[name] for name in _COLUMNS if name in columns},
                found=Received(given, start, stop),
                terms=_under(columns, _TERM),
                scale=given["scale"],
                tunneled=None if tunneled is None else tunneled[cut].view(np.bool_),
                paths=list if paths is None else partial(_tuples, paths[cut]),
            )
        )
    return ranked


def _check_lengths(given: Fields, count: int) -> None:
    """What is read later must be there now. Raises ValueError."""
    for name in ("ids", "versions", "record_ends", "values", "tunneled", "vectors"):
        if name in given and len(given[name]) != count:
            raise ValueError(f"{name} has length {len(given[name])}, not {count}")


def _empty_columns(given: Fields) -> dict[str, Any]:
    nothing = np.empty(0)
    there = {name: nothing for name in ("weight", "prominence") if name in given.get("columns", ())}
    return {"scale": given.get("scale", {}), **there}


def _tuples(paths: list[list[str]]) -> list[tuple[str, ...]]:
    return [tuple(path) for path in paths]


def _pack_walked(walked: Sequence[Walked]) -> Fields:
    return {
        "ends": list(accumulate(len(one.ids) for one in walked)),
        "edge_ends": list(accumulate(len(one.edges) for one in walked)),
        "ids": [id for one in walked for id in one.ids],
        "vectors": _joined([one.vectors for one in walked]),
        "probability": _joined([one.probability for one in walked]),
        "inside": _joined([one.inside for one in walked]).view(np.uint8),
        "edges": _joined([one.edges for one in walked]),
        "weights": _joined([one.weights for one in walked]),
    }


def _unpack_walked(given: Fields) -> list[Walked]:
    ends, edge_ends = given["ends"], given["edge_ends"]
    out: list[Walked] = []
    for start, stop, first, last in zip([0, *ends], ends, [0, *edge_ends], edge_ends, strict=False):
        out.append(
            Walked(
                ids=given["ids"][start:stop],
                vectors=given["vectors"][start:stop],
                probability=given["probability"][start:stop],
                inside=given["inside"][start:stop].view(np.bool_),
                edges=given["edges"][first:last],
                weights=given["weights"][first:last],
            )
        )
    return out


def _bodies(bodies: Sequence[bytes]) -> Fields:
    return {
        "records": np.frombuffer(b"".join(bodies), np.uint8),
        "record_ends": list(accumulate(map(len, bodies))),
    }


def _slices(given: Fields, start: int = 0, stop: int | None = None) -> list[memoryview]:
    """The packed bodies of some of the records, or of all."""
    content: memoryview = required(given, "records").data
    ends = required(given, "record_ends")
    bounds = [ends[start - 1] if start else 0, *ends[start:stop]]
    return [content[begin:end] for begin, end in pairwise(bounds)]


def _under(given: Mapping[str, Any], prefix: str) -> Fields:
    return {name.removeprefix(prefix): column for name, column in given.items() if name.startswith(prefix)}


def _joined(columns: Sequence[Any]) -> NDArray[Any]:
    joined: NDArray[Any] = columns[0] if len(columns) == 1 else np.concatenate(columns or [np.empty(0)])
    return joined


def _stacked(vectors: Sequence[Vectors]) -> Vectors:
    return np.stack(vectors) if vectors else np.empty((0, 0), np.float32)
