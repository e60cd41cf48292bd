"""Load on a server from other processes: connections that each ask, wait for the answer, and ask again.

Connections are shared out over two processes (one connection has one), a blocking client and a thread for each. The
shape is the same for every server. Measured on two cores: asyncio tasks are no faster for a client that only moves
frames, and slower for psycopg; more processes only switch more often.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Floats
from benchmarks.servers.base import Client, Writer

PROCESSES = 2
WARM_UP = 0.3
"""Seconds at the start of a turn that are not counted."""
_LEAD = 0.05
"""Seconds from the order to its start, so that all processes start together."""

C = TypeVar("C", bound=Client | Writer)
C_in = TypeVar("C_in", bound=Client | Writer, contravariant=True)


class Job(Protocol[C_in]):
    """What a connection does over and over; it is sent to the processes once."""

    def do(self, client: C_in, connection: int, turn: int) -> tuple[int, Any] | None:
        """One request. A number and a value are kept for `Answers.kept`, the last value of each number."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """The queries in turn; each connection begins elsewhere."""

    queries: Floats

    def do(self, client: Client, connection: int, turn: int) -> tuple[int, Sequence[str]]:
        query = (turn + connection * 37) % len(self.queries)
        return query, client.search(self.queries[query])


@dataclass(frozen=True, slots=True, eq=False)
class Insert:
    """A new record at each request."""

    vectors: Floats
    prefix: str
    """Of the ids; different for loads that write to the same place."""

    def do(self, client: Writer, connection: int, turn: int) -> None:
        row = (turn + connection * 37) % len(self.vectors)
        client.insert(f"{self.prefix}-{connection}-{turn}", self.vectors[row], {"label": turn % 10})


class LoadFailed(Exception):  # noqa: N818 - named after what happened, like the library's own
    """A client raised; the text is its traceback."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a turn of load brought."""

    seconds: float
    latencies: NDArray[np.float64]
    """Seconds of each request that was answered in the counted time."""
    kept: Mapping[int, Any]
    work: float
    """Seconds of processor time that the clients took, for each second of load."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """Of the latencies, in ms."""
        return 1e3 * float(np.percentile(self.latencies, percent))


@dataclass(frozen=True, slots=True)
class _Order:
    start: float
    """On the clock of `perf_counter`, which all processes share on Linux."""
    seconds: float
    rate: float | None
    """Requests a second of one connection; None: as many as it gets answered."""


class Load(Generic[C]):
    """Processes that hold open connections to one server and wait for orders."""

    def __init__(self, client: type[C], url: str, connections: int, job: Job[C]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connections = connections
        self._workers: list[tuple[BaseProcess, Connection]] = []
        count = min(PROCESSES, connections)
        for number in range(count):
            near, far = context.Pipe()
            mine = range(number, connections, count)
            worker = context.Process(target=_work, args=(far, client, url, mine, job), daemon=True)
            worker.start()
            far.close()
            self._workers.append((worker, near))
        self._collect()

    def run(self, seconds: float) -> Answers:
        self.start(seconds)
        return self.finish()

    def start(self, seconds: float, rate: float | None = None) -> None:
        """Begin a turn. `rate`: requests a second of all connections together, instead of as many as possible."""
        each = None if rate is None else rate / self._connections
        order = _Order(time.perf_counter() + _LEAD, seconds, each)
        self._seconds = seconds
        for _, pipe in self._workers:
            pipe.send(order)

    def finish(self) -> Answers:
        """Wait for the end of the turn. Raises LoadFailed if a client did not get its answer."""
        told = self._collect()
        latencies = np.concatenate([latencies for latencies, _, _ in told])
        work = sum(spent for _, _, spent in told) / (self._seconds + WARM_UP)
        return Answers(self._seconds, latencies, _merged(kept for _, kept, _ in told), work)

    def close(self) -> None:
        for worker, pipe in self._workers:
            pipe.close()
            worker.join()

    def _collect(self) -> list[Any]:
        told: list[Any] = []
        for worker, pipe in self._workers:
            try:
                told.append(pipe.recv())
            except EOFError:
                raise LoadFailed(f"a load process ended with {worker.exitcode}") from None
        failures = [item for item in told if isinstance(item, str)]
        if failures:
            raise LoadFailed(failures[0])
        return told


def _merged(kept: Iterable[Mapping[int, Any]]) -> dict[int, Any]:
    return {number: value for its in kept for number, value in its.items()}


def _work(pipe: Connection, client: type[Any], url: str, mine: range, job: Job[Any]) -> None:
    """A load process: connect, say so, then obey orders until the pipe is closed."""
    turns = dict.fromkeys(mine, 0)

    def ask(connection: int, order: _Order) -> tuple[list[float], dict[int, Any]]:
        latencies: list[float] = []
        kept: dict[int, Any] = {}
        counted = order.start + WARM_UP
        end = counted + order.seconds
        due = order.start
        while True:
            if order.rate is not None:
                due += 1 / order.rate
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            asked = time.perf_counter()
            if asked > end:
                return latencies, kept
            got = job.do(clients[connection], connection, turns[connection])
            answered = time.perf_counter()
            turns[connection] += 1
            if counted <= answered <= end:
                latencies.append(answered - asked)
                if got is not None:
                    kept[got[0]] = got[1]

    try:
        clients = {connection: client(url) for connection in mine}
        with ThreadPoolExecutor(len(mine)) as pool:
            pipe.send(None)
            while True:
                try:
                    order = pipe.recv()
                except EOFError:
                    break
                before = time.process_time()
                told = list(pool.map(ask, mine, [order] * len(mine)))
                spent = time.process_time() - before
                latencies = np.array([item for latencies, _ in told for item in latencies])
                pipe.send((latencies, _merged(kept for _, kept in told), spent))
        for connected in clients.values():
            connected.close()
    except Exception:  # noqa: BLE001 - whatever a client raises is the parent's to report
        pipe.send(traceback.format_exc())
