"""C-09: how many trials it takes to find one of the best, on tables of stored trials."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from benchmarks.far import Values
from benchmarks.harness import Bar, Panel, Report, Spread, paired_bootstrap
from benchmarks.proposers import STARTS, Proposer, Search, proposers
from benchmarks.rivals import Setting
from benchmarks.trials import Trials
from qstore_db import QuantumDatabase

TOP = 0.01
"""The best share of a table, one of which is to be found; ties are in it."""
BUDGET = 300
OURS = "qstore tunnelling"

Start: TypeAlias = tuple[Trials, str, int]
"""A table, the collection that holds it, and the seed of where a search starts."""


def needed(trials: Trials, collection: str, seed: int, proposer: Proposer, setting: Setting) -> int:
    """Trials until one of the best is found; at most BUDGET, or the whole table, counts where none was."""
    search = Search(trials, collection, np.random.default_rng([seed, 9]))
    count = len(trials.scores)
    goal = np.sort(trials.scores)[::-1][max(0, int(np.ceil(TOP * count)) - 1)]
    budget = min(BUDGET, count)
    starts = np.random.default_rng([seed, 8]).permutation(count)[:STARTS].tolist()
    for tried, row in enumerate(itertools.chain(starts, proposer.begin(search, setting)), 1):
        if search.try_(row) >= goal or tried == budget:
            return tried
    raise AssertionError("a proposer never ends")


def measure(report: Report, db: QuantumDatabase, tune: Sequence[Start], judge: Sequence[Start]) -> None:
    """Every proposer on every table; settings are chosen table by table, on starts that are not judged."""
    known = proposers(db)
    found: dict[str, dict[str, Values]] = {}
    for name in dict.fromkeys(trials.name for trials, _, _ in judge):
        found[name] = {}
        for proposer in known:
            setting = _tune(report, name, proposer, tune)
            counts = [needed(*start, proposer, setting) for start in judge if start[0].name == name]
            found[name][proposer.name] = np.array(counts, np.float64)
            report.row(
                claim="C-09",
                table=name,
                proposer=proposer.name,
                setting=setting,
                trials_to_one_of_the_best=Spread.of(counts),
                mean=float(np.mean(counts)),
                searches=len(counts),
            )
        means = {proposer: float(counts.mean()) for proposer, counts in found[name].items()}
        report.figure(
            f"C-09: {name}, mean trials until one of the best {TOP:.0%} is found",
            ", ".join(f"{proposer} {mean:.0f}" for proposer, mean in means.items()),
        )
        bars = [Bar(proposer, Spread(mean, mean, mean)) for proposer, mean in means.items()]
        report.panels.append(Panel(f"{name}: until one of the best {TOP:.0%} is found", "trials", bars))
    _answer(report, found)


def _tune(report: Report, name: str, proposer: Proposer, tune: Sequence[Start]) -> Setting:
    """The setting that needs the fewest trials on this table's tuning starts; all settings become rows."""
    means = [
        float(np.mean([needed(*start, proposer, setting) for start in tune if start[0].name == name]))
        for setting in proposer.grid
    ]
    for setting, mean in zip(proposer.grid, means, strict=True):
        report.row(claim="C-09", table=name, tuning=proposer.name, setting=setting, mean=mean)
    return proposer.grid[int(np.argmin(means))]


def _answer(report: Report, found: Mapping[str, Mapping[str, Values]]) -> None:
    """Ratios of the trials needed, search by search, as the geometric mean over all tables with its interval."""
    ratios: dict[str, tuple[float, float, float]] = {}
    for rival in next(iter(found.values())):
        if rival != OURS:
            logs = np.concatenate([np.log(counts[OURS] / counts[rival]) for counts in found.values()])
            low, high = paired_bootstrap(logs)
            ratios[rival] = (math.exp(float(logs.mean())), math.exp(low), math.exp(high))
    faster = [rival for rival, (_, _, high) in ratios.items() if high < 1.0]
    claimed = {"random", "grid"} <= set(faster)
    verdict = "holds" if len(faster) == len(ratios) else "corrected" if claimed else "refuted"
    shown = ", ".join(
        f"{rival} {ratio:.2f} [{low:.2f}, {high:.2f}]" for rival, (ratio, low, high) in ratios.items()
    )
    report.figure(f"C-09: trials of tunnelling over those of others, {len(found)} tables together", shown)
    report.claim(
        "C-09",
        verdict,
        f"trials needed to find one of the best {TOP:.0%} of a table, over those that others need (below 1 is "
        f"faster), geometric mean over {len(found)} tables of stored trials: {shown}",
    )
