"""Links of an embedded collection: kept through its history, saved with its snapshots, made anew when damaged."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db.engines.base import CollectionSpec, Delete, Put, Selection
from qstore_db.engines.embedded import files
from qstore_db.engines.embedded.builder import Builder
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.engines.links import NEIGHBOURS, Links
from qstore_db.errors import DiskFullError
from qstore_db.records import Metric, Vectors

pytestmark = pytest.mark.usefixtures("resting_janitor")

Start = Callable[..., EmbeddedEngine]
D = 12


def rows(n: int, seed: int = 0) -> Vectors:
    """Clusters, as data have."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, D)) * 2.0
    return (centres[rng.integers(20, size=n)] + rng.normal(size=(n, D))).astype(np.float32)


def write(db: EmbeddedEngine, first: int, vectors: Vectors, name: str = "l") -> None:
    db.write(name, [Put(f"{i}", row) for i, row in enumerate(vectors, first)]).result()


def delete(db: EmbeddedEngine, ids: range) -> None:
    db.write("l", [Delete(f"{i}") for i in ids]).result()


def index(db: EmbeddedEngine) -> None:
    db.collection("l").seal(1)
    db.wait_indexed(60.0)


def links_of(db: EmbeddedEngine) -> Links:
    links = db.view("l").links
    assert links is not None
    return links


def arrays(links: Links) -> list[bytes]:
    names = ("indptr", "own", "indices", "weights", "root")
    return [getattr(links, name).tobytes() for name in names]


def recall(db: EmbeddedEngine) -> float:
    """Of the ten nearest living others of every linked record, how many it lists."""
    view, links = db.view("l"), links_of(db)
    alive = np.concatenate([~part.dead_mask() for part in view.parts])
    x = view.vectors(np.arange(len(view))).astype(np.float64)
    d2 = ((x**2).sum(axis=1)[:, None] + (x**2).sum(axis=1)) - 2.0 * x @ x.T
    np.fill_diagonal(d2, np.inf)
    d2[:, ~alive] = np.inf
    found = total = 0
    for node in np.flatnonzero(alive[: len(links)]).tolist():
        found += len(set(np.argsort(d2[node])[:NEIGHBOURS].tolist()) & set(links.listed(node).tolist()))
        total += NEIGHBOURS
    return found / total


def crashed(db: EmbeddedEngine, to: Path) -> Path:
    """A copy of an open database: what a killed process leaves."""
    return Path(shutil.copytree(db.directory, to, ignore=shutil.ignore_patterns("LOCK", "lock.mdb")))


def link_file(directory: Path) -> Path:
    [file] = (directory / "index").rglob("*.links")
    return file


@pytest.fixture
def linked(start: Start) -> EmbeddedEngine:
    """1,500 records under a graph, all of them linked."""
    db = start()
    db.create_collection(CollectionSpec("l", D, Metric.L2, "hnsw"))
    write(db, 0, rows(1_500))
    index(db)
    return db


def statistics(db: EmbeddedEngine) -> tuple[int, int]:
    told = db.statistics()["collections"]["l"]
    return told["unlinked_rows"], told["link_bytes"]


def test_once_indexed_every_row_is_linked_to_its_nearest(linked: EmbeddedEngine) -> None:
    links = links_of(linked)
    assert len(links) == len(linked.view("l")) == 1_500
    assert links.bare == 0
    assert statistics(linked) == (0, links.nbytes)
    assert recall(linked) >= 0.95


def test_links_take_less_than_two_hundred_bytes_a_row(linked: EmbeddedEngine) -> None:
    assert (
        links_of(linked).nbytes < 200 * 1_500
    )  # 20 edges of 8 bytes at most on average, and 13 bytes a node


def test_lists_stay_right_through_inserts_upserts_deletes_and_compaction(linked: EmbeddedEngine) -> None:
    write(linked, 1_500, rows(500, 1))
    assert statistics(linked)[0] == 500
    index(linked)
    write(linked, 100, rows(150, 2))  # replaces 150
    delete(linked, range(300, 400))
    index(linked)
    view, links = linked.view("l"), links_of(linked)
    dead = np.concatenate([part.dead_mask() for part in view.parts])
    assert len(links) == len(view)
    assert links.root[~dead].all()
    assert not links.root[dead].any()
    assert recall(linked) >= 0.9  # a node searches again once more than two of its ten are gone
    delete(linked, range(700, 1_400))
    index(linked)
    view, links = linked.view("l"), links_of(linked)
    assert len(view) == view.count(Selection()) == 1_200
    assert (len(links), links.bare, links.lost) == (1_200, 0, 0)
    assert recall(linked) >= 0.9  # a node searches again once more than two of its ten are gone


def test_without_a_graph_there_are_no_links_and_with_it_they_come_back(linked: EmbeddedEngine) -> None:
    linked.reindex("l", index="flat", storage="float32")
    linked.wait_indexed(60.0)
    assert linked.view("l").links is None
    assert statistics(linked) == (1_500, 0)
    linked.reindex("l", index="hnsw", storage="float32")
    linked.wait_indexed(60.0)
    assert len(links_of(linked)) == 1_500
    assert recall(linked) >= 0.95


