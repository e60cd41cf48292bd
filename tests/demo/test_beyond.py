"""How the demonstration measures far precision and chooses what it shows."""

from __future__ import annotations

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.demo import beyond
from qstore_db.demo.contexts import rows
from qstore_db.demo.dataset import CLASSES, sample


@pytest.fixture(scope="module")
def comparison() -> beyond.Comparison:
    images = sample()
    with QuantumDatabase() as database:
        made = rows(images.train_images[:1_000], images.train_labels[:1_000], 0)
        database.insert_many(ids=made.ids, vectors=made.vectors, metadata=made.metadata)
        return beyond.compare(database, images, beyond.choose(images)[::20], lambda _elapsed: None)


def test_the_images_measured_with_are_equally_many_of_each_class():
    images = sample()
    chosen = beyond.choose(images)
    counts = np.bincount(images.test_labels[chosen], minlength=len(CLASSES))
    assert counts.tolist() == [beyond.QUERIES // len(CLASSES)] * len(CLASSES)
    assert chosen == beyond.choose(images)


def test_both_searches_look_beyond_the_same_nearest_records(comparison):
    for case in comparison.cases:
        assert len(case.well) == beyond.R
        assert len(case.plain) == len(case.tunneled) == beyond.FAR
        assert not {match.id for match in (*case.plain, *case.tunneled)} & set(case.well)


def test_plain_ranks_are_those_right_behind_the_well(comparison):
    images = sample()
    vectors = images.train_images[:1_000].astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    case = comparison.cases[0]
    query = images.test_images[case.image].astype(np.float64)
    nearest = np.argsort(-(vectors @ query))[beyond.R : beyond.R + beyond.FAR]
    assert {match.id for match in case.plain} == {f"train-{i:05d}" for i in nearest}


def test_a_share_counts_results_of_the_query_s_class(comparison):
    for case in comparison.cases:
        hits = sum(match.metadata["class"] == case.label for match in case.tunneled)
        assert case.tunnel_share == hits / beyond.FAR


def test_figures_are_means_over_the_cases(comparison):
    gains = [case.gain for case in comparison.cases]
    assert comparison.difference.mean == pytest.approx(np.mean(gains))
    assert comparison.tunnel.mean - comparison.plain.mean == pytest.approx(np.mean(gains))
    assert comparison.better == sum(gain > 0 for gain in gains)
    assert comparison.worse == sum(gain < 0 for gain in gains)


def test_an_interval_holds_its_mean(comparison):
    for interval in (comparison.plain, comparison.tunnel, comparison.difference):
        assert interval.low <= interval.mean <= interval.high


def test_the_examples_include_the_worst_case(comparison):
    gains = [case.gain for case in comparison.cases]
    shown = [case.gain for _, case in comparison.examples()]
    assert shown[-1] == min(gains)
    assert shown[0] >= shown[1] >= shown[2]


@pytest.mark.parametrize("count", [1_000, 6_000, 60_000])
def test_the_barrier_s_well_holds_as_many_records_as_asked(count):
    barrier = beyond.well_barrier(count, beyond.R)
    assert int(count ** (1 - barrier)) == beyond.R
