"""Plain nearest-neighbour queries: recall that was asked for, and what the database costs over bare libraries."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.data import (
    Floats,
    Integers,
    Truth,
    VectorSet,
    fashion_mnist,
    text_like,
    uniform,
)
from benchmarks.harness import (
    Bar,
    Gate,
    Options,
    Panel,
    Report,
    Spread,
    interleave,
    number,
    ratio,
)
from benchmarks.peers import BATCH, MAKERS, RAW, TOLERANCE, K, Peer, missing, search_all, threads, tune
from qstore_db import QuantumDatabase
from qstore_db.records import QueryResult

QUESTION = "How fast are plain queries that find 99 % of the true neighbours, against bare libraries?"
TARGET = 0.99
_QDRANT_ROWS = 10_000


def run(options: Options) -> Report:
    report = Report("embedded_search", QUESTION)
    queries, rounds = options.pick(1_000, 20), options.pick(5, 1)
    sets = (
        fashion_mnist(options, "l2", queries),
        text_like(options.pick(60_000, 2_500), queries),
        uniform(options.pick(100_000, 2_500), queries),
    )
    report.settings = {
        "queries": queries,
        "batch": BATCH,
        "rounds": rounds,
        "threads": threads(),
        "target_recall": TARGET,
    }
    for number_of, data in enumerate(sets):
        scratch = options.scratch / str(number_of)
        scratch.mkdir()
        # Quick runs try each peer once: importing and building them is what takes time there.
        makers = RAW if options.quick and number_of else MAKERS
        _measure(report, data, makers, scratch, rounds)
    return report


def _measure(
    report: Report, data: VectorSet, makers: Sequence[type[Peer]], scratch: Path, rounds: int
) -> None:
    report.settings[data.name] = {
        "rows": len(data),
        "dimension": data.base.shape[1],
        "metric": data.metric,
        "source": data.source,
    }
    truth = Truth(data)
    true = truth.all_nearest(K)
    db, built = database(data, scratch / "qstore")
    with db:
        first = _batches(db, data.queries, _keep)
        recall = truth.recall([_positions(result) for result in first], true)
        exact = all(result.exact for result in first)
        del first
        report.figure(
            f"{data.name}: recall@10 at target_recall {TARGET:g}",
            f"{recall:.4f}" + (" (every answer exact)" if exact else ""),
            Gate(recall, TARGET),
        )
        peers = _peers(report, data, makers, scratch, truth, true, recall)
        ours = {
            "qstore batch": lambda: _timed(lambda: _batches(db, data.queries, _drop), len(data.queries)),
            "qstore batch, ids read": lambda: _timed(
                lambda: _batches(db, data.queries, _read_ids), len(data.queries)
            ),
            "qstore batch, metadata read": lambda: _timed(
                lambda: _batches(db, data.queries, _read_all), len(data.queries)
            ),
            "qstore single calls": lambda: _timed(lambda: _singles(db, data.queries), len(data.queries)),
        }
        theirs = {peer.name: _speed_of(peer, data.queries) for peer, _ in peers}
        theirs["faiss HNSW single calls"] = _single_speed(peers[0][0], data.queries)
        speeds = interleave({**ours, **theirs}, rounds)
        for peer, _ in peers:
            peer.close()
    for name in ours:
        report.row(
            set=data.name,
            contender=name,
            recall=recall,
            qps=Spread.of(speeds[name]),
            build_s=built,
        )
    reached = dict.fromkeys(ours, recall) | {peer.name: its for peer, its in peers}
    reached["faiss HNSW single calls"] = reached["faiss HNSW"]
    for name in theirs:
        report.row(
            set=data.name,
            contender=name,
            recall=reached[name],
            qps=Spread.of(speeds[name]),
            qstore_batch_over_it=ratio(speeds["qstore batch"], speeds[name]),
        )
    _judge(report, data, recall, reached, speeds)
    report.panels.append(
        Panel(
            f"{data.name}, {len(data):,} rows: queries a second (recall@10)",
            "QPS",
            [Bar(f"{name} ({reached[name]:.3f})", Spread.of(figures)) for name, figures in speeds.items()],
        )
    )


def _judge(
    report: Report,
    data: VectorSet,
    recall: float,
    recalls: dict[str, float],
    speeds: dict[str, list[float]],
) -> None:
    """The ratios that the table shows. The rival is the raw FAISS graph, or where no width of it reaches our
    recall, raw exact search; that one's ratio is shown in any case."""
    reaches = recalls["faiss HNSW"] >= recall - TOLERANCE
    rival = "faiss HNSW" if reaches else "faiss flat"
    for mine, their, label, need in (
        ("qstore batch", rival, f"batch of {BATCH}", 0.85),
        ("qstore batch, ids read", rival, f"batch of {BATCH}, ids read", None),
        ("qstore batch, metadata read", rival, f"batch of {BATCH}, metadata read", None),
        ("qstore single calls", "faiss HNSW single calls", "single calls", None),
    ):
        over = ratio(speeds[mine], speeds[their])
        report.figure(
            f"{data.name}: {label} / raw {their}",
            f"{over.median:.2f} ({over.low:.2f} to {over.high:.2f}); "
            f"{number(Spread.of(speeds[mine]).median)} against {number(Spread.of(speeds[their]).median)} QPS",
            None if need is None else Gate(over.median, need),
        )
    for name in speeds:
        if name.startswith("qstore") or name in (rival, "faiss HNSW single calls"):
            continue
        over = ratio(speeds["qstore batch"], speeds[name])
        comparable = recalls[name] >= TARGET - TOLERANCE
        report.figure(
            f"{data.name}: batch of {BATCH} / {name} (its recall {recalls[name]:.3f})",
            f"{over.median:.2f} ({over.low:.2f} to {over.high:.2f}); "
            f"{name} {number(Spread.of(speeds[name]).median)} QPS",
            Gate(over.median, 5.0) if name == "chromadb" and comparable else None,
        )


