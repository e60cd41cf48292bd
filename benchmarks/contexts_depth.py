"""Contexts that are coarse, noisy or unrelated to the vectors, and what four ways of asking make of them.

A record names one context (weight .8) and a second one at random (.2), as short lists of contexts do. Coarse
contexts are groups of classes, and some records name a wrong group; what is asked for is the query's own class,
which no context names. Independent contexts are drawn for each record whatever its vector, and rightly named; what
is asked for is the query's class within one of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.contexts import SUPERCLASS_OF, as_contexts, ndcg
from benchmarks.data import Integers, VectorSet
from benchmarks.docstrings import chapter_of
from benchmarks.far import DEPTH, FarTask, Values, as_positions, tasks
from benchmarks.harness import Bar, Gate, Options, Panel, Report, Spread, compared, gain
from benchmarks.peers import threads
from qstore_db import QuantumDatabase

QUESTION = "When do denoising, soft contexts or a hard filter rank better than the weights as they are?"
METHODS = ("no context", "log-linear", "denoised", "soft", "soft, denoised", "hard filter")
WRONG = (0.0, 0.2, 0.4)
DIGIT_SHAPE = np.array([0, 1, 2, 2, 1, 2, 0, 1, 0, 0])
"""Digits with a loop, of straight strokes, of open curves."""
OWNERS = 4


@dataclass(frozen=True, slots=True)
class Case:
    """Contexts for a set, and what counts as a good answer: a record of the query's own kind."""

    name: str
    own: Integers
    """(n,) the context that each record truly belongs to."""
    named: Integers
    """(n,) the context that it names."""
    contexts: int
    asked: Integers
    """(m,) the context that each query asks for."""
    kinds: Integers
    """(n,)"""
    query_kinds: Integers
    """(m,)"""
    follows_vectors: bool
    """Whether near records tend to share a context, so that denoising has something to go by."""
    shown: bool
    """Whether it gets figures and a part of the plot; the rows have every case."""

    def weights(self) -> Values:
        """(n, contexts): .8 on the named context, .2 on another."""
        rng = np.random.default_rng(2)
        n = len(self.named)
        second = (self.named + rng.integers(1, self.contexts, n)) % self.contexts
        weights = np.zeros((n, self.contexts))
        weights[np.arange(n), self.named], weights[np.arange(n), second] = 0.8, 0.2
        return weights


def run(options: Options) -> Report:
    report = Report("contexts_depth", QUESTION)
    report.settings = {"top_k": DEPTH, "threads": threads()}
    rows = options.pick(20_000, 2_500)
    with QuantumDatabase.connect(options.scratch / "qstore", build_threads=os.cpu_count()) as db:
        for task in tasks(options, 100, 300):
            data = replace(task.data, base=task.data.base[:rows], labels=task.data.labels[:rows])
            report.settings[data.name] = {"rows": len(data), "R": task.far, "source": data.source}
            group = _groups(data.name, options)
            coarse = (_coarse(data, group, wrong) for wrong in WRONG[options.pick(0, -1) :])
            for case in (*coarse, _independent(data)):
                _measure(report, db, replace(task, data=data), case)
    return report


def _groups(name: str, options: Options) -> Integers:
    """The coarse group of each label."""
    if name == "docstrings":
        return chapter_of(options)
    return SUPERCLASS_OF if name == "Fashion-MNIST" else DIGIT_SHAPE


def _coarse(data: VectorSet, group: Integers, wrong: float) -> Case:
    """Groups of labels as contexts; a share `wrong` of the records names another group than its own."""
    rng = np.random.default_rng(5)
    own, count = group[data.labels], int(group.max()) + 1
    lied = rng.random(len(own)) < wrong
    named = np.where(lied, (own + rng.integers(1, count, len(own))) % count, own)
    asked = group[data.query_labels]
    return Case(
        f"coarse, {wrong:.0%} wrong",
        own,
        named,
        count,
        asked,
        data.labels,
        data.query_labels,
        follows_vectors=True,
        shown=wrong == WRONG[-1],
    )


def _independent(data: VectorSet) -> Case:
    """An owner for each record, drawn whatever its vector; a query asks for its class among one owner's records."""
    rng = np.random.default_rng(4)
    own, asked = (rng.integers(0, OWNERS, len(labels)) for labels in (data.labels, data.query_labels))
    kinds, query_kinds = data.labels * OWNERS + own, data.query_labels * OWNERS + asked
    return Case(
        "independent of the vector",
        own,
        own,
        OWNERS,
        asked,
        kinds,
        query_kinds,
        follows_vectors=False,
        shown=True,
    )


