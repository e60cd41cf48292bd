"""One collection in memory: sealed segments, the growing tail, and the snapshot that readers see."""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import CollectionSpec, Floats
from qstore_db.engines.embedded.groups import Groups
from qstore_db.engines.embedded.kernels import pack
from qstore_db.engines.embedded.part import Part
from qstore_db.engines.embedded.persist import SavedLinks
from qstore_db.engines.embedded.segment import Segment, Tail
from qstore_db.engines.embedded.store import Store
from qstore_db.engines.embedded.view import Snapshot
from qstore_db.engines.links import Links
from qstore_db.records import Body, Metadata, Metric, Superposition, Vectors, unit_rows

TAIL_ROWS = 16_384
"""The tail is searched exactly; a power of two wastes none of its doubling buffer."""


@dataclass(frozen=True, slots=True)
class Change:
    """One record written (row > 0), or only superseded (row 0), by a committed group."""

    row: int
    superseded: int
    id: str = ""
    vector: Vectors | None = None
    """(d,) float32 as stored; None where nothing was written."""
    metadata: Metadata | None = None
    contexts: Superposition = Superposition()
    expires_at: float | None = None
    updated_at: float = 0.0

    @classmethod
    def of(cls, row: int, superseded: int, body: Body, vector: Vectors) -> Change:
        """A record written as it is stored."""
        times = (body.expires_at, body.updated_at)
        return cls(row, superseded, body.id, vector, body.metadata, body.contexts, *times)


