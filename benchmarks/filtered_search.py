"""Filtered queries: recall in every cell, and speed with the filter evaluated inside the timed call.

Each record has `place` in [0, 1), its rank when records are ordered by label and then by cluster or main axis
within it, and `draw`, uniform at random. A window of either admits an exact share of the rows: windows of `draw`
are spread over the space, windows of `place` are confined to a region of it that mostly lies far from the query.
Every query has a window of its own, so that no cached selection can answer; one cell with a fixed window is
published beside them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Floats, Integers, Mask, Truth, VectorSet, clustered, fashion_mnist
from benchmarks.harness import Bar, Gate, Options, Panel, Report, Spread, number
from benchmarks.peers import BATCH, K, threads
from qstore_db import QuantumDatabase

QUESTION = "Do filtered queries keep their recall, whatever the filter, and how fast are they?"
TARGET = 0.99
SHARES = (0.01, 0.1, 0.5)
DELETED = (0.0, 0.5, 0.95)
"""Shares of the doomed labels' rows that are gone when the cells are measured."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of filter."""

    field: str
    share: float

    @property
    def name(self) -> str:
        kind = "random" if self.field == "draw" else "label-correlated"
        return "no filter" if self.share == 1.0 else f"{kind} {self.share:.0%}"


CELLS = (Cell("draw", 1.0), *(Cell(field, share) for share in SHARES for field in ("draw", "place")))


def run(options: Options) -> Report:
    report = Report("filtered_search", QUESTION)
    rounds = options.pick(3, 1)
    report.settings = {"top_k": K, "rounds": rounds, "threads": threads(), "target_recall": TARGET}
    images = fashion_mnist(options, "l2", options.pick(6_000, 150))
    vectors = clustered(options.pick(1_000_000, 3_000), options.pick(2_000, 150))
    lowest = min(
        _measure(report, images, 2, options.pick(900, 20), options.scratch / "images", rounds),
        _measure(report, vectors, 20, options.pick(300, 20), options.scratch / "vectors", rounds),
    )
    report.figure("least recall@10 of all cells", f"{lowest:.4f}", Gate(lowest, TARGET))
    return report


def _measure(report: Report, data: VectorSet, doomed: int, count: int, path: Path, rounds: int) -> float:
    """The least recall of this set's cells, each asked with `count` queries."""
    size = f"{len(data):,} {data.name}"
    report.settings[data.name] = {
        "rows": len(data),
        "dimension": data.base.shape[1],
        "queries a cell": count,
        "source": data.source,
        "labels with deletions": doomed,
    }
    draw, place = _fields(data)
    columns = {"draw": draw, "place": place}
    alive = np.ones(len(data), np.bool_)
    truth = Truth(data)
    lowest = 1.0
    bars: list[Bar] = []
    with QuantumDatabase.connect(path, build_threads=os.cpu_count()) as db:
        _fill(db, data, draw, place)
        for deleted in DELETED:
            asked = np.arange(count)
            if deleted:
                # The hardest queries: those that lie where most of the records are gone.
                asked = np.flatnonzero(data.query_labels < doomed)[:count]
                db.delete(filter={"label": {"$lt": doomed}, "draw": {"$lt": deleted}})
                alive &= ~((data.labels < doomed) & (draw < deleted))
            coarse = truth.coarse(asked)
            for cell in CELLS:
                starts = _starts(cell, len(asked), deleted)
                found, speeds = _ask(db, data.queries[asked], cell, starts, rounds)
                shares: list[float] = []
                for at, positions in enumerate(found):
                    allowed = alive & _window(cell, columns[cell.field], starts[at])
                    if not allowed[positions].all():
                        raise AssertionError(f"{cell.name}: query {asked[at]} got a record that is excluded")
                    true = truth.nearest(int(asked[at]), coarse[at], K, allowed)
                    shares.append(truth.share(int(asked[at]), positions, true))
                recall = float(np.mean(shares))
                lowest = min(lowest, recall)
                report.row(
                    set=data.name, filter=cell.name, gone=deleted, recall=recall, qps=Spread.of(speeds)
                )
                bars.append(Bar(f"qstore {cell.name}, {deleted:.0%} gone ({recall:.3f})", Spread.of(speeds)))
                if deleted == 0.0:
                    _show(report, f"{size}: {cell.name}", cell, data, recall, speeds)
            _cached(report, db, data, data.queries[asked], deleted)
    report.panels.append(Panel(f"{size}: single filtered queries a second (recall@10)", "QPS", bars))
    return lowest


