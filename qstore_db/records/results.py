"""What queries give back. Results are sequences that decode ids and metadata on first access only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import ArgumentError
from qstore_db.records.metadata import Value
from qstore_db.records.metric import Floats
from qstore_db.records.record import Record
from qstore_db.records.vector import Vectors

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a match stands where it does: `score` is the sum of `terms`, which were divided by `scale`."""

    score: float
    terms: Mapping[str, float]
    scale: Mapping[str, float]
    path: tuple[str, ...] = ()
    """tunnel_search only: the ids over which most of the probability came, from a record near the query to the
    match's own neighbour. Empty where it started at the match itself, or never came."""

    def __str__(self) -> str:
        terms = " ".join(f"{value:+.6g} ({name})" for name, value in self.terms.items())
        scale = ", ".join(f"{name} = {value:.6g}" for name, value in self.scale.items())
        path = f"   over {' -> '.join(self.path)}" if self.path else ""
        return f"score {self.score:.6g} = {terms}   [{scale}]{path}"


@dataclass(frozen=True, slots=True)
class Match:
    """One result of a query.

    Guarantees: `score` orders the list it came in; `distance` is in the collection's metric (l2: squared);
    metadata belongs to the same version of the record as the vector that was compared.
    """

    id: str
    score: float
    distance: float
    similarity: float
    weight: float | None
    """Born probability in [0, 1] of the queried context; None for a plain query."""
    metadata: Mapping[str, Value]
    contexts: tuple[tuple[str, float], ...]
    version: int
    vector: Vectors | None = None
    """(d,) float32 as stored, when the query asked for vectors."""
    tunneled: bool | None = None
    """tunnel_search only: whether the record lies beyond the barrier."""
    _explanation: Explanation | None = field(default=None, repr=False)

    def explain(self) -> Explanation:
        """The parts of the score."""
        if self._explanation is None:
            return Explanation(self.score, {"score": self.score}, {})
        return self._explanation


class Found(Protocol):
    """The m records behind ranked columns, read when somebody asks."""

    def ids(self) -> list[str]: ...
    def rows(self) -> NDArray[np.int64]:
        """(m,) their versions."""
        ...

    def bodies(self) -> list[bytes]:
        """The records without their vectors, as `Body.packed` packs them."""
        ...

    def records(self, *, vectors: bool) -> list[Record]:
        """Only with `vectors` do theirs hold anything."""
        ...


class _Nothing:
    """What is left to be read of records that have been."""

    def ids(self) -> list[str]:
        return []

    def rows(self) -> NDArray[np.int64]:
        return np.empty(0, np.int64)

    def bodies(self) -> list[bytes]:
        return []

    def records(self, *, vectors: bool) -> list[Record]:  # noqa: ARG002 - there are none
        return []


@dataclass(frozen=True, slots=True)
class Ranked:
    """Ranked columns of one result, all of length m, best first.

    `terms` are the score's parts by name, each (m,) float64, adding up to `score`; `scale` what they were
    divided by. `found` reads from the snapshot that the query ran on.
    """

    score: Floats
    distance: Floats
    similarity: Floats
    found: Found
    weight: Floats | None = None
    terms: Mapping[str, Floats] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)
    tunneled: NDArray[np.bool_] | None = None
    prominence: Floats | None = None
    """Objective mode: how far each stands out, in the unit of the objective."""
    paths: Callable[[], list[tuple[str, ...]]] = list
    """Of each row its `Explanation.path`; none at all where nothing walked."""


@dataclass(frozen=True, slots=True, eq=False)
class Walked:
    """What a tunnelling search walked over: the records that received most probability, and their edges."""

    ids: list[str]
    vectors: Vectors
    """(m, d) float32 in search space: unit rows under cosine."""
    probability: Floats
    """(m,) what the walk brought to each."""
    inside: NDArray[np.bool_]
    """(m,) whether it lies in the well."""
    edges: NDArray[np.int64]
    """(e, 2) positions in `ids`, each edge once."""
    weights: Floats
    """(e,) in (0, 1]."""


