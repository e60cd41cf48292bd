"""tunnel_search and tunnel_search_batch; `tests/search` holds the properties of the search itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qstore_db.database import QuantumDatabase
from qstore_db.errors import ArgumentError
from qstore_db.testing.databases.opening import Databases
from qstore_db.testing.databases.querying import bits, filled, random_vectors


class TunnellingContract(Databases):
    def test_the_result_lies_beyond_the_well_and_carries_it(self, db: QuantumDatabase) -> None:
        filled(db)
        found = db.tunnel_search(query=np.ones(6), barrier_threshold=0.5, tunneling_strength=0.6, top_k=20)
        plain = db.query(np.ones(6), top_k=17)  # floor(sqrt(300)) = 17
        assert (found.well_size, found.eligible) == (17, 300)
        assert found.inside.ids == plain.ids
        assert found.inside.distances.tolist() == plain.distances.tolist()
        assert len(found) == 20
        assert not set(found.ids) & set(plain.ids)
        assert all(match.tunneled for match in found)

    @pytest.mark.parametrize("barrier", [0.0, -2.0])
    def test_no_barrier_puts_everything_inside_and_says_so(self, db: QuantumDatabase, barrier: float) -> None:
        filled(db)
        found = db.tunnel_search(np.ones(6), barrier_threshold=barrier)
        assert (len(found), found.well_size, len(found.inside)) == (0, 300, 300)
        assert "every eligible record lies inside the well" in found.warnings[0]

    def test_a_barrier_above_one_leaves_the_well_empty_and_says_so(self, db: QuantumDatabase) -> None:
        filled(db)
        found = db.tunnel_search(np.ones(6), barrier_threshold=1.5, top_k=20)
        assert (len(found), found.well_size, len(found.inside)) == (20, 0, 0)
        assert "the well is empty" in found.warnings[0]
        assert all(match.tunneled for match in found)

    def test_by_default_the_well_holds_the_top_k(self, db: QuantumDatabase) -> None:
        filled(db)
        found = db.tunnel_search(np.ones(6), top_k=7)
        assert found.well_size == len(found.inside) == 7

    def test_beyond_only_off_ranks_the_well_too_and_flags_what_tunnelled(self, db: QuantumDatabase) -> None:
        filled(db)
        found = db.tunnel_search(np.ones(6), barrier_threshold=0.5, top_k=300, beyond_only=False)
        assert len(found) == 300
        assert {match.id for match in found if not match.tunneled} == set(found.inside.ids)

    def test_filter_and_context_bound_what_is_eligible(self, db: QuantumDatabase) -> None:
        filled(db)
        found = db.tunnel_search(
            np.ones(6), top_k=200, context="b", filter={"third": True}, beyond_only=False
        )
        members = sorted(i for i in range(300) if i % 3 == 0 and i % 4)
        assert found.eligible == len(members)
        assert sorted(int(id[1:]) for id in found.ids) == members
        assert all(match.weight for match in found)

    def test_a_match_explains_its_score(self, db: QuantumDatabase) -> None:
        filled(db)
        for match in db.tunnel_search(np.ones(6), tunneling_strength=0.4, context="a", context_strength=2.0):
            parts = match.explain()
            assert set(parts.terms) == {"distance", "walk", "context"}
            assert sum(parts.terms.values()) == pytest.approx(match.score)

    def test_vectors_come_along_on_request(self, db: QuantumDatabase) -> None:
        vectors = filled(db)
        found = db.tunnel_search(np.ones(6), include_vectors=True)
        for match in (*found, *found.inside):
            assert match.vector is not None
            assert match.vector.tolist() == vectors[int(match.id[1:])].tolist()

    def test_a_batch_equals_its_single_searches_bit_for_bit(self, db: QuantumDatabase) -> None:
        filled(db)
        queries = random_vectors(3, 6, seed=4)
        options: Any = {"barrier_threshold": 0.6, "context": "a", "top_k": 15}
        batch = db.tunnel_search_batch(queries=queries, **options)
        single = [db.tunnel_search(query, **options) for query in queries]
        assert [bits(found) for found in batch] == [bits(found) for found in single]
        assert [bits(found.inside) for found in batch] == [bits(found.inside) for found in single]

    def test_an_empty_database_answers_each_search_with_nothing(self, db: QuantumDatabase) -> None:
        found = db.tunnel_search([1.0, 2.0])
        assert (len(found), len(found.inside), found.well_size, found.eligible) == (0, 0, 0, 0)
        assert len(db.tunnel_search_batch([[1.0], [2.0]])) == 2

    @pytest.mark.parametrize(
        ("parameter", "value"),
        [
            ("top_k", 0),
            ("barrier_threshold", float("nan")),
            ("barrier_threshold", float("inf")),
            ("barrier_threshold", "high"),
            ("tunneling_strength", 1.1),
            ("tunneling_strength", -0.1),
            ("barrier_scale", "cosine"),
            ("beyond_only", 1),
            ("candidates", 0),
            ("candidates", 10**6),
            ("soft", "no"),
            ("context_strength", -1.0),
        ],
    )
    def test_an_argument_of_a_tunnelling_search_out_of_range_is_refused_by_name(
        self, db: QuantumDatabase, parameter: str, value: Any
    ) -> None:
        with pytest.raises(ArgumentError) as caught:
            db.tunnel_search(np.ones(6), **{parameter: value})
        assert caught.value.subject == parameter
