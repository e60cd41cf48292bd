"""The floor: a bare asyncio loop around FAISS behind the frames of the wire protocol.

It keeps nothing, knows no metadata and asks nobody who they are. Requests that have arrived by the time the loop
turns are searched in one call, begun on the loop's own thread and shared out over all cores. A worker thread
beside the loop brought a tenth to a third less on two cores, and so did one OpenMP thread instead of two. They
have to wait without spinning: beside busy clients spinning threads kept each other from the cores for 30 ms now
and then.

`python -m benchmarks.servers.floor PORT VECTORS` builds the graph over a .npy file, then serves it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.data import Floats, Integers, VectorSet
from benchmarks.peers import EFS, K
from benchmarks.servers.base import HOST, Client, free_port, positions, started, stopped
from qstore_db.wire.frames import FrameReader
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, decode, encode

faiss = import_module("faiss")  # its stubs lack half of what it has

LIMITS = Limits()
LINKS, BUILD_WIDTH = 32, 200
"""As the engine builds its graphs."""


class FloorClient:
    """A blocking socket and frames, nothing else."""

    def __init__(self, url: str, /) -> None:
        host, _, port = url.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = FrameReader(LIMITS)
        self._id = 0

    def search(self, query: Floats, /) -> Sequence[str]:
        found = self.call("search", {"vector": query, "top_k": K})
        assert len(found["distances"]) == K
        ids: list[str] = found["ids"]
        return ids

    def call(self, op: str, body: dict[str, Any]) -> Any:
        self._id += 1
        self._socket.sendmsg(encode(Message(Kind.REQUEST, self._id, op, body)))
        while True:
            for frame in self._reader.feed(self._socket.recv(1 << 16)):
                return decode(frame, LIMITS).body

    def close(self) -> None:
        self._socket.close()


class Floor:
    name = "floor"
    package = "faiss"
    calls = 1_000
    widths: Sequence[int] = EFS
    note = f"FAISS IndexHNSWFlat, {LINKS} links, efConstruction {BUILD_WIDTH}, searched on the event loop"
    client: ClassVar[type[Client]] = FloorClient

    def __init__(self, data: VectorSet, scratch: Path, /) -> None:
        vectors = scratch / "floor.npy"
        np.save(vectors, data.base)
        port = free_port()
        argv = [sys.executable, "-m", "benchmarks.servers.floor", str(port), str(vectors)]
        self.url = f"{HOST}:{port}"
        self._process = started(argv, port, scratch / "floor.log", OMP_WAIT_POLICY="passive")
        self._client = FloorClient(self.url)

    @property
    def pid(self) -> int:
        return self._process.pid

    def widen(self, width: int) -> None:
        self._client.call("widen", {"width": width})

    def search(self, queries: Floats) -> Sequence[Integers]:
        return positions(self._client, queries)

    def close(self) -> None:
        self._client.close()
        stopped(self._process)


class _Searches:
    """Requests that have arrived and were not searched yet."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._waiting: list[tuple[asyncio.Transport, int, Floats]] = []
        self.widen(64)

    def widen(self, width: int) -> None:
        self._parameters = faiss.SearchParametersHNSW(efSearch=width)

    def add(self, transport: asyncio.Transport, id: int, query: Floats) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._answer)
        self._waiting.append((transport, id, query))

    def _answer(self) -> None:
        asked, self._waiting = self._waiting, []
        queries = np.stack([query for _, _, query in asked])
        distances, rows = self._index.search(queries, K, params=self._parameters)
        for (transport, id, _), distance, row in zip(asked, distances, rows.tolist(), strict=True):
            body = {"ids": [str(position) for position in row], "distances": distance}
            transport.writelines(encode(Message(Kind.RESPONSE, id, body=body)))


class _Connection(asyncio.Protocol):
    def __init__(self, searches: _Searches) -> None:
        self._searches = searches
        self._reader = FrameReader(LIMITS)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            message = decode(frame, LIMITS)
            if message.op == "search":
                self._searches.add(self._transport, message.id, message.body["vector"])
            else:
                self._searches.widen(message.body["width"])
                self._transport.writelines(encode(Message(Kind.RESPONSE, message.id)))


async def _serve(port: int, index: Any) -> None:
    searches = _Searches(index)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(searches), HOST, port)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("vectors", type=Path)
    chosen = parser.parse_args()
    vectors = np.load(chosen.vectors)
    index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS)
    index.hnsw.efConstruction = BUILD_WIDTH
    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
    index.add(vectors)
    asyncio.run(_serve(chosen.port, index))


if __name__ == "__main__":
    main()