def _measure(report: Report, db: QuantumDatabase, task: FarTask, case: Case) -> None:
    collection = f"{task.data.name}, {case.name}"
    _store(db, task.data, case, collection)
    for warning in db.query(task.data.base[0], context="0", denoise=True, collection=collection).warnings:
        report.skipped[collection] = warning
        return
    kept = [q for q in task.evaluate.tolist() if (case.kinds == case.query_kinds[q]).sum() >= DEPTH]
    near: dict[str, list[float]] = {method: [] for method in METHODS}
    far: dict[str, list[float]] = {method: [] for method in METHODS}
    for query in kept:
        vector, kind = task.data.queries[query], int(case.query_kinds[query])
        # One well for all methods: a rank among fewer eligible records would lie elsewhere.
        edge = db.query(vector, top_k=task.far, collection=collection)[-1].distance
        for method in METHODS:
            asked = _asked(method, int(case.asked[query]))
            found = db.query(vector, top_k=DEPTH, collection=collection, **asked)
            near[method].append(ndcg(as_positions(found.ids), case.kinds, kind))
            beyond = db.tunnel_search(
                vector,
                barrier_threshold=edge,
                barrier_scale="distance",
                top_k=DEPTH,
                collection=collection,
                **asked,
            )
            far[method].append(float((case.kinds[as_positions(beyond.ids)] == kind).sum()) / DEPTH)
    right = {
        method: _share_right(db, task.data, case, collection, method) for method in ("log-linear", "denoised")
    }
    found_by = {
        "NDCG@20": {method: np.array(values) for method, values in near.items()},
        "far P@20": {method: np.array(values) for method, values in far.items()},
    }
    for what, figures in found_by.items():
        for method, values in figures.items():
            report.row(
                set=task.data.name,
                contexts=case.name,
                figure=what,
                method=method,
                mean=float(values.mean()),
                less_log_linear=gain(values, figures["log-linear"]),
                queries=len(kept),
                share_of_weights_right=right.get(method),
            )
    if case.shown:
        _show(report, collection, case, found_by, right)


def _store(db: QuantumDatabase, data: VectorSet, case: Case, collection: str) -> None:
    db.create_collection(collection, dimension=data.base.shape[1], metric=data.metric)
    db.insert_many(
        ids=data.ids,
        vectors=data.base,
        contexts=as_contexts(case.weights(), [str(c) for c in range(case.contexts)]),
        metadata=[{"named": c, "row": row} for row, c in enumerate(case.named.tolist())],
        collection=collection,
        progress=False,
    )
    db.wait_indexed()


def _asked(method: str, context: int) -> dict[str, Any]:
    """How a method asks for a context."""
    if method == "no context":
        return {}
    if method == "hard filter":
        return {"filter": {"named": context}}
    return {"context": str(context), "soft": "soft" in method, "denoise": "denoised" in method}


def _share_right(db: QuantumDatabase, data: VectorSet, case: Case, collection: str, method: str) -> float:
    """The share of 200 sampled records whose strongest context is their own, as this method weighs them."""
    sample = np.random.default_rng(9).permutation(len(data))[:200].tolist()
    right = 0
    for row in sample:
        weights = np.zeros(case.contexts)
        for context in range(case.contexts):
            found = db.query(
                data.base[row],
                top_k=1,
                context=str(context),
                denoise=method == "denoised",
                filter={"row": row},
                collection=collection,
            )
            weights[context] = next((match.weight or 0.0 for match in found), 0.0)
        right += int(weights.argmax()) == int(case.own[row])
    return right / len(sample)


def _show(
    report: Report,
    collection: str,
    case: Case,
    found_by: Mapping[str, Mapping[str, Values]],
    right: Mapping[str, float],
) -> None:
    for what, figures in found_by.items():
        denoised, plain = figures["denoised"], figures["log-linear"]
        _, low, high = gain(denoised, plain)
        means = ", ".join(f"{method} {values.mean():.3f}" for method, values in figures.items())
        report.figure(
            f"{collection}: {what}, denoised / log-linear (weights right: {right['denoised']:.0%} / "
            f"{right['log-linear']:.0%})",
            compared(denoised, plain),
            Gate(low, 0.0) if case.follows_vectors else Gate(high, 0.0, above=False),
        )
        report.figure(f"{collection}: {what}, each way of asking", means)
        bars = [
            Bar(f"qstore {method}" if "denoised" in method else method, Spread(*[float(values.mean())] * 3))
            for method, values in figures.items()
        ]
        report.panels.append(Panel(collection, what, bars))
