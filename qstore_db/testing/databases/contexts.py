"""Queries in a context or a superposition of several."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from qstore_db.database import QuantumDatabase
from qstore_db.errors import ContextError
from qstore_db.testing.databases.opening import Databases
from qstore_db.testing.databases.querying import filled

QUERY = [1.0, 0.0]


def mixed(db: QuantumDatabase) -> None:
    """Five records at one place, told apart by their contexts alone."""
    states: list[Any] = [{"x": 1.0}, {"y": 1.0}, {"x": 1.0, "y": 1.0}, {"x": 1.0, "y": 3.0}, None]
    db.insert_many(ids=["x", "y", "xy", "xyyy", "none"], vectors=[QUERY] * 5, contexts=states)


def weights(db: QuantumDatabase, **options: Any) -> dict[str, float]:
    return {match.id: round(match.weight or 0.0, 12) for match in db.query(QUERY, **options)}


class ContextsContract(Databases):
    def test_a_context_query_sees_its_own_records_by_their_weight(self, db: QuantumDatabase) -> None:
        mixed(db)
        assert weights(db, context="x") == {"x": 1.0, "xy": 0.5, "xyyy": 0.25}
        assert db.query(QUERY, context="x").ids == ["x", "xy", "xyyy"]

    def test_a_plain_query_sees_every_record(self, db: QuantumDatabase) -> None:
        mixed(db)
        assert len(db.query(QUERY)) == 5

    def test_soft_lets_every_record_in_a_little(self, db: QuantumDatabase) -> None:
        mixed(db)
        found = weights(db, context="x", soft=True)
        assert found["none"] == found["y"] == pytest.approx(1 / 60)
        assert found["xy"] == pytest.approx((1 - 1 / 60) * 0.5 + 1 / 60)

    def test_a_superposition_without_phases_adds_probabilities(self, db: QuantumDatabase) -> None:
        mixed(db)
        assert weights(db, context={"x": 1.0, "y": 3.0}) == {"x": 0.25, "y": 0.75, "xy": 0.5, "xyyy": 0.625}

    def test_equal_phases_ask_for_both(self, db: QuantumDatabase) -> None:
        mixed(db)
        found = weights(db, context={"x": (0.5, 0.0), "y": (0.5, 0.0)})
        assert found["xy"] == 1.0
        assert found["x"] == found["y"] == 0.5

    def test_opposite_phases_ask_for_either_alone(self, db: QuantumDatabase) -> None:
        mixed(db)
        found = weights(db, context={"x": (0.5, 0.0), "y": (0.5, math.pi)})
        assert "xy" not in found  # the two amplitudes cancel
        assert found["x"] == found["y"] == 0.5

    def test_an_unknown_context_gives_nothing_and_a_warning(self, db: QuantumDatabase) -> None:
        mixed(db)
        for found in (db.query(QUERY, context="z"), db.tunnel_search(QUERY, context="z")):
            assert len(found) == 0
            assert any("'z'" in warning for warning in found.warnings)

    def test_an_unknown_context_beside_a_known_one_is_warned_of(self, db: QuantumDatabase) -> None:
        mixed(db)
        found = db.query(QUERY, context={"x": 0.5, "z": 0.5})
        assert found.ids == ["x", "xy", "xyyy"]
        assert len(found.warnings) == 1

    def test_explain_gives_the_parts_whose_sum_is_the_score(self, db: QuantumDatabase) -> None:
        filled(db)
        for match in db.query(np.ones(6), context="a", context_strength=2.0):
            parts = match.explain()
            assert parts.terms["context"] == pytest.approx(2.0 * math.log(match.weight or 0.0))
            assert parts.terms["distance"] == pytest.approx(-match.distance / parts.scale["u"])
            assert match.score == pytest.approx(sum(parts.terms.values()))
            assert parts.scale["lambda"] == 2.0
            assert str(parts).startswith("score ")

    def test_strength_trades_distance_against_context(self, db: QuantumDatabase) -> None:
        db.create_collection("default", dimension=1, metric="l2")
        db.insert("near", [0.1], contexts={"c": 0.1, "d": 0.9})
        db.insert("far", [1.0], contexts={"c": 1.0})
        assert db.query([0.0], context="c", context_strength=0.0).ids == ["near", "far"]
        assert db.query([0.0], context="c", context_strength=10.0).ids == ["far", "near"]

    def test_a_filter_and_a_context_hold_together(self, db: QuantumDatabase) -> None:
        filled(db)
        found = db.query(np.ones(6), top_k=300, context="b", filter={"third": True})
        assert sorted(int(id[1:]) for id in found.ids) == [i for i in range(300) if i % 3 == 0 and i % 4]

    def test_an_updated_context_counts_at_once(self, db: QuantumDatabase) -> None:
        mixed(db)
        db.update("none", contexts={"x": 1.0})
        assert "none" in weights(db, context="x")
        db.update("x", contexts=[])
        assert "x" not in weights(db, context="x")

    @pytest.mark.parametrize(
        "context",
        ["", {}, {"x": 0.0}, {"x": -1.0}, {"x": float("nan")}, {"x": (0.5, 0.0), "y": 0.5}, {"x": (0.5,)}, 7],
        ids=repr,
    )
    def test_a_context_that_is_no_state_is_refused(self, db: QuantumDatabase, context: Any) -> None:
        mixed(db)
        with pytest.raises(ContextError):
            db.query(QUERY, context=context)
        with pytest.raises(ContextError):
            db.tunnel_search(QUERY, context=context)
