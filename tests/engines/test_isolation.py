"""Writers and readers at once: what a reader sees is one commit, whole."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from qstore_db.engines.base import Delete, Patch, Put, Selection, Write
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.records import Vectors, parse_filter

PAIRS = 40
ALL = Selection()


def at(value: float) -> Vectors:
    return np.full(3, value, np.float32)


@pytest.mark.parametrize("small", [False, True])
def test_readers_see_swapped_pairs_whole_and_counts_that_stay(
    db: EmbeddedEngine, request: pytest.FixtureRequest, small: bool
) -> None:
    """Records 2i and 2i+1 always hold two different sides; each swap is one batch. Metadata tells the vector."""
    if small:
        request.getfixturevalue("small_segments")
    batch: list[Write] = []
    for i in range(PAIRS):
        batch += [
            Put(f"{2 * i}", at(i + 1), metadata={"v": i + 1}),
            Put(f"{2 * i + 1}", at(-i - 1), metadata={"v": -i - 1}),
        ]
    db.write("c", batch).result()
    stop = threading.Event()
    faults: list[object] = []

    def swap(first: int, patches: bool) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            i = first + turn % (PAIRS // 2)
            sign = 1 if (turn // (PAIRS // 2)) % 2 else -1
            writes: list[Write] = []
            for id, value in ((f"{2 * i}", sign * (i + 1)), (f"{2 * i + 1}", -sign * (i + 1))):
                if patches:
                    writes.append(Patch(id, vector=at(value), metadata={"v": value}))
                else:
                    writes += [Delete(id), Put(id, at(value), metadata={"v": value})]
            db.write("c", writes).result()

    def look() -> None:
        rng = np.random.default_rng()
        positive = parse_filter({"v": {"$gt": 0}})
        while not stop.is_set():
            view = db.view("c")
            value = float(rng.integers(1, PAIRS + 1))
            (hits,) = view.search(at(value)[None], 3, ALL)
            for record, raw in zip(hits.records(), hits.raw.tolist(), strict=True):
                held = record.metadata["v"]
                if record.vector[0] != held or not np.isclose(raw, 3.0 * (held - value) ** 2):  # type: ignore[operator]
                    faults.append(("pair", record, raw, value))
            if hits.records()[0].metadata["v"] != value:
                faults.append(("side", value, hits.records()[0]))
            counts = view.count(ALL), view.count(Selection(positive)), len(view.scan(at(0), ALL))
            if counts != (2 * PAIRS, PAIRS, 2 * PAIRS):
                faults.append(("count", counts))

    threads = [
        threading.Thread(target=guarded(job, faults))
        for job in (lambda: swap(0, False), lambda: swap(PAIRS // 2, True), look, look)
    ]
    for thread in threads:
        thread.start()
    stop.wait(3.0)
    stop.set()
    for thread in threads:
        thread.join(60.0)
    assert faults == []
    assert db.statistics()["read_only"] is None
    assert db.verify().ok


def guarded(job: Callable[[], None], faults: list[object]) -> Callable[[], None]:
    def run() -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - the test must see it
            faults.append(error)

    return run


def test_batches_appear_whole(db: EmbeddedEngine) -> None:
    stop = threading.Event()
    faults: list[object] = []

    def look() -> None:
        while not stop.is_set():
            if db.view("c").count(ALL) % 7:
                faults.append(db.view("c").count(ALL))

    threads = [threading.Thread(target=guarded(look, faults)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(150):
        db.write(
            "c", [Put(f"{turn}/{i}", at(i + 1), metadata={f"k{turn % 9}": i}) for i in range(7)]
        ).result()
    stop.set()
    for thread in threads:
        thread.join(60.0)
    assert faults == []


def test_filters_on_a_growing_tail_are_right_for_the_rows_a_reader_knows(db: EmbeddedEngine) -> None:
    """Strings become long ones, paths and contexts appear, while readers filter."""
    stop = threading.Event()
    faults: list[object] = []

    def look() -> None:
        high = parse_filter({"t": {"$gte": "t0300"}})
        even = parse_filter({"n": {"$in": [0]}})
        while not stop.is_set():
            view = db.view("c")
            known = view.count(ALL)
            if view.count(Selection(even)) != (known + 1) // 2:
                faults.append(("even", known, view.count(Selection(even))))
            if view.count(Selection(high)) != max(0, known - 300):
                faults.append(("high", known, view.count(Selection(high))))

    threads = [threading.Thread(target=guarded(look, faults)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(600):
        text = f"t{i:04d}" + ("x" * 200 if i == 450 else "")
        db.write("c", [Put(f"{i}", at(i + 1), metadata={"t": text, "n": i % 2, f"p{i % 30}": i})]).result()
    stop.set()
    for thread in threads:
        thread.join(60.0)
    assert faults == []