def _fill(
    db: QuantumDatabase, data: VectorSet, draw: NDArray[np.float64], place: NDArray[np.float64]
) -> None:
    db.create_collection("default", dimension=data.base.shape[1], metric=data.metric, target_recall=TARGET)
    for start in range(0, len(data), 10_000):
        piece = slice(start, start + 10_000)
        fields = zip(data.labels[piece].tolist(), draw[piece].tolist(), place[piece].tolist(), strict=True)
        db.insert_many(
            ids=[str(i) for i in range(len(data))[piece]],
            vectors=data.base[piece],
            metadata=[{"label": label, "draw": d, "place": p} for label, d, p in fields],
            progress=False,
        )
    db.wait_indexed()


def _show(report: Report, what: str, cell: Cell, data: VectorSet, recall: float, speeds: list[float]) -> None:
    median = Spread.of(speeds).median
    gated = cell.share == 0.1 and data.name == "Fashion-MNIST"
    report.figure(
        f"{what}, single calls, recall@10 {recall:.4f}",
        f"{number(median)} QPS ({number(min(speeds))} to {number(max(speeds))})",
        Gate(median, 300.0) if gated else None,
    )


def _fields(data: VectorSet) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`draw` and `place` of every record, both in [0, 1)."""
    n = len(data)
    draw = np.random.default_rng(1).permutation(n) / n
    sample = data.base[:: max(1, n // 5_000)]
    axis = np.linalg.svd(sample - sample.mean(0), full_matrices=False)[2][0]
    order = np.lexsort((data.base @ axis, data.labels))
    place = np.empty(n)
    place[order] = np.arange(n) / n
    return draw, place


def _starts(cell: Cell, count: int, deleted: float) -> NDArray[np.float64]:
    """Where the window of each query starts."""
    rng = np.random.default_rng([round(cell.share * 100), round(deleted * 100), cell.field == "draw"])
    return rng.random(count) * (1.0 - cell.share)


def _window(cell: Cell, column: NDArray[np.float64], start: float) -> Mask:
    if cell.share == 1.0:
        return np.ones(len(column), np.bool_)
    return (column >= start) & (column < start + cell.share)


def _filter(cell: Cell, start: float) -> dict[str, Any] | None:
    if cell.share == 1.0:
        return None
    return {cell.field: {"$gte": float(start), "$lt": float(start) + cell.share}}


def _ask(
    db: QuantumDatabase, queries: Floats, cell: Cell, starts: NDArray[np.float64], rounds: int
) -> tuple[list[Integers], list[float]]:
    """Positions found for every query, and the queries a second of each round; a round asks its share of them."""
    filters = [_filter(cell, start) for start in starts]
    answers: list[Sequence[str]] = []
    speeds: list[float] = []
    for turn in np.array_split(np.arange(len(queries)), rounds):
        started = time.perf_counter()
        results = [db.query(queries[i], top_k=K, filter=filters[i]) for i in turn]
        speeds.append(len(results) / (time.perf_counter() - started))
        answers.extend(result.ids for result in results)
    return [np.array([int(id) for id in ids], np.int64) for ids in answers], speeds


def _cached(report: Report, db: QuantumDatabase, data: VectorSet, queries: Floats, deleted: float) -> None:
    """The same filter again and again: its rows are known after the first call."""
    fixed = _filter(Cell("draw", 0.1), 0.3)
    started = time.perf_counter()
    for query in queries:
        db.query(query, top_k=K, filter=fixed)
    single = len(queries) / (time.perf_counter() - started)
    started = time.perf_counter()
    for start in range(0, len(queries), BATCH):
        db.query_batch(queries[start : start + BATCH], top_k=K, filter=fixed)
    batch = len(queries) / (time.perf_counter() - started)
    name = "random 10%, always the same"
    report.row(set=data.name, filter=name, gone=deleted, qps_single=single, qps_batch=batch)
    if deleted == 0.0:
        report.figure(
            f"{len(data):,} {data.name}: {name}",
            f"{number(single)} QPS in single calls, {number(batch)} QPS in batches of {BATCH}",
        )
