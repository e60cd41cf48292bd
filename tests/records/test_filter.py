"""The filter language: what each operator means, and how a wrong filter is refused."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given

from qstore_db.errors import FilterError
from qstore_db.records import Filter, Metadata, parse_filter
from qstore_db.testing.strategies import filters, metadata


def parsed(filter: Mapping[str, object]) -> Filter:
    result = parse_filter(filter)
    assert result is not None
    return result


def holds(filter: Mapping[str, object], values: Metadata) -> bool:
    return parsed(filter).matches(values)


@pytest.mark.parametrize(
    ("condition", "matching", "others"),
    [
        ({"$eq": 2}, [2, 2.0, [1, 2]], [3, "2", True, None, [1], [[2]], {"y": 2}]),
        (2, [2, 2.0, [1, 2]], [3, "2", True, None]),
        ({"$ne": 2}, [3, "2", True, None, []], [2, 2.0, [1, 2]]),
        ({"$gt": 2}, [2.5, 10**18, [1, 3]], [2, 1, "3", True, None, [1, 2]]),
        ({"$gte": 2}, [2, 3], [1.9, "2"]),
        ({"$lt": 2}, [1, -1.5, [1, 9]], [2, "1", False, None]),
        ({"$lte": 2}, [2, 1], [2.1]),
        ({"$gt": "b"}, ["c", "ba", "é"], ["b", "a", "B", 9]),
        ({"$in": [1, "a", None]}, [1, 1.0, "a", None, [5, "a"]], [2, "b", True]),
        ({"$in": []}, [], [1, None, []]),
        ({"$nin": [1, "a"]}, [2, "b", True, None, []], [1, 1.0, "a", [5, "a"]]),
        ({"$nin": []}, [1, None], []),
        ({"$exists": True}, [1, None, [], {}], []),
        ({"$exists": False}, [], [1, None, []]),
        ({"$not": {"$gt": 2}}, [1, "3", None], [3]),
        ({"$gt": 1, "$lt": 3}, [2, [0, 5]], [1, 3]),
    ],
)
def test_an_operator_selects_exactly_what_it_says(
    condition: object, matching: list[object], others: list[object]
) -> None:
    filter = parsed({"x": condition})
    assert [value for value in [*matching, *others] if filter.matches({"x": value})] == matching


@pytest.mark.parametrize("value", [True, False, 1, 0, "1", "", None])
def test_equality_keeps_types(value: object) -> None:
    alike = [True, False, 1, 0, "1", "", None]
    assert [other for other in alike if holds({"x": value}, {"x": other})] == [value]
    selected = [type(other) for other in alike if holds({"x": value}, {"x": other})]
    assert selected == [type(value)]


def test_integers_and_floats_compare_exactly() -> None:
    assert not holds({"x": float(2**53)}, {"x": 2**53 + 1})
    assert holds({"x": {"$gt": float(2**53)}}, {"x": 2**53 + 1})


def test_null_equals_a_stored_null_and_not_an_absent_path() -> None:
    assert holds({"x": None}, {"x": None})
    assert not holds({"x": None}, {})


@pytest.mark.parametrize("condition", [{"$ne": 1}, {"$nin": [1]}, {"$not": {"$eq": 1}}, {"$exists": False}])
def test_negations_hold_where_the_path_is_absent(condition: object) -> None:
    assert holds({"x": condition}, {})


@pytest.mark.parametrize(
    "condition", [{"$eq": 1}, {"$in": [1]}, {"$gt": 0}, {"$lte": 0}, {"$exists": True}, {"$gte": ""}]
)
def test_other_conditions_do_not_hold_where_the_path_is_absent(condition: object) -> None:
    assert not holds({"x": condition}, {})


def test_a_dotted_path_leads_into_nested_maps_only() -> None:
    filter = parsed({"a.b": 1})
    assert filter.matches({"a": {"b": 1}})
    assert not filter.matches({"a": 1})
    assert not filter.matches({"a": [{"b": 1}]})


def test_several_keys_are_a_conjunction_and_none_select_all() -> None:
    assert holds({"a": 1, "b": 2}, {"a": 1, "b": 2})
    assert not holds({"a": 1, "b": 2}, {"a": 1})
    assert holds({}, {})


def test_and_or_and_not_combine_filters() -> None:
    filter = parsed({"$or": [{"a": 1}, {"$and": [{"b": 2}, {"$not": {"c": 3}}]}]})
    assert filter.matches({"a": 1})
    assert filter.matches({"b": 2})
    assert not filter.matches({"b": 2, "c": 3})
    assert not filter.matches({})


def test_no_filter_is_none() -> None:
    assert parse_filter(None) is None


def test_numpy_operands_and_sets_are_read_as_plain_values() -> None:
    assert holds({"x": {"$gt": np.float32(1.5)}}, {"x": 2})
    assert holds({"x": {"$in": np.array([1, 2])}}, {"x": 2})
    assert holds({"x": {"$in": {"a", "b"}}}, {"x": "b"})
    assert holds({"x": {"$exists": np.bool_(True)}}, {"x": 2})


@pytest.mark.parametrize(
    ("filter", "at"),
    [
        ({"x": {"$near": 1}}, "filter.x.$near"),
        ({"x": {"y": 1}}, "filter.x.y"),
        ({"$nor": [{}]}, "filter.$nor"),
        ({"$and": []}, "filter.$and"),
        ({"$or": {"x": 1}}, "filter.$or"),
        ({"$and": [{"x": 1}, {"y": {"$in": 5}}]}, "filter.$and[1].y.$in"),
        ({"x": {"$in": [1, [2]]}}, "filter.x.$in[1]"),
        ({"x": {"$in": "ab"}}, "filter.x.$in"),
        ({"x": {"$in": np.array(5)}}, "filter.x.$in"),
        ({"x": {"$exists": 1}}, "filter.x.$exists"),
        ({"x": {"$gt": None}}, "filter.x.$gt"),
        ({"x": {"$gt": True}}, "filter.x.$gt"),
        ({"x": {"$gt": [1]}}, "filter.x.$gt"),
        ({"x": {"$eq": float("nan")}}, "filter.x.$eq"),
        ({"x": {"$eq": 2**63}}, "filter.x.$eq"),
        ({"x": {"$not": 5}}, "filter.x.$not"),
        ({"x": {}}, "filter.x"),
        ({"x": [1, 2]}, "filter.x"),
        ({"x": "\ud83d\ude00"}, "filter.x"),
        ({"x": {5: 1}}, "filter.x.5"),
        ({"\ud800": 1}, "filter"),
        ({"$not": [1]}, "filter.$not"),
        ({"$and": [5]}, "filter.$and[0]"),
        ({"": 1}, "filter"),
        ({5: 1}, "filter"),
        ([], "filter"),
        ("x", "filter"),
    ],
)
def test_a_wrong_filter_is_refused_by_the_path_to_what_is_wrong(filter: object, at: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(filter)
    assert caught.value.subject == at


def nested(levels: int) -> dict[str, object]:
    filter: dict[str, object] = {"x": 1}
    for _ in range(levels - 1):
        filter = {"$not": filter}
    return filter


def test_nesting_ends_at_16_levels() -> None:
    parse_filter(nested(16))
    with pytest.raises(FilterError, match="deeper than 16 levels"):
        parse_filter(nested(17))


def test_a_list_operand_ends_at_10_000_values() -> None:
    parse_filter({"x": {"$in": list(range(10_000))}})
    with pytest.raises(FilterError, match="lists 10001 values, at most 10000"):
        parse_filter({"x": {"$in": list(range(10_001))}})


@pytest.mark.parametrize("part", [{"x": 1}, {}])
def test_a_filter_ends_at_1_000_conditions_even_if_they_are_empty(part: dict[str, object]) -> None:
    with pytest.raises(FilterError, match="more than 1000 conditions"):
        parse_filter({"$or": [part] * 1_001})


@given(filters(), metadata())
def test_not_is_the_exact_complement(filter: Mapping[str, object], values: Metadata) -> None:
    assert holds({"$not": filter}, values) is not holds(filter, values)


@given(filters(), filters(), metadata())
def test_de_morgan_holds(one: Mapping[str, object], two: Mapping[str, object], values: Metadata) -> None:
    neither = {"$and": [{"$not": one}, {"$not": two}]}
    assert holds({"$not": {"$or": [one, two]}}, values) is holds(neither, values)


@given(filters(), filters(), metadata())
def test_equal_keys_select_equally(
    one: Mapping[str, object], two: Mapping[str, object], values: Metadata
) -> None:
    a, b = parsed(one), parsed(two)
    assert (a == b) is (a.key == b.key)
    if a == b:
        assert hash(a) == hash(b)
        assert a.matches(values) is b.matches(values)


def test_the_key_tells_true_from_1_and_1_from_its_digits() -> None:
    keys = {parsed({"x": value}).key for value in (True, 1, "1", "true", None)}
    assert len(keys) == 5


def test_1_and_1_0_select_the_same_records() -> None:
    for stored in (1, 1.0, True, "1", None):
        assert holds({"x": 1}, {"x": stored}) is holds({"x": 1.0}, {"x": stored})


def test_equal_filters_written_apart_share_a_key() -> None:
    assert parsed({"x": 1}) == parsed({"x": {"$eq": 1}}) == parsed({"x": {"$in": [1]}})
