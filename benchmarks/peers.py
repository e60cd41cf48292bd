"""Other libraries that search vectors in process, behind one face.

Each is built with its own recommended kind of index, searched on all cores where it can, and widened until it
reaches the wanted recall, so that speeds are compared at the same quality.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.data import Floats, Integers, Truth, VectorSet, unit

faiss = import_module("faiss")  # its stubs lack half of what it has

K = 10
BATCH = 100
EFS = (
    *(10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128),
    *(160, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048),
)
"""Search widths that a graph is tried with."""
TOLERANCE = 0.001
"""How far below a recall counts as reaching it."""


class Peer(Protocol):
    """One index over a `VectorSet`, built by its constructor."""

    name: str
    package: str
    """What must be importable."""
    calls: int
    """Queries a round: fewer for those that take long."""
    widths: Sequence[int]
    """Search widths to choose from, narrow to wide; empty where there is nothing to choose."""
    note: str
    """How it was used, for the results."""

    def __init__(self, data: VectorSet, scratch: Path, /) -> None: ...

    def search(self, queries: Floats) -> Sequence[Integers]:
        """Positions of the 10 nearest of each of up to 100 queries."""
        ...

    def widen(self, width: int) -> None: ...

    def close(self) -> None: ...


class Faiss:
    """Raw FAISS: the graph that our own index uses too, without a database around it."""

    name = "faiss HNSW"
    package = "faiss"
    calls = 1_000
    widths: Sequence[int] = EFS
    note = "IndexHNSWFlat, 32 links, efConstruction 200"

    def __init__(self, data: VectorSet, _scratch: Path, /) -> None:
        self._prepare = unit if data.metric == "cosine" else np.ascontiguousarray
        self._index = faiss.IndexHNSWFlat(data.base.shape[1], 32)
        self._index.hnsw.efConstruction = 200
        self._index.add(self._prepare(data.base))
        self._parameters = faiss.SearchParametersHNSW(efSearch=64)

    def widen(self, width: int) -> None:
        self._parameters = faiss.SearchParametersHNSW(efSearch=width)

    def search(self, queries: Floats) -> Sequence[Integers]:
        found: Sequence[Integers] = self._index.search(self._prepare(queries), K, params=self._parameters)[1]
        return found

    def close(self) -> None:
        self._index.reset()


class FaissFlat:
    """Raw FAISS without an index: the rival wherever a graph does not reach the recall."""

    name = "faiss flat"
    package = "faiss"
    calls = 200
    widths: Sequence[int] = ()
    note = "IndexFlatL2, exact"

    def __init__(self, data: VectorSet, _scratch: Path, /) -> None:
        self._prepare = unit if data.metric == "cosine" else np.ascontiguousarray
        self._index = faiss.IndexFlatL2(data.base.shape[1])
        self._index.add(self._prepare(data.base))

    def widen(self, width: int) -> None:
        """Exact already."""

    def search(self, queries: Floats) -> Sequence[Integers]:
        found: Sequence[Integers] = self._index.search(self._prepare(queries), K)[1]
        return found

    def close(self) -> None:
        self._index.reset()


class Hnswlib:
    name = "hnswlib"
    package = "hnswlib"
    calls = 1_000
    widths: Sequence[int] = EFS
    note = "M 16, ef_construction 200"

    def __init__(self, data: VectorSet, _scratch: Path, /) -> None:
        hnswlib = import_module("hnswlib")
        self._index = hnswlib.Index(space=data.metric, dim=data.base.shape[1])
        self._index.init_index(max_elements=len(data), M=16, ef_construction=200)
        self._index.add_items(data.base)

    def widen(self, width: int) -> None:
        self._index.set_ef(width)

    def search(self, queries: Floats) -> Sequence[Integers]:
        return [row.astype(np.int64) for row in self._index.knn_query(queries, K)[0]]

    def close(self) -> None:
        """Nothing outside memory."""


class LanceDb:
    name = "lancedb"
    package = "lancedb"
    calls = 100
    widths: Sequence[int] = (128, 256, 512, 1024)
    note = "IVF_HNSW_SQ, refined from ten times as many, one query a call"

    def __init__(self, data: VectorSet, scratch: Path, /) -> None:
        lancedb, pa = import_module("lancedb"), import_module("pyarrow")
        dimension = data.base.shape[1]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(data.base.reshape(-1)), dimension)
        table = pa.table({"position": pa.array(np.arange(len(data))), "vector": vectors})
        self._table = lancedb.connect(str(scratch / "lance")).create_table("vectors", table)
        self._table.create_index(metric=data.metric, index_type="IVF_HNSW_SQ")
        self._metric = data.metric
        self._width = 128

    def widen(self, width: int) -> None:
        self._width = width

    def search(self, queries: Floats) -> Sequence[Integers]:
        return [self._one(query) for query in queries]

    def _one(self, query: Floats) -> Integers:
        asked: Any = self._table.search(query).distance_type(self._metric).limit(K)
        found = (
            asked.nprobes(20).ef(self._width).refine_factor(10).select(["position", "_distance"]).to_arrow()
        )
        positions: Integers = found["position"].to_numpy()
        return positions

    def close(self) -> None:
        """The table lives in the scratch folder."""


class Chroma:
    name = "chromadb"
    package = "chromadb"
    calls = 500
    widths: Sequence[int] = (100, 200, 400, 800)
    note = "embedded client on disk, its default graph, ef_search 100 or wider"

    def __init__(self, data: VectorSet, scratch: Path, /) -> None:
        chromadb = import_module("chromadb")
        logging.getLogger("chromadb").setLevel(logging.ERROR)
        settings = chromadb.Settings(anonymized_telemetry=False)
        self._client = chromadb.PersistentClient(str(scratch / "chroma"), settings)
        self._collection = self._client.create_collection(
            "vectors",
            configuration={"hnsw": {"space": data.metric}},
            embedding_function=None,
        )
        ids = data.ids
        for start in range(0, len(data), 5_000):
            piece = slice(start, start + 5_000)
            self._collection.add(ids=ids[piece], embeddings=data.base[piece])

    def widen(self, width: int) -> None:
        self._collection.modify(configuration={"hnsw": {"ef_search": width}})

    def search(self, queries: Floats) -> Sequence[Integers]:
        found = self._collection.query(query_embeddings=queries, n_results=K, include=["distances"])
        return [np.array(ids, np.int64) for ids in found["ids"]]

    def close(self) -> None:
        self._client.delete_collection("vectors")


class Qdrant:
    """The client's local mode, which scans in NumPy. It is meant for tests; no server is measured here."""

    name = "qdrant-client local"
    package = "qdrant_client"
    calls = 20
    widths: Sequence[int] = ()
    note = "local mode in memory, one query a call"

    def __init__(self, data: VectorSet, _scratch: Path, /) -> None:
        qdrant = import_module("qdrant_client")
        models = qdrant.models
        warnings.filterwarnings("ignore", category=UserWarning, module="qdrant_client")
        distance = models.Distance.EUCLID if data.metric == "l2" else models.Distance.COSINE
        self._client = qdrant.QdrantClient(":memory:")
        size = models.VectorParams(size=data.base.shape[1], distance=distance)
        self._client.create_collection("vectors", vectors_config=size)
        for start in range(0, len(data), 5_000):
            vectors = data.base[start : start + 5_000]
            ids = range(start, start + len(vectors))
            self._client.upsert("vectors", models.Batch(ids=list(ids), vectors=vectors.tolist()))

    def widen(self, width: int) -> None:
        """Exact already."""

    def search(self, queries: Floats) -> Sequence[Integers]:
        return [self._one(query) for query in queries]

    def _one(self, query: Floats) -> Integers:
        found = self._client.query_points("vectors", query=query.tolist(), limit=K, with_payload=False)
        return np.array([point.id for point in found.points], np.int64)

    def close(self) -> None:
        self._client.close()