class Collection:
    """`current` is replaced, never changed: readers take it without a lock. `_lock` orders the replacers,
    which are the writer (new rows) and the builder (better segments, and links)."""

    Readers: TypeAlias = "weakref.WeakSet[Snapshot]"
    """Snapshots that somebody holds, the current one among them while the collection itself is held."""

    def __init__(self, store: Store, cid: int, spec: CollectionSpec, sequence: int) -> None:
        self._store = store
        self.cid = cid
        self._lock = threading.Lock()
        self._sealed: list[Part] = []
        self._tail = Part(Tail(spec.dimension), 0)
        self._links: Links | None = None
        self._smoothed: dict[str, Floats] = {}
        self.saved_links: SavedLinks | None = None
        """The links that the newest saved index names; set by whoever saves or loads it."""
        self.readers: Collection.Readers = weakref.WeakSet()
        self.spec = spec
        self.groups = Groups()
        self.last_write = 0.0
        self.dropped = False
        self.current = self._snapshot(sequence)

    def _snapshot(self, sequence: int) -> Snapshot:
        parts = [*self._sealed, self._tail] if self._tail.n else list(self._sealed)
        snapshot = Snapshot(
            self._store, self.cid, self.spec, sequence, tuple(parts), self._links, self._smoothed
        )
        self.readers.add(snapshot)
        return snapshot

    def oldest_held(self) -> int:
        """The lowest op sequence that somebody may still read."""
        with self._lock:
            return min(snapshot.sequence for snapshot in self.readers)

    def load(self, sealed: list[Part], sequence: int) -> None:
        """Start from segments of a snapshot."""
        with self._lock:
            self._sealed = sealed
            self.current = self._snapshot(sequence)

    def publish(self, changes: Sequence[Change], sequence: int) -> None:
        """Make committed changes visible, in order."""
        rows = iter(self._search_rows([change.vector for change in changes if change.vector is not None]))
        with self._lock:
            doomed: dict[int, list[int]] = {}
            starts = [int(part.rows[0]) for part in self._sealed]
            tail = self._tail.source
            assert isinstance(tail, Tail)
            for change in changes:
                if change.superseded:
                    self._doom(doomed, starts, tail, change.superseded)
                if change.vector is not None:
                    if tail.n >= TAIL_ROWS:
                        tail = self._roll(doomed.pop(-1, []))
                        starts = [int(part.rows[0]) for part in self._sealed]
                    tail.append(
                        change.row,
                        change.id,
                        next(rows),
                        change.metadata or {},
                        change.contexts,
                        change.expires_at,
                        change.updated_at,
                    )
            self._tail = self._tail.grown(tail.n) if tail.n != self._tail.n else self._tail
            for index, positions in doomed.items():
                if index < 0:
                    self._tail = self._tail.without(positions)
                else:
                    self._sealed[index] = self._sealed[index].without(positions)
            self.current = self._snapshot(sequence)

    def seal(self, at_least: int) -> bool:
        """Turn a tail of that many rows into a segment; whether it was."""
        with self._lock:
            if self._tail.n < max(1, at_least):
                return False
            self._roll([])
            self.current = self._snapshot(self.current.sequence)
            return True

    def replace(self, old: Sequence[Part], segment: Segment | None, links: Links | None) -> bool:
        """Put `segment`, made from the rows of consecutive parts `old`, in their place; None only drops them.

        `links` are the collection's with the nodes that `segment` left out gone from them. Rows that died since
        are marked dead. False if the parts are gone (the collection was reset meanwhile).
        """
        with self._lock:
            sources = [part.source for part in self._sealed]
            if old[0].source not in sources:
                return False
            at = sources.index(old[0].source)
            now = self._sealed[at : at + len(old)]
            if [part.source for part in now] != [part.source for part in old]:
                return False
            merged: list[Part] = []
            if segment is not None and segment.n:
                dead = np.concatenate([part.rows[part.dead_mask()] for part in now])
                merged = [_with_dead(segment, dead)]
            self._sealed[at : at + len(old)] = merged
            self._set_links(links)
            self.current = self._snapshot(self.current.sequence)
            return True

    def restore_links(self, saved: SavedLinks) -> None:
        """Start with links that were saved, over the rows that are still there."""
        here = saved.over(self.current.rows())
        self.saved_links = here if here.file is not None else None
        self.link(here.links if len(here.links) else None)

    def links_to_save(self, snapshot: Snapshot) -> SavedLinks | None:
        """What a manifest for this snapshot is to name."""
        links, saved = snapshot.links, self.saved_links
        if links is None or (saved is not None and saved.links is links):
            return saved if links is not None else None
        return SavedLinks(links, snapshot.rows()[: len(links)])

    @property
    def unsaved_links(self) -> int:
        """Bytes of links that are on no disk yet."""
        links, saved = self.current.links, self.saved_links
        return 0 if links is None or (saved is not None and saved.links is links) else links.nbytes

    def link(self, links: Links | None) -> None:
        """Replace the links; rows that came since the snapshot they were made from stay unlinked."""
        with self._lock:
            self._set_links(links)
            self.current = self._snapshot(self.current.sequence)

    def _set_links(self, links: Links | None) -> None:
        if links is not self._links:
            self._links, self._smoothed = (
                links,
                {},
            )  # what was smoothed over others stays with their snapshots

    def respecify(self, spec: CollectionSpec) -> None:
        """Another name, index or storage; rows stay."""
        with self._lock:
            self.spec = spec
            self.current = self._snapshot(self.current.sequence)

    def _search_rows(self, vectors: Sequence[Vectors]) -> Vectors:
        """Stored vectors as search sees them, a whole group at once."""
        if not vectors:
            return np.empty((0, self.spec.dimension), np.float32)
        matrix = np.stack(vectors)
        return unit_rows(matrix) if self.spec.metric is Metric.COSINE else matrix

    def _roll(self, doomed: list[int]) -> Tail:
        tail = self._tail.source
        assert isinstance(tail, Tail)
        part = self._tail.grown(tail.n)
        if doomed:
            part = part.without(doomed)
        self._sealed.append(part.replaced(tail.seal()))
        fresh = Tail(self.spec.dimension)
        self._tail = Part(fresh, 0)
        return fresh

    def _doom(self, doomed: dict[int, list[int]], starts: list[int], tail: Tail, row: int) -> None:
        if tail.n and row >= int(tail.rows.data[0]):
            doomed.setdefault(-1, []).append(int(np.searchsorted(tail.rows.view(), row)))
            return
        index = bisect_right(starts, row) - 1
        if index >= 0:
            rows = self._sealed[index].rows
            position = int(np.searchsorted(rows, row))
            if position < len(rows) and rows[position] == row and not self._sealed[index].is_dead(position):
                doomed.setdefault(index, []).append(position)


def _with_dead(segment: Segment, rows: NDArray[np.int64]) -> Part:
    positions = np.minimum(np.searchsorted(segment.rows, rows), segment.n - 1)
    positions = positions[segment.rows[positions] == rows]
    if len(positions) == 0:
        return Part(segment, segment.n)
    mask = np.zeros(segment.n, np.bool_)
    mask[positions] = True
    return Part(segment, segment.n, pack(mask), len(positions))
