"""Chroma's own server (`chroma run`), asked by its own HTTP client, which keeps its connection open."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.data import Floats, Integers, VectorSet
from benchmarks.peers import K
from benchmarks.servers.base import HOST, Client, free_port, positions, started, stopped

LINKS, BUILD_WIDTH = 16, 200
_PIECE = 5_000


class ChromaClient:
    def __init__(self, url: str, /) -> None:
        chromadb = import_module("chromadb")
        logging.getLogger("chromadb").setLevel(logging.ERROR)
        host, _, port = url.rpartition(":")
        settings = chromadb.Settings(anonymized_telemetry=False)
        self.api: Any = chromadb.HttpClient(host=host, port=int(port), settings=settings)
        self._collection: Any = None

    def search(self, query: Floats, /) -> Sequence[str]:
        collection = self._collection or self._open()
        found = collection.query(query_embeddings=query[None], n_results=K, include=["distances"])
        ids: list[str] = found["ids"][0]
        return ids

    def _open(self) -> Any:
        self._collection = self.api.get_collection("vectors", embedding_function=None)
        return self._collection

    def close(self) -> None:
        self.api.close()


class Chroma:
    name = "Chroma"
    package = "chromadb"
    calls = 1_000
    widths: Sequence[int] = (16, 20, 24, 28, 32, 40, 48, 64, 100, 200, 400, 800)
    note = f"chroma run, HNSW, max_neighbors {LINKS}, ef_construction {BUILD_WIDTH}"
    client: ClassVar[type[Client]] = ChromaClient

    def __init__(self, data: VectorSet, scratch: Path, /) -> None:
        self._scratch = scratch
        self._port = free_port()
        self.url = f"{HOST}:{self._port}"
        self._start()
        graph = {"space": data.metric, "max_neighbors": LINKS, "ef_construction": BUILD_WIDTH}
        collection = self._client.api.create_collection(
            "vectors", configuration={"hnsw": graph}, embedding_function=None
        )
        ids = data.ids
        for start in range(0, len(data), _PIECE):
            piece = slice(start, start + _PIECE)
            collection.add(ids=ids[piece], embeddings=data.base[piece])

    def _start(self) -> None:
        program = str(Path(sys.executable).with_name("chroma"))
        where = ["--path", str(self._scratch / "chroma"), "--host", HOST, "--port", str(self._port)]
        self._process = started([program, "run", *where], self._port, self._scratch / "chroma.log")
        self._client = ChromaClient(self.url)

    @property
    def pid(self) -> int:
        return self._process.pid

    def widen(self, width: int) -> None:
        """A graph that the server has loaded keeps the width it was loaded with, so the server starts anew."""
        collection = self._client.api.get_collection("vectors", embedding_function=None)
        collection.modify(configuration={"hnsw": {"ef_search": width}})
        self.close()
        self._start()

    def search(self, queries: Floats) -> Sequence[Integers]:
        return positions(self._client, queries)

    def close(self) -> None:
        self._client.close()
        stopped(self._process)
