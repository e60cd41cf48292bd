"""What the server counts: histograms with a known error, counts that only rise, names that stay few."""

from __future__ import annotations

import json
import math
import threading
from bisect import bisect_left
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qstore_db.errors import ArgumentError
from qstore_server.statistics import LATENCIES, SIZES, UNKNOWN, Histogram, Statistics

durations = st.one_of(
    st.floats(0, 100, allow_subnormal=False),
    st.floats(-7, 3).map(lambda power: 10.0**power),
    st.sampled_from(LATENCIES),
)
shares = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))


def filled(values: list[float], bounds: tuple[float, ...] = LATENCIES) -> Histogram:
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    return histogram


@given(st.lists(durations, min_size=1, max_size=200), shares)
@example([70.0, 90.0, 1e9], 0.5)
@example([0.0], 0.0)
def test_a_quantile_lies_between_the_same_bounds_as_numpys(values: list[float], q: float) -> None:
    estimate = filled(values).quantile(q)
    assert estimate is not None
    # q times the count is rounded here and there: the neighbours of a share that is nearly whole are right too.
    wanted = [
        float(np.quantile(values, min(max(q + step, 0), 1), method="inverted_cdf")) for step in (-1e-9, 1e-9)
    ]
    places = [bisect_left(LATENCIES, value) for value in wanted]
    assert places[0] <= bisect_left(LATENCIES, estimate) <= places[1]


@given(st.lists(durations, min_size=1, max_size=200), shares, shares)
def test_quantiles_rise_and_stay_within_what_was_observed(values: list[float], a: float, b: float) -> None:
    histogram = filled(values)
    low, high = histogram.quantile(min(a, b)), histogram.quantile(max(a, b))
    assert low is not None
    assert high is not None
    assert min(values) <= low <= high <= max(values)


@given(st.lists(durations, min_size=1, max_size=200))
def test_count_sum_and_cumulative_counts_are_those_of_the_values(values: list[float]) -> None:
    histogram = filled(values)
    assert histogram.count == len(values)
    assert histogram.sum == pytest.approx(math.fsum(values))
    assert histogram.cumulative() == [
        (bound, sum(value <= bound for value in values)) for bound in (*LATENCIES, math.inf)
    ]


def test_the_bounds_of_latencies_are_those_that_are_promised() -> None:
    assert (LATENCIES[0], LATENCIES[-1]) == (50e-6, 60)
    assert all(1 < above / below <= 1.28 + 1e-9 for below, above in pairwise(LATENCIES))


def test_an_empty_histogram_has_no_quantile() -> None:
    assert Histogram().as_data() == {"count": 0, "sum": 0, "p50": None, "p95": None, "p99": None, "max": None}


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_share_beyond_0_and_1_is_refused(q: float) -> None:
    with pytest.raises(ArgumentError, match="q="):
        Histogram().quantile(q)


def test_batches_of_one_have_the_median_one() -> None:
    assert filled([1, 1, 1, 64], SIZES).quantile(0.5) == 1


def test_an_answer_is_counted_under_its_op_and_its_error() -> None:
    statistics = Statistics(["db.query", "db.insert"])
    statistics.answered("db.query", 0.002, None)
    statistics.answered("db.query", 0.004, "dimension")
    found = statistics.as_data()["operations"]
    assert found.keys() == {"db.query"}
    assert found["db.query"]["count"] == 2
    assert found["db.query"]["errors"] == {"dimension": 1}
    assert found["db.query"]["max_ms"] == 4
    assert 2 <= found["db.query"]["p50_ms"] <= 2.5


def test_ops_that_the_server_does_not_have_share_one_name() -> None:
    statistics = Statistics(["db.query"])
    for number in range(1000):
        statistics.answered(f"db.{number}", 0.001, "op")
    assert statistics.operations.keys() == {UNKNOWN}
    assert statistics.as_data()["operations"][UNKNOWN]["errors"] == {"op": 1000}


def test_all_that_is_counted_is_shown_as_plain_data() -> None:
    statistics = Statistics(["db.query"])
    statistics.batch(3)
    statistics.batch(5)
    statistics.refused("full")
    statistics.counts.received_bytes += 10
    lanes, depth = {"near": 1, "scan": 0}, [4]
    statistics.gauge("queued_requests", lambda: lanes)
    statistics.gauge("connections", lambda: depth[0])
    data = json.loads(json.dumps(statistics.as_data(), allow_nan=False))
    assert data["batches"] | {"p50": 0, "p95": 0, "p99": 0} == {
        "count": 2, "sum": 8, "p50": 0, "p95": 0, "p99": 0, "max": 5,
    }  # fmt: skip
    assert data["connections_refused"] == {"full": 1}
    assert data["received_bytes"] == 10
    assert data["gauges"] == {"queued_requests": {"near": 1, "scan": 0}, "connections": 4}
    depth[0], lanes["scan"] = 5, 2
    assert statistics.gauges() == {"queued_requests": {"near": 1, "scan": 2}, "connections": 5}


def test_what_was_shown_stays_as_it_was() -> None:
    statistics = Statistics(["db.query"])
    statistics.answered("db.query", 0.001, "op")
    statistics.refused("full")
    before = statistics.as_data()
    copy = json.loads(json.dumps(before))
    statistics.answered("db.query", 0.001, "op")
    statistics.refused("full")
    assert before == copy


@pytest.mark.parametrize(
    "name", ["", "Queue", "queue depth", "queue-depth", "1st", 'a{b="c"}', "connections"]
)
def test_a_gauge_whose_name_could_not_be_shown_is_refused(name: str) -> None:
    statistics = Statistics([])
    statistics.gauge("connections", lambda: 0)
    with pytest.raises(ArgumentError, match="snake case"):
        statistics.gauge(name, lambda: 1)
    assert statistics.gauges() == {"connections": 0}


def test_a_reader_in_another_thread_sees_counts_that_only_rise_and_agree() -> None:
    statistics = Statistics(["db.query"])
    done = threading.Event()

    def write() -> None:
        for number in range(30_000):
            statistics.answered(
                "db.query", 0.001, f"code{number}"
            )  # a new key each time: no dict may be torn
            statistics.refused(f"reason{number}")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not done.is_set():
        for found in statistics.operations.values():
            latency = found.latency.cumulative()
            total = found.latency.sum
            assert seen <= latency[-1][1]
            seen = latency[-1][1]
            assert total >= 0.001 * seen * (1 - 1e-9)
            assert found.latency.quantile(0.5) == 0.001
            assert len(found.errors) <= 30_000
        assert len(statistics.refusals) <= 30_000
    writer.join()
    assert statistics.operations["db.query"].latency.count == 30_000
