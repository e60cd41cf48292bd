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
from qstore_db.engines.embedded.columns import NotIndexed, number_at
from qstore_db.engines.embedded.kernels import by_products, distances, exact_rows, nearest, slack, unpack
from qstore_db.engines.embedded.part import Admitted, Part
from qstore_db.engines.links import Links
from qstore_db.records import Metadata, Metric, Record, Vectors, unit_rows

if TYPE_CHECKING:
    from qstore_db.engines.embedded.store import Store

ROWS_PER_WIDTH = 16
"""Exactly searched rows that cost as much as one unit of a graph's search width (measured: 7 at 784
dimensions, 31 at 96)."""
_WAGER = 2
"""A graph is asked under a selection only where that costs this many times less than the exact search, which has
to follow where too few of the neighbours are admitted."""
SMOOTHING_STEPS = 3
SMOOTHING_SHARE = 0.95
"""Of a weight, what comes from the neighbours at each step; the rest is the record's own."""
_MOST_SMOOTHED = 64
"""Contexts whose smoothed weights are kept."""
_READ_ROWS = 4_096
_SPARE = 8
"""Extra candidates from a float32 search, so that summing in float64 can still reorder the last ones."""

Indices = NDArray[np.int64]


class Snapshot:
    """One published state. Holding it, or a result that has not been read yet, keeps its superseded rows
    stored."""

    __slots__ = (
        "__weakref__",
        "_offsets",
        "_smoothed",
        "_store",
        "cid",
        "links",
        "parts",
        "sequence",
        "spec",
    )

    def __init__(
        self,
        store: Store,
        cid: int,
        spec: CollectionSpec,
        sequence: int,
        parts: tuple[Part, ...],
        links: Links | None,
        smoothed: dict[str, Floats],
    ) -> None:
        """`smoothed`: context weights smoothed over `links` so far, by context; shared by snapshots with these."""
        self._store = store
        self.cid = cid
        self.spec = spec
        self.sequence = sequence
        self.parts = parts
        self.links = links
        self._smoothed = smoothed
        self._offsets = np.cumsum([0, *(part.n for part in parts)])

    def __len__(self) -> int:
        return int(self._offsets[-1])

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
        nearest_first = [
            self._by_id(r, p, k) if tie else (r[:k], p[:k])
            for r, p, tie in zip(raw, place, tied.tolist(), strict=True)
        ]
        return [
            SnapshotHits(self, query, r, p, exact, told)
            for query, (r, p) in zip(queries, nearest_first, strict=True)
        ]

    def scan(self, query: Vectors, selection: Selection) -> SnapshotHits:
        queries = self._prepare(query[None])
        raws: list[Floats] = [np.empty(0)]
        places: list[Indices] = [np.empty(0, np.int64)]
        exact = True
        warnings: list[str] = []
        for part, offset in zip(self.parts, self._offsets, strict=False):
            admitted = self._admitted(part, selection)
            if admitted.warning:
                warnings.append(admitted.warning)
            positions = admitted.positions(part.n)
            if len(positions):
                exact &= part.graph is None or part.graph.precise
                raw = distances(part.matrix, queries, positions[None], self.spec.metric)
                raws.append(raw[0].astype(np.float64))
                places.append(positions + offset)
        return SnapshotHits(
            self,
            queries[0],
            np.concatenate(raws),
            np.concatenate(places),
            exact,
            tuple(dict.fromkeys(warnings)),
        )

    def eligible(self, selection: Selection) -> NDArray[np.bool_] | None:
        found = [self._admitted(part, selection) for part in self.parts]
        if all(admitted.bits is None for admitted in found):
            return None
        masks = [
            np.ones(part.n, np.bool_) if admitted.bits is None else unpack(admitted.bits, part.n)
            for part, admitted in zip(self.parts, found, strict=True)
        ]
        return masks[0] if len(masks) == 1 else np.concatenate(masks)

    def at(self, query: Vectors, places: Indices) -> SnapshotHits:
        return SnapshotHits(self, self._prepare(query[None])[0], None, places, False, ())

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

    def stored_vectors(self, rows: NDArray[np.int64]) -> Vectors:
        """(m, d) float32 in search space, from the records themselves."""
        out = np.empty((len(rows), self.spec.dimension), np.float32)
        for start in range(0, len(rows), _READ_ROWS):
            records = self._store.records(self.cid, rows[start : start + _READ_ROWS])
            out[start : start + len(records)] = [record.vector for record in records]
        return self._prepare(out)

    def weights(self, context: str, places: Indices) -> Floats:
        out = np.zeros(len(places))
        for part, positions, where in self.by_part(places):
            out[where] = part.columns.weights(context, positions, part.n)
        return out

    def smoothed_weights(self, context: str, places: Indices) -> Floats:
        """Weights after label propagation over the links; as stored where there are none."""
        links = self.links
        if links is None:
            return self.weights(context, places)
        smooth = self._smoothed.get(context)
        if smooth is None:
            stored = self.weights(context, np.arange(len(links)))
            smooth = links.smoothed(stored, SMOOTHING_STEPS, SMOOTHING_SHARE)
            if len(self._smoothed) < _MOST_SMOOTHED:
                self._smoothed[context] = smooth
        linked = places < len(links)
        out = np.empty(len(places))
        out[linked] = smooth[places[linked]]
        out[~linked] = self.weights(context, places[~linked])
        return out

    def numbers(self, path: str) -> Floats:
        found = [np.empty(0)]
        for part in self.parts:
            try:
                found.append(part.columns.numbers(path, part.n))
            except NotIndexed:
                values = np.full(part.n, np.nan)
                alive = np.flatnonzero(~part.dead_mask())  # the others may be gone from the store
                metadata = self._store.metadata(self.cid, part.rows[alive])
                values[alive] = [number_at(m, path) for m in metadata]
                found.append(values)
        return np.concatenate(found)

    def vectors(self, places: Indices) -> Vectors:
        """(m, d) float32 in search space."""
        out = np.empty((len(places), self.spec.dimension), np.float32)
        for part, positions, where in self.by_part(places):
            out[where] = part.matrix[positions]
        return out

    def distances(self, places: Indices, others: Indices) -> Vectors:
        """Raw float32 distances (m, k) of the records at `places` (m,) to those at `others` (m, k)."""
        queries = self.vectors(places)
        if len(self.parts) == 1:
            return distances(self.parts[0].matrix, queries, others, self.spec.metric)
        raw = np.empty(others.shape, np.float32)
        for part, positions, where in self.by_part(others.ravel()):
            owner = where // others.shape[1]
            raw.ravel()[where] = distances(part.matrix, queries[owner], positions[:, None], self.spec.metric)[
                :, 0
            ]
        return raw

    def _undistanced(self, places: Indices) -> SnapshotHits:
        query = np.zeros(self.spec.dimension, np.float32)
        return SnapshotHits(self, query, np.zeros(len(places)), places, True, ())

    def rows_at(self, places: Indices) -> NDArray[np.int64]:
        """Row numbers (= versions) at places in this snapshot."""
        out = np.empty(len(places), np.int64)
        for part, positions, where in self.by_part(places):
            out[where] = part.rows[positions]
        return out

    def rows(self) -> NDArray[np.int64]:
        """Row numbers at all places, ascending."""
        return np.concatenate([np.empty(0, np.int64), *(part.rows for part in self.parts)])

    def place_of(self, version: int) -> int | None:
        for part, offset in zip(self.parts, self._offsets, strict=False):
            position = int(np.searchsorted(part.rows, version))
            if position < part.n and part.rows[position] == version:
                return int(offset) + position
        return None

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

    def records(self, places: Indices, *, vectors: bool = True) -> list[Record]:
        return self._store.records(self.cid, self.rows_at(places), vectors=vectors)

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
        """Raw values (q, k) ascending with their positions; `k` is at most what is admitted."""
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
        while len(waiting) and _WAGER * ROWS_PER_WIDTH * graph.width.of(fetch) < admitted.count:
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
            return *self._exact(part, queries, k, admitted), graph.precise
        if len(waiting):
            r, p = self._exact(part, queries[waiting], k, admitted)
            raw[waiting], positions[waiting] = r, p
        return raw, positions, False

    def _graph(self, part: Part, queries: Vectors, k: int, width: int) -> tuple[Floats, Indices]:
        graph = part.graph
        assert graph is not None
        raw, positions = graph.search(queries, k, width)
        if (positions < 0).any():  # a graph whose links do not reach every row
            raw, positions = nearest(part.matrix, queries, k, self.spec.metric)
        return raw.astype(np.float64), positions

    def _exact(self, part: Part, queries: Vectors, k: int, admitted: Admitted) -> tuple[Floats, Indices]:
        """Exactly the k nearest admitted, ties by id: float32 proposes, float64 decides.

        What float32 left out could still belong to the result where its distance was within the rounding error.
        Such queries are asked again for more, and in the end compared with everything.
        """
        raw = np.empty((len(queries), k))
        positions = np.empty((len(queries), k), np.int64)
        waiting = np.arange(len(queries))
        fetch = min(k + k // 8 + _SPARE, admitted.count)
        while len(waiting) and fetch * 4 <= max(admitted.count, 4 * (k + k // 8 + _SPARE)):
            r, p, sure = self._propose(part, queries[waiting], k, fetch, admitted)
            if len(waiting) == len(raw) and sure.all() and not (fetch > k and (r[:, k] == r[:, k - 1]).any()):
                return r[:, :k], p[:, :k]
            for at, values, places in zip(waiting[sure], r[sure], p[sure], strict=True):
                raw[at], positions[at] = self._cut(part, values, places, k)
            waiting = waiting[~sure]
            fetch *= 4
        for at in waiting.tolist():
            everything = admitted.positions(part.n)
            values = exact_rows(part.matrix, queries[at : at + 1], everything[None], self.spec.metric)[0]
            order = np.argsort(values, kind="stable")
            raw[at], positions[at] = self._cut(part, values[order], everything[order], k)
        return raw, positions

    def _propose(
        self, part: Part, queries: Vectors, k: int, fetch: int, admitted: Admitted
    ) -> tuple[Floats, Indices, NDArray[np.bool_]]:
        """The `fetch` nearest in float32, ordered in float64, and for which queries they hold the k nearest."""
        metric = self.spec.metric
        coarse, positions = nearest(part.matrix, queries, fetch, metric, admitted.bits)
        # Squares overflow float32 from 1.8e19 on: FAISS then leaves places empty, or orders by infinity.
        sound = np.asarray((np.isfinite(coarse) & (positions >= 0)).all(axis=1), np.bool_)
        raw = exact_rows(part.matrix, queries, np.maximum(positions, 0), metric)
        order = np.argsort(raw, axis=1, kind="stable")
        raw = np.take_along_axis(raw, order, 1)
        if fetch < admitted.count:
            reach = raw[:, k - 1]
            peak = part.peak() if metric is Metric.DOT else 0.0
            product = by_products(len(queries), admitted.bits)
            sound = sound & (coarse[:, -1] - reach > slack(queries, reach, metric, peak, product=product))
        return raw, np.take_along_axis(positions, order, 1), sound

    def _cut(self, part: Part, raw: Floats, positions: Indices, k: int) -> tuple[Floats, Indices]:
        """The first k of one part, ties at the cut by id."""
        if len(raw) > k and raw[k] == raw[k - 1]:
            start, stop = np.searchsorted(raw, raw[k - 1], "left"), np.searchsorted(raw, raw[k - 1], "right")
            tied = positions[start:stop].tolist()
            ids = part.source.ids
            tied.sort(key=ids.__getitem__)
            positions = np.concatenate([positions[:start], np.array(tied, np.int64)])
        return raw[:k], positions[:k]

    def _by_id(self, raw: Floats, places: Indices, k: int) -> tuple[Floats, Indices]:
        """The first k over all parts, ties in the order of their ids."""
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

    __slots__ = ("_places", "_query", "_raw", "_snapshot", "exact", "warnings")

    def __init__(
        self,
        snapshot: Snapshot,
        query: Vectors,
        raw: Floats | None,
        places: Indices,
        exact: bool,
        warnings: tuple[str, ...],
    ) -> None:
        self._snapshot = snapshot
        self._query = query
        self._places = places
        self._raw = raw
        self.exact = exact
        self.warnings = warnings

    def __len__(self) -> int:
        return len(self._places)

    @property
    def places(self) -> Indices:
        return self._places

    @property
    def raw(self) -> Floats:
        if self._raw is None:
            self._raw = np.empty(len(self))
            metric = self._snapshot.spec.metric
            for part, positions, where in self._snapshot.by_part(self._places):
                self._raw[where] = distances(part.matrix, self._query[None], positions[None], metric)[0]
        return self._raw

    def take(self, order: NDArray[np.intp]) -> SnapshotHits:
        raw = None if self._raw is None else self._raw[order]
        return SnapshotHits(self._snapshot, self._query, raw, self._places[order], self.exact, self.warnings)

    def refined(self) -> SnapshotHits:
        raw = np.empty(len(self))
        metric = self._snapshot.spec.metric
        for part, positions, where in self._snapshot.by_part(self._places):
            raw[where] = exact_rows(part.matrix, self._query[None], positions[None], metric)[0]
        return SnapshotHits(self._snapshot, self._query, raw, self._places, self.exact, self.warnings)

    def ids(self) -> list[str]:
        return self._snapshot.ids(self._places)

    def rows(self) -> NDArray[np.int64]:
        """The op sequences of their last writes, which are their versions."""
        return self._snapshot.rows_at(self._places)

    def weights(self, contexts: Sequence[str], *, denoise: bool = False) -> Floats:
        read = self._snapshot.smoothed_weights if denoise else self._snapshot.weights
        columns = [read(name, self._places) for name in contexts]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self), 0))

    def updated(self) -> Floats:
        out = np.empty(len(self))
        for part, positions, where in self._snapshot.by_part(self._places):
            out[where] = part.columns.updated.data[positions]
        return out

    def vectors(self) -> Vectors:
        return self._snapshot.vectors(self._places)

    def records(self, *, vectors: bool = True) -> list[Record]:
        return self._snapshot.records(self._places, vectors=vectors)
