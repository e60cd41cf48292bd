"""Records of one snapshot by their places in it, fetched lazily."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import Floats, Hits
from qstore_db.engines.embedded.kernels import Positions, crosswise, distances, exact_rows
from qstore_db.records import Record, Vectors

if TYPE_CHECKING:
    from qstore_db.engines.embedded.view import Snapshot


class SnapshotHits:
    """Records of one snapshot by their places in it."""

    __slots__ = ("_places", "_query", "_raw", "_rows", "_snapshot", "exact", "warnings")

    def __init__(
        self,
        snapshot: Snapshot,
        query: Vectors,
        raw: Floats | None,
        places: Positions,
        exact: bool,
        warnings: tuple[str, ...],
    ) -> None:
        self._snapshot = snapshot
        self._query = query
        self._places = places
        self._raw = raw
        self._rows: NDArray[np.int64] | None = None
        self.exact = exact
        self.warnings = warnings

    def __len__(self) -> int:
        return len(self._places)

    @property
    def places(self) -> Positions:
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
        if self._rows is None:
            self._rows = self._snapshot.rows_at(self._places)
        return self._rows

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

    def between(self, others: Hits) -> Vectors:
        return crosswise(self.vectors(), others.vectors(), self._snapshot.spec.metric)

    def bodies(self) -> list[bytes]:
        return self._snapshot.bodies(self.rows())

    def records(self, *, vectors: bool = True) -> list[Record]:
        return self._snapshot.records(self._places, vectors=vectors)
