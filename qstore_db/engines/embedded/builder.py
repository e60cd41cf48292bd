"""Building graphs in the background: which segments to merge, and how a merged segment comes about.

The newest graph is extended with the sealed segments behind it, which costs only the new rows; a graph with
more than a fifth of its rows dead is built anew from the living ones. Then the collection's links are brought up
to date. Nothing here blocks readers or the writer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import CollectionSpec, StorageKind
from qstore_db.engines.embedded.collection import Collection
from qstore_db.engines.embedded.columns import merge
from qstore_db.engines.embedded.graph import Cancelled, Goal, Graph, build
from qstore_db.engines.embedded.kernels import faiss
from qstore_db.engines.embedded.linker import is_due, is_linkable, relink
from qstore_db.engines.embedded.part import Part
from qstore_db.engines.embedded.segment import PackedIds, Segment
from qstore_db.engines.embedded.view import Snapshot
from qstore_db.engines.links import Links
from qstore_db.records import Vectors

MAX_SEGMENT_ROWS = 500_000
MAX_DEAD_SHARE = 0.2
MAX_FLAT_PARTS = 8
MAX_UNBUILT = 8
"""More sealed segments than this without their graph slow the writers down."""
RETRY_SECONDS = 60.0
CALM_SECONDS = 1.0
"""A collection without a write for this long gets all its rows linked, however few are not."""
_LINKING_SHARE = 0.2
"""Of the time, at most, unless somebody waits: each pass goes over the whole graph ..."""
_LONGEST_REST = 10.0
"""... but a first pass, which takes longest, is not followed by the longest rest."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Merge `parts` (consecutive) into one segment; with `extend`, the first one's graph keeps its rows."""

    parts: tuple[Part, ...]
    extend: bool
    graph: bool


def plan(parts: Sequence[Part], spec: CollectionSpec) -> Plan | None:
    """The next useful piece of work, or None."""
    sealed = [part for part in parts if isinstance(part.source, Segment)]
    for part in sealed:
        if part.alive_count == 0:
            return Plan((part,), extend=False, graph=False)
    for part in sealed:
        if part.graph is not None and spec.index == "flat":
            return Plan((part,), extend=False, graph=False)
    return _plan_graph(sealed, spec) or _plan_flat(sealed, spec)


def unbuilt_segments(parts: Sequence[Part], spec: CollectionSpec) -> int:
    return sum(isinstance(part.source, Segment) and part.source.wants_graph(spec) for part in parts)


def _plan_graph(sealed: Sequence[Part], spec: CollectionSpec) -> Plan | None:
    for at, part in enumerate(sealed):
        if _wants_graph(part, spec):
            run = _unbuilt_run(sealed[at:], spec)
            base = sealed[at - 1] if at else None
            rows = sum(part.alive_count for part in run)
            if base is not None and base.graph is not None and base.n + rows <= MAX_SEGMENT_ROWS:
                extend = not _is_stale(base) and base.graph.storage == spec.storage
                return Plan((base, *run), extend, graph=True)
            return Plan(tuple(run), extend=False, graph=True)
    for part in sealed:
        if part.graph is not None and (_is_stale(part) or part.graph.storage != spec.storage):
            return Plan((part,), extend=False, graph=True)
    return None


def _unbuilt_run(sealed: Sequence[Part], spec: CollectionSpec) -> list[Part]:
    """The segments at the start that want a graph, as many as one segment may take."""
    run: list[Part] = []
    rows = 0
    for part in sealed:
        rows += part.alive_count
        if not _wants_graph(part, spec) or (run and rows > MAX_SEGMENT_ROWS):
            break
        run.append(part)
    return run