def test_an_emptied_collection_has_no_links_and_can_be_saved_at_once(
    linked: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The builder would drop them next, but the janitor may be there first.
    monkeypatch.setattr(Builder, "_link", lambda self, collection: False)
    delete(linked, range(1_500))
    linked._builder.wake()
    deadline = time.monotonic() + 60.0
    while len(linked.view("l")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert linked.view("l").links is None
    linked.snapshot()


def test_a_collection_without_a_graph_has_no_links(db: EmbeddedEngine) -> None:
    db.write("c", [Put(f"{i}", row) for i, row in enumerate(rows(100)[:, :3])]).result()
    db.collection("c").seal(1)
    db.wait_indexed(60.0)
    assert db.view("c").links is None


def test_a_view_keeps_the_links_it_was_taken_with(linked: EmbeddedEngine) -> None:
    before = linked.view("l")
    assert before.links is not None
    kept = arrays(before.links)
    delete(linked, range(600))
    index(linked)
    assert linked.view("l").links is not before.links
    assert arrays(before.links) == kept
    assert len(before.links) == len(before) == 1_500


def test_a_restart_loads_the_same_links(linked: EmbeddedEngine, start: Start) -> None:
    delete(linked, range(50))
    index(linked)
    before = arrays(links_of(linked))
    linked.close()
    again = start()
    assert again.recoveries["l"].skipped == ()
    assert arrays(links_of(again)) == before
    assert again.collection("l").unsaved_links == 0


def test_after_a_crash_the_links_lie_over_the_rows_that_are_there(
    linked: EmbeddedEngine, start: Start, tmp_path: Path
) -> None:
    linked.snapshot()
    write(linked, 1_500, rows(300, 1))
    write(linked, 10, rows(40, 2))
    delete(linked, range(600, 1_000))
    index(linked)  # compacts: places move, and what is on disk does not know yet
    again = start(crashed(linked, tmp_path / "crashed"))
    links = links_of(again)
    assert len(links) == 1_500
    view = again.view("l")
    assert again.recoveries["l"].skipped == ()
    assert [view.ids(np.array([place]))[0] for place in (0, 5)] == ["0", "5"]
    write(again, 5_000, rows(1, 3))
    index(again)
    assert len(links_of(again)) == len(again.view("l"))
    assert recall(again) >= 0.95


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "stale"])
def test_a_damaged_links_file_is_told_and_made_anew_and_nothing_else_is_lost(
    linked: EmbeddedEngine, start: Start, tmp_path: Path, damage: str
) -> None:
    linked.snapshot()
    file = link_file(linked.directory)
    old = file.read_bytes()
    if damage == "stale":
        write(linked, 0, rows(30, 4))
        index(linked)
        linked.snapshot()
    copy = crashed(linked, tmp_path / "crashed")
    bad = max((copy / "index").rglob("*.links"), key=lambda path: path.name != file.name)
    content = bad.read_bytes()
    if damage == "missing":
        bad.unlink()
    elif damage == "truncated":
        bad.write_bytes(content[:-1])
    elif damage == "stale":
        bad.write_bytes(old)
    else:
        middle = len(content) // 2
        bad.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    again = start(copy)
    report = again.verify()
    assert not report.ok
    assert bad.name in str(report)
    recovery = again.recoveries["l"]
    assert len(recovery.skipped) == 1
    assert bad.name in recovery.skipped[0]
    assert recovery.from_sequence > 0
    assert again.view("l").count(Selection()) == 1_500
    again.wait_indexed(60.0)
    assert len(links_of(again)) == len(again.view("l"))
    assert recall(again) >= 0.95


def test_links_that_are_saved_are_not_written_again(linked: EmbeddedEngine) -> None:
    linked.snapshot()
    before = link_file(linked.directory).stat().st_mtime_ns
    name = link_file(linked.directory).name
    write(linked, 9_000, rows(5, 5))
    linked.snapshot()
    assert link_file(linked.directory).name == name
    assert link_file(linked.directory).stat().st_mtime_ns == before


def test_a_disk_that_is_full_when_links_are_saved_costs_nothing_that_was_saved_before(
    linked: EmbeddedEngine, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked.snapshot()
    write(linked, 0, rows(30, 4))
    index(linked)
    written = files.write_arrays

    def full(path: Path, values: Any, arrays: Any) -> None:
        if "indptr" in arrays:
            path.write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written(path, values, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_arrays", full)
        with pytest.raises(DiskFullError):
            linked.snapshot()
    assert not list((linked.directory / "index").rglob("writing.tmp"))
    again = start(crashed(linked, tmp_path / "crashed"))
    assert again.recoveries["l"].skipped == ()
    assert again.view("l").count(Selection()) == 1_500
    linked.snapshot()  # there is room again
    assert linked.collection("l").unsaved_links == 0
    assert linked.verify().ok
