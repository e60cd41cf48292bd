"""Building graphs in the background: which segments to merge, and how a merged segment comes about.

The newest graph is extended with the sealed segments behind it, which costs only the new rows; a graph with
more than a fifth of its rows dead is built anew from the living ones. Nothing here blocks readers or the
writer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import CollectionSpec
from qstore_db.engines.embedded.collection import Collection
from qstore_db.engines.embedded.columns import merge
from qstore_db.engines.embedded.graph import Cancelled, Goal, Graph, build
from qstore_db.engines.embedded.kernels import faiss
from qstore_db.engines.embedded.part import Part
from qstore_db.engines.embedded.persist import IndexFiles
from qstore_db.engines.embedded.segment import PackedIds, Segment
from qstore_db.records import Vectors

MAX_SEGMENT_ROWS = 500_000
MAX_DEAD_SHARE = 0.2
MAX_FLAT_PARTS = 8
MAX_UNBUILT = 8
"""More sealed segments than this without their graph slow the writers down."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Merge `parts` (consecutive) into one segment; with `extend`, the first one's graph keeps its rows."""

    parts: tuple[Part, ...]
    extend: bool
    graph: bool


def plan(parts: Sequence[Part], spec: CollectionSpec) -> Plan | None:
    """The next useful piece of work, or None."""
    sealed = [part for part in parts if isinstance(part.source, Segment)]
    if spec.index == "flat":
        return _plan_flat(sealed)
    unbuilt = _unbuilt_run(sealed)
    if unbuilt:
        first = sealed.index(unbuilt[0])
        base = sealed[first - 1] if first else None
        rows = sum(part.alive_count for part in unbuilt)
        if base is not None and base.graph is not None and base.n + rows <= MAX_SEGMENT_ROWS:
            return Plan((base, *unbuilt), extend=not _is_stale(base), graph=True)
        return Plan(tuple(unbuilt), extend=False, graph=True)
    for part in sealed:
        if part.graph is not None and (_is_stale(part) or part.graph.storage != spec.storage):
            return Plan((part,), extend=False, graph=True)
    return _plan_flat([part for part in sealed if part.graph is None])


def unbuilt_segments(parts: Sequence[Part]) -> int:
    return sum(isinstance(p.source, Segment) and p.graph is None and not p.source.settled for p in parts)


def _unbuilt_run(sealed: Sequence[Part]) -> list[Part]:
    """The first run of consecutive segments that want a graph, as long as one segment may get."""
    run: list[Part] = []
    rows = 0
    for part in sealed:
        assert isinstance(part.source, Segment)
        wanted = part.graph is None and not part.source.settled
        if run and (not wanted or rows + part.alive_count > MAX_SEGMENT_ROWS):
            break
        if wanted:
            run.append(part)
            rows += part.alive_count
    return run


