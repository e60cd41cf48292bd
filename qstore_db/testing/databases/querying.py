"""query and query_batch without contexts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qstore_db.database import QuantumDatabase
from qstore_db.errors import ArgumentError, DimensionError, VectorError
from qstore_db.records import QueryResult
from qstore_db.testing.databases.opening import Databases
from qstore_db.testing.databases.writing import Tensor


def random_vectors(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def filled(db: QuantumDatabase, n: int = 300, d: int = 6, metric: str = "l2") -> NDArray[np.float32]:
    """The collection "default", filled with random vectors, some contexts and a little metadata."""
    vectors = random_vectors(n, d)
    db.create_collection("default", dimension=d, metric=metric)
    contexts = [{"a": 0.2 + 0.6 * (i % 3) / 2, "b": 0.4} if i % 4 else None for i in range(n)]
    db.insert_many(
        ids=[f"r{i}" for i in range(n)],
        vectors=vectors,
        contexts=contexts,
        metadata=[{"n": i, "third": i % 3 == 0} for i in range(n)],
    )
    return vectors


def bits(result: QueryResult) -> list[Any]:
    """All that a result says, to the last bit."""
    return [
        (m.id, m.score, m.distance, m.similarity, m.weight, m.version, m.tunneled, m.explain().terms)
        for m in result
    ] + [result.exact, result.warnings]


class QueryingContract(Databases):
    @pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
    def test_the_nearest_come_first_with_distance_and_similarity(
        self, db: QuantumDatabase, metric: str
    ) -> None:
        vectors = filled(db, metric=metric).astype(np.float64)
        query = random_vectors(1, 6, seed=1)[0].astype(np.float64)
        dots = vectors @ query
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        squares = ((vectors - query) ** 2).sum(axis=1)
        distance = {"cosine": 1 - dots / lengths, "l2": squares, "dot": -dots}[metric]
        similarity = {"cosine": dots / lengths, "l2": 1 / (1 + np.sqrt(squares)), "dot": dots}[metric]
        found = db.query(query, top_k=25)
        order = np.argsort(distance)[:25]
        assert found.ids == [f"r{i}" for i in order]
        assert found.distances == pytest.approx(distance[order], rel=1e-5, abs=1e-6)
        assert [match.similarity for match in found] == pytest.approx(similarity[order], rel=1e-5, abs=1e-6)
        assert found.exact
        assert found.warnings == ()
        assert list(found.scores) == sorted(found.scores, reverse=True)

    def test_a_match_carries_the_record_it_stands_for(self, db: QuantumDatabase) -> None:
        db.insert("a", [3.0, 4.0], contexts={"c": 1.0}, metadata={"n": 1})
        match = db.query(vector=[3.0, 4.0], top_k=1)[0]
        record = db.get("a")
        assert record is not None
        assert (match.id, match.version, dict(match.metadata), match.contexts) == (
            "a",
            record.version,
            {"n": 1},
            (("c", 1.0),),
        )
        assert match.weight is None
        assert match.tunneled is None
        assert match.vector is None

    def test_vectors_come_along_on_request_as_stored(self, db: QuantumDatabase) -> None:
        db.insert("a", [3.0, 4.0])
        match = db.query([1.0, 1.0], include_vectors=True)[0]
        assert match.vector is not None
        assert match.vector.tolist() == [3.0, 4.0]

    def test_top_k_beyond_the_count_returns_what_there_is(self, db: QuantumDatabase) -> None:
        filled(db, n=5)
        assert len(db.query(np.ones(6), top_k=10**9)) == 5

    def test_ties_are_ordered_by_id(self, db: QuantumDatabase) -> None:
        db.insert_many(ids=list("dbeac"), vectors=np.ones((5, 2)))
        assert db.query([1.0, 1.0], top_k=3).ids == ["a", "b", "c"]

    def test_a_filter_answers_in_full(self, db: QuantumDatabase) -> None:
        vectors = filled(db)
        distance = ((vectors - 1.0) ** 2).sum(axis=1)
        inside = [i for i in np.argsort(distance) if i % 3 == 0]
        found = db.query(np.ones(6), top_k=40, filter={"third": True})
        assert found.ids == [f"r{i}" for i in inside[:40]]

    def test_a_filter_that_nothing_matches_gives_nothing(self, db: QuantumDatabase) -> None:
        filled(db)
        found = db.query(np.ones(6), filter={"n": -1})
        assert (len(found), found.exact, found.warnings) == (0, True, ())

    def test_the_score_of_a_plain_query_is_the_scaled_distance(self, db: QuantumDatabase) -> None:
        filled(db)
        for match in db.query(np.ones(6), top_k=5):
            parts = match.explain()
            assert match.score == parts.score == parts.terms["distance"]
            assert match.score == pytest.approx(-match.distance / parts.scale["u"])
        assert db.query(np.ones(6), scale=2.0)[0].explain().scale["u"] == 2.0

    def test_a_result_stays_as_it_was_when_the_records_change(self, db: QuantumDatabase) -> None:
        filled(db, n=20)
        found = db.query(np.ones(6), top_k=20)
        db.delete(filter={})
        db.upsert("r0", np.ones(6), metadata={"n": "new"})
        assert sorted(match.metadata["n"] for match in found) == list(range(20))  # type: ignore[type-var]

    def test_a_result_becomes_a_table(self, db: QuantumDatabase) -> None:
        filled(db, n=20)
        found = db.query(np.ones(6), top_k=3)
        table = found.to_arrow()
        assert table.column("id").to_pylist() == found.ids
        assert table.column("distance").to_pylist() == found.distances.tolist()

    def test_a_result_is_a_sequence(self, db: QuantumDatabase) -> None:
        filled(db, n=20)
        found = db.query(np.ones(6), top_k=4)
        assert [match.id for match in found] == found.ids
        assert found[-1] is list(found)[3]
        assert [match.id for match in found[1:3]] == found.ids[1:3]
        assert found.ids[0] in repr(found)

    @pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
    def test_a_batch_equals_its_single_queries_bit_for_bit(self, db: QuantumDatabase, metric: str) -> None:
        filled(db, metric=metric)
        queries = random_vectors(9, 6, seed=2)
        several: list[dict[str, Any]] = [
            {},
            {"filter": {"third": True}},
            {"context": "a"},
            {"context": {"a": (0.5, 0.0), "b": (0.5, math.pi)}, "soft": True},
        ]
        for options in several:
            batch = db.query_batch(queries, top_k=20, **options)
            single = [db.query(query, top_k=20, **options) for query in queries]
            assert [bits(result) for result in batch] == [bits(result) for result in single]

    def test_an_empty_database_answers_each_query_with_nothing(self, db: QuantumDatabase) -> None:
        assert len(db.query([1.0, 2.0])) == 0
        batch = db.query_batch([[1.0], [2.0]])
        assert [(len(found), found.exact) for found in batch] == [(0, True), (0, True)]
        assert db.list_collections() == []

    def test_a_batch_of_no_queries_has_no_results(self, db: QuantumDatabase) -> None:
        filled(db, n=5)
        assert db.query_batch(np.empty((0, 6))) == []

    def test_a_query_may_be_a_tensor(self, db: QuantumDatabase) -> None:
        db.insert("a", [1.0, 2.0])
        assert db.query(Tensor([1.0, 2.0]))[0].distance == pytest.approx(0.0, abs=1e-7)  # type: ignore[arg-type]

    def test_repeated_queries_are_equal_bit_for_bit(self, db: QuantumDatabase) -> None:
        filled(db)
        query = random_vectors(1, 6, seed=3)[0]
        assert bits(db.query(query, context="a")) == bits(db.query(query, context="a"))

    @pytest.mark.parametrize(
        ("vector", "error"),
        [
            ([1.0, 2.0], DimensionError),
            ([[1.0] * 6], VectorError),
            ([1.0] * 5 + [float("nan")], VectorError),
            ([1j] * 6, VectorError),
            (["x"] * 6, VectorError),
            ([], VectorError),
        ],
        ids=["short", "matrix", "nan", "complex", "text", "empty"],
    )
    def test_a_query_that_is_no_vector_of_the_collection_is_refused(
        self, db: QuantumDatabase, vector: Any, error: type[Exception]
    ) -> None:
        filled(db, n=5)
        with pytest.raises(error):
            db.query(vector)
        with pytest.raises(error):
            db.tunnel_search(vector)

    @pytest.mark.parametrize(
        ("parameter", "value"),
        [
            ("top_k", 0),
            ("top_k", 1.5),
            ("top_k", True),
            ("soft", "yes"),
            ("soft", 1),
            ("include_vectors", None),
            ("context_strength", -0.1),
            ("context_strength", float("nan")),
            ("context_strength", "strong"),
            ("scale", 0.0),
            ("scale", float("inf")),
        ],
    )
    def test_an_argument_out_of_range_is_refused_by_name(
        self, db: QuantumDatabase, parameter: str, value: Any
    ) -> None:
        for prepare in (lambda: None, lambda: filled(db, n=5)):  # an empty database refuses it too
            prepare()
            with pytest.raises(ArgumentError) as caught:
                db.query(np.ones(6), **{parameter: value})
            assert caught.value.subject == parameter

    def test_a_parameter_of_a_later_release_is_no_parameter(self, db: QuantumDatabase) -> None:
        with pytest.raises(TypeError):
            db.tunnel_search([1.0], backend="mock")  # type: ignore[call-arg]
