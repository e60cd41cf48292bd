"""The three metrics: what users read is what the table of the module says."""

from __future__ import annotations

import numpy as np
import pytest

from qstore_db.errors import ArgumentError
from qstore_db.records import Geometry, Metric

A = np.array([0.6, 0.8])
B = np.array([1.0, 0.0])
SQUARED = np.array([((A - B) ** 2).sum()])
DOT = A @ B


def test_cosine_reads_squared_distances_of_unit_vectors() -> None:
    geometry = Geometry(Metric.COSINE)
    assert geometry.squared(SQUARED) == pytest.approx(2 * (1 - DOT))
    assert geometry.distance(SQUARED) == pytest.approx(1 - DOT)
    assert geometry.similarity(SQUARED) == pytest.approx(DOT)


def test_l2_distance_is_squared_and_similarity_uses_its_root() -> None:
    geometry = Geometry(Metric.L2)
    assert geometry.squared(SQUARED) == pytest.approx(SQUARED)
    assert geometry.distance(SQUARED) == pytest.approx(SQUARED)
    assert geometry.similarity(SQUARED) == pytest.approx(1 / (1 + np.sqrt(SQUARED)))


def test_dot_reads_negated_products_against_the_largest() -> None:
    geometry = Geometry(Metric.DOT, max_dot=3.0)
    raw = np.array([-DOT])
    assert geometry.squared(raw) == pytest.approx(2 * (3.0 - DOT))
    assert geometry.distance(raw) == pytest.approx(-DOT)
    assert geometry.similarity(raw) == pytest.approx(DOT)


@pytest.mark.parametrize("metric", Metric)
def test_the_nearer_is_nearer_by_every_reading(metric: Metric) -> None:
    raw = np.array([0.1, 0.2, 1.5, 2.0])
    geometry = Geometry(metric, max_dot=1.0)
    assert (np.diff(geometry.squared(raw)) > 0).all()
    assert (np.diff(geometry.distance(raw)) > 0).all()
    assert (np.diff(geometry.similarity(raw)) < 0).all()


def test_a_squared_distance_rounded_below_zero_still_has_a_similarity() -> None:
    assert Geometry(Metric.L2).similarity(np.array([-1e-12])) == 1.0


def test_a_metric_is_known_by_its_name() -> None:
    assert [Metric.parse(name) for name in ("cosine", "l2", "dot")] == list(Metric)


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ArgumentError, match="metric='euclidean' is unknown; use one of 'cosine', 'l2', 'dot'"
    ):
        Metric.parse("euclidean")


def test_a_geometry_that_reaches_longer_vectors_has_their_largest_product() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 1.0]], np.float32)
    assert Geometry(Metric.DOT, 2.0).reaching(vectors).max_dot == 25.0
    assert Geometry(Metric.DOT, 30.0).reaching(vectors).max_dot == 30.0
    assert Geometry(Metric.DOT, 2.0).reaching(vectors[:0]).max_dot == 2.0
    assert Geometry(Metric.L2).reaching(vectors) == Geometry(Metric.L2)
