"""Trial tables know their true optima, and searches over them are fair."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks import convergence, proposers, shortlists
from benchmarks.functions import FUNCTIONS, HALF_WIDTH, Function
from benchmarks.peaks import basins
from benchmarks.trials import Trials
from qstore_db import QuantumDatabase


@pytest.mark.parametrize("dimension", [2, 5])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_the_slope_is_the_scores(function: Function, dimension: int) -> None:
    x = np.random.default_rng(0).uniform(-2.0, 2.0, (50, dimension))
    steps = 1e-6 * np.eye(dimension)
    slope = np.stack([(function.score(x + s) - function.score(x - s)) / 2e-6 for s in steps], 1)
    assert np.allclose(function.slope(x), slope, atol=1e-5)


@pytest.mark.parametrize("dimension", [2, 5])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_climbing_ends_on_top_near_a_lattice_point(function: Function, dimension: int) -> None:
    tops = function.climb(np.random.default_rng(0).uniform(-2.0, 2.0, (200, dimension)))
    assert (np.abs(tops - np.rint(tops)).max(axis=1) < 0.15).mean() > 0.95
    for step in 0.05 * np.vstack([np.eye(dimension), -np.eye(dimension)]):
        assert (function.score(tops + step) < function.score(tops)).mean() > 0.95


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_the_middle_is_the_global_optimum_and_is_shifted_by_the_seed(function: Function) -> None:
    assert function.score(np.zeros((1, 3))) == pytest.approx(0.0, abs=1e-9)
    first, second = (function.random(2, 500, seed) for seed in (0, 1))
    assert first.heights.max() == pytest.approx(0.0, abs=1e-9)
    assert first.scores.max() <= first.ceiling
    peaks = [trials.points[trials.scores.argmax()] for trials in (first, second)]
    assert np.abs(peaks[0] - peaks[1]).max() > 0.5 / (2 * HALF_WIDTH) / 10


@pytest.mark.parametrize("dimension", [2, 3])
def test_grids_have_no_more_trials_than_random_search(dimension: int) -> None:
    grid = FUNCTIONS[0].grid(dimension, 300, 0)
    assert len(grid.scores) <= 300
    assert len(np.unique(grid.points[:, 0])) == round(len(grid.scores) ** (1 / dimension))


def test_what_is_to_be_found_is_the_best_trial_of_each_of_the_ten_best_basins() -> None:
    trials = FUNCTIONS[1].random(2, 1_000, 3)
    wanted = trials.good()
    assert len(np.unique(trials.optimum[wanted])) == len(wanted) >= 10
    for row in wanted:
        same = trials.optimum == trials.optimum[row]
        assert trials.scores[row] == trials.scores[same].max()
    others = np.setdiff1d(np.unique(trials.optimum[trials.optimum >= 0]), trials.optimum[wanted])
    assert trials.heights[others].max() < trials.heights[trials.optimum[wanted]].min()


def prominences(heights: np.ndarray, edges: list[list[int]]) -> dict[int, float]:
    """Of every local peak of distinct heights: how far one must go down to reach something higher."""

    def joined(start: int, level: float) -> set[int]:
        reached, front = {start}, [start]
        while front:
            front = [b for a in front for b in edges[a] if heights[b] >= level and b not in reached]
            reached |= set(front)
        return reached

    found: dict[int, float] = {}
    for node in range(len(heights)):
        if all(heights[other] < heights[node] for other in edges[node]):
            saddles = [h for h in heights if any(heights[m] > heights[node] for m in joined(node, h))]
            found[node] = heights[node] - max(saddles) if saddles else np.inf
    return found


@pytest.mark.parametrize("seed", range(20))
def test_peaks_are_those_of_enough_prominence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heights = rng.permutation(30).astype(np.float64)
    edges: list[list[int]] = [[] for _ in range(30)]
    for a, b in rng.integers(0, 30, (40, 2)).tolist():
        if a != b and b not in edges[a]:
            edges[a].append(b)
            edges[b].append(a)
    number, peaks = basins(heights, edges, 4.0)
    expected = {node for node, prominence in prominences(heights, edges).items() if prominence >= 4.0}
    assert sorted(peaks.tolist()) == sorted(heights[node] for node in expected)
    for node in expected:
        assert peaks[number[node]] == heights[node]


def slope() -> Trials:
    """One hill: the score is the first parameter."""
    points = np.random.default_rng(0).random((200, 2)).astype(np.float32)
    return Trials("slope", points, points[:, 0].astype(np.float64), np.zeros(200, np.int64), np.ones(1), 1.0)


@pytest.fixture
def db() -> QuantumDatabase:
    """A database that holds the slope."""
    db = QuantumDatabase()
    db.create_collection("slope", dimension=2, metric="l2")
    trials = slope()
    db.insert_many(
        ids=[str(i) for i in range(200)], vectors=trials.points, collection="slope", progress=False
    )
    db.wait_indexed()
    yield db
    db.close()


def test_no_search_tries_a_trial_twice_and_all_reach_the_whole_table(db: QuantumDatabase) -> None:
    for proposer in proposers.proposers(db):
        for setting in proposer.grid:
            search = proposers.Search(slope(), "slope", np.random.default_rng(0))
            for row in range(proposers.STARTS):
                search.try_(row)
            for row in itertools.islice(proposer.begin(search, setting), 200 - proposers.STARTS):
                assert search.left[row], (proposer.name, setting)
                search.try_(row)
            assert not search.left.any(), (proposer.name, setting)


def test_climbing_a_slope_takes_fewer_trials_than_random_search(db: QuantumDatabase) -> None:
    mean = {
        proposer.name: np.mean(
            [convergence.needed(slope(), "slope", seed, proposer, proposer.grid[0]) for seed in range(5)]
        )
        for proposer in proposers.proposers(db)
    }
    assert mean["nearest to the best"] < mean["random"]
    assert mean["TPE"] < mean["random"]


def test_a_spaced_list_keeps_its_distance_and_begins_with_the_best() -> None:
    trials = slope()
    rows = shortlists.spaced(trials, "", {"apart": 0.1})
    assert rows[0] == trials.scores.argmax()
    apart = np.linalg.norm(trials.points[rows, None] - trials.points[rows], axis=2)
    assert apart[np.triu_indices(len(rows), 1)].min() >= 0.1 * np.sqrt(2)


def test_the_best_of_clusters_come_from_different_ones_and_best_first() -> None:
    trials = slope()
    rows = shortlists.clustered(trials, "", {"clusters": 10})
    assert len(rows) == 10
    assert rows[0] == trials.scores.argmax()
    assert np.all(np.diff(trials.scores[rows]) <= 0)
