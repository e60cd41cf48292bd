"""Durable single inserts over 1, 16 and 64 connections, beside PostgreSQL, and what searches feel of writes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.data import Floats, VectorSet, fashion_mnist
from benchmarks.harness import Bar, Gate, Options, Panel, Report, Spread, number, ratio
from benchmarks.load import PROCESSES, Answers, Insert, Load, Search
from benchmarks.peers import missing
from benchmarks.servers.base import Writer
from benchmarks.servers.postgres import Cluster, Postgres, PostgresWriter, fill
from benchmarks.servers.qstore import Qstore, QstoreClient
from qstore_db import QuantumDatabase
from qstore_db.errors import WaitTimeoutError

QUESTION = (
    "How many durable inserts a second does the server acknowledge, and what do searches feel of writes?"
)
OURS, PLAIN, GRAPH = Qstore.name, "PostgreSQL, no index", "PostgreSQL, HNSW"
READERS, WRITES = 16, 100.0
_WRITERS = 4
"""Connections that share the writes beside searches: one alone might have to wait too long for an answer."""


@dataclass(frozen=True, slots=True)
class Target:
    """Somewhere to insert."""

    name: str
    client: type[Writer]
    url: str
    settle: Callable[[], float]
    """Seconds until what was inserted is in the graph. When it returns, nothing works in the background."""


def run(options: Options) -> Report:
    report = Report("server_ingest", QUESTION)
    data = fashion_mnist(options, "l2", options.pick(1_000, 20))
    there = options.pick(20_000, 500)
    start = replace(data, base=data.base[:there], labels=data.labels[:there])
    report.settings = {
        "rows_at_start": there,
        "rows_at_start_mixed": len(data),
        "dimension": data.base.shape[1],
        "source": data.source,
        "load": f"{PROCESSES} processes, blocking clients, a thread a connection; all servers on TCP, all running",
        "postgres": f"synchronous_commit on; graph: {Postgres.note}",
    }
    _acknowledgements(report, start, data.base[there:], options)
    _mixed(report, data, options)
    return report


def _acknowledgements(report: Report, start: VectorSet, vectors: Floats, options: Options) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(closing(Qstore(start, options.scratch)))
        targets = [Target(OURS, QstoreClient, server.url, partial(settled, server.db))]
        if (why := missing(Postgres)) is not None:
            report.skipped["PostgreSQL"] = why
        else:
            cluster = stack.enter_context(closing(Cluster(options.scratch / "postgres")))
            for name, database in ((PLAIN, "plain"), (GRAPH, "graph")):
                url = cluster.create(database)
                fill(url, start, indexed=name == GRAPH)
                targets.append(Target(name, PostgresWriter, url, _at_once))
        bars: list[Bar] = []
        for writers in (2,) if options.quick else (1, 16, 64):
            bars += _writers(report, targets, vectors, writers, options)
    report.panels.append(Panel("durable single inserts by connections", "acknowledgements a second", bars))


def settled(db: QuantumDatabase) -> float:
    """Seconds until the graph has all records, but a tail too short for it; the links of tunnel_search, which come
    after it and which PostgreSQL has nothing to set against, are waited for, too, but not counted."""
    began = time.perf_counter()
    with suppress(WaitTimeoutError):
        db.wait_indexed(timeout=0.001)
    while db.stats()["collections"]["default"]["unbuilt_segments"]:
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    db.wait_indexed()
    return seconds


def _at_once() -> float:
    """PostgreSQL's graph is complete when it acknowledges."""
    return 0.0


def _writers(
    report: Report, targets: Sequence[Target], vectors: Floats, writers: int, options: Options
) -> list[Bar]:
    """So many connections on every target, A B C A B C ...; a first round warms up and is dropped."""
    seconds, rounds = (0.2, 1) if options.quick else (3.0, 5)
    answers: dict[str, list[Answers]] = {target.name: [] for target in targets}
    lags: list[float] = []
    with ExitStack() as stack:
        loads: list[Load[Writer]] = []
        for target in targets:
            load = Load(target.client, target.url, writers, Insert(vectors, f"{writers}"))
            loads.append(stack.enter_context(closing(load)))
        for turn in range(rounds + 1):
            for target, load in zip(targets, loads, strict=True):
                got = load.run(seconds)
                lag = target.settle()
                if turn:
                    answers[target.name].append(got)
                    if target.name == OURS:
                        lags.append(lag)
    rates = {name: [got.rate for got in its] for name, its in answers.items()}
    for name, its in answers.items():
        report.row(
            writers=writers,
            contender=name,
            acks_per_s=Spread.of(rates[name]),
            p50_ms=Spread.of([got.percentile(50) for got in its]),
            p99_ms=Spread.of([got.percentile(99) for got in its]),
        )
    shown = ", ".join(f"{name} {number(Spread.of(figures).median)}" for name, figures in rates.items())
    report.figure(f"durable inserts, {writers} connections: acknowledged a second", shown)
    for name in list(rates)[1:]:
        over = ratio(rates[OURS], rates[name])
        report.figure(
            f"durable inserts, {writers} connections: {OURS} / {name}",
            f"{over.median:.2f} ({over.low:.2f} to {over.high:.2f})",
            Gate(over.median, 5.0) if name == GRAPH and writers == 64 else None,
        )
    _lag(report, rates, lags, writers, seconds)
    return [Bar(f"{name}, {writers}", Spread.of(figures)) for name, figures in rates.items()]


