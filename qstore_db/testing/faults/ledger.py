"""A workload whose every record can be computed again: what was promised, and whether a database holds it.

A writing process announces each `Step` in a line before it makes the request, and says so in another line once
the request is acknowledged. Whoever reads these lines, up to the moment the process was killed, knows what a
reopened database must hold: `Ledger` says where it does not.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from qstore_db import QuantumDatabase, Record
from qstore_db.records import Vectors

DIMENSIONS = {"default": 24, "wide": 600}
"""The collections of the workload. A vector of 600 floats is stored in several pieces."""
_IDS = 120
_BATCH = 12

Kind: TypeAlias = Literal[
    "insert",
    "insert_many",
    "upsert",
    "upsert_many",
    "new_vector",
    "new_metadata",
    "delete",
    "delete_many",
    "delete_where",
]


@dataclass(frozen=True, slots=True)
class Content:
    """What a record must be. Vector, contexts and metadata follow from the steps that wrote them last."""

    vector: int
    contexts: int
    metadata: Mapping[str, Any]
    version: int | None
    """None where the acknowledgement was never read."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request of one writer: all of it is stored, or nothing."""

    writer: int
    number: int
    """Never used twice; whatever the step writes follows from it and the id."""
    kind: Kind
    ids: tuple[str, ...]

    @property
    def collection(self) -> str:
        """Each writer has its own, so that steps of one record never race."""
        return "wide" if self.writer % 2 else "default"

    @classmethod
    def choose(cls, writer: int, number: int, present: set[str], rng: random.Random) -> Step:
        """A random step of a writer whose records are `present`."""
        some = [f"{writer}-{i}" for i in rng.sample(range(_IDS), _BATCH)]
        kind: Kind = rng.choice(get_args(Kind))
        if kind.startswith("insert"):
            some = [id for id in some if id not in present]
        elif kind.startswith("new"):
            some = [id for id in some if id in present]
        if not some:
            kind, some = "upsert", [f"{writer}-0"]
        if not kind.endswith(("many", "where")):
            del some[1:]
        return cls(writer, number, kind, tuple(some))

    def run(self, db: QuantumDatabase) -> int:
        """Make the request; what it returns."""
        name, ids = self.collection, list(self.ids)
        vectors = [vector_of(id, self.number, DIMENSIONS[name]) for id in ids]
        contexts = [contexts_of(id, self.number) for id in ids]
        metadata = [self._metadata(id) for id in ids]
        if self.kind in ("insert", "upsert"):
            put = db.insert if self.kind == "insert" else db.upsert
            return put(ids[0], vectors[0], contexts[0], metadata[0], collection=name)
        if self.kind in ("insert_many", "upsert_many"):
            put_many = db.insert_many if self.kind == "insert_many" else db.upsert_many
            return put_many(
                ids=ids, vectors=np.stack(vectors), contexts=contexts, metadata=metadata, collection=name
            )
        if self.kind == "new_vector":
            return db.update(ids[0], vector=vectors[0], contexts=contexts[0], collection=name)
        if self.kind == "new_metadata":
            return db.update(ids[0], metadata={"changed": self.number}, collection=name)
        if self.kind == "delete_where":
            return db.delete(filter={"name": {"$in": ids}}, collection=name)
        return db.delete(ids, collection=name)

    def after(self, id: str, before: Content | None, position: int, returned: int | None) -> Content | None:
        """What the record at `position` of `ids` is once the step is stored."""
        if self.kind.startswith("delete"):
            return None
        version = None if returned is None else returned - len(self.ids) + 1 + position
        if self.kind.startswith("new"):
            assert before is not None
            if self.kind == "new_vector":
                return replace(before, vector=self.number, contexts=self.number, version=version)
            return replace(before, metadata={**before.metadata, "changed": self.number}, version=version)
        return Content(self.number, self.number, self._metadata(id), version)

    def _metadata(self, id: str) -> dict[str, Any]:
        rng = random.Random(f"{id}/{self.number}")
        return {
            "name": id,
            "writer": self.writer,
            "score": rng.random(),
            "exact": (1 << 62) + self.number,
            "text": "x" * rng.randrange(200),
            "tags": [rng.choice("abc"), None, True],
        }

    def announced(self) -> str:
        return json.dumps([self.writer, self.number, self.kind, self.ids])

    def acknowledged(self, returned: int) -> str:
        return json.dumps([self.writer, returned])