def database(data: VectorSet, path: Path) -> tuple[QuantumDatabase, float]:
    """An open, fully indexed database of the set in collection "default", and the seconds that took."""
    started = time.perf_counter()
    db = QuantumDatabase.connect(path, build_threads=os.cpu_count())
    db.create_collection(
        "default",
        dimension=data.base.shape[1],
        metric=data.metric,
        target_recall=TARGET,
    )
    metadata = [{"label": label} for label in data.labels.tolist()]
    db.insert_many(ids=data.ids, vectors=data.base, metadata=metadata, progress=False)
    db.wait_indexed()
    return db, time.perf_counter() - started


def _peers(
    report: Report,
    data: VectorSet,
    makers: Sequence[type[Peer]],
    scratch: Path,
    truth: Truth,
    true: Integers,
    recall: float,
) -> list[tuple[Peer, float]]:
    """Built and tuned peers with their recall. FAISS has to reach ours, the others the target."""
    peers: list[tuple[Peer, float]] = []
    for maker in makers:
        why = missing(maker)
        if why is not None:
            report.skipped[maker.name] = why
            continue
        if maker.name.startswith("qdrant") and len(data) > _QDRANT_ROWS:
            report.skipped[f"{maker.name}, {data.name}"] = (
                f"its local mode is measured up to {_QDRANT_ROWS:,} rows only; loading more takes over a minute"
            )
            continue
        started = time.perf_counter()
        peer = maker(data, scratch)
        built = time.perf_counter() - started
        wanted = recall if peer.package == "faiss" else TARGET
        width, reached = tune(peer, data.queries, truth, true, wanted)
        report.row(
            set=data.name,
            peer=peer.name,
            built_s=built,
            width=width,
            recall=reached,
            note=peer.note,
        )
        peers.append((peer, reached))
    return peers


def _batches(
    db: QuantumDatabase,
    queries: Floats,
    use: Callable[[Sequence[QueryResult]], list[QueryResult]],
) -> list[QueryResult]:
    return [
        result
        for start in range(0, len(queries), BATCH)
        for result in use(db.query_batch(queries[start : start + BATCH], top_k=K))
    ]


def _keep(results: Sequence[QueryResult]) -> list[QueryResult]:
    return list(results)


def _drop(_results: Sequence[QueryResult]) -> list[QueryResult]:
    return []


def _read_ids(results: Sequence[QueryResult]) -> list[QueryResult]:
    for result in results:
        assert len(result.ids) == K
    return []


def _read_all(results: Sequence[QueryResult]) -> list[QueryResult]:
    for result in results:
        assert all("label" in match.metadata for match in result)
    return []


def _singles(db: QuantumDatabase, queries: Floats) -> None:
    for query in queries:
        db.query(query, top_k=K)


def _positions(result: QueryResult) -> Integers:
    return np.array([int(id) for id in result.ids], np.int64)


def _timed(work: Callable[[], object], count: int) -> float:
    """Calls a second."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def _speed_of(peer: Peer, queries: Floats) -> Callable[[], float]:
    some = queries[: peer.calls]
    return lambda: _timed(lambda: search_all(peer, some), len(some))


def _single_speed(peer: Peer, queries: Floats) -> Callable[[], float]:
    return lambda: _timed(lambda: [peer.search(query[None]) for query in queries], len(queries))
