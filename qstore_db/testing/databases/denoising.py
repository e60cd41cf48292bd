"""Searches with denoise, in which a record's weights are those of its neighbourhood."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qstore_db.database import QuantumDatabase
from qstore_db.errors import ArgumentError
from qstore_db.records import Vectors
from qstore_db.testing.databases.opening import Databases
from qstore_db.testing.databases.querying import bits, filled

Floats = NDArray[np.float64]
N = 2_100
"""Enough for a graph of neighbours."""
XOR: Any = {"a": (0.5, 0.0), "b": (0.5, math.pi)}


def clusters() -> tuple[Vectors, NDArray[np.bool_]]:
    """(N, 3) points in ten round clusters, and whether each lies in one of the first five."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 3)) * 8.0
    where = rng.integers(10, size=N)
    return (centres[where] + rng.normal(size=(N, 3))).astype(np.float32), where < 5


def store(db: QuantumDatabase, a: Floats, index: Any = "hnsw") -> Vectors:
    """The clusters in "default", with weight `a` (N,) in context a and the rest in b; indexed."""
    vectors = clusters()[0]
    db.create_collection("default", dimension=3, metric="l2", index=index, target_recall=1.0)
    states = [{"a": float(w), "b": 1.0 - float(w)} for w in a]
    db.insert_many(ids=[f"r{i}" for i in range(N)], vectors=vectors, contexts=states)
    db.wait_indexed(60.0)
    return vectors


def smoothed(vectors: Vectors, w: Floats) -> Floats:
    """Three steps of .95 P w + .05 w over the graph in which either is one of the other's ten nearest."""
    x = vectors.astype(np.float64)
    d2 = np.maximum((x**2).sum(axis=1)[:, None] + (x**2).sum(axis=1) - 2.0 * x @ x.T, 0.0)
    np.fill_diagonal(d2, np.inf)
    tenth = np.sort(d2, axis=1)[:, [9]]
    edge = (d2 <= tenth) | (d2 <= tenth).T
    weight = np.where(edge, np.exp(-d2 / np.sqrt(tenth * tenth.T)) + 1e-6, 0.0)
    out = w
    for _ in range(3):
        out = 0.95 * (weight @ out) / weight.sum(axis=1) + 0.05 * w
    return out


def weights(db: QuantumDatabase, context: Any = "a", **options: Any) -> Floats:
    """(N,) the weights that a query reads, 0 for what it leaves out."""
    out = np.zeros(N)
    for match in db.query([0.0, 0.0, 0.0], context=context, top_k=N, **options):
        out[int(match.id[1:])] = match.weight
    return out


