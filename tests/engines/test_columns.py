"""Filters over columns give what `Filter.matches` gives on the records, in whatever form the columns are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.engines.embedded import columns as module
from qstore_db.engines.embedded import files
from qstore_db.engines.embedded.columns import LONG_TEXT, Columns, NotIndexed, merge
from qstore_db.engines.embedded.persist import dump_columns, load_columns
from qstore_db.engines.embedded.predicate import evaluate
from qstore_db.records import Metadata, Superposition, parse_filter
from qstore_db.testing import strategies as drawn

NONE = Superposition()


def columns_of(records: list[Metadata]) -> Columns:
    columns = Columns()
    for position, metadata in enumerate(records):
        columns.add(position, metadata, NONE, None, float(position))
    return columns


def expected(records: list[Metadata], filter: Mapping[str, object]) -> list[bool]:
    checked = parse_filter(filter)
    assert checked is not None
    return [checked.matches(metadata) for metadata in records]


def found(columns: Columns, n: int, filter: Mapping[str, object]) -> list[bool]:
    checked = parse_filter(filter)
    assert checked is not None
    return evaluate(checked.root, columns, n).tolist()


records = st.lists(drawn.metadata(), max_size=12)


@given(records, drawn.filters())
def test_columns_of_a_tail_agree_with_the_records(held: list[Metadata], filter: Mapping[str, object]) -> None:
    assert found(columns_of(held), len(held), filter) == expected(held, filter)


EXTREMES: list[int | float] = [
    *(sign * v for v in (0.5, 1 << 53, (1 << 53) + 1, 1e19, 1e308, 5e-324) for sign in (1, -1)),
    -(1 << 63),
    (1 << 63) - 1,
    float(1 << 63),
]


@pytest.mark.parametrize("operator", ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"])
def test_extreme_numbers_compare_with_each_other_as_in_the_records(operator: str) -> None:
    held: list[Metadata] = [{"x": value} for value in EXTREMES]
    for bound in EXTREMES:
        filter = {"x": {operator: bound}}
        assert found(columns_of(held), len(held), filter) == expected(held, filter), filter


@given(records, records, drawn.filters())
def test_rows_added_later_do_not_change_what_a_reader_of_fewer_rows_finds(
    held: list[Metadata], later: list[Metadata], filter: Mapping[str, object]
) -> None:
    assert found(columns_of(held + later), len(held), filter) == expected(held, filter)


@given(st.lists(records, min_size=1, max_size=4), drawn.filters(), st.randoms(use_true_random=False))
def test_merged_columns_hold_exactly_the_kept_rows(
    sources: list[list[Metadata]], filter: Mapping[str, object], random: Any
) -> None:
    parts, kept_records, kept_times = [], [], []
    for held in sources:
        kept = np.array([i for i in range(len(held)) if random.random() < 0.7], np.int64)
        everything = random.random() < 0.3
        parts.append((columns_of(held), len(held), None if everything else kept))
        kept_records += held if everything else [held[i] for i in kept]
        kept_times += list(range(len(held))) if everything else kept.tolist()
    merged = merge(parts)
    assert found(merged, len(kept_records), filter) == expected(kept_records, filter)
    assert merged.updated.view().tolist() == kept_times


@given(records, drawn.filters())
def test_columns_saved_and_loaded_answer_as_before(
    tmp_path_factory: pytest.TempPathFactory, held: list[Metadata], filter: Mapping[str, object]
) -> None:
    path: Path = tmp_path_factory.mktemp("columns") / "file"
    files.write_arrays(path, *dump_columns(columns_of(held)))
    loaded = load_columns(*files.read_arrays(path))
    assert found(loaded, len(held), filter) == expected(held, filter)
    assert loaded.updated.view().tolist() == list(range(len(held)))


@given(
    st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))),
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from([2**53 + 1, float(2**53), 2.0**63, -(2.0**63), 1e300, 0.5]),
    ),
    st.sampled_from(["$eq", "$gt", "$gte", "$lt", "$lte"]),
)
def test_integers_and_floats_compare_exactly_beyond_2_to_the_53(
    values: list[float], bound: float, operator: str
) -> None:
    held: list[Metadata] = [{"x": value} for value in [*values, 2**53, 2**53 + 1, float(2**53)]]
    filter = {"x": {operator: bound}}
    assert found(columns_of(held), len(held), filter) == expected(held, filter)


def test_booleans_are_no_numbers() -> None:
    held: list[Metadata] = [{"x": True}, {"x": 1}, {"x": 1.0}, {"x": False}, {"x": 0}]
    columns = columns_of(held)
    assert found(columns, 5, {"x": True}) == [True, False, False, False, False]
    assert found(columns, 5, {"x": 1}) == [False, True, True, False, False]
    assert found(columns, 5, {"x": {"$lt": 1}}) == [False, False, False, False, True]


def test_long_strings_are_found_by_equality() -> None:
    held: list[Metadata] = [{"x": "a" * LONG_TEXT + tail} for tail in ("", "b", "c")]
    columns = columns_of(held)
    for value in [metadata["x"] for metadata in held]:
        assert found(columns, 3, {"x": value}) == [metadata["x"] == value for metadata in held]


def test_the_order_of_long_strings_is_left_to_the_records() -> None:
    with pytest.raises(NotIndexed):
        found(columns_of([{"x": "a" * (LONG_TEXT + 1)}]), 1, {"x": {"$gt": "a"}})


def test_a_path_that_found_no_room_is_left_to_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PATHS", 2)
    columns = columns_of([{"a": 1, "b": 1, "c": {"d": 1}}])
    assert found(columns, 1, {"b": 1}) == [True]
    for path in ("c", "c.d", "never"):
        with pytest.raises(NotIndexed):
            found(columns, 1, {path: 1})


def test_a_path_that_one_source_has_no_room_for_is_not_answered_from_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_PATHS", 1)
    parts = [(columns_of([{"a": 1}]), 1, None), (columns_of([{"b": 1, "a": 1}]), 1, None)]
    merged = merge(parts)
    assert found(merged, 2, {"b": 1}) == [False, True]
    with pytest.raises(NotIndexed):
        found(merged, 2, {"a": 1})


@given(
    st.lists(st.tuples(records, st.integers(0, 6)), min_size=1, max_size=4),
    drawn.filters(),
    st.integers(0, 6),
)
def test_whatever_is_merged_with_overflowing_columns_the_answer_is_right_or_left_to_the_records(
    sources: list[tuple[list[Metadata], int]], filter: Mapping[str, object], room: int
) -> None:
    parts, held = [], []
    with pytest.MonkeyPatch.context() as patch:
        for some, paths in sources:
            patch.setattr(module, "MAX_PATHS", paths)
            parts.append((columns_of(some), len(some), None))
            held += some
        patch.setattr(module, "MAX_PATHS", room)
        merged = merge(parts)
    try:
        answer = found(merged, len(held), filter)
    except NotIndexed:
        assert merged.overflow
    else:
        assert answer == expected(held, filter)


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(0.01, 1.0)), max_size=10),
    st.lists(st.integers(0, 9), unique=True),
)
def test_weights_of_contexts_come_back_by_position(weights: list[dict[str, float]], asked: list[int]) -> None:
    columns = Columns()
    states = [Superposition.parse(one) for one in weights]
    for position, state in enumerate(states):
        columns.add(position, {}, state, None, 0.0)
    asked = [position for position in asked if position < len(weights)]
    for name in "abc":
        got = columns.weights(name, np.array(asked, np.int64), len(weights))
        assert got.tolist() == [dict(states[position].pairs()).get(name, 0.0) for position in asked]