def _plan_flat(sealed: Sequence[Part], spec: CollectionSpec) -> Plan | None:
    """Exact segments are only merged to keep their number small, and rewritten to shed dead rows."""
    run: list[Part] = []
    for part in sealed:
        if part.graph is not None or _wants_graph(part, spec):
            run = []
        elif _is_stale(part):
            return Plan((part,), extend=False, graph=False)
        elif part.n >= MAX_SEGMENT_ROWS // MAX_FLAT_PARTS:
            run = []
        else:
            run.append(part)
            if len(run) == MAX_FLAT_PARTS:
                return Plan(tuple(run), extend=False, graph=False)
    return None


def _wants_graph(part: Part, spec: CollectionSpec) -> bool:
    return isinstance(part.source, Segment) and part.source.wants_graph(spec)


def _is_stale(part: Part) -> bool:
    return part.dead_count > MAX_DEAD_SHARE * part.n


class Builder:
    """A thread that works through plans. `wake` after anything that may make one."""

    def __init__(self, collections: Callable[[], Sequence[Collection]], threads: int) -> None:
        self._collections = collections
        self._threads = threads
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._idle = threading.Condition()
        self._busy = False
        self.fault: str | None = None
        """Why the last build failed; it is tried again once woken, or by itself after RETRY_SECONDS."""
        self.rows_done = 0
        self._waiting = 0
        self._links_due: dict[int, float] = {}
        self._thread = threading.Thread(target=self._run, name="qstore-builder", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def wait(self, timeout: float | None) -> bool:
        """Block until nothing is left to build, or the builder is closed; False after `timeout` seconds."""
        with self._idle:
            self._waiting += 1
            self._wake.set()
            try:
                return self._idle.wait_for(
                    lambda: self._stop.is_set() or not (self._busy or self._wake.is_set()), timeout
                )
            finally:
                self._waiting -= 1

    def close(self) -> None:
        """Abandon what is being built: it is derived and will be built again."""
        self._stop.set()
        self._wake.set()
        self._thread.join()
        with self._idle:
            self._idle.notify_all()

    def _run(self) -> None:
        faiss.omp_set_num_threads(self._threads)  # of this thread only
        while not self._stop.is_set():
            self._wake.wait(None if self.fault is None else RETRY_SECONDS)
            with self._idle:
                self._busy = True
                self._wake.clear()
            self._work()
            with self._idle:
                self._busy = False
                self._idle.notify_all()

    def _work(self) -> None:
        try:
            while not self._stop.is_set() and self._step():
                pass
            self.fault = None
        except Cancelled:
            self._wake.set()  # other collections may still wait for theirs
        except Exception as error:  # noqa: BLE001 - a failed build must not end the thread; search stays exact
            self.fault = f"{type(error).__name__}: {error}"

    def _step(self) -> bool:
        for collection in self._collections():
            snapshot = collection.current  # held while it is worked on: its rows can be read again
            work = plan(snapshot.parts, snapshot.spec)
            if work is not None:
                self._execute(collection, snapshot, work)
                return True
        return any(self._link(collection) for collection in self._collections())

    def has_work(self, collection: Collection) -> bool:
        snapshot = collection.current
        return plan(snapshot.parts, snapshot.spec) is not None or self._links_are_due(collection, snapshot)

    def _links_are_due(self, collection: Collection, snapshot: Snapshot) -> bool:
        if not is_linkable(snapshot):
            return snapshot.links is not None
        now = time.monotonic()
        calm = self._waiting > 0 or now - collection.last_write > CALM_SECONDS
        rested = self._waiting > 0 or now >= self._links_due.get(collection.cid, 0.0)
        return rested and is_due(snapshot, calm=calm)

    def _link(self, collection: Collection) -> bool:
        """Bring one collection's links up to date; whether anything was done."""
        snapshot = collection.current
        if not self._links_are_due(collection, snapshot):
            return False

        def progress() -> None:
            if self._stop.is_set() or collection.dropped:
                raise Cancelled

        started = time.monotonic()
        collection.link(relink(snapshot, progress) if is_linkable(snapshot) else None)
        ended = time.monotonic()
        rest = (ended - started) * (1.0 / _LINKING_SHARE - 1.0)
        self._links_due[collection.cid] = ended + min(rest, _LONGEST_REST)
        return True

    def _execute(self, collection: Collection, snapshot: Snapshot, work: Plan) -> None:
        spec = snapshot.spec
        base = work.parts[0].graph if work.extend else None
        if base is not None and not base.can_grow():
            base = None
        keep = [
            np.arange(part.n) if base is not None and i == 0 else np.flatnonzero(~part.dead_mask())
            for i, part in enumerate(work.parts)
        ]
        links = _links_kept(snapshot, work.parts, keep)
        if not any(len(kept) for kept in keep):
            collection.replace(work.parts, None, links)
            return
        storage = spec.storage if work.graph else "float32"
        fresh = [
            _vectors(snapshot, part, kept, storage)
            for i, (part, kept) in enumerate(zip(work.parts, keep, strict=True))
            if base is None or i > 0
        ]
        graph: Graph | None = None
        if work.graph:
            graph = self._graph(collection, spec, base, np.concatenate(fresh))
            if graph is None and (base is not None or work.parts[0].graph is None):
                _settle(work.parts, spec)
                return
        segment = Segment(
            np.concatenate([part.rows[kept] for part, kept in zip(work.parts, keep, strict=True)]),
            _ids(work.parts, keep),
            np.concatenate(fresh) if graph is None else graph.matrix,
            merge((part.columns, part.n, kept) for part, kept in zip(work.parts, keep, strict=True)),
            graph,
            settled=(spec.index, spec.storage) if graph is None else None,
        )
        collection.replace(work.parts, segment, links)

    def _graph(
        self, collection: Collection, spec: CollectionSpec, base: Graph | None, rows: Vectors
    ) -> Graph | None:
        goal = Goal(spec.target_recall, insist=spec.index == "hnsw")

        def progress(done: int) -> None:
            self.rows_done = done
            if self._stop.is_set() or collection.dropped:
                raise Cancelled

        if base is None:
            return build(rows, spec.metric, spec.storage, goal, progress)
        return base.extended(rows, goal, progress)


def _links_kept(snapshot: Snapshot, parts: Sequence[Part], keep: Sequence[NDArray[np.int64]]) -> Links | None:
    """The snapshot's links without the rows that merging `parts` leaves out."""
    links = snapshot.links
    if links is None or sum(len(kept) for kept in keep) == sum(part.n for part in parts):
        return links
    kept = dict(zip((id(part) for part in parts), keep, strict=True))
    mask = np.concatenate([_mask(part.n, kept.get(id(part))) for part in snapshot.parts])
    left = links.kept(mask[: len(links)])
    return left if len(left) else None  # of nothing there is no graph, and nothing to save


def _mask(n: int, kept: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    mask = np.full(n, kept is None)
    if kept is not None:
        mask[kept] = True
    return mask


def _settle(parts: Sequence[Part], spec: CollectionSpec) -> None:
    for part in parts:
        if isinstance(part.source, Segment) and part.graph is None:
            part.source.settled = (spec.index, spec.storage)


def _vectors(snapshot: Snapshot, part: Part, kept: NDArray[np.int64], storage: StorageKind) -> Vectors:
    """Kept rows in float32. What a graph rounded is read again from the records where full precision is wanted."""
    if part.matrix.dtype == np.float16 and storage == "float32":
        return snapshot.stored_vectors(part.rows[kept])
    return part.matrix[kept].astype(np.float32, copy=False)


def _ids(parts: Sequence[Part], keep: Sequence[NDArray[np.int64]]) -> PackedIds:
    packed: list[PackedIds] = []
    for part, kept in zip(parts, keep, strict=True):
        assert isinstance(part.source, Segment)
        ids = part.source.packed
        packed.append(ids if len(kept) == part.n else ids.take(kept))
    return PackedIds.concatenate(packed)
