"""What many threads see of a few records of the embedded database has one order, across restarts too."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from qstore_db.testing.databases import Opening, async_databases, sync_databases
from qstore_db.testing.histories import Operation, check, record


@pytest.fixture(autouse=True)
def threads_that_meet() -> Iterator[None]:
    """Let threads give way to each other a thousand times as often as they would."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(params=["sync", "async"])
def opening(request: pytest.FixtureRequest) -> Iterator[Opening]:
    with sync_databases() if request.param == "sync" else async_databases() as opening:
        yield opening


def assert_linearizable(history: list[Operation]) -> None:
    violation = check(history)
    assert violation is None, violation


@pytest.mark.parametrize("keys", [8, 1])
def test_sixteen_threads_agree_on_one_order(opening: Opening, keys: int) -> None:
    db = opening()
    names = [f"key-{i}" for i in range(keys)]
    history = record(lambda: nullcontext(db), clients=16, keys=names, operations=3_000)
    done = Counter(o.kind for o in history if isinstance(o.result, int))
    assert min(done[kind] for kind in ("insert", "upsert", "update", "delete")) > 20
    assert_linearizable(history)


def test_the_order_goes_on_where_a_restart_left_it(opening: Opening, tmp_path: Path) -> None:
    history: list[Operation] = []
    for seed in range(3):
        db = opening(tmp_path / "db")
        history += record(lambda db=db: nullcontext(db), clients=8, operations=600, seed=seed)
        db.close()
    assert_linearizable(history)


def test_upkeep_is_not_seen(opening: Opening, tmp_path: Path) -> None:
    """Records move between files while clients work on them."""
    db = opening(tmp_path / "db")
    with ThreadPoolExecutor(1) as other:
        recording = other.submit(record, lambda: nullcontext(db), clients=8, operations=2_000)
        rounds = 0
        while not recording.done():
            if "default" in db.list_collections():
                db.reindex("default", index="flat" if rounds % 2 else "hnsw")
            db.snapshot()
            db.compact()
            rounds += 1
    assert rounds > 1
    assert_linearizable(recording.result())


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_many_operations_agree_on_one_order(opening: Opening, seed: int) -> None:
    db = opening()
    assert_linearizable(record(lambda: nullcontext(db), clients=16, operations=20_000, seed=seed))
