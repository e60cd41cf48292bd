"""The engine against a dict: any sequence of writes, upkeep, crashes and reopenings leaves the same records."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from qstore_db.engines.base import CollectionSpec, Delete, DeleteWhere, Patch, Put, Selection, Write
from qstore_db.engines.embedded import chores, collection, engine, graph
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.engines.embedded.view import Snapshot
from qstore_db.errors import DuplicateIdError, RecordNotFoundError, SequenceExpired, VersionConflictError
from qstore_db.records import Metadata, Metric, Record, Superposition, Vectors, parse_filter
from qstore_db.testing import strategies

ids = st.sampled_from([f"r{i:02d}" for i in range(24)])
vectors = st.lists(st.integers(-3, 3), min_size=3, max_size=3).map(lambda v: np.array(v, np.float32))
metadata = st.fixed_dictionaries({}, optional={"n": st.integers(0, 5), "box": strategies.metadata()})
contexts = st.dictionaries(st.sampled_from("ab"), st.sampled_from([0.3, 0.7]), max_size=2)
lifetimes = st.none() | st.integers(1, 20)


class Model:
    """One record as it should be."""

    def __init__(
        self,
        vector: Vectors,
        metadata: Metadata,
        contexts: Superposition,
        expires_at: float | None,
        updated_at: float,
    ) -> None:
        self.vector = vector
        self.metadata = metadata
        self.contexts = contexts
        self.expires_at = expires_at
        self.updated_at = updated_at

    def lives(self, now: float) -> bool:
        return self.expires_at is None or self.expires_at > now

    def is_(self, record: Record) -> bool:
        return (
            record.vector.tobytes() == self.vector.tobytes()
            and record.metadata == self.metadata
            and record.contexts == self.contexts.pairs()
            and record.expires_at == self.expires_at
            and record.updated_at == self.updated_at
        )


class EngineMachine(RuleBasedStateMachine):
    views = Bundle("views")

    @initialize(metric=st.sampled_from([Metric.L2, Metric.DOT]), index=st.sampled_from(["flat", "hnsw"]))
    def begin(self, metric: Metric, index: Any) -> None:
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(collection, "TAIL_ROWS", 8)
        self.patches.setattr(engine, "SEAL_ROWS", 4)
        self.patches.setattr(graph, "_CHUNK", 8)
        self.patches.setattr(chores.Chores, "all", lambda chores: ())
        self.root = Path(tempfile.mkdtemp())
        self.starts = 0
        self.now = 1_000.0
        self.metric = metric
        self.model: dict[str, Model] = {}
        self.open(self.root / "0")
        self.db.create_collection(CollectionSpec("c", 3, metric, index))
        self.start_watching()

    def open(self, directory: Path) -> None:
        self.db = EmbeddedEngine(directory, durable=False, clock=lambda: self.now)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
            shutil.rmtree(self.root)
            self.patches.undo()

    def live(self) -> dict[str, Model]:
        return {id: model for id, model in self.model.items() if model.lives(self.now)}

    # Writes

    @rule(
        id=ids,
        vector=vectors,
        metadata=metadata,
        contexts=contexts,
        lifetime=lifetimes,
        exclusive=st.booleans(),
    )
    def put(
        self,
        id: str,
        vector: Vectors,
        metadata: Metadata,
        contexts: Any,
        lifetime: int | None,
        exclusive: bool,
    ) -> None:
        state = Superposition.parse(contexts)
        expires_at = None if lifetime is None else self.now + lifetime
        write = Put(id, vector, state, metadata, expires_at, exclusive)
        if exclusive and id in self.live():
            with pytest.raises(DuplicateIdError):
                self.db.write("c", [write]).result()
            return
        self.db.write("c", [write]).result()
        self.model[id] = Model(vector, metadata, state, expires_at, self.now)

    @rule(entries=st.lists(st.tuples(ids, vectors, metadata), min_size=1, max_size=20), spoiled=st.booleans())
    def put_many(self, entries: list[tuple[str, Vectors, Metadata]], spoiled: bool) -> None:
        writes: list[Write] = [Put(id, vector, metadata=metadata) for id, vector, metadata in entries]
        if spoiled:
            with pytest.raises(RecordNotFoundError):
                self.db.write("c", [*writes, Patch("absent")]).result()
            return
        self.db.write("c", writes).result()
        for id, vector, metadata in entries:
            self.model[id] = Model(vector, metadata, Superposition(), None, self.now)

    @rule(id=ids, vector=st.none() | vectors, metadata=st.none() | metadata, contexts=st.none() | contexts)
    def patch(self, id: str, vector: Vectors | None, metadata: Metadata | None, contexts: Any) -> None:
        state = None if contexts is None else Superposition.parse(contexts)
        write = Patch(id, vector, state, metadata)
        if id not in self.live():
            with pytest.raises(RecordNotFoundError):
                self.db.write("c", [write]).result()
            return
        self.db.write("c", [write]).result()
        old = self.model[id]
        self.model[id] = Model(
            old.vector if vector is None else vector,
            old.metadata if metadata is None else {**old.metadata, **metadata},
            old.contexts if state is None else state,
            old.expires_at,
            self.now,
        )

    @precondition(lambda self: self.live())
    @rule(data=st.data(), stale=st.booleans())
    def patch_if_version(self, data: st.DataObject, stale: bool) -> None:
        id = data.draw(st.sampled_from(sorted(self.live())))
        (record,) = self.db.fetch("c", [id], self.now)
        assert record is not None
        write = Patch(id, metadata={"n": 9}, if_version=record.version - stale)
        if stale:
            with pytest.raises(VersionConflictError):
                self.db.write("c", [write]).result()
        else:
            self.db.write("c", [write]).result()
            self.model[id].metadata = {**self.model[id].metadata, "n": 9}
            self.model[id].updated_at = self.now

    @rule(doomed=st.lists(ids, max_size=6))
    def delete(self, doomed: list[str]) -> None:
        expected = len(set(doomed) & set(self.live()))
        assert self.db.write("c", [Delete(id) for id in doomed]).result().count == expected
        for id in doomed:
            self.model.pop(id, None)

    @rule(filter=strategies.filters(["n", "box.kind"]))
    def delete_where(self, filter: Mapping[str, object]) -> None:
        checked = parse_filter(filter)
        assert checked is not None
        doomed = [id for id, model in self.live().items() if checked.matches(model.metadata)]
        where = DeleteWhere(Selection(checked, now=self.now))
        assert self.db.write("c", [where]).result().count == len(doomed)
        for id in doomed:
            del self.model[id]

    # Upkeep

    @rule(seconds=st.integers(1, 15))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(task=st.sampled_from(["expire", "purge", "seal", "index", "save", "trim", "compact"]))
    def upkeep(self, task: str) -> None:
        if task == "seal":
            self.db.collection("c").seal(1)
        elif task == "index":
            self.db.wait_indexed(60.0)
        elif task == "save":
            self.db.snapshot()
        elif task == "compact":
            self.db.compact()
        elif task == "trim":
            self.patches.setattr(chores, "RETAIN_SECONDS", -1e9)
            self.db._chores.trim()
        else:
            getattr(self.db._chores, task)()

    @rule(index=st.sampled_from(["flat", "hnsw", "auto"]), storage=st.sampled_from(["float32", "float16"]))
    def reindex(self, index: Any, storage: Any) -> None:
        self.db.reindex("c", index=index, storage=storage)

    @rule()
    def crash(self) -> None:
        """The process dies: what it left in its directory is all there is."""
        self.starts += 1
        left = self.root / f"{self.starts}"
        shutil.copytree(self.db.directory, left, ignore=shutil.ignore_patterns("LOCK", "lock.mdb"))
        self.db.close()
        self.open(left)
        self.go_on_watching()

    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.open(self.db.directory)
        self.go_on_watching()

    # Reads

    @rule(target=views)
    def take_view(self) -> tuple[int, Snapshot, dict[str, Model], float]:
        return self.starts, self.db.view("c"), dict(self.live()), self.now

    @rule(taken=views)
    def look_at_an_older_view(self, taken: tuple[int, Snapshot, dict[str, Model], float]) -> None:
        _, view, live, now = taken
        assert set(view.select(Selection(now=now)).ids()) == set(live)

    @rule(
        query=vectors, k=st.integers(1, 30), filter=st.none() | strategies.filters(["n", "box.kind", "box"])
    )
    def search(self, query: Vectors, k: int, filter: Mapping[str, object] | None) -> None:
        checked = parse_filter(filter)
        admitted = {
            id: model
            for id, model in self.live().items()
            if checked is None or checked.matches(model.metadata)
        }
        selection = Selection(checked, now=self.now)
        view = self.db.view("c")
        assert view.count(selection) == len(admitted)
        (hits,) = view.search(query[None], k, selection)

        def raw(model: Model) -> float:
            delta = model.vector.astype(np.float64) - query
            return float(-(model.vector @ query) if self.metric is Metric.DOT else delta @ delta)

        expected = sorted((raw(model), id) for id, model in admitted.items())[:k]
        assert list(zip(hits.raw.tolist(), hits.ids(), strict=True)) == expected
        assert hits.updated().tolist() == [self.model[id].updated_at for id in hits.ids()]
        for record in hits.records():
            assert self.model[record.id].is_(record)

    @rule(names=st.sampled_from([("a",), ("b",), ("a", "b")]))
    def search_in_contexts(self, names: tuple[str, ...]) -> None:
        expected = {id for id, model in self.live().items() if set(names) & set(model.contexts.names)}
        hits = self.db.view("c").select(Selection(contexts=names, now=self.now))
        assert set(hits.ids()) == expected

    # Changes

    def start_watching(self) -> None:
        """From now on, with all that there is."""
        self.feed = self.db.feed("c", self.db.sequence)
        self.told = {record.id: record for record in self.db.view("c").scroll(Selection(), 1_000, 0)[0]}

    def go_on_watching(self) -> None:
        try:
            self.feed = self.db.feed("c", self.feed.sequence)
        except SequenceExpired:
            self.start_watching()

    @rule(limit=st.integers(1, 30))
    def watch(self, limit: int) -> None:
        before = self.feed.sequence
        try:
            found = self.feed.next(limit)
        except SequenceExpired:
            assert next((op.sequence for op in self.db._store.oplog(0)), before + 2) > before + 1
            self.start_watching()
            return
        sequences = [change.sequence for change in found]
        assert sequences == sorted({*sequences})
        assert all(before < sequence <= self.feed.sequence for sequence in sequences)
        for change in found:
            if change.record is None:
                assert change.id not in self.live()
                self.told.pop(change.id, None)
            else:
                assert change.record.version == change.sequence
                assert self.live()[change.id].is_(change.record)
                self.told[change.id] = change.record

    @rule()
    def watch_until_the_present(self) -> None:
        while self.feed.due():
            self.watch(10)
        known = {id for id, record in self.told.items() if (record.expires_at or self.now + 1) > self.now}
        assert known == {*self.live()}
        assert all(self.live()[id].is_(self.told[id]) for id in known)

    @invariant()
    def every_record_is_there_and_no_other(self) -> None:
        if not hasattr(self, "db"):
            return
        live = self.live()
        names = sorted({*self.model, *live, "absent"})
        for id, record in zip(names, self.db.fetch("c", names, self.now), strict=True):
            assert (record is not None) == (id in live)
            assert record is None or live[id].is_(record)
        assert self.db.statistics()["read_only"] is None

    @rule()
    def verify(self) -> None:
        assert self.db.verify().ok
        assert self.db._builder.fault is None


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)


@pytest.mark.long
class TestEngineLong(EngineMachine.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=600, stateful_step_count=60, deadline=None)
