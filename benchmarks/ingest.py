"""Writing: durable single inserts, a bulk import that queries go on beside, a restart after a kill, and sizes."""

from __future__ import annotations

import threading
import time
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks import restart
from benchmarks.data import VectorSet, fashion_mnist
from benchmarks.durable import DIMENSION, STORES
from benchmarks.harness import Bar, Gate, Options, Panel, Report, Spread, interleave, number, ratio
from benchmarks.peers import threads
from qstore_db import QuantumDatabase

QUESTION = (
    "How fast are durable writes, what do queries feel of an import, and how soon is a killed store back?"
)
WRITERS = (1, 8, 64)
PIECE = 10_000
PAUSE = 0.02
"""Seconds between the queries of the client that asks during an import."""


def run(options: Options) -> Report:
    report = Report("ingest", QUESTION)
    data = fashion_mnist(options, "l2", options.pick(200, 20))
    report.settings = {"rows": len(data), "threads": threads(), "source": data.source, "dimension": DIMENSION}
    _acknowledgements(report, options)
    _import(report, data, options)
    _restart(report, data, options)
    return report


def _acknowledgements(report: Report, options: Options) -> None:
    rounds = options.pick(5, 1)
    stores = [make(options.scratch / f"store-{i}") for i, make in enumerate(STORES)]
    bars: list[Bar] = []
    for writers in WRITERS:
        count = options.pick(max(400, 50 * writers), max(20, writers))
        measures = {store.name: partial(store.rate, writers, count) for store in stores}
        rates = interleave(measures, rounds)
        baseline = stores[2].name
        for name, figures in rates.items():
            report.row(
                writers=writers,
                contender=name,
                inserts=count,
                acks_per_s=Spread.of(figures),
                over_one_commit_a_record=ratio(figures, rates[baseline]),
            )
            bars.append(Bar(f"{name}, {writers}", Spread.of(figures)))
        best = max(rates, key=lambda name: Spread.of(rates[name]).median if name.startswith("qstore") else 0)
        over = ratio(rates[best], rates[baseline])
        medians = {name: number(Spread.of(figures).median) for name, figures in rates.items()}
        report.figure(
            f"durable single inserts, {writers} writers: {best} / {baseline}",
            f"{over.median:.1f} ({over.low:.1f} to {over.high:.1f}); acks/s: "
            + ", ".join(f"{name} {median}" for name, median in medians.items()),
            Gate(over.median, 10.0) if writers == WRITERS[-1] else None,
        )
    for store in stores:
        store.close()
    report.panels.append(
        Panel("durable single inserts by number of writers", "acknowledgements a second", bars)
    )


def _import(report: Report, data: VectorSet, options: Options) -> None:
    """Import alone; then unindexed rows without a writer; then an import beside which a client asks."""
    alone, _ = _import_into(data, options, "alone", client=False)
    counts, quiet = _quiet(data, options)
    beside, asked = _import_into(data, options, "beside", client=True)
    expected = np.interp(asked[:, 0], counts, quiet)
    slower = asked[:, 1] / expected
    p50, p50_quiet = float(np.median(asked[:, 1])), float(np.median(expected))
    report.row(
        rows=len(data),
        import_alone_records_per_s=alone,
        import_with_client_records_per_s=beside,
        queries_meanwhile=len(asked),
        p50_ms=p50,
        p50_ms_same_rows_unindexed_no_writer=p50_quiet,
        quiet_p50_ms_by_rows=dict(zip(counts, quiet, strict=True)),
        median_ratio=float(np.median(slower)),
    )
    report.figure(
        f"import of {len(data):,} x {data.base.shape[1]} while a client asks every {PAUSE * 1e3:.0f} ms (alone)",
        f"{number(beside)} ({number(alone)}) records/s",
        Gate(beside, 5_000.0),
    )
    report.figure(
        f"p50 of those {len(asked)} queries / p50 of the same unindexed rows without a writer",
        f"{np.median(slower):.2f}; {p50:.2f} against {p50_quiet:.2f} ms",
        Gate(float(np.median(slower)), 5.0, above=False),
    )
    names = (("qstore, asked by a client meanwhile", beside), ("qstore, alone", alone))
    bars = [Bar(name, Spread(rate, rate, rate)) for name, rate in names]
    report.panels.append(Panel(f"import of {len(data):,} x {data.base.shape[1]}", "records a second", bars))


