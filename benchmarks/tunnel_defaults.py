"""Why the defaults of tunnel_search are what they are: each parameter swept, the others at their defaults.

On the reference algorithm, whose graph is exact on its candidates, and on the tuning queries of `tunnel` alone: no
query that a method is judged by was looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.data import Integers
from benchmarks.far import DEPTH, Pool, Values, hits, pools, precision, tasks
from benchmarks.harness import Bar, Gate, Options, Panel, Report, Spread, compared
from qstore_db.search.diffusion import (
    Graph,
    diffuse,
    knn_graph,
    query_scale,
    seed_distribution,
    tunnel_scores,
)

QUESTION = "Are the defaults of tunnel_search near the best setting of each of its parameters?"
CLOSE = 0.01
"""Far P@20 that a default may miss of the best setting in its sweep."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a reference search depends on, at the defaults."""

    s: float = 1.0
    k: int = 10
    steps: int = 10
    alpha: float = 0.99
    seeds: int = 5
    N: int = 2_000


SWEEPS: Mapping[str, tuple[float, ...]] = {
    "s": (0.0, 0.25, 0.5, 0.75, 0.9, 1.0),
    "k": (3, 5, 7, 10, 15, 20),
    "steps": (1, 2, 5, 10, 20, 40),
    "alpha": (0.5, 0.8, 0.9, 0.95, 0.99, 1.0),
    "seeds": (1, 2, 5, 10, 20),
    "N": (250, 500, 1_000, 2_000, 3_000),
}
WELLS = (5, 10, 20, 50, 100, 200)
"""Sizes of the well, for b. By default it holds top_k."""

Key = tuple[str, float]
"""A parameter and its value; "diffusion beyond" and "kNN beyond" for the sizes of the well."""


def run(options: Options) -> Report:
    report = Report("tunnel_defaults", QUESTION)
    report.settings = {"top_k": DEPTH, "algorithm": "the reference, on the exact graph of the N nearest"}
    found: dict[str, dict[Key, Values]] = {}
    for task in tasks(options, 100, 500):
        asked = task.tune[: options.pick(40, 2)]
        lists: dict[Key, list[float]] = {}
        for query, pool in pools(task, asked, options.pick(int(max(SWEEPS["N"])), 400)):
            for key, members in _lists(pool):
                found_here = hits(pool.positions[members], task.data, query)
                lists.setdefault(key, []).append(precision(found_here))
        found[task.data.name] = {key: np.array(values) for key, values in lists.items()}
        report.settings[task.data.name] = {
            "rows": len(task.data),
            "R": task.far,
            "tuning queries": len(asked),
            "source": task.data.source,
        }
        for (parameter, value), far_p20 in found[task.data.name].items():
            report.row(set=task.data.name, parameter=parameter, value=value, far_p20=float(far_p20.mean()))
    for parameter in SWEEPS:
        _judge(report, parameter, found)
    _wells(report, found)
    return report


def _lists(pool: Pool) -> Iterator[tuple[Key, Integers]]:
    """The far list of every setting. A pool of fewer than N members is taken whole."""
    default = Settings()
    graph = knn_graph(_nearest(pool, default.N).vectors, default.k, max_dot=None)
    for parameter, values in SWEEPS.items():
        for value in values:
            settings = replace(default, **{parameter: value})
            members = _nearest(pool, settings.N)
            same = settings.k == default.k and len(members) == len(graph)
            on = graph if same else knn_graph(members.vectors, settings.k, max_dot=None)
            yield (parameter, value), members.beyond(_scores(members, on, settings))
    members = _nearest(pool, default.N)
    score = _scores(members, graph, default)
    for well in WELLS:
        beyond = replace(members, far=well)
        yield ("diffusion beyond", well), beyond.beyond(score)
        yield ("kNN beyond", well), beyond.beyond(-members.d2)


def _nearest(pool: Pool, count: int) -> Pool:
    return Pool(pool.query, pool.positions[:count], pool.vectors[:count], pool.d2[:count], pool.far)


def _scores(pool: Pool, graph: Graph, settings: Settings) -> Values:
    start = seed_distribution(pool.d2, settings.seeds)
    p = diffuse(graph, start, alpha=settings.alpha, steps=settings.steps)
    return tunnel_scores(pool.d2, p, settings.s, query_scale(pool.d2))


def _judge(report: Report, parameter: str, found: Mapping[str, Mapping[Key, Values]]) -> None:
    """The default against the one setting that is best on all sets together, query by query."""
    default = getattr(Settings(), parameter)
    together = {
        value: np.concatenate([figures[parameter, value] for figures in found.values()])
        for value in SWEEPS[parameter]
    }
    best = max(together, key=lambda value: float(together[value].mean()))
    missed = float((together[best] - together[default]).mean())
    report.figure(
        f"{parameter}: far P@20 on {len(found)} sets, best of the sweep, {best:g} / default, {default:g}",
        compared(together[best], together[default]),
        Gate(missed, CLOSE, above=False),
    )
    bars = [
        Bar(
            f"qstore {parameter} = {value:g}, default" if value == default else f"{parameter} = {value:g}",
            Spread(*[float(values.mean())] * 3),
        )
        for value, values in together.items()
    ]
    report.panels.append(Panel(f"{parameter}, mean of {len(found)} sets", "far P@20", bars))


def _wells(report: Report, found: Mapping[str, Mapping[Key, Values]]) -> None:
    """b has no best value: it says where the well ends. What matters is that there is a gain wherever it does."""
    bars: list[Bar] = []
    for well in WELLS:
        ours, plain = (
            np.concatenate([figures[name, well] for figures in found.values()])
            for name in ("diffusion beyond", "kNN beyond")
        )
        report.figure(
            f"b: far P@20 outside a well of {well}, diffusion / kNN, on {len(found)} sets",
            compared(ours, plain),
        )
        bars.append(Bar(f"qstore, beyond {well}", Spread(*[float(ours.mean())] * 3)))
        bars.append(Bar(f"kNN, beyond {well}", Spread(*[float(plain.mean())] * 3)))
    report.panels.append(Panel(f"size of the well, mean of {len(found)} sets", "far P@20", bars))
