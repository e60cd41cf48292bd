"""tunnel_search against plain neighbours and its rivals: the query's kind beyond its dense neighbourhood.

The figure is far P@20: the share of the 20 best results outside the R nearest that carry the query's label. For
plain search the far list is ranks R + 1 to R + 20; for tunnel_search the well is set to hold R. The engines run
with their defaults; the rivals are tuned, on queries that are not judged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks import regimes, rivals, tunnel_speed
from benchmarks.data import clustered
from benchmarks.far import (
    DEPTH,
    FarTask,
    Values,
    as_positions,
    average_precision,
    barrier,
    hits,
    pools,
    precision,
    tasks,
)
from benchmarks.harness import Bar, Gate, Options, Panel, Report, Spread, compared, gain
from benchmarks.peers import threads
from benchmarks.rivals import Rival, Setting
from qstore_db import QuantumDatabase

QUESTION = (
    "Does tunnel_search find more of the query's kind beyond its R nearest than plain search and rivals do?"
)
CANDIDATES = 2_000
OURS = {"qstore diffusion": "diffusion", "qstore walk": "walk"}
REFERENCES = ("kNN", "qstore diffusion")
"""What every method is compared with, query by query."""


def run(options: Options) -> Report:
    report = Report("tunnel", QUESTION)
    report.settings = {"top_k": DEPTH, "threads": threads(), "candidates of the rivals": CANDIDATES}
    found: dict[str, dict[str, Values]] = {}
    with QuantumDatabase.connect(options.scratch / "sets", build_threads=os.cpu_count()) as db:
        for task in tasks(options, 100, 500):
            tunnel_speed.store(db, task.data)
            found[task.data.name] = _quality(report, db, task)
            if task.data.name == "Fashion-MNIST":
                tunnel_speed.measure(report, db, task.data, tunnel_speed.ALL, 3.0, options)
    _answer_claims(report, found)
    large = clustered(options.pick(1_000_000, 3_000), 200)
    with QuantumDatabase.connect(options.scratch / "large", build_threads=os.cpu_count()) as db:
        tunnel_speed.store(db, large)
        tunnel_speed.measure(report, db, large, tunnel_speed.ENGINES, 6.0, options)
    return report


def _quality(report: Report, db: QuantumDatabase, task: FarTask) -> dict[str, Values]:
    """Far P@20 of every method: (m,) of the judged queries."""
    contenders = (*rivals.walkers(), *rivals.listers(), regimes.rival(task.data))
    tuned = _tune(report, task, contenders)
    p: dict[str, list[float]] = {name: [] for name in [*OURS, *tuned]}
    ap: dict[str, list[float]] = {name: [] for name in [*OURS, *tuned]}
    wells: list[int] = []
    b = barrier(len(task.data), task.far)
    for query, pool in pools(task, task.evaluate, CANDIDATES):
        lists = {rival.name: pool.positions[rival.rank(pool, tuned[rival.name])] for rival in contenders}
        for name, engine in OURS.items():
            result = db.tunnel_search(
                task.data.queries[query],
                barrier_threshold=b,
                top_k=DEPTH,
                engine=engine,
                collection=task.data.name,
            )
            lists[name] = as_positions(result.ids)
            wells.append(result.well_size)
        for name, positions in lists.items():
            found = hits(positions, task.data, query)
            p[name].append(precision(found))
            ap[name].append(average_precision(found))
    report.settings[task.data.name] = {
        "rows": len(task.data),
        "source": task.data.source,
        "metric": task.data.metric,
        "R": task.far,
        "barrier_threshold": round(b, 4),
        "median well": float(np.median(wells)),
        "queries to tune on": len(task.tune),
        "queries to judge by": len(task.evaluate),
    }
    far_p20 = {name: np.array(values) for name, values in p.items()}
    _rows(report, task, far_p20, {name: np.array(values) for name, values in ap.items()}, tuned)
    _figures(report, task, far_p20)
    return far_p20


def _tune(report: Report, task: FarTask, contenders: Sequence[Rival]) -> dict[str, Setting]:
    """Each rival's setting of the best far P@20 on the tuning queries; all settings become rows."""
    found: dict[str, list[list[float]]] = {rival.name: [] for rival in contenders}
    for query, pool in pools(task, task.tune, CANDIDATES):
        for rival in contenders:
            lists = (pool.positions[rival.rank(pool, setting)] for setting in rival.grid)
            found[rival.name].append([precision(hits(far, task.data, query)) for far in lists])
    best: dict[str, Setting] = {}
    for rival in contenders:
        means = np.array(found[rival.name]).mean(axis=0)
        best[rival.name] = rival.grid[int(means.argmax())]
        for setting, mean in zip(rival.grid, means.tolist(), strict=True):
            report.row(set=task.data.name, tuning=rival.name, setting=setting, far_p20=mean)
    return best


