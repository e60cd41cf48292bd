"""Segments: rows of one collection with their vectors, ids and columns. The last one, the tail, still
grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import CollectionSpec
from qstore_db.engines.embedded.columns import Columns, Growable
from qstore_db.engines.embedded.graph import Graph
from qstore_db.engines.embedded.kernels import Rows
from qstore_db.records import Superposition, Value, Vectors


class Ids(Protocol):
    """Record ids by position."""

    def __getitem__(self, position: int) -> str: ...


class PackedIds:
    """Ids of a sealed segment: one UTF-8 blob and its offsets, a tenth of the memory of Python strings."""

    __slots__ = ("blob", "offsets")

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self.blob = blob
        self.offsets = offsets

    @classmethod
    def pack(cls, ids: Sequence[str]) -> PackedIds:
        encoded = [id.encode() for id in ids]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(e) for e in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @classmethod
    def concatenate(cls, parts: Sequence[PackedIds]) -> PackedIds:
        offsets = [np.zeros(1, np.int64)]
        base = 0
        for part in parts:
            offsets.append(part.offsets[1:] - part.offsets[0] + base)
            base += int(part.offsets[-1] - part.offsets[0])
        blob = np.concatenate([p.blob[p.offsets[0] : p.offsets[-1]] for p in parts])
        return cls(blob, np.concatenate(offsets))

    def take(self, positions: NDArray[np.int64]) -> PackedIds:
        return self.pack([self[int(p)] for p in positions])

    def names(self, positions: NDArray[np.int64]) -> list[str]:
        """Several at once, which costs a quarter of one after the other."""
        starts, stops = self.offsets[positions].tolist(), self.offsets[positions + 1].tolist()
        blob = self.blob.data
        return [str(blob[start:stop], "utf-8") for start, stop in zip(starts, stops, strict=True)]

    def __getitem__(self, position: int) -> str:
        return self.blob[self.offsets[position] : self.offsets[position + 1]].tobytes().decode()

    @property
    def nbytes(self) -> int:
        return self.blob.nbytes + self.offsets.nbytes


class Segment:
    """Immutable rows: `rows` (n,) ascending int64, `matrix` (n, d) in search space, columns, perhaps a graph.

    The graph, where there is one, owns the memory behind `matrix`. `file` names the snapshot that holds it.
    `settled` is the (index, storage) for which no graph is to be built: it would not meet the recall target, or
    none is wanted. With another index or storage a graph is tried again.
    """

    __slots__ = ("columns", "file", "graph", "ids", "matrix", "n", "rows", "settled")

    def __init__(
        self,
        rows: NDArray[np.int64],
        ids: PackedIds,
        matrix: Rows,
        columns: Columns,
        graph: Graph | None = None,
        file: str | None = None,
        settled: tuple[str, str] | None = None,
    ) -> None:
        self.n = len(rows)
        self.rows = rows
        self.ids: Ids = ids
        self.matrix = matrix
        self.columns = columns
        self.graph = graph
        self.file = file
        self.settled = settled

    @property
    def packed(self) -> PackedIds:
        assert isinstance(self.ids, PackedIds)
        return self.ids

    def wants_graph(self, spec: CollectionSpec) -> bool:
        return self.graph is None and spec.index != "flat" and self.settled != (spec.index, spec.storage)

    def memory(self) -> int:
        """Resident bytes, the graph's links included."""
        links = 0 if self.graph is None else self.graph.link_bytes
        return self.rows.nbytes + self.packed.nbytes + self.matrix.nbytes + self.columns.nbytes() + links


class Tail:
    """The newest rows, searched exactly. One thread appends; readers hold a length and ignore what came
    later."""

    __slots__ = ("columns", "graph", "ids", "matrix", "n", "rows")

    def __init__(self, dimension: int) -> None:
        self.rows = Growable(np.int64)
        self.ids: list[str] = []
        self.matrix: Vectors = np.empty((16, dimension), np.float32)
        self.columns = Columns()
        self.graph: Graph | None = None
        self.n = 0

    def append(
        self,
        row: int,
        id: str,
        vector: Vectors,
        metadata: Mapping[str, Value],
        contexts: Superposition,
        expires_at: float | None,
        updated_at: float,
    ) -> None:
        """Add one row, `vector` (d,) float32 in search space. Rows come in ascending order."""
        n = self.n
        if n == len(self.matrix):
            wider = np.empty((2 * n, self.matrix.shape[1]), np.float32)
            wider[:n] = self.matrix
            self.matrix = wider
        self.matrix[n] = vector
        self.ids.append(id)
        self.columns.add(n, metadata, contexts, expires_at, updated_at)
        self.rows.append(row)
        self.n = n + 1

    def seal(self) -> Segment:
        """The same rows as an immutable segment; the tail must not grow afterwards."""
        n = self.n
        return Segment(
            self.rows.view().copy(), PackedIds.pack(self.ids), self.matrix[:n].copy(), self.columns
        )

    def memory(self) -> int:
        ids = sum(len(id) + 60 for id in self.ids)  # str object and list slot
        return self.rows.data.nbytes + ids + self.matrix.nbytes + self.columns.nbytes()
