"""The database over the wire against a dict: any calls, crashes and restarts leave the same records."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from qstore_db import QuantumDatabase, Record
from qstore_db.errors import DuplicateIdError, RecordNotFoundError, VersionConflictError
from qstore_db.records import parse_filter
from qstore_db.testing import strategies
from qstore_db.testing.serving import ServerThread

DIMENSION = 3
ids = st.sampled_from([f"r{i:02d}" for i in range(16)])
vectors = st.lists(st.integers(-3, 3), min_size=DIMENSION, max_size=DIMENSION).map(
    lambda numbers: tuple(map(float, numbers))
)
metadata = st.fixed_dictionaries({}, optional={"n": st.integers(0, 5), "box": strategies.metadata()})
filters = strategies.filters(["n", "box.kind"])
Entry = tuple[tuple[float, ...], dict[str, Any], int]
"""Vector, metadata, version."""


class ServedMachine(RuleBasedStateMachine):
    """A server that crashes and starts again on its port; one client for all of it."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.starts = 0
        self.port = 0
        self.start(self.root / "0")
        self.db = QuantumDatabase.connect(self.server.url, retries=100)
        self.db.create_collection("default", dimension=DIMENSION, metric="l2")
        self.model: dict[str, Entry] = {}

    def start(self, directory: Path) -> None:
        self.directory = directory
        self.server = ServerThread(path=directory, port=self.port, slow_query_ms=600_000)
        self.port = self.server.server.port

    def teardown(self) -> None:
        if hasattr(self, "server"):
            self.db.close()
            self.server.stop()
            shutil.rmtree(self.root)

    def matching(self, filter: Mapping[str, object] | None) -> list[str]:
        checked = parse_filter(filter)
        return [
            id
            for id, (_, stored, _) in sorted(self.model.items())
            if checked is None or checked.matches(stored)
        ]

    def holds_all(self) -> None:
        """Every record is there as it was, and nothing else."""
        records = self.db.scroll(limit=100)
        assert {record.id for record in records} == self.model.keys()
        assert all(self.holds(record) for record in records)
        assert self.db.count() == len(self.model)
        found = self.db.query([0.0] * DIMENSION, top_k=100)
        assert found.exact
        assert sorted(found.ids) == sorted(self.model)

    def holds(self, record: Record) -> bool:
        return (tuple(record.vector.tolist()), record.metadata, record.version) == self.model[record.id]

    # Writes

    @rule(id=ids, vector=vectors, metadata=metadata)
    def insert(self, id: str, vector: tuple[float, ...], metadata: dict[str, Any]) -> None:
        if id in self.model:
            with pytest.raises(DuplicateIdError):
                self.db.insert(id, vector, metadata=metadata)
        else:
            self.model[id] = vector, metadata, self.db.insert(id, vector, metadata=metadata)

    @rule(id=ids, vector=vectors, metadata=metadata)
    def upsert(self, id: str, vector: tuple[float, ...], metadata: dict[str, Any]) -> None:
        self.model[id] = vector, metadata, self.db.upsert(id, vector, metadata=metadata)

    @rule(entries=st.dictionaries(ids, st.tuples(vectors, metadata), min_size=1))
    def upsert_many(self, entries: dict[str, tuple[tuple[float, ...], dict[str, Any]]]) -> None:
        last = self.db.upsert_many(
            ids=list(entries),
            vectors=[vector for vector, _ in entries.values()],
            metadata=[metadata for _, metadata in entries.values()],
        )
        for behind, (id, (vector, metadata)) in enumerate(reversed(entries.items())):
            self.model[id] = vector, metadata, last - behind

    @rule(id=ids, vector=st.none() | vectors, metadata=metadata, stale=st.sampled_from([0, 0, 1]))
    def update(self, id: str, vector: tuple[float, ...] | None, metadata: dict[str, Any], stale: int) -> None:
        old = self.model.get(id)
        if old is None:
            with pytest.raises(RecordNotFoundError):
                self.db.update(id, vector=vector, metadata=metadata)
        elif stale:
            with pytest.raises(VersionConflictError):
                self.db.update(id, vector=vector, metadata=metadata, if_version=old[2] + stale)
        else:
            version = self.db.update(id, vector=vector, metadata=metadata, if_version=old[2])
            self.model[id] = old[0] if vector is None else vector, {**old[1], **metadata}, version

    @rule(doomed=st.lists(ids, max_size=4, unique=True))
    def delete(self, doomed: list[str]) -> None:
        assert self.db.delete(doomed) == len(self.model.keys() & set(doomed))
        for id in doomed:
            self.model.pop(id, None)

    @rule(filter=filters)
    def delete_where(self, filter: Mapping[str, object]) -> None:
        doomed = self.matching(filter)
        assert self.db.delete(filter=filter) == len(doomed)
        for id in doomed:
            del self.model[id]

    # The server's life

    @rule()
    def crash(self) -> None:
        """The process dies: its connections break, and what it left in its directory is all there is."""
        self.starts += 1
        left = self.root / f"{self.starts}"
        shutil.copytree(self.directory, left, ignore=shutil.ignore_patterns("LOCK", "lock.mdb", "*.sock"))
        for connection in list(self.server.server._connections):
            self.server.server.loop.call_soon_threadsafe(connection.abort)
        self.server.stop()
        self.start(left)
        self.holds_all()

    @rule()
    def restart(self) -> None:
        self.server.stop()
        self.start(self.directory)
        self.holds_all()

    @rule()
    def upkeep(self) -> None:
        self.db.snapshot()
        self.db.compact()
        assert self.db.verify()["problems"] == ()

    # Reads

    @rule(id=ids)
    def get(self, id: str) -> None:
        record = self.db.get(id)
        assert (record is None) == (id not in self.model)
        assert record is None or self.holds(record)

    @rule(wanted=st.lists(ids, unique=True))
    def get_several(self, wanted: list[str]) -> None:
        found = self.db.get(wanted)
        assert [record is not None for record in found] == [id in self.model for id in wanted]
        assert all(self.holds(record) for record in found if record is not None)

    @rule(vector=vectors, k=st.integers(1, 20), filter=st.none() | filters, whole=st.booleans())
    def query(
        self, vector: tuple[float, ...], k: int, filter: Mapping[str, object] | None, whole: bool
    ) -> None:
        found = self.db.query(vector, top_k=k, filter=filter, include_vectors=whole)
        ranked = sorted(
            (sum((a - b) ** 2 for a, b in zip(self.model[id][0], vector, strict=True)), id)
            for id in self.matching(filter)
        )
        assert [(match.distance, match.id) for match in found] == ranked[:k]
        for match in found:
            assert match.metadata == self.model[match.id][1]
            if whole:
                assert match.vector is not None
                assert tuple(match.vector.tolist()) == self.model[match.id][0]

    @rule(filter=st.none() | filters)
    def count(self, filter: Mapping[str, object] | None) -> None:
        assert self.db.count(filter) == len(self.matching(filter))

    @rule(filter=st.none() | filters, limit=st.integers(1, 20))
    def scroll(self, filter: Mapping[str, object] | None, limit: int) -> None:
        seen: list[Record] = []
        page = self.db.scroll(limit=limit, filter=filter)
        seen += page
        while page.cursor is not None:
            page = self.db.scroll(limit=limit, filter=filter, cursor=page.cursor)
            seen += page
        assert sorted(record.id for record in seen) == self.matching(filter)
        assert all(self.holds(record) for record in seen)


TestServed = ServedMachine.TestCase
TestServed.settings = settings(max_examples=8, stateful_step_count=40, deadline=None)


@pytest.mark.long
class TestServedLong(ServedMachine.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(max_examples=400, stateful_step_count=60, deadline=None)
