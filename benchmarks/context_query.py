"""Queries in a context: equal to brute force, fast enough, and better than filtering by weight or multiplying?

The contexts are five superclasses of Fashion-MNIST. A query is a held-out image asked in its own superclass; a
good answer has its own fine label. Weights come from a classifier trained on 1,000 other images, or from labels of
which a fifth are wrong.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks import contexts
from benchmarks.contexts import DEPTH, SUPERCLASS_OF, SUPERCLASSES, Rankings, Weights, ndcg
from benchmarks.data import Integers, Truth, VectorSet, fashion_mnist
from benchmarks.harness import Bar, Gate, Options, Panel, Report, Spread, paired_bootstrap
from benchmarks.peers import threads
from qstore_db import QuantumDatabase
from qstore_db.demo import dataset

QUESTION = "Are context queries right, how fast are they, and what does log-linear ranking gain?"
METHODS = ("no context", "weight filter", "similarity x weight", "log-linear")


def run(options: Options) -> Report:
    report = Report("context_query", QUESTION)
    data = fashion_mnist(options, "cosine", options.pick(1_000, 40))
    report.settings = {
        "rows": len(data),
        "queries": len(data.queries),
        "top_k": DEPTH,
        "metric": data.metric,
        "threads": threads(),
        "source": data.source,
    }
    spare = contexts.spare_images(
        dataset.sample() if options.quick else dataset.load(options.data), options.pick(1_000, 300)
    )
    makers = {
        "classifier": contexts.classifier_weights(*spare, data.base),
        "labels, 20% wrong": contexts.noisy_weights(data.labels, 0.2),
    }
    truth = Truth(data)
    path = options.scratch / "qstore"
    with QuantumDatabase.connect(path, build_threads=os.cpu_count()) as db:
        for name, weights in makers.items():
            _store(db, data, weights, name)
        _store(db, data, makers["classifier"], "flat", index="flat")
        db.wait_indexed()
        _correctness(report, db, data, truth, makers["classifier"])
        for name, weights in makers.items():
            _quality(report, db, data, truth, weights, name)
        _speed(report, db, data, options)
    return report


def _store(
    db: QuantumDatabase, data: VectorSet, weights: Weights, collection: str, index: str = "auto"
) -> None:
    db.create_collection(collection, dimension=data.base.shape[1], metric=data.metric, index=index)  # type: ignore[arg-type]
    db.insert_many(
        ids=data.ids,
        vectors=data.base,
        contexts=contexts.as_contexts(weights),
        collection=collection,
        progress=False,
    )


def _ask(db: QuantumDatabase, data: VectorSet, query: int, collection: str) -> Integers:
    result = db.query(data.queries[query], top_k=DEPTH, context=_context(data, query), collection=collection)
    return np.array([int(id) for id in result.ids], np.int64)


def _context(data: VectorSet, query: int) -> str:
    return SUPERCLASSES[SUPERCLASS_OF[data.query_labels[query]]]


def _scale(db: QuantumDatabase, collection: str) -> float:
    return float(db.stats()["collections"][collection]["scale"]["u"])


def _correctness(
    report: Report, db: QuantumDatabase, data: VectorSet, truth: Truth, weights: Weights
) -> None:
    u_flat, u_graph = _scale(db, "flat"), _scale(db, "classifier")
    equal: list[bool] = []
    overlap: list[float] = []
    for start, block in truth.blocks():
        for query, coarse in enumerate(block, start):
            brute = Rankings(truth, query, coarse, weights[:, SUPERCLASS_OF[data.query_labels[query]]])
            equal.append(np.array_equal(_ask(db, data, query, "flat"), brute.log_linear(u_flat)))
            shared = np.intersect1d(_ask(db, data, query, "classifier"), brute.log_linear(u_graph))
            overlap.append(len(shared) / DEPTH)
    share = float(np.mean(equal))
    report.row(check="flat equals brute force, order included", share=share, queries=len(equal))
    report.row(check="overlap@20 of the graph with brute force", mean=float(np.mean(overlap)))
    report.figure(
        "flat index: same 20 ids in the same order as brute force", f"{share:.1%}", Gate(share, 1.0)
    )
    mean = float(np.mean(overlap))
    report.figure("graph: overlap@20 with brute force", f"{mean:.4f}", Gate(mean, 0.99))


def _quality(
    report: Report, db: QuantumDatabase, data: VectorSet, truth: Truth, weights: Weights, collection: str
) -> None:
    scores: dict[str, list[float]] = {method: [] for method in METHODS}
    for start, block in truth.blocks():
        for query, coarse in enumerate(block, start):
            label = int(data.query_labels[query])
            brute = Rankings(truth, query, coarse, weights[:, SUPERCLASS_OF[label]])
            rankings = (
                brute.plain(),
                brute.weight_filter(),
                brute.product(),
                _ask(db, data, query, collection),
            )
            for method, ranking in zip(METHODS, rankings, strict=True):
                scores[method].append(ndcg(ranking, data.labels, label))
    means = {method: float(np.mean(values)) for method, values in scores.items()}
    accuracy = float((weights.argmax(1) == SUPERCLASS_OF[data.labels]).mean())
    ours = np.array(scores["log-linear"])
    gains = {
        method: (float((ours - scores[method]).mean()), *paired_bootstrap(ours - scores[method]))
        for method in METHODS[:-1]
    }
    report.row(weights=collection, accuracy_of_weights=accuracy, ndcg=means, gain_and_interval=gains)
    for method, (gain, low, high) in gains.items():
        report.figure(
            f"NDCG@20, weights from {collection} ({accuracy:.0%} right): log-linear against {method}",
            f"{means['log-linear']:.3f} / {means[method]:.3f}; {gain:+.3f} [{low:+.3f}, {high:+.3f}]",
        )
    bars = [
        Bar(("qstore " if method == "log-linear" else "") + method, Spread(mean, mean, mean))
        for method, mean in means.items()
    ]
    report.panels.append(Panel(f"weights from {collection}", "NDCG@20", bars))
    if collection == "classifier":
        _, low, high = gains["no context"]
        verdict = "holds" if low > 0 else "refuted" if high < 0 else "corrected"
        report.claim(
            "C-04",
            verdict,
            f"NDCG@20 at {len(data):,} images with classifier-made weights: {means['log-linear']:.3f} in the "
            f"context, {means['no context']:.3f} without (gain {gains['no context'][0]:+.3f}, 95 % interval "
            f"{low:+.3f} to {high:+.3f}); a weight filter alone reaches {means['weight filter']:.3f}",
        )


def _speed(report: Report, db: QuantumDatabase, data: VectorSet, options: Options) -> None:
    """Latency of single calls, with the context common around the query and with 6,000 rows scattered."""
    scattered = options.pick(6_000, 300)
    rng = np.random.default_rng(6)
    w = np.zeros((len(data), 2))
    chosen = rng.choice(len(data), scattered, replace=False)
    w[chosen, 0] = rng.uniform(0.2, 1.0, scattered)
    w[:, 1] = 1.0 - w[:, 0]
    db.create_collection("scattered", dimension=data.base.shape[1], metric=data.metric)
    db.insert_many(
        ids=data.ids,
        vectors=data.base,
        contexts=contexts.as_contexts(w, ("rare", "common")),
        collection="scattered",
        progress=False,
    )
    db.wait_indexed()
    names = [_context(data, query) for query in range(len(data.queries))]
    rounds = options.pick(3, 1)
    cases: tuple[tuple[str, str, Sequence[str], float], ...] = (
        ("context common near the query", "classifier", names, 2.0),
        (f"context of {scattered:,} scattered rows", "scattered", ["rare"] * len(names), 10.0),
    )
    bars: list[Bar] = []
    for case, collection, asked, limit in cases:
        _latencies(db, data, collection, asked)
        times = [_latencies(db, data, collection, asked) for _ in range(rounds)]
        p50 = Spread.of([float(np.median(t)) for t in times])
        p99 = Spread.of([float(np.quantile(t, 0.99)) for t in times])
        report.row(case=case, p50_ms=p50, p99_ms=p99)
        report.figure(
            f"{len(data):,} images, {case}: p50 (p99)",
            f"{p50.median:.2f} ms ({p99.median:.2f} ms)",
            Gate(p50.median, limit, above=False),
        )
        bars.append(Bar(f"qstore {case}", p50))
    report.panels.append(Panel("latency of one call, p50 of each round", "ms", bars))


def _latencies(
    db: QuantumDatabase, data: VectorSet, collection: str, asked: Sequence[str]
) -> NDArray[np.float64]:
    """Milliseconds of each call, its matches read."""
    out = np.empty(len(asked))
    for i, context in enumerate(asked):
        started = time.perf_counter()
        list(db.query(data.queries[i], top_k=DEPTH, context=context, collection=collection))
        out[i] = 1e3 * (time.perf_counter() - started)
    return out