def _import_into(
    data: VectorSet, options: Options, name: str, *, client: bool
) -> tuple[float, NDArray[np.float64]]:
    """Records a second, and for each query meanwhile how many records there were and its milliseconds."""
    asked: list[tuple[int, float]] = []
    stored = 0
    over = threading.Event()

    def ask(db: QuantumDatabase) -> None:
        turn = 0
        while not over.wait(PAUSE):
            there = stored
            if there:
                asked.append((there, _call(db, data, turn)))
                turn += 1

    with QuantumDatabase.connect(options.scratch / name) as db:
        db.create_collection("default", dimension=data.base.shape[1], metric=data.metric)
        ids, metadata = data.ids, [{"label": label} for label in data.labels.tolist()]
        reader = threading.Thread(target=ask, args=(db,))
        if client:
            reader.start()
        started = time.perf_counter()
        piece = options.pick(PIECE, 500)
        for start in range(0, len(data), piece):
            part = slice(start, start + piece)
            db.insert_many(ids=ids[part], vectors=data.base[part], metadata=metadata[part], progress=False)
            stored = min(start + piece, len(data))
        rate = len(data) / (time.perf_counter() - started)
        over.set()
        if client:
            reader.join()
            if not asked:  # the whole import took less than a pause
                asked.append((stored, _call(db, data, 0)))
    return rate, np.array(asked, np.float64).reshape(-1, 2)


def _quiet(data: VectorSet, options: Options) -> tuple[list[int], list[float]]:
    """p50 in ms of exact search at growing numbers of rows, with no writer about."""
    counts: list[int] = []
    quiet: list[float] = []
    piece = options.pick(PIECE, 500)
    with QuantumDatabase.connect(options.scratch / "unindexed") as db:
        db.create_collection("default", dimension=data.base.shape[1], metric=data.metric, index="flat")
        for start in range(0, len(data), piece):
            part = slice(start, start + piece)
            db.insert_many(ids=data.ids[part], vectors=data.base[part], progress=False)
            times: list[float] = []
            for turn in range(options.pick(60, 5)):
                time.sleep(PAUSE)
                times.append(_call(db, data, turn))
            counts.append(min(start + piece, len(data)))
            quiet.append(float(np.median(times)))
    return counts, quiet


def _call(db: QuantumDatabase, data: VectorSet, turn: int) -> float:
    started = time.perf_counter()
    db.query(data.queries[turn % len(data.queries)])
    return 1e3 * (time.perf_counter() - started)


def _restart(report: Report, data: VectorSet, options: Options) -> None:
    bars: list[Bar] = []
    for indexed in (True, False):
        directory = options.scratch / ("indexed" if indexed else "unindexed-kill")
        filled = restart.start("fill", directory, options, indexed=indexed)
        answers = [restart.start("ask", directory, options) for _ in range(options.pick(5, 1))]
        if not all(answer["correct"] for answer in answers):
            raise AssertionError(f"a wrong answer after a kill: {answers}")
        first = Spread.of([answer["first_answer_s"] for answer in answers])
        opened = Spread.of([answer["open_s"] for answer in answers])
        state = "indexed" if indexed else "not yet indexed"
        report.row(after_kill=state, rows=len(data), first_answer_s=first, open_s=opened, **filled)
        report.figure(
            f"kill -9 with {len(data):,} rows {state}: connect() to the first correct answer",
            f"{first.median:.2f} s ({first.low:.2f} to {first.high:.2f})",
            Gate(first.median, 0.5, above=False) if indexed else None,
        )
        bars.append(Bar(f"qstore, {state}", first))
        if indexed:
            _sizes(report, data, filled)
    report.panels.append(Panel("first correct answer after kill -9", "s", bars))


def _sizes(report: Report, data: VectorSet, filled: dict[str, int]) -> None:
    raw = 4 * data.base.shape[1]
    each = {name: value / len(data) for name, value in filled.items()}
    report.figure(
        f"bytes a record of {raw:,} bytes of vector: on disk with its saved index / in memory for search",
        f"{number(each['disk_bytes'])} / {number(each['memory_bytes'])}; the process grew by "
        f"{number(each['resident_bytes'])} a record",
    )
