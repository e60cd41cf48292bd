"""Bad input: a typed error that names its subject, and nothing written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import (
    ArgumentError,
    CollectionExistsError,
    CollectionNotFoundError,
    ConfigurationError,
    ContextError,
    DimensionError,
    DuplicateIdError,
    FilterError,
    IdError,
    MetadataError,
    QStoreError,
    RecordNotFoundError,
    VectorError,
    VersionConflictError,
)

GOOD = [1.0, 2.0, 3.0]
Call = Callable[[QuantumDatabase], object]


@pytest.fixture
def db() -> Iterator[QuantumDatabase]:
    """A database of two records in "default" (cosine, three dimensions) and an empty "l2" collection."""
    with QuantumDatabase() as database:
        database.insert("a", GOOD, [("c", 1.0)], {"x": 1})
        database.insert("b", [3.0, 2.0, 1.0])
        database.create_collection("l2", dimension=3, metric="l2")
        yield database


def refused(
    db: QuantumDatabase, call: Call, kind: type[QStoreError], *, subject: str | None = None
) -> QStoreError:
    """The error of a call that must raise exactly `kind` and change nothing."""

    def state() -> object:
        return db.stats()["sequence"], [db.count(collection=name) for name in db.list_collections()]

    before = state()
    with pytest.raises(QStoreError) as caught:
        call(db)
    assert type(caught.value) is kind, caught.value
    assert caught.value.subject is not None
    if subject is not None:
        assert caught.value.subject == subject
    assert str(caught.value).strip()
    assert state() == before
    return caught.value


VECTOR_CALLS: dict[str, Callable[[QuantumDatabase, Any], object]] = {
    "insert": lambda db, v: db.insert("n", v),
    "upsert": lambda db, v: db.upsert("a", v),
    "update": lambda db, v: db.update("a", vector=v),
    "insert_many": lambda db, v: db.insert_many(ids=["n", "m"], vectors=[GOOD[: len(v)] or GOOD, v]),
    "upsert_many": lambda db, v: db.upsert_many(ids=["a", "b"], vectors=[GOOD[: len(v)] or GOOD, v]),
    "query": lambda db, v: db.query(v),
    "query_batch": lambda db, v: db.query_batch([v]),
    "tunnel_search": lambda db, v: db.tunnel_search(v),
    "tunnel_search_batch": lambda db, v: db.tunnel_search_batch([v]),
}


@pytest.mark.parametrize("name", VECTOR_CALLS)
def test_a_wrong_dimension_names_collection_expected_and_given(db: QuantumDatabase, name: str) -> None:
    error = refused(db, lambda db: VECTOR_CALLS[name](db, [1.0, 2.0]), DimensionError)
    for part in ("default", "3", "2"):
        assert part in str(error)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", VECTOR_CALLS)
def test_a_vector_that_is_not_finite_is_refused(db: QuantumDatabase, name: str, bad: float) -> None:
    refused(db, lambda db: VECTOR_CALLS[name](db, [1.0, bad, 2.0]), VectorError)


@pytest.mark.parametrize("name", VECTOR_CALLS)
def test_a_number_that_float32_cannot_hold_is_refused(db: QuantumDatabase, name: str) -> None:
    refused(db, lambda db: VECTOR_CALLS[name](db, np.array([1.0, 1e300, 2.0])), VectorError)


@pytest.mark.parametrize("name", VECTOR_CALLS)
@pytest.mark.parametrize(
    "vector",
    [
        np.array([1 + 2j, 0, 0]),
        np.array([None, 1.0, 2.0], dtype=object),
        ["1", "2", "3"],
        [object(), 1.0, 2.0],
        [[1.0], [2.0, 3.0], 4.0],
    ],
    ids=["complex", "object array", "strings", "objects", "ragged"],
)
def test_a_vector_that_is_not_of_real_numbers_is_refused(db: QuantumDatabase, name: str, vector: Any) -> None:
    refused(db, lambda db: VECTOR_CALLS[name](db, vector), VectorError)


@pytest.mark.parametrize("name", VECTOR_CALLS)
def test_a_zero_vector_is_refused_under_cosine(db: QuantumDatabase, name: str) -> None:
    error = refused(db, lambda db: VECTOR_CALLS[name](db, [0.0, 0.0, 0.0]), VectorError)
    assert "cosine" in str(error)


def test_a_zero_vector_is_fine_under_l2(db: QuantumDatabase) -> None:
    db.insert("zero", [0.0, 0.0, 0.0], collection="l2")
    assert db.query([0.0, 0.0, 0.0], collection="l2")[0].id == "zero"


@pytest.mark.parametrize("vector", [[], 1.0, None, "abc", [[1.0, 2.0, 3.0]]])
def test_something_that_is_no_vector_is_refused(db: QuantumDatabase, vector: Any) -> None:
    with pytest.raises((VectorError, ArgumentError)):
        db.insert("n", vector)
    assert db.count() == 2


@pytest.mark.parametrize(
    "contexts",
    [
        [("c", -1.0)],
        [("c", float("nan"))],
        [("c", float("inf"))],
        [("c", 0.0)],
        [("c", 0.5), ("c", 0.5)],
        [("", 1.0)],
        [(1, 1.0)],
        [("c", "much")],
        [("c",)],
        "c",
        {"c": -0.5},
        [("c", 0.5j)],
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ["insert", "upsert", "update", "insert_many"])
def test_bad_weights_are_refused(db: QuantumDatabase, name: str, contexts: Any) -> None:
    calls: dict[str, Call] = {
        "insert": lambda db: db.insert("n", GOOD, contexts),
        "upsert": lambda db: db.upsert("a", GOOD, contexts),
        "update": lambda db: db.update("a", contexts=contexts),
        "insert_many": lambda db: db.insert_many(ids=["n"], vectors=[GOOD], contexts=[contexts]),
    }
    refused(db, calls[name], ContextError)


@pytest.mark.parametrize(
    "context", [{"c": -1.0}, {"c": (0.5, float("nan"))}, {"c": 0.0}, {}, 5, {1: 1.0}, {"c": "x"}], ids=repr
)
def test_a_context_query_that_describes_no_state_is_refused(db: QuantumDatabase, context: Any) -> None:
    refused(db, lambda db: db.query(GOOD, context=context), ContextError)
    refused(db, lambda db: db.tunnel_search(GOOD, context=context), ContextError)


@pytest.mark.parametrize(
    ("filter", "subject"),
    [
        ({"x": {"$near": 1}}, "x.$near"),
        ({"x": {"$in": 1}}, "x.$in"),
        ({"$or": {"x": 1}}, "$or"),
        ({"$and": [{"x": {"$gt": None}}]}, None),
        ({"x": {"$exists": "yes"}}, "x.$exists"),
        ({"$not": 5}, "$not"),
        ({"$nothing": []}, "$nothing"),
        ("x = 1", None),
    ],
    ids=repr,
)
def test_a_wrong_filter_names_the_path_to_what_is_wrong(
    db: QuantumDatabase, filter: Any, subject: str | None
) -> None:
    calls: list[Call] = [
        lambda db: db.query(GOOD, filter=filter),
        lambda db: db.tunnel_search(GOOD, filter=filter),
        lambda db: db.count(filter),
        lambda db: db.scroll(filter=filter),
        lambda db: db.delete(filter=filter),
    ]
    for call in calls:
        error = refused(db, call, FilterError)
        if subject is not None:
            assert subject.split(".")[-1] in str(error)


@pytest.mark.parametrize("id", ["x" * 129, "é" * 65, "", 5, None, b"bytes", "\ud800"], ids=repr)
@pytest.mark.parametrize("name", ["insert", "upsert", "update", "insert_many", "get", "delete"])
def test_an_id_that_is_too_long_empty_or_no_string_is_refused(
    db: QuantumDatabase, name: str, id: Any
) -> None:
    calls: dict[str, Call] = {
        "insert": lambda db: db.insert(id, GOOD),
        "upsert": lambda db: db.upsert(id, GOOD),
        "update": lambda db: db.update(id, metadata={"x": 1}),
        "insert_many": lambda db: db.insert_many(ids=["n", id], vectors=[GOOD, GOOD]),
        "get": lambda db: db.get(["a", id]),
        "delete": lambda db: db.delete(["a", id]),
    }
    refused(db, calls[name], IdError)


@pytest.mark.parametrize(
    "metadata",
    [{"x": object()}, {"x": float("nan")}, {"x": 1 << 70}, {5: 1}, [1], {"x": {"y": {1, 2}}}, {"x": b"raw"}],
    ids=["object", "nan", "too-large", "key", "list", "set", "bytes"],
)
def test_metadata_that_cannot_be_stored_names_its_path(db: QuantumDatabase, metadata: Any) -> None:
    refused(db, lambda db: db.insert("n", GOOD, metadata=metadata), MetadataError)
    refused(db, lambda db: db.update("a", metadata=metadata), MetadataError)
    refused(db, lambda db: db.upsert_many(ids=["a"], vectors=[GOOD], metadata=[metadata]), MetadataError)


@pytest.mark.parametrize("top_k", [0, -1, 1.5, "10", None, True])
def test_top_k_must_be_a_positive_integer(db: QuantumDatabase, top_k: Any) -> None:
    for call in (
        lambda db: db.query(GOOD, top_k=top_k),
        lambda db: db.query_batch([GOOD], top_k=top_k),
        lambda db: db.tunnel_search(GOOD, top_k=top_k),
    ):
        refused(db, call, ArgumentError, subject="top_k")
    refused(db, lambda db: db.neighbours("a", top_k), ArgumentError, subject="k")


@pytest.mark.parametrize(
    ("subject", "call"),
    [
        ("barrier_threshold", lambda db: db.tunnel_search(GOOD, barrier_threshold=float("nan"))),
        ("barrier_threshold", lambda db: db.tunnel_search(GOOD, barrier_threshold="x")),
        ("tunneling_strength", lambda db: db.tunnel_search(GOOD, tunneling_strength=-0.1)),
        ("tunneling_strength", lambda db: db.tunnel_search(GOOD, tunneling_strength=float("nan"))),
        ("barrier_scale", lambda db: db.tunnel_search(GOOD, barrier_scale="log")),
        ("candidates", lambda db: db.tunnel_search(GOOD, candidates=0)),
        ("context_strength", lambda db: db.query(GOOD, context="c", context_strength=-1)),
        ("scale", lambda db: db.query(GOOD, context="c", scale=0)),
        ("coherence_time", lambda db: db.query(GOOD, coherence_time=0)),
        ("coherence_time", lambda db: db.tunnel_search(GOOD, coherence_time=float("inf"))),
        ("limit", lambda db: db.scroll(limit=0)),
        ("cursor", lambda db: db.scroll(cursor="page two")),
        ("expires_at", lambda db: db.insert("n", GOOD, expires_at="tomorrow")),
        ("expires_at", lambda db: db.insert("n", GOOD, expires_at=float("nan"))),
        ("dimension", lambda db: db.create_collection("n", dimension=0)),
        ("metric", lambda db: db.create_collection("n", dimension=3, metric="manhattan")),
        ("index", lambda db: db.create_collection("n", dimension=3, index="ivf")),
        ("storage", lambda db: db.create_collection("n", dimension=3, storage="int4")),
        ("target_recall", lambda db: db.create_collection("n", dimension=3, target_recall=1.5)),
        ("index", lambda db: db.reindex("default", index="ivf")),
        ("update", lambda db: db.update("a")),
        ("delete", lambda db: db.delete()),
        ("delete", lambda db: db.delete("a", filter={"x": 1})),
        ("ids", lambda db: db.insert_many()),
        ("vectors", lambda db: db.insert_many(ids=["n"])),
        (None, lambda db: db.insert_many(ids=["n"], vectors=[GOOD], metadata=[{}, {}])),
    ],
    ids=range(26),
)
def test_an_argument_out_of_its_range_is_named(db: QuantumDatabase, subject: str | None, call: Call) -> None:
    refused(db, call, ArgumentError, subject=subject)


def test_one_bad_record_among_many_stores_none_of_them(db: QuantumDatabase) -> None:
    ids = [f"n{i}" for i in range(100)]
    vectors = np.ones((100, 3), np.float32)
    metadata: list[Any] = [{} for _ in ids]
    metadata[57] = {"x": object()}
    refused(db, lambda db: db.insert_many(ids=ids, vectors=vectors, metadata=metadata), MetadataError)
    vectors[93, 1] = np.nan
    error = refused(db, lambda db: db.insert_many(ids=ids, vectors=vectors), VectorError)
    assert "93" in str(error)


def test_fewer_vectors_than_ids_are_refused(db: QuantumDatabase) -> None:
    error = refused(db, lambda db: db.insert_many(ids=["n", "m"], vectors=[GOOD]), VectorError)
    assert "2 ids" in str(error)


def test_ids_given_twice_in_one_insert_are_refused(db: QuantumDatabase) -> None:
    refused(
        db, lambda db: db.insert_many(ids=["n", "n"], vectors=[GOOD, GOOD]), DuplicateIdError, subject="n"
    )


def test_what_is_or_is_not_there_is_named(db: QuantumDatabase) -> None:
    version = db.get("a").version  # type: ignore[union-attr]
    refused(db, lambda db: db.insert("a", GOOD), DuplicateIdError, subject="a")
    refused(
        db, lambda db: db.insert_many(ids=["n", "a"], vectors=[GOOD, GOOD]), DuplicateIdError, subject="a"
    )
    refused(db, lambda db: db.update("n", metadata={}), RecordNotFoundError, subject="n")
    refused(db, lambda db: db.neighbours("n"), RecordNotFoundError, subject="n")
    refused(
        db,
        lambda db: db.update("a", metadata={}, if_version=version + 1),
        VersionConflictError,
        subject="a",
    )
    refused(db, lambda db: db.create_collection("l2", dimension=3), CollectionExistsError, subject="l2")
    refused(db, lambda db: db.rename_collection("default", "l2"), CollectionExistsError, subject="l2")


@pytest.mark.parametrize(
    "call",
    [
        lambda db: db.insert("n", GOOD, collection="typo"),
        lambda db: db.insert_many(ids=["n"], vectors=[GOOD], collection="typo"),
        lambda db: db.update("n", metadata={}, collection="typo"),
        lambda db: db.delete("n", collection="typo"),
        lambda db: db.get("n", collection="typo"),
        lambda db: db.query(GOOD, collection="typo"),
        lambda db: db.tunnel_search(GOOD, collection="typo"),
        lambda db: db.scroll(collection="typo"),
        lambda db: db.count(collection="typo"),
        lambda db: db.neighbours("n", collection="typo"),
        lambda db: db.drop_collection("typo"),
        lambda db: db.rename_collection("typo", "other"),
        lambda db: db.reindex("typo", index="flat"),
    ],
    ids=range(13),
)
def test_a_collection_that_was_not_created_is_named(db: QuantumDatabase, call: Call) -> None:
    refused(db, call, CollectionNotFoundError, subject="typo")
    assert db.list_collections() == ["default", "l2"]


@pytest.mark.parametrize("name", ["", "a" * 500, 5, None, "a/b\x00"], ids=repr)
def test_a_name_that_is_none_for_a_collection_is_refused(db: QuantumDatabase, name: Any) -> None:
    refused(db, lambda db: db.create_collection(name, dimension=3), ArgumentError)
    refused(db, lambda db: db.rename_collection("l2", name), ArgumentError)


def test_a_refused_first_insert_creates_no_default_collection() -> None:
    with QuantumDatabase() as db:
        for vector in ([float("nan")], [0.0, 0.0], []):
            with pytest.raises(QStoreError):
                db.insert("a", vector)
        with pytest.raises(QStoreError):
            db.insert("a", GOOD, metadata={"x": object()})
        assert db.list_collections() == []


def test_contexts_are_refused_where_they_are_switched_off() -> None:
    with QuantumDatabase.connect(":memory:", enable_superposition=False) as db:
        db.insert("a", GOOD)
        for call in (
            lambda db: db.insert("b", GOOD, [("c", 1.0)]),
            lambda db: db.query(GOOD, context="c"),
            lambda db: db.tunnel_search(GOOD, context="c"),
        ):
            refused(db, call, ConfigurationError, subject="enable_superposition")
