"""Snapshots: one immutable state of a collection, and every read on it.

Exact search covers parts without a graph and every selection that is cheap to search exactly. A graph is
asked for more neighbours than wanted until at least k of them are admitted: then the k-th admitted one lies
inside the ball that the graph explored at its measured recall, whatever the selection looks like. Where that
would cost more than the exact search, the exact search answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import CollectionSpec, Floats, Selection
from qstore_db.engines.embedded.kernels import distances, exact_rows, nearest, unpack
from qstore_db.engines.embedded.part import Admitted, Part
from qstore_db.records import Metadata, Metric, Record, Vectors, unit_rows

if TYPE_CHECKING:
    from qstore_db.engines.embedded.store import Store

ROWS_PER_WIDTH = 16
"""Exactly searched rows that cost as much as one unit of a graph's search width (measured: 7 at 784
dimensions, 31 at 96)."""
_SPARE = 8
"""Extra candidates from a float32 search, so that summing in float64 can still reorder the last ones."""

Indices = NDArray[np.int64]


class Snapshot:
    """One published state. Holding it, or a result that has not been read yet, keeps its superseded rows
    stored."""

    __slots__ = ("__weakref__", "_offsets", "_store", "cid", "parts", "sequence", "spec")

    def __init__(
        self, store: Store, cid: int, spec: CollectionSpec, sequence: int, parts: tuple[Part, ...]
    ) -> None:
        self._store = store
        self.cid = cid
        self.spec = spec
        self.sequence = sequence
        self.parts = parts
        self._offsets = np.cumsum([0, *(part.n for part in parts)])

    def count(self, selection: Selection) -> int:
        return sum(self._admitted(part, selection).count for part in self.parts)

    def search(self, queries: Vectors, k: int, selection: Selection) -> Sequence[SnapshotHits]:
        queries = self._prepare(queries)
        raws: list[Floats] = []
        places: list[Indices] = []
        exact = True
        warnings: list[str] = []
        for part, offset in zip(self.parts, self._offsets, strict=False):
            admitted = self._admitted(part, selection)
            if admitted.warning:
                warnings.append(admitted.warning)
            if admitted.count == 0:
                continue
            raw, positions, certain = self._search_part(part, queries, min(k, admitted.count), admitted)
            exact &= certain
            raws.append(raw)
            places.append(positions + offset)
        told = tuple(dict.fromkeys(warnings))
        if not raws:
            nothing = np.empty(0, np.int64)
            return [SnapshotHits(self, q, np.empty(0), nothing, True, told) for q in queries]
        raw, place = raws[0], places[0]
        if len(raws) > 1:
            raw, place = np.concatenate(raws, axis=1), np.concatenate(places, axis=1)
            order = np.argsort(raw, axis=1, kind="stable")
            raw, place = np.take_along_axis(raw, order, 1), np.take_along_axis(place, order, 1)
        tied = (raw[:, 1:] == raw[:, :-1]).any(axis=1)
        return [
            SnapshotHits(self, query, *self._cut(r, p, k, tie), exact, told)
            for query, r, p, tie in zip(queries, raw, place, tied.tolist(), strict=True)
        ]

    def scan(self, query: Vectors, selection: Selection) -> SnapshotHits:
        queries = self._prepare(query[None])
        raws: list[Floats] = [np.empty(0)]
        places: list[Indices] = [np.empty(0, np.int64)]
        warnings: list[str] = []
        for part, offset in zip(self.parts, self._offsets, strict=False):
            admitted = self._admitted(part, selection)
            if admitted.warning:
                warnings.append(admitted.warning)
            positions = admitted.positions(part.n)
            if len(positions):
                raw = distances(part.matrix, queries, positions[None], self.spec.metric)
                raws.append(raw[0].astype(np.float64))
                places.append(positions + offset)
        return SnapshotHits(
            self,
            queries[0],
            np.concatenate(raws),
            np.concatenate(places),
            True,
            tuple(dict.fromkeys(warnings)),
        )

    def select(self, selection: Selection) -> SnapshotHits:
        """Everything the selection admits, oldest write first, without distances."""
        places = [np.empty(0, np.int64)]
        for part, offset in zip(self.parts, self._offsets, strict=False):
            places.append(self._admitted(part, selection).positions(part.n) + offset)
        return self._undistanced(np.concatenate(places))

    def sample(self, count: int, seed: int) -> SnapshotHits:
        alive = self.select(Selection(now=-np.inf))._places
        chosen = np.random.default_rng(seed).choice(alive, min(count, len(alive)), replace=False)
        return self._undistanced(np.sort(chosen))

    def scroll(self, selection: Selection, limit: int, after: int) -> tuple[list[Record], int | None]:
        rows: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        wanted = limit + 1
        for part in self.parts:
            if wanted <= 0 or part.n == 0 or part.rows[-1] <= after:
                continue
            found = part.rows[self._admitted(part, selection).positions(part.n)]
            found = found[found > after][:wanted]
            rows.append(found)
            wanted -= len(found)
        chosen = np.concatenate(rows)
        more = len(chosen) > limit
        chosen = chosen[:limit]
        return self._store.records(self.cid, chosen), int(chosen[-1]) if more else None

    def _undistanced(self, places: Indices) -> SnapshotHits:
        query = np.zeros(self.spec.dimension, np.float32)
        return SnapshotHits(self, query, np.zeros(len(places)), places, True, ())

    def rows_at(self, places: Indices) -> NDArray[np.int64]:
        """Row numbers (= versions) at places in this snapshot."""
        out = np.empty(len(places), np.int64)
        for part, positions, where in self.by_part(places):
            out[where] = part.rows[positions]
        return out

    def by_part(self, places: Indices) -> list[tuple[Part, Indices, Indices]]:
        """Each part that `places` touch, the positions in it, and where in `places` they stand."""
        if len(self.parts) == 1:
            return [(self.parts[0], places, np.arange(len(places)))]
        owner = np.searchsorted(self._offsets, places, side="right") - 1
        out: list[tuple[Part, Indices, Indices]] = []
        for i in np.unique(owner).tolist():
            where = np.flatnonzero(owner == i)
            out.append((self.parts[i], places[where] - self._offsets[i], where))
        return out

    def records(self, places: Indices) -> list[Record]:
        return self._store.records(self.cid, self.rows_at(places))

    def ids(self, places: Indices) -> list[str]:
        out = [""] * len(places)
        for part, positions, where in self.by_part(places):
            ids = part.source.ids
            for position, at in zip(positions.tolist(), where.tolist(), strict=True):
                out[at] = ids[position]
        return out

    def _admitted(self, part: Part, selection: Selection) -> Admitted:
        def scan(rows: NDArray[np.int64]) -> list[Metadata]:
            return self._store.metadata(self.cid, rows)

        return part.admitted(selection, scan)

    def _prepare(self, queries: Vectors) -> Vectors:
        if self.spec.metric is Metric.COSINE:
            return unit_rows(queries)
        return np.ascontiguousarray(queries, np.float32)

    def _search_part(
        self, part: Part, queries: Vectors, k: int, admitted: Admitted
    ) -> tuple[Floats, Indices, bool]:
        """Raw values (q, >= k) ascending with their positions; `k` is at most what is admitted."""
        graph = part.graph
        if graph is None:
            return *self._exact(part, queries, k, admitted), True
        if admitted.count == part.n and ROWS_PER_WIDTH * graph.width.of(k) < part.n:
            return *self._graph(part, queries, k, graph.width.of(k)), False
        raw = np.empty((len(queries), k))
        positions = np.empty((len(queries), k), np.int64)
        waiting = np.arange(len(queries))
        fetch = int(1.5 * k * part.n / admitted.count) + 1
        allowed = np.ones(part.n, np.bool_) if admitted.bits is None else unpack(admitted.bits, part.n)
        while len(waiting) and ROWS_PER_WIDTH * graph.width.of(fetch) < admitted.count:
            r, p = self._graph(part, queries[waiting], fetch, graph.width.of(fetch))
            fits = allowed[p]
            enough = fits.sum(axis=1) >= k
            for at, values, places, mask in zip(
                waiting[enough], r[enough], p[enough], fits[enough], strict=True
            ):
                raw[at], positions[at] = values[mask][:k], places[mask][:k]
            waiting = waiting[~enough]
            fetch *= 4
        if len(waiting) == len(queries):
            return *self._exact(part, queries, k, admitted), True
        if len(waiting):
            r, p = self._exact(part, queries[waiting], k, admitted)
            raw[waiting], positions[waiting] = r[:, :k], p[:, :k]
        return raw, positions, False

    def _graph(self, part: Part, queries: Vectors, k: int, width: int) -> tuple[Floats, Indices]:
        graph = part.graph
        assert graph is not None
        raw, positions = graph.search(queries, k, width)
        if (positions < 0).any():  # a graph whose links do not reach every row
            raw, positions = nearest(part.matrix, queries, k, self.spec.metric)
        return raw.astype(np.float64), positions

    def _exact(self, part: Part, queries: Vectors, k: int, admitted: Admitted) -> tuple[Floats, Indices]:
        matrix, metric = part.matrix, self.spec.metric
        fetch = min(k + _SPARE, admitted.count)
        while True:
            coarse, positions = nearest(matrix, queries, fetch, metric, admitted.bits)
            # Ties that reach past what was fetched would make the cut depend on storage order: fetch more.
            if fetch == admitted.count or not (coarse[:, -1] <= coarse[:, k - 1]).any():
                break
            fetch = min(4 * fetch, admitted.count)
        raw = exact_rows(matrix, queries, positions, metric)
        order = np.argsort(raw, axis=1, kind="stable")
        return np.take_along_axis(raw, order, 1), np.take_along_axis(positions, order, 1)

    def _cut(self, raw: Floats, places: Indices, k: int, tied: bool) -> tuple[Floats, Indices]:
        """The first k, ties ordered by id."""
        if tied:
            edges = np.flatnonzero(np.concatenate([[True], raw[1:] != raw[:-1], [True]]))
            places = places.copy()
            for start, stop in pairwise(edges.tolist()):
                if stop - start > 1 and start < k:
                    group = places[start:stop]
                    ids = self.ids(group)
                    places[start:stop] = group[sorted(range(len(ids)), key=ids.__getitem__)]
        return raw[:k], places[:k]


class SnapshotHits:
    """Records of one snapshot by their places in it."""

    __slots__ = ("_places", "_query", "_snapshot", "exact", "raw", "warnings")

    def __init__(
        self,
        snapshot: Snapshot,
        query: Vectors,
        raw: Floats,
        places: Indices,
        exact: bool,
        warnings: tuple[str, ...],
    ) -> None:
        self._snapshot = snapshot
        self._query = query
        self._places = places
        self.raw = raw
        self.exact = exact
        self.warnings = warnings

    def __len__(self) -> int:
        return len(self._places)

    def take(self, order: NDArray[np.intp]) -> SnapshotHits:
        return SnapshotHits(
            self._snapshot, self._query, self.raw[order], self._places[order], self.exact, self.warnings
        )

    def refined(self) -> SnapshotHits:
        raw = np.empty(len(self))
        metric = self._snapshot.spec.metric
        for part, positions, where in self._snapshot.by_part(self._places):
            raw[where] = exact_rows(part.matrix, self._query[None], positions[None], metric)[0]
        return SnapshotHits(self._snapshot, self._query, raw, self._places, self.exact, self.warnings)

    def ids(self) -> list[str]:
        return self._snapshot.ids(self._places)

    def weights(self, contexts: Sequence[str]) -> Floats:
        out = np.zeros((len(self), len(contexts)))
        for part, positions, where in self._snapshot.by_part(self._places):
            for column, name in enumerate(contexts):
                out[where, column] = part.columns.weights(name, positions, part.n)
        return out

    def vectors(self) -> Vectors:
        out = np.empty((len(self), self._snapshot.spec.dimension), np.float32)
        for part, positions, where in self._snapshot.by_part(self._places):
            out[where] = part.matrix[positions]
        return out

    def records(self) -> list[Record]:
        return self._snapshot.records(self._places)