def _rows(
    report: Report,
    task: FarTask,
    far_p20: Mapping[str, Values],
    ap20: Mapping[str, Values],
    tuned: Mapping[str, Setting],
) -> None:
    for name in far_p20:
        against = {
            f"{what} less {reference}": gain(figures[name], figures[reference])
            for reference in REFERENCES
            for what, figures in (("far_p20", far_p20), ("ap20", ap20))
            if name != reference
        }
        report.row(
            set=task.data.name,
            method=name,
            setting=tuned.get(name, "defaults"),
            far_p20=float(far_p20[name].mean()),
            ap20=float(ap20[name].mean()),
            **against,
        )


def _figures(report: Report, task: FarTask, far_p20: Mapping[str, Values]) -> None:
    what = (
        f"{task.data.name}, {len(task.data):,} rows, {len(task.evaluate)} held-out queries, R = {task.far}: "
    )
    what += "far P@20, "
    ours, walk, plain = (far_p20[name] for name in ("qstore diffusion", "qstore walk", "kNN"))
    report.figure(f"{what}diffusion / kNN", compared(ours, plain), Gate(gain(ours, plain)[1], 0.0))
    report.figure(f"{what}walk / diffusion", compared(walk, ours))
    others = [name for name in far_p20 if name not in (*OURS, *rivals.OUR_OWN)]
    for name in sorted(others, key=lambda name: -far_p20[name].mean())[:3]:
        report.figure(f"{what}{name} / diffusion", compared(far_p20[name], ours))
    bars = [Bar(name, Spread(*[float(values.mean())] * 3)) for name, values in far_p20.items()]
    title = f"{task.data.name}, {len(task.data):,} rows, outside the {task.far} nearest"
    report.panels.append(Panel(title, "far P@20", sorted(bars, key=lambda bar: -bar.value.median)))


def _answer_claims(report: Report, found: Mapping[str, Mapping[str, Values]]) -> None:
    """C-07 and C-08: what their mechanism is worth. The models and the market data of the claims are not here."""
    gains = {name: gain(far["qstore diffusion"], far["kNN"]) for name, far in found.items()}
    shown = "; ".join(
        f"{name} {compared(far['qstore diffusion'], far['kNN'])}" for name, far in found.items()
    )
    report.claim(
        "C-07",
        "corrected" if min(low for _, low, _ in gains.values()) > 0 else "refuted",
        f"the mechanism on images and text, no trained models: far P@20, diffusion / kNN, {shown}. "
        f"The best rival of each: {_best_rivals(found)}",
    )
    regime = "; ".join(
        f"{name} {compared(far['qstore diffusion'], far['k-means regimes'])}" for name, far in found.items()
    )
    report.claim(
        "C-08",
        "not testable here",
        f"no market data in this release; the mechanism alone, far P@20, diffusion / k-means regimes, {regime}",
    )


def _best_rivals(found: Mapping[str, Mapping[str, Values]]) -> str:
    told: list[str] = []
    for name, far in found.items():
        others = {rival: float(values.mean()) for rival, values in far.items() if rival not in OURS}
        best = max((rival for rival in others if rival not in rivals.OUR_OWN), key=others.__getitem__)
        told.append(f"{name} {best} {others[best]:.3f}")
    return "; ".join(told)
