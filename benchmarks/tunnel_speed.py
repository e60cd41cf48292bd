"""How long a tunnelling search takes, in a quiet collection and in one that is being written to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import VectorSet
from benchmarks.far import DEPTH
from benchmarks.harness import Bar, Gate, Options, Panel, Report, Spread
from qstore_db import QuantumDatabase

RATE = 100.0
"""Writes a second beside the searches: deletes and inserts by turns."""
PIECE = 10_000

ENGINES: Mapping[str, Mapping[str, Any]] = {"diffusion": {}, "walk": {"engine": "walk"}}
ALL: Mapping[str, Mapping[str, Any]] = {
    **ENGINES,
    "diffusion with a context and a filter": {"context": "night", "filter": {"shelf": 1}},
    "diffusion, 1,000 candidates": {"candidates": 1_000},
    "diffusion, 4,000 candidates": {"candidates": 4_000},
}
GATED = ("diffusion", "diffusion with a context and a filter")


def store(db: QuantumDatabase, data: VectorSet) -> None:
    """A collection named like the set, indexed and linked; `night` is a context of half of the records."""
    db.create_collection(data.name, dimension=data.base.shape[1], metric=data.metric)
    night = np.random.default_rng(3).random(len(data)) * (np.arange(len(data)) % 2)
    for start in range(0, len(data), PIECE):
        rows = range(start, min(start + PIECE, len(data)))
        db.insert_many(
            ids=[str(i) for i in rows],
            vectors=data.base[start : start + PIECE],
            contexts=[{"night": float(night[i]), "day": 1.0 - float(night[i])} for i in rows],
            metadata=[{"shelf": i // 2 % 4} for i in rows],
            collection=data.name,
            progress=False,
        )
    db.wait_indexed()


def measure(
    report: Report,
    db: QuantumDatabase,
    data: VectorSet,
    cases: Mapping[str, Mapping[str, Any]],
    limit: float,
    options: Options,
) -> None:
    """Rounds of all cases, quiet and beside the writer by turns. The gates, in ms, hold beside the writer."""
    count = min(options.pick(100, 2), len(data.queries))
    rounds = options.pick(3, 1)
    times: dict[tuple[str, bool], list[NDArray[np.float64]]] = {
        (case, busy): [] for case in cases for busy in (False, True)
    }
    rates: list[float] = []
    rng = np.random.default_rng(100)
    for turn in range(rounds + 1):
        for case, settings in cases.items():
            quiet = _latencies(db, data, settings, count)
            with _writing(db, data, rng) as rate:
                busy = _latencies(db, data, settings, count)
            if turn:
                times[case, False].append(quiet)
                times[case, True].append(busy)
                rates += rate
    bars: list[Bar] = []
    for case in cases:
        p50 = {busy: Spread.of([float(np.median(t)) for t in times[case, busy]]) for busy in (False, True)}
        p99 = {
            busy: Spread.of([float(np.quantile(t, 0.99)) for t in times[case, busy]])
            for busy in (False, True)
        }
        for busy in (False, True):
            report.row(
                set=data.name,
                rows=len(data),
                case=case,
                writes_per_s=float(np.mean(rates)) if busy else 0.0,
                calls=count * rounds,
                p50_ms=p50[busy],
                p99_ms=p99[busy],
            )
        report.figure(
            f"{data.name}, {len(data):,} rows, {case}: p50 (p99) beside {np.mean(rates):.0f} writes/s; quiet",
            f"{p50[True].median:.2f} ms ({p99[True].median:.2f} ms); "
            f"{p50[False].median:.2f} ms ({p99[False].median:.2f} ms)",
            Gate(p50[True].median, limit, above=False) if case in GATED else None,
        )
        bars += [Bar(f"qstore {case}", p50[False]), Bar(f"qstore {case}, beside writes", p50[True])]
    report.panels.append(Panel(f"{data.name}, {len(data):,} rows: latency, p50 of each round", "ms", bars))


def _latencies(
    db: QuantumDatabase, data: VectorSet, settings: Mapping[str, Any], count: int
) -> NDArray[np.float64]:
    """Milliseconds of each call, its matches read."""
    out = np.empty(count)
    for i in range(count):
        started = time.perf_counter()
        list(db.tunnel_search(data.queries[i], top_k=DEPTH, collection=data.name, **settings))
        out[i] = 1e3 * (time.perf_counter() - started)
    return out


@contextmanager
def _writing(db: QuantumDatabase, data: VectorSet, rng: np.random.Generator) -> Iterator[list[float]]:
    """A thread that deletes random records and inserts them again; at the end the list holds the rate it reached.

    Whatever was deleted is back when the block is left, so that every round searches the same records.
    """
    over = threading.Event()
    reached: list[float] = []

    def write() -> float:
        started, written = time.perf_counter(), 0
        while not over.is_set() or not written:
            id = str(rng.integers(len(data)))
            record = db.get(id, collection=data.name)
            assert record is not None
            db.delete(id, collection=data.name)
            over.wait(max(0.0, started + (written + 1) / RATE - time.perf_counter()))
            db.insert(
                id,
                record.vector,
                contexts=record.contexts,
                metadata=record.metadata,
                collection=data.name,
            )
            written += 2
            over.wait(max(0.0, started + written / RATE - time.perf_counter()))
        return written / (time.perf_counter() - started)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            yield reached
        finally:
            over.set()
        reached.append(writer.result())
