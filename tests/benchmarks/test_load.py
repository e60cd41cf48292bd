"""Load from other processes: what it counts, keeps and reports, and the line through what a soak measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data import VectorSet
from benchmarks.load import PROCESSES, Load, LoadFailed, Search
from benchmarks.servers.base import HOST, free_port, started
from benchmarks.servers.floor import Floor, FloorClient
from benchmarks.soak import slope


@pytest.fixture(scope="module")
def data() -> VectorSet:
    rng = np.random.default_rng(5)
    base = rng.random((300, 8), np.float32)
    nothing = np.zeros(300, np.int64)
    return VectorSet("random", "l2", base, base[:7].copy(), nothing, nothing[:7], "seed 5")


@pytest.fixture(scope="module")
def floor(data: VectorSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    server = Floor(data, tmp_path_factory.mktemp("floor"))
    yield server
    server.close()


def test_the_floor_finds_the_nearest(floor: Floor, data: VectorSet) -> None:
    floor.widen(300)
    found = floor.search(data.queries)
    distances = np.square(data.base[None] - data.queries[:, None]).sum(axis=2)
    assert [set(ids.tolist()) for ids in found] == [set(np.argsort(row)[:10].tolist()) for row in distances]


@pytest.mark.parametrize("connections", [1, PROCESSES + 1])
def test_every_query_is_asked_and_its_answer_kept(floor: Floor, data: VectorSet, connections: int) -> None:
    load = Load(FloorClient, floor.url, connections, Search(data.queries))
    answers = load.run(0.5)
    load.close()
    assert set(answers.kept) == set(range(7))
    assert all(ids[0] == str(query) for query, ids in answers.kept.items())
    assert answers.rate == len(answers.latencies) / 0.5
    assert 0 < answers.percentile(50) <= answers.percentile(99) < 500 + 1e3 * 0.5


def test_a_load_of_a_rate_asks_no_faster(floor: Floor, data: VectorSet) -> None:
    load = Load(FloorClient, floor.url, 2, Search(data.queries))
    load.start(1.0, rate=20.0)
    answers = load.finish()
    load.close()
    assert 0 < len(answers.latencies) <= 22


def test_a_client_that_cannot_do_its_work_is_told_of_with_its_traceback(data: VectorSet) -> None:
    with pytest.raises(LoadFailed, match="ConnectionRefusedError"):
        Load(FloorClient, f"{HOST}:{free_port()}", 2, Search(data.queries))


def test_a_server_that_does_not_start_is_told_of_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such port today"):
        started(["sh", "-c", "echo no such port today; exit 1"], free_port(), tmp_path / "log")


def test_the_slope_of_a_line_is_its_rise() -> None:
    at = np.arange(55.0)
    assert slope(list(at), list(3.0 * at + 7.0)) == pytest.approx((3.0, 3.0, 3.0))


def test_the_interval_of_a_slope_holds_the_truth_nineteen_times_in_twenty_under_noise_that_lasts() -> None:
    rng = np.random.default_rng(1)
    at = np.arange(60.0)
    inside = 0
    for _ in range(400):
        noise = np.repeat(rng.normal(0, 5, 20), 3)  # each disturbance lasts for three samples
        _, low, high = slope(list(at), list(3.0 * at + noise))
        inside += low < 3.0 < high
    assert 0.92 < inside / 400 < 0.98