def _lag(
    report: Report, rates: dict[str, list[float]], lags: Sequence[float], writers: int, seconds: float
) -> None:
    """How long after its acknowledgement the last record was in the graph: PostgreSQL's are at once."""
    lag = Spread.of(lags)
    whole = [rate * seconds / (seconds + late) for rate, late in zip(rates[OURS], lags, strict=True)]
    report.row(writers=writers, contender=OURS, indexed_after_s=lag, indexed_per_s=Spread.of(whole))
    shown = (
        f"{lag.median:.2f} s ({lag.low:.2f} to {lag.high:.2f}): {number(Spread.of(whole).median)} a second"
    )
    if GRAPH in rates:
        over = ratio(whole, rates[GRAPH])
        shown += f", {over.median:.2f} times ({over.low:.2f} to {over.high:.2f}) {GRAPH}"
    report.figure(f"durable inserts, {writers} connections: {OURS}, until all are in the graph", shown)


def _mixed(report: Report, data: VectorSet, options: Options) -> None:
    """Searches beside writes, each turn between two without: all three on nearly as many unindexed rows."""
    seconds, rounds, readers = (0.2, 1, 2) if options.quick else (3.0, 5, READERS)
    unindexed = 300  # with all that is written below, too few for the index to take them in
    scratch = options.scratch / "mixed"
    scratch.mkdir()
    quiet: list[Answers] = []
    beside: list[Answers] = []
    written: list[float] = []
    with ExitStack() as stack:
        server = stack.enter_context(closing(Qstore(data, scratch)))
        ids = [f"unindexed-{i}" for i in range(unindexed)]
        server.db.insert_many(ids=ids, vectors=data.base[:unindexed], progress=False)
        asking = Load(QstoreClient, server.url, readers, Search(data.queries))
        stack.enter_context(closing(asking))
        writing = Load(QstoreClient, server.url, _WRITERS, Insert(data.base, "beside"))
        stack.enter_context(closing(writing))
        asking.run(seconds)
        for _ in range(rounds):
            quiet.append(asking.run(seconds))
            asking.start(seconds)
            writing.start(seconds, WRITES)
            beside.append(asking.finish())
            written.append(writing.finish().rate)
        quiet.append(asking.run(seconds))
        lag = server.db.stats()["collections"]["default"]["index_lag_rows"]
    _tell_mixed(report, quiet, beside, written, readers, lag)


def _tell_mixed(
    report: Report,
    quiet: Sequence[Answers],
    beside: Sequence[Answers],
    written: Sequence[float],
    readers: int,
    lag: int,
) -> None:
    def between(figures: Sequence[float]) -> list[float]:
        return [(before + after) / 2 for before, after in itertools.pairwise(figures)]

    busy = [got.percentile(99) for got in beside]
    calm = between([got.percentile(99) for got in quiet])
    over = ratio(busy, calm)
    qps = [got.rate for got in beside]
    calm_qps = between([got.rate for got in quiet])
    rate = Spread.of(written).median
    report.row(
        readers=readers,
        writes_per_s=Spread.of(written),
        unindexed_rows_at_end=lag,
        p99_ms=Spread.of(busy),
        p99_ms_read_only=Spread.of(calm),
        qps=Spread.of(qps),
        qps_read_only=Spread.of(calm_qps),
    )
    report.figure(
        f"{readers} readers beside {rate:.0f} writes a second, {lag:,} unindexed rows: p99 / p99 without writes",
        f"{over.median:.2f} ({over.low:.2f} to {over.high:.2f}); {Spread.of(busy).median:.1f} against "
        f"{Spread.of(calm).median:.1f} ms, {number(Spread.of(qps).median)} against "
        f"{number(Spread.of(calm_qps).median)} QPS",
        Gate(over.median, 2.0, above=False),
    )
    bars = [Bar("qstore, beside writes", Spread.of(busy)), Bar("qstore, no writes", Spread.of(calm))]
    report.panels.append(Panel(f"p99 of searches over {readers} connections", "ms", bars))
