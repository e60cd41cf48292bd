"""Objective mode on stored trials: distinct optima among ten, what the best misses, and trials to get there.

Tables are random trials of Rastrigin's and Ackley's functions, and halves of the full grids of two real models.
Grid search has as many trials, on a grid. Which trial to make next is asked for C-09 alone, in `convergence`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import convergence
from benchmarks.data import Integers
from benchmarks.far import Values
from benchmarks.functions import FUNCTIONS
from benchmarks.harness import Bar, Options, Panel, Report, Spread, compared, gain
from benchmarks.rivals import Setting
from benchmarks.shortlists import LENGTH, Picker, by_score, pickers
from benchmarks.trials import Trials, real_tables
from qstore_db import QuantumDatabase

QUESTION = "Does objective mode list more distinct good configurations, and does tunnelling find them sooner?"
OURS, SORTED, GRID = "qstore objective", "sort by score", "grid search"
TUNING = 3
"""The first seeds, for settings; the others are judged."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of trials, stored, and as many trials on a grid."""

    trials: Trials
    grid: Trials
    seed: int
    collection: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list of ten is worth, a value a judged table."""

    optima: Values
    """Of the ten best optima, how many it shows by the best stored trial of their basins."""
    regret: Values
    """What its best trial misses of the best score there is."""
    mean_regret: Values
    """The same of all its trials."""


def run(options: Options) -> Report:
    report = Report("objective", QUESTION)
    seeds = options.pick(TUNING + 10, TUNING + 1)
    report.settings = {"listed": LENGTH, "tables of each kind": seeds - TUNING, "tables to tune on": TUNING}
    whole: list[Trials] = []
    with QuantumDatabase.connect(options.scratch / "qstore", build_threads=os.cpu_count()) as db:
        tables = [*_functions(options, seeds), *_real(options, seeds, whole)]
        for table in tables:
            _store(db, table.trials, table.collection)
        for trials in whole:
            _store(db, trials, trials.name)
        db.wait_indexed()
        _lists(report, db, tables)
        convergence.measure(report, db, *_starts(tables, whole, options))
    return report


def _functions(options: Options, seeds: int) -> Iterator[Table]:
    for function in FUNCTIONS:
        for dimension in (2, 3, 4, 5)[: options.pick(4, 1)]:
            for seed in range(seeds):
                count = options.pick(3_000, 300)
                trials = function.random(dimension, count, seed)
                yield Table(trials, function.grid(dimension, count, seed), seed, f"{trials.name}, {seed}")


def _real(options: Options, seeds: int, whole: list[Trials]) -> Iterator[Table]:
    """Random halves of each real grid, with the half of it that a coarser grid is; `whole` gets the grids."""
    for trials, places in real_tables(options.quick):
        whole.append(trials)
        coarse = np.flatnonzero(places.sum(axis=1) % 2 == 0)
        for seed in range(seeds):
            half = np.random.default_rng([seed, 2]).permutation(len(places))[: len(places) // 2]
            yield Table(trials.take(half), trials.take(coarse), seed, f"{trials.name}, {seed}")


def _store(db: QuantumDatabase, trials: Trials, collection: str) -> None:
    db.create_collection(collection, dimension=trials.points.shape[1], metric="l2")
    db.insert_many(
        ids=[str(row) for row in range(len(trials.scores))],
        vectors=trials.points,
        metadata=[{"score": score} for score in trials.scores.tolist()],
        collection=collection,
        progress=False,
    )


def _starts(
    tables: Sequence[Table], whole: Sequence[Trials], options: Options
) -> tuple[list[convergence.Start], list[convergence.Start]]:
    """Where searches begin, to tune and to judge: three on each function's table, 30 on each real one."""
    known = {trials.name for trials in whole}
    starts = [
        (table.trials, table.collection, 10 * table.seed + turn)
        for table in tables
        if table.trials.name not in known
        for turn in range(options.pick(3, 1))
    ]
    count = 10 * TUNING + options.pick(30, 2)
    starts += [
        (trials, trials.name, seed) for trials in whole for seed in range(0, count, options.pick(1, 8))
    ]
    return (
        [start for start in starts if start[2] < 10 * TUNING],
        [start for start in starts if start[2] >= 10 * TUNING],
    )


