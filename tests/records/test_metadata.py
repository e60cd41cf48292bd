"""What may be stored as an id or as metadata, and how refusals name their place."""

from __future__ import annotations

import enum
from datetime import date
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given

from qstore_db.errors import IdError, MetadataError
from qstore_db.records import Metadata, check_id, check_metadata
from qstore_db.testing.strategies import ids, metadata


class Size(str, enum.Enum):  # noqa: UP042  the older kind, whose str() is not its value
    SMALL = "s"


class Level(enum.IntEnum):
    HIGH = 3


def typed(value: object) -> object:
    """A value beside the types it is made of, since 1 == 1.0 == True."""
    if isinstance(value, dict):
        return {key: typed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [typed(part) for part in value]
    return type(value), repr(value)


@given(ids())
def test_any_text_of_1_to_128_bytes_is_an_id(id: str) -> None:
    assert check_id(id) == id


def test_an_id_may_take_128_bytes_but_not_129() -> None:
    assert check_id("é" * 64)
    with pytest.raises(IdError, match="129 bytes"):
        check_id("é" * 64 + "a")


@pytest.mark.parametrize("id", ["", "a" * 129, "\ud800", 5, None, b"a", np.arange(100)])
def test_an_id_that_is_no_short_text_is_refused(id: object) -> None:
    with pytest.raises(IdError, match="record id"):
        check_id(id)


def test_ids_of_string_subclasses_become_plain_strings() -> None:
    assert [typed(check_id(id)) for id in (Size.SMALL, np.str_("s"))] == [(str, "'s'")] * 2


@given(metadata())
def test_storable_metadata_is_kept_with_its_types(values: Metadata) -> None:
    assert typed(check_metadata(values)) == typed(values)


def test_no_metadata_is_an_empty_mapping() -> None:
    assert check_metadata(None) == {}


def test_the_copy_shares_nothing_with_what_was_given() -> None:
    inner: list[object] = [1, {"b": 2}]
    stored = check_metadata({"a": inner})
    inner.append(3)
    inner[1]["b"] = 9  # type: ignore[index]
    assert stored == {"a": [1, {"b": 2}]}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.float32(0.5), 0.5),
        (np.int8(-1), -1),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([1, 2]), [1, 2]),
        (np.array(7), 7),
        (np.array([[0.5], [1.5]]), [[0.5], [1.5]]),
        ((1, "a"), [1, "a"]),
        (Size.SMALL, "s"),
        (Level.HIGH, 3),
        (MappingProxyType({"a": 1}), {"a": 1}),
    ],
)
def test_kin_of_plain_types_become_plain(value: object, stored: object) -> None:
    assert typed(check_metadata({"x": value})["x"]) == typed(stored)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"a": {"b": [1, {"c": float("nan")}]}}, "a.b[1].c"),
        ({"a": float("inf")}, "a"),
        ({"a": [0, 2**63]}, "a[1]"),
        ({"a": -(2**63) - 1}, "a"),
        ({"a": {"b": date(2020, 1, 1)}}, "a.b"),
        ({"a": b"bytes"}, "a"),
        ({"a": {1, 2}}, "a"),
        ({"a": 1j}, "a"),
        ({"a": np.datetime64("2020-01-01")}, "a"),
        ({"a": "\ud800"}, "a"),
        ({"a": {"\ud800": 1}}, "a.\\ud800"),
        ({"a": {"b.c": 1}}, "a.b.c"),
        ({"$a": 1}, "$a"),
        ({"a": {"": 1}}, "a."),
        ({"a": [{5: 1}]}, "a[0].5"),
    ],
)
def test_a_value_that_cannot_be_stored_is_refused_by_its_path(values: dict[str, object], path: str) -> None:
    with pytest.raises(MetadataError) as caught:
        check_metadata(values)
    assert caught.value.subject == path
    assert str(caught.value).startswith(f"metadata {path!r} ")


def test_the_integers_of_int64_fit() -> None:
    assert check_metadata({"a": [-(2**63), 2**63 - 1]}) == {"a": [-(2**63), 2**63 - 1]}


def test_nesting_ends_at_16_levels_whether_of_maps_or_lists() -> None:
    maps: object = 0
    lists: object = 0
    for _ in range(15):
        maps, lists = {"a": maps}, [lists]
    check_metadata({"a": maps, "b": lists})
    for deeper in ({"a": maps}, [lists]):
        with pytest.raises(MetadataError, match="nested deeper than 16 levels"):
            check_metadata({"a": deeper})


def test_a_list_that_contains_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(MetadataError, match="nested deeper"):
        check_metadata({"a": endless})


@pytest.mark.parametrize("values", [[("a", 1)], "a", 5])
def test_metadata_that_is_no_mapping_is_refused(values: object) -> None:
    with pytest.raises(MetadataError, match="must be a mapping"):
        check_metadata(values)
