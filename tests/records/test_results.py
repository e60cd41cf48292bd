"""Results are sequences that read no record before a match is asked for."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from qstore_db.records import Body, Match, Page, QueryResult, Ranked, Record, TunnelResult
from qstore_db.records.results import empty_ranked


class Snapshot:
    """Three records, counting what is read of them."""

    def __init__(self) -> None:
        self.ids_read = self.records_read = 0
        self.vectors_read = False
        self.stored = [
            Record(f"r{i}", np.full(2, i, np.float32), (("a", 1.0),), {"n": i}, version=10 + i)
            for i in range(3)
        ]

    def ids(self) -> list[str]:
        self.ids_read += 1
        return [record.id for record in self.stored]

    def rows(self) -> np.ndarray:
        return np.array([record.version for record in self.stored])

    def bodies(self) -> list[bytes]:
        return [Body.of(record).packed() for record in self.stored]

    def records(self, *, vectors: bool) -> list[Record]:
        self.records_read += 1
        self.vectors_read = vectors
        return self.stored

    def ranked(self) -> Ranked:
        distance = np.array([0.5, 1.0, 2.0])
        log_p = np.array([-0.1, -0.2, -0.3])
        return Ranked(
            score=log_p - distance,
            distance=distance,
            similarity=1 - distance,
            found=self,
            weight=np.exp(log_p),
            terms={"distance": -distance, "context": log_p},
            scale={"u": 1.0},
            tunneled=np.array([True, False, True]),
        )


@pytest.fixture
def snapshot() -> Snapshot:
    return Snapshot()


@pytest.fixture
def result(snapshot: Snapshot) -> QueryResult:
    return QueryResult(snapshot.ranked(), exact=True, warnings=("careful",))


def test_length_ids_scores_and_distances_read_no_record(result: QueryResult, snapshot: Snapshot) -> None:
    assert len(result) == 3
    assert result.ids == ["r0", "r1", "r2"]
    assert result.scores.tolist() == sorted(result.scores, reverse=True)
    assert result.distances.tolist() == [0.5, 1.0, 2.0]
    assert "r0 (0.5)" in repr(result)
    assert snapshot.records_read == 0


def test_the_length_and_the_scores_do_not_read_the_ids_either(
    result: QueryResult, snapshot: Snapshot
) -> None:
    assert (len(result), len(result.scores), bool(result)) == (3, 3, True)
    assert snapshot.ids_read == 0


def test_matches_are_read_once(result: QueryResult, snapshot: Snapshot) -> None:
    first = result[0]
    assert next(iter(result)) is first
    assert result.ids == ["r0", "r1", "r2"]
    assert (snapshot.records_read, snapshot.ids_read) == (1, 0)


def test_a_result_whose_matches_were_read_lets_its_snapshot_go() -> None:
    snapshot = Snapshot()
    result = QueryResult(snapshot.ranked(), exact=True)
    gone = weakref.ref(snapshot)
    assert result[0].id == "r0"
    del snapshot
    gc.collect()
    assert gone() is None


def test_columns_may_be_left_to_the_first_who_looks(snapshot: Snapshot) -> None:
    calls: list[str] = []

    def ranked() -> Ranked:
        calls.append("ranked")
        return snapshot.ranked()

    result = QueryResult(ranked, exact=True)
    assert calls == []
    assert (len(result), result.ids, result[0].id) == (3, ["r0", "r1", "r2"], "r0")
    assert calls == ["ranked"]


def test_a_match_carries_its_record_and_its_row_of_the_ranking(result: QueryResult) -> None:
    match = result[1]
    assert (match.id, match.version, match.metadata, match.contexts) == ("r1", 11, {"n": 1}, (("a", 1.0),))
    assert (match.score, match.distance, match.similarity) == (-1.2, 1.0, 0.0)
    assert match.weight == pytest.approx(np.exp(-0.2))
    assert match.tunneled is False
    assert match.vector is None


def test_the_parts_of_a_score_add_up_to_it(result: QueryResult) -> None:
    explanation = result[2].explain()
    assert sum(explanation.terms.values()) == pytest.approx(explanation.score)
    assert explanation.scale == {"u": 1.0}
    assert "-0.3 (context)" in str(explanation)


def test_a_match_made_by_hand_explains_itself_by_its_score() -> None:
    match = Match("a", -1.0, 1.0, 0.0, None, {}, (), 1)
    assert dict(match.explain().terms) == {"score": -1.0}


def test_vectors_come_when_asked_for(snapshot: Snapshot) -> None:
    with_vectors = QueryResult(snapshot.ranked(), exact=True, include_vectors=True)
    assert with_vectors[2].vector is snapshot.stored[2].vector


def test_a_result_is_a_sequence(result: QueryResult) -> None:
    assert [match.id for match in result[1:]] == ["r1", "r2"]
    assert result[-1].id == "r2"
    assert [match.id for match in reversed(result)] == ["r2", "r1", "r0"]
    assert result[0] in result
    with pytest.raises(IndexError):
        result[3]


def test_fewer_records_than_ranks_are_an_error_and_not_a_short_result(snapshot: Snapshot) -> None:
    result = QueryResult(snapshot.ranked(), exact=True)
    snapshot.stored.pop()
    with pytest.raises(ValueError, match="shorter"):
        list(result)


def test_an_empty_result_is_a_result() -> None:
    result = QueryResult(empty_ranked(), exact=True, warnings=("no record holds context 'x'",))
    assert (len(result), result.ids, list(result), result.scores.shape) == (0, [], [], (0,))
    assert result.warnings == ("no record holds context 'x'",)


def test_a_tunnel_result_carries_the_well_beside_what_was_reached(
    snapshot: Snapshot, result: QueryResult
) -> None:
    query = np.ones(2, np.float32)
    tunnel = TunnelResult(snapshot.ranked(), exact=False, inside=result, well_size=3, eligible=9, query=query)
    assert (tunnel.query is query, tunnel.walked, tunnel.prominence) == (True, None, None)
    assert (tunnel.inside, tunnel.well_size, tunnel.eligible, tunnel.exact) == (result, 3, 9, False)
    assert [match.tunneled for match in tunnel] == [True, False, True]


def test_a_page_is_a_sequence_of_records(snapshot: Snapshot) -> None:
    page = Page(tuple(snapshot.stored), cursor="next")
    assert (len(page), page[0].id, [record.id for record in page[1:]]) == (3, "r0", ["r1", "r2"])
    assert page.cursor == "next"


def test_records_are_equal_when_all_they_promise_is() -> None:
    def record(**changes: object) -> Record:
        return Record(**{"id": "a", "vector": np.ones(2, np.float32), "version": 1, **changes})

    assert record() == record()
    for change in (
        {"id": "b"},
        {"vector": np.array([1, 2], np.float32)},
        {"contexts": (("a", 1.0),)},
        {"metadata": {"x": 1}},
        {"version": 2},
        {"expires_at": 5.0},
    ):
        assert record(**change) != record()
    assert record() != "a"


def test_a_record_is_not_hashable_since_its_vector_is_not() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Record("a", np.ones(2, np.float32)))


@pytest.mark.parametrize("asked", [True, False])
def test_vectors_are_read_only_for_those_who_asked_for_them(snapshot: Snapshot, asked: bool) -> None:
    list(QueryResult(snapshot.ranked(), exact=True, include_vectors=asked))
    assert snapshot.vectors_read is asked
