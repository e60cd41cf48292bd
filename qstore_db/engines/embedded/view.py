"""Snapshots: one immutable state of a collection, and every read on it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import CollectionSpec, Floats, Selection
from qstore_db.engines.embedded.columns import NotIndexed, number_at
from qstore_db.engines.embedded.hits import SnapshotHits
from qstore_db.engines.embedded.kernels import Positions, distances, unpack
from qstore_db.engines.embedded.part import Admitted, Part
from qstore_db.engines.embedded.searching import search_part
from qstore_db.engines.embedded.segment import PackedIds
from qstore_db.engines.links import Links
from qstore_db.records import Metadata, Metric, Record, Vectors, unit_rows

if TYPE_CHECKING:
    from qstore_db.engines.embedded.store import Store

SMOOTHING_STEPS = 3
SMOOTHING_SHARE = 0.95
"""Of a weight, what comes from the neighbours at each step; the rest is the record's own."""
_MOST_SMOOTHED = 64
"""Contexts whose smoothed weights are kept."""
_READ_ROWS = 4_096


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

    @property
    def unindexed(self) -> int:
        """Rows that every search is compared with, for want of a graph over them."""
        return sum(part.n for part in self.parts if part.graph is None)

    def count(self, selection: Selection) -> int:
        return sum(self._admitted(part, selection).count for part in self.parts)

    def search(self, queries: Vectors, k: int, selection: Selection) -> Sequence[SnapshotHits]:
        queries = self._prepare(queries)
        raws: list[Floats] = []
        places: list[Positions] = []
        exact = True
        warnings: list[str] = []
        for part, offset in zip(self.parts, self._offsets, strict=False):
            admitted = self._admitted(part, selection)
            if admitted.warning:
                warnings.append(admitted.warning)
            if admitted.count == 0:
                continue
            raw, positions, certain = search_part(
                part,
                queries,
                min(k, admitted.count),
                admitted,
                self.spec.metric,
                # A context is of one kind, which what a filter admits need not be.
                together=bool(selection.contexts) and selection.filter is None,
            )
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
        places: list[Positions] = [np.empty(0, np.int64)]
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

    def at(self, query: Vectors, places: Positions) -> SnapshotHits:
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

    def weights(self, context: str, places: Positions) -> Floats:
        out = np.zeros(len(places))
        for part, positions, where in self.by_part(places):
            out[where] = part.columns.weights(context, positions, part.n)
        return out

    def smoothed_weights(self, context: str, places: Positions) -> Floats:
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

    def vectors(self, places: Positions) -> Vectors:
        """(m, d) float32 in search space."""
        out = np.empty((len(places), self.spec.dimension), np.float32)
        for part, positions, where in self.by_part(places):
            out[where] = part.matrix[positions]
        return out

    def distances(self, places: Positions, others: Positions) -> Vectors:
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

    def _undistanced(self, places: Positions) -> SnapshotHits:
        query = np.zeros(self.spec.dimension, np.float32)
        return SnapshotHits(self, query, np.zeros(len(places)), places, True, ())

    def rows_at(self, places: Positions) -> NDArray[np.int64]:
        """Row numbers (= versions) at places in this snapshot."""
        if len(self.parts) == 1:
            return self.parts[0].rows[places]
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

    def by_part(self, places: Positions) -> list[tuple[Part, Positions, Positions]]:
        """Each part that `places` touch, the positions in it, and where in `places` they stand."""
        if len(self.parts) == 1:
            return [(self.parts[0], places, np.arange(len(places)))]
        owner = np.searchsorted(self._offsets, places, side="right") - 1
        out: list[tuple[Part, Positions, Positions]] = []
        for i in np.unique(owner).tolist():
            where = np.flatnonzero(owner == i)
            out.append((self.parts[i], places[where] - self._offsets[i], where))
        return out

    def records(self, places: Positions, *, vectors: bool = True) -> list[Record]:
        return self._store.records(self.cid, self.rows_at(places), vectors=vectors)

    def bodies(self, rows: NDArray[np.int64]) -> list[bytes]:
        return self._store.bodies(self.cid, rows)

    def ids(self, places: Positions) -> list[str]:
        if len(self.parts) == 1:
            known = self.parts[0].source.ids
            if isinstance(known, PackedIds):
                return known.names(places)
            return [known[position] for position in places.tolist()]
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

    def _by_id(self, raw: Floats, places: Positions, k: int) -> tuple[Floats, Positions]:
        """The first k over all parts, ties in the order of their ids."""
        edges = np.flatnonzero(np.concatenate([[True], raw[1:] != raw[:-1], [True]]))
        places = places.copy()
        for start, stop in pairwise(edges.tolist()):
            if stop - start > 1 and start < k:
                group = places[start:stop]
                ids = self.ids(group)
                places[start:stop] = group[sorted(range(len(ids)), key=ids.__getitem__)]
        return raw[:k], places[:k]