RAW: tuple[type[Peer], ...] = (Faiss, FaissFlat)
"""What our own search is made of, without a database around it."""
MAKERS: tuple[type[Peer], ...] = (*RAW, Hnswlib, LanceDb, Chroma, Qdrant)
"""In the order of the results."""


def missing(peer: type[Peer]) -> str | None:
    """Why a peer cannot take part, or None."""
    if importlib.util.find_spec(peer.package) is None:
        return f"the package {peer.package} is not installed"
    return None


def tune(
    peer: Peer, queries: Floats, truth: Truth, true: Integers, target: float
) -> tuple[int | None, float]:
    """Set the narrowest width whose recall comes within .001 of `target`, else the widest; width and recall."""
    width: int | None = None
    reached = _recall(peer, queries, truth, true) if not peer.widths else 0.0
    for width in peer.widths:
        peer.widen(width)
        reached = _recall(peer, queries, truth, true)
        if reached >= target - TOLERANCE:
            break
    return width, reached


def _recall(peer: Peer, queries: Floats, truth: Truth, true: Integers) -> float:
    return truth.recall(list(search_all(peer, queries[: peer.calls])), true)


def search_all(peer: Peer, queries: Floats) -> list[Integers]:
    """In batches of 100."""
    return [
        found
        for start in range(0, len(queries), BATCH)
        for found in peer.search(queries[start : start + BATCH])
    ]


def threads() -> int:
    """How many threads FAISS searches a batch with: all cores, here and inside the database."""
    count = len(os.sched_getaffinity(0))
    faiss.omp_set_num_threads(count)
    return count
