"""tunnel_search against plain neighbours: items of the query's kind beyond its dense neighbourhood.

The figure is far P@20: the share of the 20 best results outside the R nearest that carry the query's label.
For plain search the far list is ranks R + 1 to R + 20; for tunnel_search the well is set to hold R.
"""

from __future__ import annotations

import math
import os
import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Integers, VectorSet, fashion_mnist
from benchmarks.harness import Bar, Gate, Options, Panel, Report, Spread, paired_bootstrap
from benchmarks.peers import threads
from qstore_db import QuantumDatabase

QUESTION = "Does tunnel_search find more of the query's kind beyond its R nearest than plain search does?"
DEPTH = 20
CANDIDATES = (500, 1_000, 2_000)


def digits(queries: int) -> VectorSet:
    """The 1,797 8x8 digits that come with scikit-learn, a random part of them held out as queries."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(8).permutation(len(bunch.data))
    images = bunch.data[order].astype(np.float32)
    labels = bunch.target[order].astype(np.int64)
    return VectorSet(
        "digits",
        "l2",
        images[queries:],
        images[:queries],
        labels[queries:],
        labels[:queries],
        "scikit-learn's digits",
    )


def run(options: Options) -> Report:
    report = Report("tunnel", QUESTION)
    report.settings = {"top_k": DEPTH, "threads": threads()}
    images = fashion_mnist(options, "l2", options.pick(600, 4))
    with QuantumDatabase.connect(options.scratch / "qstore", build_threads=os.cpu_count()) as db:
        for data, far in ((images, 100), (digits(options.pick(497, 4)), 60)):
            _store(db, data)
            _quality(report, db, data, far)
        _speed(report, db, images, options)
    return report


def _store(db: QuantumDatabase, data: VectorSet) -> None:
    db.create_collection(data.name, dimension=data.base.shape[1], metric=data.metric)
    db.insert_many(ids=data.ids, vectors=data.base, collection=data.name, progress=False)
    db.wait_indexed()


def barrier(rows: int, well: int) -> float:
    """The barrier_threshold b whose well floor(rows^(1 - b)) holds `well` records."""
    return 1.0 - math.log(well + 0.5) / math.log(rows)


def _quality(report: Report, db: QuantumDatabase, data: VectorSet, far: int) -> None:
    b = barrier(len(data), far)
    plain: list[float] = []
    tunnelled: list[float] = []
    wells: list[int] = []
    for query, label in zip(data.queries, data.query_labels.tolist(), strict=True):
        neighbours = db.query(query, top_k=far + DEPTH, collection=data.name)
        plain.append(_precision(neighbours.ids[far:], data.labels, label))
        found = db.tunnel_search(query, barrier_threshold=b, top_k=DEPTH, collection=data.name)
        tunnelled.append(_precision(found.ids, data.labels, label))
        wells.append(found.well_size)
    difference = np.array(tunnelled) - np.array(plain)
    low, high = paired_bootstrap(difference)
    ours, theirs, gain = float(np.mean(tunnelled)), float(np.mean(plain)), float(difference.mean())
    report.row(
        set=data.name,
        rows=len(data),
        queries=len(plain),
        source=data.source,
        metric=data.metric,
        R=far,
        barrier_threshold=b,
        median_well=float(np.median(wells)),
        far_p20_tunnel=ours,
        far_p20_plain=theirs,
        difference=gain,
        interval_95=[low, high],
    )
    report.figure(
        f"{data.name}, {len(data):,} rows, {len(plain)} held-out queries, R = {far}: far P@20, tunnel_search / kNN",
        f"{ours:.3f} / {theirs:.3f}; {gain:+.3f} [{low:+.3f}, {high:+.3f}]",
        Gate(low, 0.0),
    )
    bars = [
        Bar("qstore tunnel_search", Spread(ours, ours, ours)),
        Bar("plain kNN", Spread(theirs, theirs, theirs)),
    ]
    report.panels.append(
        Panel(f"{data.name}, {len(data):,} rows, outside the {far} nearest", "far P@20", bars)
    )


def _precision(ids: list[str], labels: Integers, label: int) -> float:
    """The share of 20; a list that comes short counts as having misses."""
    return sum(int(labels[int(id)]) == label for id in ids) / DEPTH


def _speed(report: Report, db: QuantumDatabase, data: VectorSet, options: Options) -> None:
    rounds, count = options.pick(3, 1), options.pick(60, 1)
    times: dict[int, list[NDArray[np.float64]]] = {n: [] for n in CANDIDATES}
    for turn in range(rounds + 1):
        for n in CANDIDATES:
            measured = _latencies(db, data, n, count)
            if turn:
                times[n].append(measured)
    bars: list[Bar] = []
    for n, found in times.items():
        p50 = Spread.of([float(np.median(t)) for t in found])
        p99 = Spread.of([float(np.quantile(t, 0.99)) for t in found])
        report.row(set=data.name, rows=len(data), candidates=n, p50_ms=p50, p99_ms=p99)
        report.figure(
            f"{data.name}, {len(data):,} rows: p50 (p99) with N = {n:,} candidates",
            f"{p50.median:.1f} ms ({p99.median:.1f} ms)",
        )
        bars.append(Bar(f"qstore N = {n:,}", p50))
    report.panels.append(Panel("latency of one call, p50 of each round", "ms", bars))


def _latencies(db: QuantumDatabase, data: VectorSet, candidates: int, count: int) -> NDArray[np.float64]:
    out = np.empty(count)
    for i in range(count):
        started = time.perf_counter()
        list(db.tunnel_search(data.queries[i], top_k=DEPTH, candidates=candidates, collection=data.name))
        out[i] = 1e3 * (time.perf_counter() - started)
    return out
