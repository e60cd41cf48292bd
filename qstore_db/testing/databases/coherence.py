"""Searches with a coherence time, in which records fade with their age."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db.database import QuantumDatabase
from qstore_db.errors import ArgumentError
from qstore_db.testing.databases.opening import Clock, Databases, Opening
from qstore_db.testing.databases.querying import bits, random_vectors

HOUR = 3_600.0
HERE = [1.0, 0.0]


def aged(db: QuantumDatabase, clock: Clock) -> None:
    """Three records at one place, written three, two and one hours before now."""
    for id in ("oldest", "older", "newest"):
        db.insert(id, HERE, contexts={"x": 1.0, "y": 3.0}, metadata={"n": 0})
        clock.now += HOUR


def spread(db: QuantumDatabase, clock: Clock, n: int = 300) -> None:
    """n records of six dimensions in "default", written in ten parts, a minute apart."""
    vectors, part = random_vectors(n, 6), n // 10
    db.create_collection("default", dimension=6, metric="l2")
    for start in range(0, n, part):
        db.insert_many(
            ids=[f"r{i}" for i in range(start, start + part)],
            vectors=vectors[start : start + part],
            contexts=[{"a": 0.1 + 0.01 * (i % 7), "b": 0.5} if i % 4 else None for i in range(part)],
        )
        clock.now += 60.0


def ages(db: QuantumDatabase, dimension: int = 2) -> dict[str, float]:
    """Seconds since the last write of every record, as the scores of a search tell."""
    found = db.query(np.ones(dimension), top_k=5_000, coherence_time=HOUR, context_strength=1.0)
    return {m.id: round(-m.explain().terms["age"] / math.log(2.0) * HOUR, 6) for m in found}


class CoherenceContract(Databases):
    def test_of_equal_records_the_newest_comes_first(self, db: QuantumDatabase, clock: Clock) -> None:
        aged(db, clock)
        assert db.query(HERE).ids == ["newest", "older", "oldest"]  # by id
        db.upsert("zero", HERE)
        assert db.query(HERE, coherence_time=HOUR).ids == ["zero", "newest", "older", "oldest"]

    def test_every_half_life_takes_half_of_what_a_record_counts(
        self, db: QuantumDatabase, clock: Clock
    ) -> None:
        aged(db, clock)
        found = db.query(HERE, coherence_time=HOUR, context_strength=0.25)
        assert [math.exp(score / 0.25) for score in found.scores] == pytest.approx([1 / 2, 1 / 4, 1 / 8])

    def test_the_age_is_a_part_of_the_score_beside_the_others(
        self, db: QuantumDatabase, clock: Clock
    ) -> None:
        aged(db, clock)
        (match, *_) = db.query([0.6, 0.8], context="x", coherence_time=2 * HOUR, context_strength=3.0)
        parts = match.explain()
        assert set(parts.terms) == {"distance", "context", "age"}
        assert parts.terms["context"] == pytest.approx(3.0 * math.log(0.25))
        assert parts.terms["age"] == pytest.approx(-1.5 * math.log(2.0))
        assert match.score == pytest.approx(sum(parts.terms.values()))
        assert (parts.scale["lambda"], parts.scale["tau"]) == (3.0, 2 * HOUR)
        assert match.weight == 0.25

    def test_without_a_context_there_is_no_weight(self, db: QuantumDatabase, clock: Clock) -> None:
        aged(db, clock)
        (match, *_) = db.query(HERE, coherence_time=HOUR)
        assert match.weight is None
        assert set(match.explain().terms) == {"distance", "age"}

    def test_without_a_coherence_time_age_counts_for_nothing(self, db: QuantumDatabase, clock: Clock) -> None:
        spread(db, clock)
        before = [bits(db.query(np.ones(6), context=context)) for context in (None, "a")]
        clock.now += 1e6
        assert [bits(db.query(np.ones(6), context=context)) for context in (None, "a")] == before

    def test_strength_trades_distance_against_age(self, db: QuantumDatabase, clock: Clock) -> None:
        db.create_collection("default", dimension=1, metric="l2")
        db.insert("near", [0.1])
        clock.now += HOUR
        db.insert("far", [1.0])
        options: Any = {"coherence_time": HOUR, "scale": 1.0}
        assert db.query([0.0], context_strength=0.0, **options).ids == ["near", "far"]
        assert db.query([0.0], context_strength=10.0, **options).ids == ["far", "near"]

    def test_context_and_filter_bound_what_is_ranked(self, db: QuantumDatabase, clock: Clock) -> None:
        aged(db, clock)
        db.insert("outside", HERE, contexts={"z": 1.0})
        db.update("older", metadata={"n": 1})
        assert db.query(HERE, context="x", coherence_time=HOUR).ids == ["older", "newest", "oldest"]
        found = db.query(HERE, context="x", filter={"n": 0}, coherence_time=HOUR)
        assert found.ids == ["newest", "oldest"]
        assert len(db.query(HERE, context="x", soft=True, coherence_time=HOUR)) == 4

    def test_every_write_of_a_record_makes_it_new(self, db: QuantumDatabase, clock: Clock) -> None:
        aged(db, clock)
        assert ages(db) == {"newest": HOUR, "older": 2 * HOUR, "oldest": 3 * HOUR}
        db.upsert("oldest", HERE)
        clock.now += 1.0
        db.update("older", metadata={"n": 2})
        clock.now += 1.0
        db.upsert_many(ids=["newest"], vectors=[HERE])
        assert ages(db) == {"oldest": 2.0, "older": 1.0, "newest": 0.0}

    def test_the_age_is_that_of_the_record_s_last_write(self, db: QuantumDatabase, clock: Clock) -> None:
        spread(db, clock)
        assert ages(db, 6) == {
            record.id: clock.now - (record.updated_at or 0.0) for record in db.scroll(limit=300)
        }

    def test_a_record_from_the_future_is_as_good_as_new(self, db: QuantumDatabase, clock: Clock) -> None:
        db.insert("b", HERE)
        clock.now -= HOUR  # the clock was set back
        db.insert("a", HERE)
        found = db.query(HERE, coherence_time=1.0)
        assert found.ids == ["a", "b"]
        assert [match.explain().terms["age"] for match in found] == [0.0, 0.0]

    def test_a_batch_fades_like_its_single_searches_bit_for_bit(
        self, db: QuantumDatabase, clock: Clock
    ) -> None:
        spread(db, clock)
        queries = random_vectors(9, 6, seed=2)
        for options in ({}, {"context": "a"}, {"context": "a", "soft": True}):
            asked: Any = {"top_k": 20, "coherence_time": 200.0, **options}
            batch = db.query_batch(queries, **asked)
            assert [bits(found) for found in batch] == [bits(db.query(query, **asked)) for query in queries]
            tunnelled = db.tunnel_search_batch(queries, **asked)
            assert [bits(found) for found in tunnelled] == [
                bits(db.tunnel_search(query, **asked)) for query in queries
            ]

    def test_a_tunnelling_search_adds_the_same_term(self, db: QuantumDatabase, clock: Clock) -> None:
        spread(db, clock)
        options: Any = {"top_k": 300, "beyond_only": False, "context_strength": 2.0}
        plain = {m.id: m.score for m in db.tunnel_search(np.ones(6), **options)}
        known = ages(db, 6)
        for match in db.tunnel_search(np.ones(6), coherence_time=300.0, **options):
            parts = match.explain()
            assert set(parts.terms) == {"distance", "walk", "age"}
            assert parts.terms["age"] == pytest.approx(-2.0 * math.log(2.0) * known[match.id] / 300.0)
            assert match.score == pytest.approx(plain[match.id] + parts.terms["age"])
            assert match.weight is None

    def test_times_outlast_restarts_compaction_and_another_index(
        self, opening: Opening, clock: Clock, tmp_path: Path
    ) -> None:
        db = opening(tmp_path / "db", clock=clock)
        spread(db, clock, n=2_500)
        db.wait_indexed()
        db.delete([f"r{i}" for i in range(0, 2_500, 4)])
        known = ages(db, 6)
        assert len(set(known.values())) == 10
        for index in ("hnsw", "flat"):
            db.reindex("default", index=index)
            db.wait_indexed()
            assert ages(db, 6) == known
            db.compact()
            assert ages(db, 6) == known
            db.close()
            db = opening(tmp_path / "db", clock=clock)
            assert ages(db, 6) == known

    def test_an_empty_database_answers_with_nothing(self, db: QuantumDatabase) -> None:
        assert len(db.query([1.0, 2.0], coherence_time=1.0)) == 0
        assert len(db.tunnel_search([1.0, 2.0], coherence_time=1.0)) == 0

    @pytest.mark.parametrize(
        "value", [0, 0.0, -1.0, float("nan"), float("inf"), "1 h", True, [1.0], 10**400], ids=repr
    )
    def test_a_half_life_that_is_none_is_refused_by_name(self, db: QuantumDatabase, value: Any) -> None:
        for prepare in (lambda: None, lambda: db.insert("a", HERE)):  # an empty database refuses it too
            prepare()
            for call in (db.query, db.tunnel_search):
                with pytest.raises(ArgumentError) as caught:
                    call(HERE, coherence_time=value)
                assert caught.value.subject == "coherence_time"
            for many in (db.query_batch, db.tunnel_search_batch):
                with pytest.raises(ArgumentError) as caught:
                    many([HERE], coherence_time=value)
                assert caught.value.subject == "coherence_time"