class QueryResult(Sequence[Match]):
    """Matches, best first. `len`, `ids`, `scores` and `distances` need no metadata; matches load it once.

    `exact` is True when the answer is certain to be the true top k under the query's own ranking; a graph
    index answers within the collection's `target_recall` and says False.
    """

    __slots__ = ("_include_vectors", "_matches", "_ranked", "exact", "warnings")

    def __init__(
        self,
        ranked: Ranked | Callable[[], Ranked],
        *,
        exact: bool,
        warnings: tuple[str, ...] = (),
        include_vectors: bool = False,
    ) -> None:
        self._ranked = ranked
        self._include_vectors = include_vectors
        self._matches: list[Match] | None = None
        self.exact = exact
        self.warnings = warnings

    def __len__(self) -> int:
        return len(self._columns().score)

    @overload
    def __getitem__(self, index: int) -> Match: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Match]: ...
    def __getitem__(self, index: int | slice) -> Match | Sequence[Match]:
        return self._load()[index]

    def __iter__(self) -> Iterator[Match]:
        return iter(self._load())

    def __repr__(self) -> str:
        head = ", ".join(f"{id} ({d:.4g})" for id, d in zip(self.ids[:5], self.distances[:5], strict=True))
        more = ", ..." if len(self) > 5 else ""
        return f"{type(self).__name__}({len(self)} matches, exact={self.exact}: {head}{more})"

    @property
    def ids(self) -> list[str]:
        """Ids, best first. Reads no record."""
        ranked, matches = self._columns(), self._matches
        return ranked.found.ids() if matches is None else [match.id for match in matches]

    @property
    def scores(self) -> Floats:
        """(m,) float64, descending."""
        return self._columns().score

    @property
    def distances(self) -> Floats:
        """(m,) float64, in the collection's metric."""
        return self._columns().distance

    def to_arrow(self) -> pa.Table:
        """One row a match; the columns are `tabular.matches_to_arrow`'s."""
        from qstore_db.records.tabular import matches_to_arrow

        return matches_to_arrow(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: a table of the first matches."""
        from qstore_db.records.showing import query_html

        return query_html(self)

    def _columns(self) -> Ranked:
        """The ranked columns; a batch of queries leaves even these to the first who looks."""
        ranked = self._ranked
        if not isinstance(ranked, Ranked):
            self._ranked = ranked = ranked()
        return ranked

    def _load(self) -> list[Match]:
        ranked, matches = self._columns(), self._matches
        if matches is None:
            self._matches = matches = list(self._build(ranked))
            # A kept result must not keep alive the snapshot that its query ran on.
            self._ranked = replace(ranked, found=_Nothing(), paths=list)
        return matches

    def _build(self, r: Ranked) -> Iterator[Match]:
        paths = r.paths() or [()] * len(r.score)
        records = r.found.records(vectors=self._include_vectors)
        for i, record, path in zip(range(len(r.score)), records, paths, strict=True):
            yield Match(
                id=record.id,
                score=float(r.score[i]),
                distance=float(r.distance[i]),
                similarity=float(r.similarity[i]),
                weight=None if r.weight is None else float(r.weight[i]),
                metadata=record.metadata,
                contexts=record.contexts,
                version=record.version,
                vector=record.vector if self._include_vectors else None,
                tunneled=None if r.tunneled is None else bool(r.tunneled[i]),
                _explanation=Explanation(
                    float(r.score[i]),
                    {name: float(term[i]) for name, term in r.terms.items()},
                    r.scale,
                    path,
                ),
            )


class TunnelResult(QueryResult):
    """What was reached, best first, beside `inside`: the plain neighbours in the well, nearest first.

    `well_size` counts the records inside the barrier, `eligible` those that filter and context admit. `query` is
    the vector that was asked for, (d,) float32, and `walked` what was walked over: None without `include_vectors`.
    Objective mode alone has `prominence`, (m,) float64: how far down one has to go from each match to a better one.
    """

    __slots__ = ("eligible", "inside", "query", "walked", "well_size")

    def __init__(
        self,
        ranked: Ranked | Callable[[], Ranked],
        *,
        exact: bool,
        inside: QueryResult,
        well_size: int,
        eligible: int,
        query: Vectors,
        walked: Walked | None = None,
        warnings: tuple[str, ...] = (),
        include_vectors: bool = False,
    ) -> None:
        super().__init__(ranked, exact=exact, warnings=warnings, include_vectors=include_vectors)
        self.inside = inside
        self.query = query
        self.walked = walked
        self.well_size = well_size
        self.eligible = eligible

    @property
    def prominence(self) -> Floats | None:
        return self._columns().prominence

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the walk on matplotlib axes: the query, the well, what lies beyond it, the edges walked.

        In two dimensions, the principal components of what was walked over. ax: None for a new figure. Returns the
        axes. Raises ArgumentError unless the search had `include_vectors=True`, ConfigurationError without
        matplotlib.
        """
        if not self._include_vectors:
            raise ArgumentError(
                "a plot needs the vectors that were walked over: search with include_vectors=True",
                subject="include_vectors",
            )
        from qstore_db.pictures.axes import plot_walk
        from qstore_db.records.showing import walk_of

        return plot_walk(walk_of(self), ax)

    def _repr_html_(self) -> str:
        """What a notebook shows: the well in a line, the picture of `walked` where there is one, and a table."""
        from qstore_db.records.showing import tunnel_html

        return tunnel_html(self)


@dataclass(frozen=True, slots=True)
class Page(Sequence[Record]):
    """Part of a scroll, in the order of last writes. `cursor` continues it; None at the end."""

    records: tuple[Record, ...]
    cursor: str | None

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        return self.records[index]

    def to_arrow(self) -> pa.Table:
        """One row a record; the columns are `tabular.records_to_arrow`'s."""
        from qstore_db.records.tabular import records_to_arrow

        return records_to_arrow(self.records)


def ranked_of(result: QueryResult) -> Ranked:
    """The ranked columns behind a result, for those who pass it on."""
    return result._columns()


def holds_vectors(result: QueryResult) -> bool:
    """Whether the search was asked to include them."""
    return result._include_vectors


def empty_ranked(**columns: Any) -> Ranked:
    """The ranked columns of a result without matches."""
    nothing = np.empty(0)
    return Ranked(nothing, nothing, nothing, _Nothing(), **columns)