def _plan_flat(sealed: Sequence[Part]) -> Plan | None:
    """Exact segments are only merged to keep their number small, and rewritten to shed dead rows."""
    for part in sealed:
        if _is_stale(part) or part.graph is not None:
            return Plan((part,), extend=False, graph=False)
    small = [part for part in sealed if part.n < MAX_SEGMENT_ROWS // MAX_FLAT_PARTS]
    if len(small) >= MAX_FLAT_PARTS:
        start = sealed.index(small[0])
        run = [part for part in sealed[start : start + MAX_FLAT_PARTS] if part in small]
        if len(run) > 1 and run == list(sealed[start : start + len(run)]):
            return Plan(tuple(run), extend=False, graph=False)
    return None


def _is_stale(part: Part) -> bool:
    return part.dead_count > MAX_DEAD_SHARE * part.n


class Builder:
    """A thread that works through plans. `wake` after anything that may make one."""

    def __init__(
        self,
        collections: Callable[[], Sequence[Collection]],
        index_files: Callable[[Collection], IndexFiles],
        threads: int,
    ) -> None:
        self._collections = collections
        self._index_files = index_files
        self._threads = threads
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._idle = threading.Condition()
        self._busy = False
        self.fault: str | None = None
        self.rows_done = 0
        self._thread = threading.Thread(target=self._run, name="qstore-builder", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def wait(self, timeout: float | None) -> bool:
        """Block until there is nothing left to build; False after `timeout` seconds."""
        self._wake.set()
        with self._idle:
            return self._idle.wait_for(lambda: not self._busy and not self._wake.is_set(), timeout)

    def close(self) -> None:
        """Abandon what is being built: it is derived and will be built again."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        faiss.omp_set_num_threads(self._threads)  # of this thread only
        while not self._stop.is_set():
            self._wake.wait()
            with self._idle:
                self._busy = True
                self._wake.clear()
            try:
                while not self._stop.is_set() and self._step():
                    pass
            except Cancelled:
                pass
            except Exception as error:  # noqa: BLE001 - a failed build must not end the thread; search stays exact
                self.fault = f"{type(error).__name__}: {error}"
            with self._idle:
                self._busy = False
                self._idle.notify_all()

    def _step(self) -> bool:
        for collection in self._collections():
            work = plan(collection.current.parts, collection.spec)
            if work is not None:
                self._execute(collection, work)
                return True
        return False

    def _progress(self, rows: int) -> None:
        self.rows_done = rows
        if self._stop.is_set():
            raise Cancelled

    def _execute(self, collection: Collection, work: Plan) -> None:
        spec = collection.spec
        keep = [self._kept(part, all_rows=work.extend and i == 0) for i, part in enumerate(work.parts)]
        if sum(len(kept) for kept in keep) == 0:
            collection.replace(work.parts, None)
            return
        graph: Graph | None = None
        if work.graph:
            graph = self._graph(collection, work, keep, spec)
            if graph is None:
                for part in work.parts:
                    assert isinstance(part.source, Segment)
                    part.source.settled = True
                if work.extend or work.parts[0].graph is None:
                    return
        rows = np.concatenate([part.rows[kept] for part, kept in zip(work.parts, keep, strict=True)])
        matrix = graph.matrix if graph is not None else _gather(work.parts, keep)
        segment = Segment(
            rows,
            _ids(work.parts, keep),
            matrix,
            merge((part.columns, part.n, kept) for part, kept in zip(work.parts, keep, strict=True)),
            graph,
            settled=graph is None,
        )
        collection.replace(work.parts, segment)

    def _graph(
        self, collection: Collection, work: Plan, keep: Sequence[NDArray[np.int64]], spec: CollectionSpec
    ) -> Graph | None:
        goal = Goal(spec.target_recall, insist=spec.index == "hnsw")
        if not work.extend:
            return build(_gather(work.parts, keep), spec.metric, spec.storage, goal, self._progress)
        base = work.parts[0]
        assert base.graph is not None
        assert isinstance(base.source, Segment)
        saved = self._index_files(collection).graph_path(base.source)
        return base.graph.extended(saved, _gather(work.parts[1:], keep[1:]), goal, self._progress)

    def _kept(self, part: Part, *, all_rows: bool) -> NDArray[np.int64]:
        return np.arange(part.n) if all_rows else np.flatnonzero(~part.dead_mask())


def _gather(parts: Sequence[Part], keep: Sequence[NDArray[np.int64]]) -> Vectors:
    """Kept rows as one float32 matrix."""
    return np.concatenate(
        [part.matrix[kept].astype(np.float32, copy=False) for part, kept in zip(parts, keep, strict=True)]
    )


def _ids(parts: Sequence[Part], keep: Sequence[NDArray[np.int64]]) -> PackedIds:
    packed: list[PackedIds] = []
    for part, kept in zip(parts, keep, strict=True):
        assert isinstance(part.source, Segment)
        ids = part.source.packed
        packed.append(ids if len(kept) == part.n else ids.take(kept))
    return PackedIds.concatenate(packed)