def _lists(report: Report, db: QuantumDatabase, tables: Sequence[Table]) -> None:
    found: dict[str, dict[str, Listed]] = {}
    for name in dict.fromkeys(table.trials.name for table in tables):
        own = [table for table in tables if table.trials.name == name]
        tune, judge = own[:TUNING], own[TUNING:]
        known = pickers(db)
        tuned = {picker.name: _tune(report, name, picker, tune) for picker in known}
        found[name] = {picker.name: _picked(judge, picker, tuned[picker.name]) for picker in known}
        found[name][GRID] = _judge([(t.grid, by_score(t.grid, t.collection, {})) for t in judge])
        for picked, listed in found[name].items():
            report.row(
                claim="C-06",
                table=name,
                trials=len(judge[0].trials.scores),
                picked_by=picked,
                setting=tuned.get(picked, {}),
                optima_among_ten=float(listed.optima.mean()),
                optima_less_sort_by_score=gain(listed.optima, found[name][SORTED].optima),
                regret=float(listed.regret.mean()),
                mean_regret_of_the_ten=float(listed.mean_regret.mean()),
                optima_to_find=float(np.mean([len(table.trials.good()) for table in judge])),
            )
        _show(report, name, judge, found[name])
    _answer(report, found)


def _tune(report: Report, name: str, picker: Picker, tables: Sequence[Table]) -> Setting:
    """The setting that shows most optima on the tuning tables; all settings become rows."""
    means = [
        float(
            _judge([(t.trials, picker.pick(t.trials, t.collection, setting)) for t in tables]).optima.mean()
        )
        for setting in picker.grid
    ]
    for setting, mean in zip(picker.grid, means, strict=True):
        report.row(claim="C-06", table=name, tuning=picker.name, setting=setting, optima_among_ten=mean)
    return picker.grid[int(np.argmax(means))]


def _picked(tables: Sequence[Table], picker: Picker, setting: Setting) -> Listed:
    return _judge([(t.trials, picker.pick(t.trials, t.collection, setting)) for t in tables])


def _judge(lists: Sequence[tuple[Trials, Integers]]) -> Listed:
    return Listed(
        np.array([np.isin(trials.good(), rows).sum() for trials, rows in lists], np.float64),
        np.array([trials.ceiling - trials.scores[rows].max() for trials, rows in lists]),
        np.array([trials.ceiling - trials.scores[rows].mean() for trials, rows in lists]),
    )


def _show(report: Report, name: str, judge: Sequence[Table], found: Mapping[str, Listed]) -> None:
    others = ", ".join(
        f"{by} {listed.optima.mean():.1f}" for by, listed in found.items() if by not in (OURS, SORTED)
    )
    report.figure(
        f"{name}, {len(judge[0].trials.scores):,} trials: good optima among ten, objective / sort by score",
        f"{compared(found[OURS].optima, found[SORTED].optima)}; {others}",
    )
    bars = [Bar(by, Spread.of(listed.optima.tolist())) for by, listed in found.items()]
    report.panels.append(Panel(name, "of the ten best optima, among ten listed", bars))


def _answer(report: Report, found: Mapping[str, Mapping[str, Listed]]) -> None:
    """C-06. No list of stored trials can hold a better one than the best stored: measured, not assumed."""

    def together(picked: str, figure: str) -> Values:
        return np.concatenate([getattr(listed[picked], figure) for listed in found.values()])

    ours, theirs, grid = (together(picked, "regret") for picked in (OURS, SORTED, GRID))
    optima = compared(together(OURS, "optima"), together(SORTED, "optima"))
    more = gain(together(OURS, "optima"), together(SORTED, "optima"))[1] > 0
    spaced = compared(together(OURS, "optima"), together("sort by score, spaced", "optima"))
    report.claim(
        "C-06",
        "corrected" if more else "refuted",
        f"the best of ten is the one that the same trials sorted by score have on {np.mean(ours == theirs):.0%} "
        f"of {len(ours)} tables, and a better one on {np.mean(ours < theirs):.0%}; grid search with as many trials "
        f"has a better one on {np.mean(grid < ours):.0%} and a worse one on {np.mean(grid > ours):.0%}. What "
        f"changes is how many of the ten best optima are among ten: objective / sort by score {optima}; objective "
        f"/ sort by score with a least distance {spaced}",
    )