class DenoisingContract(Databases):
    def test_a_denoised_weight_is_three_steps_of_averaging_over_neighbours(self, db: QuantumDatabase) -> None:
        a = np.random.default_rng(1).uniform(0.0, 1.0, N)
        vectors = store(db, a)
        expected = smoothed(vectors, a)
        for context, wanted in (("a", expected), ("b", 1.0 - expected)):
            apart = np.abs(weights(db, context, denoise=True) - wanted)
            # A graph may miss a neighbour here and there.
            assert (apart < 1e-3).mean() > 0.99
            assert apart.max() < 0.05
            assert np.abs(wanted - weights(db, context)).mean() > 0.1

    def test_superpositions_and_soft_read_the_denoised_weights(self, db: QuantumDatabase) -> None:
        store(db, np.random.default_rng(1).uniform(0.0, 1.0, N))
        a, b = weights(db, denoise=True), weights(db, "b", denoise=True)
        either = weights(db, {"a": 1.0, "b": 3.0}, denoise=True)
        assert either == pytest.approx(0.25 * a + 0.75 * b)
        apart = weights(db, XOR, denoise=True)
        assert apart == pytest.approx(0.5 * (np.sqrt(a) - np.sqrt(b)) ** 2, abs=1e-9)
        assert weights(db, denoise=True, soft=True) == pytest.approx((1 - 1 / 60) * a + 1 / 60)

    def test_a_tunnelling_search_weighs_as_a_query_does(self, db: QuantumDatabase) -> None:
        vectors = store(db, np.random.default_rng(1).uniform(0.0, 1.0, N))
        expected = weights(db, denoise=True)
        options: Any = {"context": "a", "context_strength": 2.0, "denoise": True, "top_k": 25}
        for query in vectors[:3]:
            found = db.tunnel_search(query, **options)
            assert len(found) == 25
            for match in found:
                assert match.weight == expected[int(match.id[1:])]
                parts = match.explain()
                assert parts.terms["context"] == pytest.approx(2.0 * math.log(match.weight or 0.0))
                assert sum(parts.terms.values()) == pytest.approx(match.score)
        batch = db.tunnel_search_batch(vectors[:3], **options)
        assert [bits(found) for found in batch] == [bits(db.tunnel_search(q, **options)) for q in vectors[:3]]

    def test_denoising_repairs_contexts_that_follow_the_vectors(self, db: QuantumDatabase) -> None:
        _, truth = clusters()
        wrong = np.random.default_rng(2).random(N) < 0.4
        store(db, np.where(truth ^ wrong, 1.0, 0.0))
        assert ((weights(db) > 0.5) == truth).mean() < 0.65
        assert ((weights(db, denoise=True) > 0.5) == truth).mean() > 0.8

    def test_denoising_blurs_contexts_that_do_not_follow_the_vectors(self, db: QuantumDatabase) -> None:
        # The harm that the documentation warns of.
        truth = np.random.default_rng(3).random(N) < 0.5
        store(db, truth.astype(np.float64))
        assert ((weights(db) > 0.5) == truth).all()
        assert ((weights(db, denoise=True) > 0.5) == truth).mean() < 0.75

    def test_denoising_is_off_unless_asked_for_and_changes_nothing_stored(self, db: QuantumDatabase) -> None:
        a = np.random.default_rng(1).uniform(0.0, 1.0, N)
        vectors = store(db, a)
        searches: list[Any] = [db.query, db.tunnel_search]
        for search in searches:
            before = search(vectors[0], context="a", top_k=50)
            told = bits(before)
            denoised = search(vectors[0], context="a", top_k=50, denoise=True)
            assert [m.weight for m in denoised] != [m.weight for m in before]
            for match in denoised:
                assert dict(match.contexts)["a"] == pytest.approx(a[int(match.id[1:])])
            assert bits(search(vectors[0], context="a", top_k=50)) == told
            assert bits(search(vectors[0], context="a", top_k=50, denoise=False)) == told
        assert weights(db) == pytest.approx(a)

    def test_without_a_context_denoise_changes_nothing(self, db: QuantumDatabase) -> None:
        vectors = store(db, np.full(N, 0.5))
        plain, denoised = (db.query(vectors[0], denoise=denoise) for denoise in (False, True))
        assert bits(plain) == bits(denoised)

    def test_where_there_is_no_graph_denoise_says_that_it_changes_nothing(self, db: QuantumDatabase) -> None:
        filled(db)
        searches: list[Any] = [db.query, db.tunnel_search]
        for search in searches:
            plain = search(np.ones(6), context="a", top_k=300)
            denoised = search(np.ones(6), context="a", top_k=300, denoise=True)
            assert any("no graph of neighbours" in warning for warning in denoised.warnings)
            assert not any("no graph of neighbours" in warning for warning in plain.warnings)
        plain, denoised = (db.query(np.ones(6), context="a", top_k=300, denoise=on) for on in (False, True))
        assert (denoised.ids, denoised.scores.tolist()) == (plain.ids, plain.scores.tolist())

    @pytest.mark.parametrize("value", ["yes", 1, None])
    def test_denoise_is_true_or_false(self, db: QuantumDatabase, value: Any) -> None:
        filled(db, n=5)
        searches: list[Any] = [db.query, db.tunnel_search]
        for search in searches:
            with pytest.raises(ArgumentError) as caught:
                search(np.ones(6), context="a", denoise=value)
            assert caught.value.subject == "denoise"
