"""Scanning a context and over-fetching neighbours give one ranking; the latter stops only when it is certain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db import QuantumDatabase
from qstore_db.engines.base import Hits, Selection, View
from qstore_db.records import ContextQuery, Geometry, Metric, Ranked, Vectors
from qstore_db.search import planner
from qstore_db.search.planner import ranked_query
from qstore_db.search.ranking import Coherence, Ranking
from qstore_db.testing.databases import Clock

AGES = [0.0, 1.0, 59.0, 60.0, 3_600.0, -5.0]
"""Seconds; the last one of a record from the future."""


class Watched:
    """A view that keeps count of what is asked of it; `exact` replaces what its searches claim."""

    def __init__(self, view: View, *, exact: bool = True) -> None:
        self.spec, self.sequence = view.spec, view.sequence
        self.count, self.sample, self.scroll = view.count, view.sample, view.scroll
        self._view = view
        self._exact = exact
        self.fetched: list[int] = []
        self.scans = 0

    def search(self, queries: Vectors, k: int, selection: Selection) -> Sequence[Hits]:
        self.fetched.append(k)
        found = self._view.search(queries, k, selection)
        for hits in found:
            hits.exact &= self._exact
        return found

    def scan(self, query: Vectors, selection: Selection) -> Hits:
        self.scans += 1
        return self._view.scan(query, selection)


def view_of(db: QuantumDatabase, name: str) -> View:
    return db._edge.core.engine.view(name)


def ranking(
    context: Any = "a",
    *,
    metric: Metric = Metric.L2,
    u: float = 1.0,
    strength: float = 0.5,
    soft: bool = False,
    coherence: Coherence | None = None,
) -> Ranking:
    return Ranking(Geometry(metric), u, strength, ContextQuery.parse(context), soft, coherence)


def ask(view: Any, query: Any, k: int, rule: Ranking, *, may_scan: bool) -> tuple[Hits, Ranked, bool]:
    contexts = () if rule.soft or rule.context is None else rule.context.names
    selection = Selection(None, contexts, 0.0)
    return ranked_query(view, np.asarray(query, np.float32), k, selection, rule, may_scan=may_scan)


def two_weights(weights: Any) -> list[dict[str, float]]:
    return [{"a": float(w), "b": 1.0 - float(w)} for w in weights]


@pytest.mark.parametrize("metric", list(Metric))
@settings(max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 40),
    strength=st.sampled_from([0.0, 0.5, 5.0, 1e6]),
    soft=st.booleans(),
    grid=st.booleans(),
    context=st.sampled_from([None, "a", {"a": 0.3, "b": 0.7}, {"a": (0.5, 0.0), "b": (0.5, 3.0)}]),
    half_life=st.sampled_from([None, 1e-300, 1.0, 300.0, 1e9]),
)
def test_scanning_and_over_fetching_rank_bit_for_bit_alike(
    db: QuantumDatabase,
    fill: Callable[..., str],
    clock: Clock,
    metric: Metric,
    seed: int,
    k: int,
    strength: float,
    soft: bool,
    grid: bool,
    context: Any,
    half_life: float | None,
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(1, 4, size=(400, 3)) if grid else rng.normal(size=(400, 3))
    states = two_weights(rng.uniform(0, 1, 400) ** 4)
    name = fill(vectors, metric=metric.value, contexts=states, ages=rng.choice(AGES, 400))
    coherence = None if half_life is None else Coherence(half_life, clock.now)
    rule = ranking(context, metric=metric, u=0.3, strength=strength, soft=soft, coherence=coherence)
    watched = Watched(view_of(db, name))
    for query in vectors[:5]:
        scanned = ask(watched, query, k, rule, may_scan=True)
        fetched = ask(watched, query, k, rule, may_scan=False)
        assert scanned[0].ids() == fetched[0].ids()
        assert scanned[1].score.tobytes() == fetched[1].score.tobytes()
        assert scanned[2]
        assert fetched[2]
    assert watched.scans == 5
    db.drop_collection(name)


@settings(max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    strength=st.sampled_from([0.1, 1.0, 20.0]),
    power=st.sampled_from([1, 8, 60]),
    fading=st.booleans(),
)
def test_where_over_fetching_stops_early_nothing_better_lies_beyond(
    db: QuantumDatabase,
    fill: Callable[..., str],
    clock: Clock,
    seed: int,
    strength: float,
    power: int,
    fading: bool,
) -> None:
    rng = np.random.default_rng(seed)
    kept = rng.uniform(0, 1, 600) ** power  # a large power: almost nobody near has any weight
    vectors = rng.normal(size=(600, 2)).astype(np.float32)
    if fading:
        kept = np.round(np.maximum(kept, 1e-11), 2) + 1e-11  # few moments to write at
        name = fill(vectors, ages=-np.log2(kept) * 60.0)
        rule = ranking(None, strength=strength, coherence=Coherence(60.0, clock.now))
    else:
        kept = np.maximum(kept, 1e-11)
        name = fill(vectors, contexts=two_weights(kept))
        rule = ranking(strength=strength)
    _, ranked, _ = ask(view_of(db, name), vectors[0], 5, rule, may_scan=False)
    d2 = ((vectors.astype(np.float64) - vectors[0]) ** 2).sum(axis=1)
    scores = np.sort(-d2 + strength * np.log(np.minimum(kept, 1.0)))[::-1]
    assert ranked.score == pytest.approx(scores[:5], rel=1e-6, abs=1e-6)
    db.drop_collection(name)


def test_over_fetching_stops_as_soon_as_the_bound_allows(
    db: QuantumDatabase, fill: Callable[..., str]
) -> None:
    name = fill(np.arange(2_000)[:, None], contexts=[{"a": 1.0}] * 2_000)
    watched = Watched(view_of(db, name))
    hits, _, exact = ask(watched, [0.0], 5, ranking(), may_scan=False)
    assert hits.ids() == [f"r{i:05}" for i in range(5)]
    assert watched.fetched == [32]
    assert exact


def test_over_fetching_goes_on_while_a_far_record_of_full_weight_could_win(
    db: QuantumDatabase, fill: Callable[..., str]
) -> None:
    contexts = [{"a": 1e-6, "b": 1.0}] * 1_999 + [{"a": 1.0}]
    name = fill(np.linspace(0, 1, 2_000)[:, None], contexts=contexts)
    watched = Watched(view_of(db, name))
    hits, _, exact = ask(watched, [0.0], 1, ranking(), may_scan=False)
    assert hits.ids() == ["r01999"]
    assert watched.fetched == sorted(watched.fetched)
    assert watched.fetched[-1] >= 2_000
    assert exact


def test_a_small_context_is_scanned(db: QuantumDatabase, fill: Callable[..., str]) -> None:
    name = fill(np.arange(100)[:, None], contexts=[{"a": 1.0}] * 100)
    watched = Watched(view_of(db, name), exact=False)
    _, _, exact = ask(watched, [0.0], 5, ranking(), may_scan=True)
    assert (watched.fetched, watched.scans, exact) == ([], 1, True)


def test_a_context_too_large_to_scan_is_over_fetched(
    db: QuantumDatabase, fill: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "SCAN_ROWS", 99)
    name = fill(np.arange(100)[:, None], contexts=[{"a": 1.0}] * 100)
    watched = Watched(view_of(db, name))
    ask(watched, [0.0], 5, ranking(), may_scan=True)
    assert (watched.scans, len(watched.fetched)) == (0, 1)


def test_over_fetching_turns_to_the_scan_once_that_is_cheaper(
    db: QuantumDatabase, fill: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "CHEAP_SCAN_ROWS", 0)
    contexts = [{"a": 1e-6, "b": 1.0}] * 4_999 + [{"a": 1.0}]
    name = fill(np.linspace(0, 1, 5_000)[:, None], contexts=contexts)
    watched = Watched(view_of(db, name), exact=False)
    hits, _, exact = ask(watched, [0.0], 1, ranking(), may_scan=True)
    assert (watched.fetched, watched.scans) == ([32], 1)
    assert hits.ids() == ["r04999"]
    assert exact


def test_a_selection_too_large_to_begin_with_is_scanned_once_that_is_cheaper(
    db: QuantumDatabase, fill: Callable[..., str], monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(planner, "SCAN_ROWS", 99)
    monkeypatch.setattr(planner, "CHEAP_SCAN_ROWS", 0)
    name = fill(np.linspace(0, 1, 5_000)[:, None], ages=[600.0] * 4_999 + [0.0])
    watched = Watched(view_of(db, name), exact=False)
    rule = ranking(None, coherence=Coherence(60.0, clock.now))
    hits, _, exact = ask(watched, [0.0], 1, rule, may_scan=True)
    assert (watched.fetched, watched.scans) == ([32], 1)
    assert hits.ids() == ["r04999"]
    assert exact


def test_a_result_over_inexact_neighbours_says_so(db: QuantumDatabase, fill: Callable[..., str]) -> None:
    name = fill(np.arange(100)[:, None], contexts=[{"a": 1.0}] * 100)
    for claimed in (True, False):
        _, _, exact = ask(Watched(view_of(db, name), exact=claimed), [0.0], 5, ranking(), may_scan=False)
        assert exact is claimed
