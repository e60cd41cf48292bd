"""Our own server as a user starts it, and our own blocking client."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.data import Floats, Integers, VectorSet
from benchmarks.peers import K
from benchmarks.servers.base import HOST, Client, free_port, positions, started, stopped
from qstore_db import QuantumDatabase

TARGET = 0.99
SERVE = (sys.executable, "-m", "qstore_db.cli", "serve")


class QstoreClient:
    def __init__(self, url: str, /) -> None:
        self._db = QuantumDatabase.connect(url)

    def search(self, query: Floats, /) -> Sequence[str]:
        return self._db.query(query, top_k=K).ids

    def insert(self, id: str, vector: Floats, metadata: dict[str, int], /) -> None:
        self._db.insert(id, vector, metadata=metadata)

    def upsert(self, id: str, vector: Floats, metadata: dict[str, int], /) -> None:
        self._db.upsert(id, vector, metadata=metadata)

    def delete(self, id: str, /) -> None:
        self._db.delete(id)

    def close(self) -> None:
        self._db.close()


class Qstore:
    name = "qstore"
    package = "qstore_server"
    calls = 1_000
    widths: Sequence[int] = ()
    note = f"qstore serve, target_recall {TARGET:g}"
    client: ClassVar[type[Client]] = QstoreClient

    def __init__(self, data: VectorSet, scratch: Path, /) -> None:
        port = free_port()
        self.directory = scratch / "qstore"
        where = ["--path", str(self.directory), "--port", str(port), "--http-port", "off"]
        self._process = started([*SERVE, *where], port, scratch / "qstore.log")
        self.url = f"qstore://{HOST}:{port}"
        self.db = QuantumDatabase.connect(self.url, timeout=None)  # filling takes its time
        self.db.create_collection(
            "default", dimension=data.base.shape[1], metric=data.metric, target_recall=TARGET
        )
        self.db.insert_many(ids=data.ids, vectors=data.base, progress=False)
        self.db.wait_indexed()
        self._client = QstoreClient(self.url)

    @property
    def pid(self) -> int:
        return self._process.pid

    def widen(self, width: int) -> None:
        """The index chooses its width itself."""

    def search(self, queries: Floats) -> Sequence[Integers]:
        return positions(self._client, queries)

    def close(self) -> None:
        self._client.close()
        self.db.close()
        stopped(self._process)