def vector_of(id: str, number: int, dimension: int) -> Vectors:
    rng = np.random.default_rng(zlib.crc32(f"{id}/{number}".encode()))
    return rng.standard_normal(dimension, np.float32)


def contexts_of(id: str, number: int) -> list[tuple[str, float]]:
    weight = random.Random(f"{number}/{id}").random()
    return [("even" if number % 2 == 0 else "odd", weight), ("all", 1.0)]


class Ledger:
    """What writers were promised so far. `compare` after each reopening keeps it true over many crashes."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.in_flight_stored = 0
        self.in_flight_lost = 0
        self._contents: dict[str, Content] = {}
        self._open: dict[int, Step] = {}

    def read(self, lines: Iterable[str]) -> None:
        """Take in what the writers of one process said, in order."""
        for line in lines:
            fields = json.loads(line)
            if len(fields) == 4:
                writer, number, kind, ids = fields
                self._open[writer] = Step(writer, number, kind, tuple(ids))
            else:
                writer, returned = fields
                self._settle(self._open.pop(writer), returned)
                self.acknowledged += 1

    def compare(self, db: QuantumDatabase) -> list[str]:
        """Every way in which `db` is not what was promised; empty if there is none.

        A request whose acknowledgement was not read may be stored or not, but wholly; which it was is kept.
        """
        stored = {record.id: record for name in db.list_collections() for record in _all(db, name)}
        problems: list[str] = []
        for step in self._open.values():
            problems += self._resolve(step, stored)
        self._open.clear()
        for id in sorted({*stored, *self._contents}):
            problem = _difference(id, self._contents.get(id), stored.get(id))
            if problem:
                problems.append(problem)
        return problems

    def records(self, collection: str) -> dict[str, Vectors]:
        """The vectors that a collection must hold, by id."""
        return {
            id: vector_of(id, content.vector, DIMENSIONS[collection])
            for id, content in self._contents.items()
            if _collection_of(id) == collection
        }

    def _settle(self, step: Step, returned: int | None) -> None:
        for position, id in enumerate(step.ids):
            content = step.after(id, self._contents.get(id), position, returned)
            if content is None:
                self._contents.pop(id, None)
            else:
                self._contents[id] = content

    def _resolve(self, step: Step, stored: Mapping[str, Record]) -> list[str]:
        before = [_difference(id, self._contents.get(id), stored.get(id)) for id in step.ids]
        if not any(before):
            self.in_flight_lost += 1
            return []
        self._settle(step, None)
        after = [_difference(id, self._contents.get(id), stored.get(id)) for id in step.ids]
        self.in_flight_stored += 1
        return [f"half of {step} is stored: {problem}" for problem in after if problem]


def _all(db: QuantumDatabase, collection: str) -> Sequence[Record]:
    return db.scroll(limit=100_000, collection=collection).records


def _collection_of(id: str) -> str:
    return Step(int(id.split("-")[0]), 0, "delete", ()).collection


def _difference(id: str, content: Content | None, record: Record | None) -> str | None:
    if record is None:
        return None if content is None else f"{id}: is lost"
    if content is None:
        return f"{id}: should not be there"
    vector = vector_of(id, content.vector, len(record.vector))
    wanted = tuple(contexts_of(id, content.contexts))
    if record.vector.tobytes() != vector.tobytes():
        return f"{id}: another vector than that of step {content.vector}"
    if record.metadata != content.metadata:
        return f"{id}: metadata {record.metadata!r} instead of {content.metadata!r}"
    if record.raw_contexts != wanted:
        return f"{id}: contexts {record.raw_contexts!r} instead of {wanted!r}"
    if content.version not in (None, record.version):
        return f"{id}: version {record.version} instead of {content.version}"
    return None
