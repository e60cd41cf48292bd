"""Search, filters, contexts, expiry, scans, samples and scrolling."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.engines.base import CollectionSpec, Delete, DeleteWhere, Engine, Patch, Put, Selection
from qstore_db.records import Metadata, Metric, Superposition, parse_filter
from qstore_db.testing import strategies
from qstore_db.testing.engines.support import FAR, NOW, each_example_afresh, ids_of, put, vector


class Searching:
    """Views answer from one state, by the metric, within the selection."""

    @pytest.mark.parametrize("metric", list(Metric))
    def test_the_nearest_come_first_by_the_metric_with_ties_by_id(
        self, engine: Engine, metric: Metric
    ) -> None:
        engine.create_collection(CollectionSpec("m", 3, metric))
        rng = np.random.default_rng(0)
        rows = rng.integers(-2, 3, size=(60, 3)).astype(np.float32)
        rows[(rows == 0).all(axis=1)] = 1.0
        engine.write("m", [Put(f"{i:02d}", row) for i, row in enumerate(rows)]).result()
        query = vector(1, 2, 0.5)
        wide, asked = rows.astype(np.float64), query.astype(np.float64)
        if metric is Metric.COSINE:
            wide, asked = wide / np.linalg.norm(wide, axis=1, keepdims=True), asked / np.linalg.norm(asked)
        raw = -(wide @ asked) if metric is Metric.DOT else ((wide - asked) ** 2).sum(axis=1)
        hits = engine.view("m").search(query[None], 15, Selection(now=NOW))[0]
        np.testing.assert_allclose(hits.raw, np.sort(raw)[:15], rtol=1e-5, atol=1e-6)
        got = [int(id) for id in hits.ids()]
        np.testing.assert_allclose(raw[got], np.sort(raw)[:15], rtol=1e-5, atol=1e-6)
        assert got == sorted(got, key=lambda i: (round(float(raw[i]), 5), i))

    def test_more_than_there_is_gives_what_there_is(self, engine: Engine) -> None:
        engine.write("c", [Put(id, vector(1, 1, 1)) for id in "ab"]).result()
        assert ids_of(engine.view("c"), vector(0, 0, 0), 100) == ["a", "b"]

    def test_a_batch_answers_each_query_as_if_alone(self, engine: Engine) -> None:
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(50, 3)).astype(np.float32)
        engine.write("c", [Put(f"{i}", row) for i, row in enumerate(rows)]).result()
        view = engine.view("c")
        hits = view.search(rows[:25] + np.float32(0.01), 5, Selection(now=NOW))
        assert [h.ids() for h in hits] == [ids_of(view, row + np.float32(0.01), 5) for row in rows[:25]]

    @each_example_afresh
    @given(st.lists(strategies.metadata(), min_size=1, max_size=8), strategies.filters())
    def test_a_filter_admits_exactly_the_records_it_matches(
        self, engine: Engine, held: list[Metadata], filter: Mapping[str, object]
    ) -> None:
        engine.write("c", [DeleteWhere(Selection(now=NOW))]).result()
        engine.write("c", [Put(f"{i}", vector(i, 1, 0), metadata=m) for i, m in enumerate(held)]).result()
        checked = parse_filter(filter)
        assert checked is not None
        expected = [f"{i}" for i, metadata in enumerate(held) if checked.matches(metadata)]
        view = engine.view("c")
        assert ids_of(view, vector(0, 1, 0), filter=checked) == expected
        assert view.count(Selection(checked, now=NOW)) == len(expected)

    def test_contexts_select_by_membership_and_weights_are_born_weights(self, engine: Engine) -> None:
        for id, contexts in {"a": [("x", 3.0), ("y", 1.0)], "b": [("y", 1.0)], "c": []}.items():
            put(engine, id, vector(1, 1, 1), contexts=Superposition.parse(contexts))
        view = engine.view("c")
        assert ids_of(view, vector(1, 1, 1), contexts=("y",)) == ["a", "b"]
        assert ids_of(view, vector(1, 1, 1), contexts=("x", "z")) == ["a"]
        hits = view.search(vector(1, 1, 1)[None], 3, Selection(now=NOW))[0]
        assert hits.weights(["x", "y"]).tolist() == [[0.75, 0.25], [0.0, 1.0], [0.0, 0.0]]

    def test_hits_know_when_each_record_was_written_last(self, engine: Engine) -> None:
        engine.write("c", [Put(f"{i}", vector(i, 0, 0)) for i in range(9)]).result()
        engine.write("c", [Patch("3", metadata={"x": 1})]).result()
        put(engine, "5", vector(5, 0, 0))
        hits = engine.view("c").search(vector(0, 0, 0)[None], 9, Selection(now=NOW))[0]
        fetched = engine.fetch("c", hits.ids(), NOW)
        assert hits.updated().tolist() == [record.updated_at for record in fetched if record]
        assert hits.take(np.array([4, 1])).updated().tolist() == hits.updated()[[4, 1]].tolist()

    def test_expired_records_are_not_there(self, engine: Engine) -> None:
        put(engine, "a", vector(1, 1, 1), expires_at=FAR)
        view = engine.view("c")
        for now, expected in ((FAR - 1, ["a"]), (FAR, [])):
            assert ids_of(view, vector(1, 1, 1), now=now) == expected
            assert view.count(Selection(now=now)) == len(expected)
            assert [r.id for r in view.scroll(Selection(now=now), 5, 0)[0]] == expected
            assert [r.id for r in engine.fetch("c", ["a"], now) if r] == expected

    def test_hits_agree_with_themselves(self, engine: Engine) -> None:
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(30, 3)).astype(np.float32)
        engine.write("c", [Put(f"{i}", row, metadata={"i": i}) for i, row in enumerate(rows)]).result()
        hits = engine.view("c").search(rows[:1], 10, Selection(now=NOW))[0]
        picked = hits.take(np.array([3, 0]))
        assert picked.ids() == [hits.ids()[3], hits.ids()[0]]
        assert [r.metadata["i"] for r in picked.records()] == [int(id) for id in picked.ids()]
        np.testing.assert_allclose(picked.vectors(), rows[[int(id) for id in picked.ids()]], rtol=1e-3)
        np.testing.assert_allclose(hits.refined().raw, hits.raw, rtol=1e-5, atol=1e-6)

    def test_a_scan_measures_everything_a_selection_admits(self, engine: Engine) -> None:
        if not engine.capabilities.scan:
            return
        engine.write("c", [Put(f"{i}", vector(i, 0, 0), metadata={"i": i}) for i in range(10)]).result()
        hits = engine.view("c").scan(vector(0, 0, 0), Selection(parse_filter({"i": {"$lt": 4}}), now=NOW))
        measured = dict(zip(hits.ids(), hits.raw.tolist(), strict=True))
        assert measured == pytest.approx({"0": 0.0, "1": 1.0, "2": 4.0, "3": 9.0})

    def test_a_sample_is_without_replacement_and_reproducible(self, engine: Engine) -> None:
        engine.write("c", [Put(f"{i}", vector(i, 0, 0)) for i in range(50)]).result()
        view = engine.view("c")
        ids = view.sample(20, 7).ids()
        assert len(set(ids)) == 20
        assert view.sample(20, 7).ids() == ids
        assert len(view.sample(100, 7)) == 50

    def test_scrolling_meets_every_record_once_oldest_write_first(self, engine: Engine) -> None:
        engine.write("c", [Put(f"{i}", vector(i, 0, 0), metadata={"i": i}) for i in range(25)]).result()
        put(engine, "3", vector(3, 0, 0), metadata={"i": 3})
        view, met = engine.view("c"), list[str]()
        after: int | None = 0
        while after is not None:
            records, after = view.scroll(Selection(parse_filter({"i": {"$lt": 20}}), now=NOW), 6, after)
            met += [record.id for record in records]
        assert met == [f"{i}" for i in range(20) if i != 3] + ["3"]

    def test_a_view_goes_on_showing_the_state_it_was_taken_from(self, engine: Engine) -> None:
        if not engine.capabilities.snapshot_isolation:
            return
        engine.write("c", [Put(f"{i}", vector(i, 0, 0), metadata={"v": 1}) for i in range(10)]).result()
        view = engine.view("c")
        hits = view.search(vector(0, 0, 0)[None], 10, Selection(now=NOW))[0]
        engine.write("c", [Put(f"{i}", vector(-i, 9, 9), metadata={"v": 2}) for i in range(5)]).result()
        engine.write("c", [Delete(f"{i}") for i in range(5, 10)]).result()
        old = Selection(parse_filter({"v": 1}), now=NOW)
        assert view.count(Selection(now=NOW)) == view.count(old) == 10
        assert ids_of(view, vector(0, 0, 0)) == [f"{i}" for i in range(10)]
        assert [record.metadata["v"] for record in hits.records()] == [1] * 10
        assert [record.vector[0] for record in hits.records()] == list(range(10))
        assert engine.view("c").count(Selection(now=NOW)) == 5
