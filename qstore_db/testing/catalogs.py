"""The promises of `Catalog` as a test suite that any implementation can inherit.

```
class TestMyCatalog(CatalogConformance):
    @pytest.fixture
    def catalog(self) -> Catalog: ...       # an empty one

    @pytest.fixture
    def reopen(self, catalog) -> Reopen: ...  # closes `catalog`, returns a new one over the same storage
```

Needs pytest and hypothesis (the extra `test`). What is peculiar to a store (its faults, its limits) is tested
beside the store.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qstore_db.catalog.base import ABSENT, Catalog, CatalogDelete, CatalogPut, Entry
from qstore_db.errors import ArgumentError, VersionConflictError

Reopen = Callable[[], Catalog]

PLAIN_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -(2**63),
    2**64 - 1,
    0.0,
    1.0,
    5e-324,
    float("inf"),
    "",
    "naïve ☃ \U0001f600 \x00",
    b"",
    bytes(range(256)),
    [],
    {},
    [1, 1.0, True, "1", b"1", None, [[]]],
    {"": {"a": [1, {"b": b"\xff"}]}, "ü": None},
    "x" * 100_000,
]
"""One of each kind and border that a catalog must give back as it was."""

UNSTORABLE_VALUES: list[Any] = [
    object(),
    {1, 2},
    (1, 2),
    1j,
    2**64,
    -(2**63) - 1,
    "\ud800",
    bytearray(b"x"),
    {1: "a"},
    {b"a": 1},
    {None: 1},
    {"\udfff": 1},
    [{"deep": [{"er": (1,)}]}],
]
"""Values that would not come back, or as something else."""

_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=10)
    | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
_keys = st.text(min_size=1, max_size=20)


def typed(value: Any) -> Any:
    """`value` with its types beside it: 1, 1.0 and True are equal, and so are 0.0 and -0.0; these are not."""
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, dict):
        return {name: typed(item) for name, item in value.items()}
    return type(value), repr(value)


def on_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work` returned for 0 ... count - 1, each called in a thread of its own, all at once."""
    start = threading.Barrier(count)

    def run(number: int) -> Any:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


class CatalogConformance:
    """Inherit, name the class `Test...`, and give the fixtures `catalog` and `reopen`."""

    def test_an_absent_entry_is_none(self, catalog: Catalog) -> None:
        assert catalog.get("nothing") is None

    def test_an_entry_comes_back_with_its_key_value_and_version(self, catalog: Catalog) -> None:
        catalog.put("a", {"n": 1})
        assert catalog.get("a") == Entry("a", {"n": 1}, 1)

    def test_each_put_returns_the_next_version(self, catalog: Catalog) -> None:
        assert [catalog.put("a", n) for n in range(3)] == [1, 2, 3]
        assert catalog.get("a") == Entry("a", 2, 3)

    def test_entries_count_their_versions_apart(self, catalog: Catalog) -> None:
        catalog.put("a", 0)
        catalog.put("a", 0)
        assert catalog.put("b", 0) == 1

    def test_a_put_of_the_same_value_is_a_new_version(self, catalog: Catalog) -> None:
        catalog.put("a", "same")
        assert catalog.put("a", "same") == 2

    def test_delete_says_whether_there_was_an_entry(self, catalog: Catalog) -> None:
        catalog.put("a", 1)
        assert catalog.delete("a") is True
        assert catalog.delete("a") is False
        assert catalog.get("a") is None

    def test_a_recreated_entry_starts_at_version_1(self, catalog: Catalog) -> None:
        catalog.put("a", 1)
        catalog.put("a", 2)
        catalog.delete("a")
        assert catalog.put("a", 3) == 1

    def test_changing_what_was_read_changes_nothing_stored(self, catalog: Catalog) -> None:
        value = {"list": [1]}
        catalog.put("a", value)
        value["list"].append(2)
        entry = catalog.get("a")
        assert entry is not None
        entry.value["list"].append(3)
        assert catalog.get("a") == Entry("a", {"list": [1]}, 1)

    # Scans

    def test_a_scan_gives_the_entries_under_a_prefix_and_no_others(self, catalog: Catalog) -> None:
        for key in ("a", "a/1", "a/2", "a0", "b/1"):
            catalog.put(key, key)
        assert list(catalog.scan("a/")) == [Entry("a/1", "a/1", 1), Entry("a/2", "a/2", 1)]

    def test_a_scan_of_the_empty_prefix_gives_everything(self, catalog: Catalog) -> None:
        for key in ("b", "\x00", "\U0010ffff"):
            catalog.put(key, None)
        assert [entry.key for entry in catalog.scan("")] == ["\x00", "b", "\U0010ffff"]

    def test_a_scan_is_in_byte_order_of_the_keys(self, catalog: Catalog) -> None:
        keys = ["Z", "a", "a\x00", "a/10", "a/9", "ä", "\uffff", "\U0001f600"]
        for key in reversed(keys):
            catalog.put(key, None)
        assert [entry.key for entry in catalog.scan("")] == sorted(keys, key=str.encode)

    def test_a_scan_finds_nothing_where_nothing_is(self, catalog: Catalog) -> None:
        assert list(catalog.scan("")) == []
        catalog.put("a", 1)
        assert list(catalog.scan("b")) == []
        assert list(catalog.scan("a" * 1_000)) == []

    def test_a_scan_shows_the_moment_it_was_called(self, catalog: Catalog) -> None:
        for key in ("a", "b", "c"):
            catalog.put(key, 1)
        scan = catalog.scan("")
        assert next(scan).key == "a"
        catalog.apply([CatalogPut("b", 2), CatalogDelete("c"), CatalogPut("d", 2)])
        assert list(scan) == [Entry("b", 1, 1), Entry("c", 1, 1)]

    def test_a_scan_never_sees_half_of_an_apply(self, catalog: Catalog) -> None:
        catalog.apply([CatalogPut("x", 0), CatalogPut("y", 0)])
        done = threading.Event()

        def write() -> None:
            for n in range(1, 60):
                catalog.apply([CatalogPut("x", n), CatalogPut("y", n)])
            done.set()

        def read() -> set[tuple[Any, ...]]:
            seen = set()
            while not done.is_set():
                seen.add(tuple(entry.value for entry in catalog.scan("")))
            return seen

        pairs = on_threads(3, lambda number: write() if number == 0 else read())
        assert all(x == y for seen in pairs[1:] for x, y in seen)

    # Conditions

    def test_absent_as_if_version_creates_once(self, catalog: Catalog) -> None:
        assert catalog.put("a", "first", if_version=ABSENT) == 1
        with pytest.raises(VersionConflictError) as caught:
            catalog.put("a", "second", if_version=ABSENT)
        assert caught.value.subject == "a"
        assert catalog.get("a") == Entry("a", "first", 1)

    def test_a_put_at_the_current_version_is_made(self, catalog: Catalog) -> None:
        version = catalog.put("a", 1)
        assert catalog.put("a", 2, if_version=version) == version + 1

    @pytest.mark.parametrize("version", [1, 3, ABSENT])
    def test_a_put_at_another_version_changes_nothing(self, catalog: Catalog, version: int) -> None:
        catalog.put("a", 1)
        catalog.put("a", 2)
        with pytest.raises(VersionConflictError):
            catalog.put("a", 3, if_version=version)
        assert catalog.get("a") == Entry("a", 2, 2)

    def test_a_put_at_a_version_of_an_absent_entry_is_refused(self, catalog: Catalog) -> None:
        with pytest.raises(VersionConflictError):
            catalog.put("a", 1, if_version=1)
        assert catalog.get("a") is None

    def test_a_delete_at_the_current_version_is_made(self, catalog: Catalog) -> None:
        version = catalog.put("a", 1)
        assert catalog.delete("a", if_version=version) is True
        assert catalog.delete("a", if_version=ABSENT) is False

    @pytest.mark.parametrize("version", [2, ABSENT])
    def test_a_delete_at_another_version_changes_nothing(self, catalog: Catalog, version: int) -> None:
        catalog.put("a", 1)
        with pytest.raises(VersionConflictError):
            catalog.delete("a", if_version=version)
        assert catalog.get("a") == Entry("a", 1, 1)

    def test_compare_and_set_from_8_threads_loses_no_update(self, catalog: Catalog) -> None:
        catalog.put("counter", 0)

        def add_ten(_: int) -> None:
            for _ in range(10):
                while True:
                    entry = catalog.get("counter")
                    assert entry is not None
                    try:
                        catalog.put("counter", entry.value + 1, if_version=entry.version)
                    except VersionConflictError:
                        continue
                    break

        on_threads(8, add_ten)
        assert catalog.get("counter") == Entry("counter", 80, 81)

    def test_of_8_threads_that_create_an_entry_one_succeeds(self, catalog: Catalog) -> None:
        def create(number: int) -> int | None:
            try:
                return catalog.put("one", number, if_version=ABSENT) and number
            except VersionConflictError:
                return None

        winners = [number for number in on_threads(8, create) if number is not None]
        assert len(winners) == 1
        assert catalog.get("one") == Entry("one", winners[0], 1)

    # Apply

    def test_apply_makes_all_changes(self, catalog: Catalog) -> None:
        catalog.put("old", 1)
        catalog.apply([CatalogPut("new", 2), CatalogDelete("old"), CatalogDelete("never there")])
        assert list(catalog.scan("")) == [Entry("new", 2, 1)]

    def test_apply_of_nothing_changes_nothing(self, catalog: Catalog) -> None:
        catalog.apply([])
        assert list(catalog.scan("")) == []

    def test_changes_of_an_apply_see_those_before_them(self, catalog: Catalog) -> None:
        catalog.apply(
            [
                CatalogPut("a", 1, if_version=ABSENT),
                CatalogPut("a", 2, if_version=1),
                CatalogDelete("a", if_version=2),
                CatalogPut("a", 3, if_version=ABSENT),
            ]
        )
        assert catalog.get("a") == Entry("a", 3, 1)

    @pytest.mark.parametrize(
        ("last", "error"),
        [
            (CatalogPut("kept", 2, if_version=7), VersionConflictError),
            (CatalogDelete("kept", if_version=ABSENT), VersionConflictError),
            (CatalogPut("bad", object()), ArgumentError),
            (CatalogPut("", 1), ArgumentError),
        ],
        ids=["put", "delete", "value", "key"],
    )
    def test_an_apply_that_fails_at_its_last_change_makes_none(
        self, catalog: Catalog, last: CatalogPut | CatalogDelete, error: type[Exception]
    ) -> None:
        catalog.apply([CatalogPut("kept", 1), CatalogPut("doomed", 1)])
        before = list(catalog.scan(""))
        with pytest.raises(error):
            catalog.apply([CatalogPut("new", 1), CatalogDelete("doomed"), CatalogPut("kept", 9), last])
        assert list(catalog.scan("")) == before

    # Sequences

    def test_a_sequence_counts_from_1(self, catalog: Catalog) -> None:
        assert [catalog.sequence("s") for _ in range(3)] == [1, 2, 3]

    def test_sequences_count_apart(self, catalog: Catalog) -> None:
        catalog.sequence("s")
        assert catalog.sequence("t") == 1

    def test_a_sequence_is_apart_from_entries(self, catalog: Catalog) -> None:
        catalog.put("s", "an entry")
        catalog.sequence("s")
        catalog.sequence("t")
        assert list(catalog.scan("")) == [Entry("s", "an entry", 1)]
        catalog.delete("s")
        assert catalog.sequence("s") == 2

    def test_a_sequence_gives_8_threads_no_number_twice(self, catalog: Catalog) -> None:
        taken = on_threads(8, lambda _: [catalog.sequence("s") for _ in range(10)])
        assert sorted(number for numbers in taken for number in numbers) == list(range(1, 81))
        assert all(numbers == sorted(numbers) for numbers in taken)

    # Values and keys

    @pytest.mark.parametrize("value", PLAIN_VALUES, ids=lambda value: f"{value!r:.20}")
    def test_a_value_keeps_its_types(self, catalog: Catalog, value: Any) -> None:
        catalog.put("a", value)
        entry = catalog.get("a")
        assert entry is not None
        assert typed(entry.value) == typed(value)

    def test_nan_stays_nan(self, catalog: Catalog) -> None:
        catalog.put("a", float("nan"))
        entry = catalog.get("a")
        assert entry is not None
        assert math.isnan(entry.value)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors])
    @given(contents=st.dictionaries(_keys, _plain, max_size=5))
    def test_any_plain_contents_come_back(self, catalog: Catalog, contents: dict[str, Any]) -> None:
        catalog.apply([CatalogDelete(entry.key) for entry in catalog.scan("")])
        catalog.apply([CatalogPut(key, value) for key, value in contents.items()])
        assert typed({entry.key: entry.value for entry in catalog.scan("")}) == typed(contents)

    @pytest.mark.parametrize("value", UNSTORABLE_VALUES, ids=lambda value: f"{value!r:.20}")
    def test_a_value_that_would_not_come_back_is_refused_by_key(self, catalog: Catalog, value: Any) -> None:
        catalog.put("the-key", "before")
        with pytest.raises(ArgumentError, match="the-key"):
            catalog.put("the-key", value)
        assert catalog.get("the-key") == Entry("the-key", "before", 1)

    def test_a_value_that_holds_itself_is_refused(self, catalog: Catalog) -> None:
        value: list[Any] = []
        value.append(value)
        with pytest.raises(ArgumentError, match="the-key"):
            catalog.put("the-key", value)

    @pytest.mark.parametrize(
        "key", ["k", "k" * 400, "ü" * 200, "a/b c\x00\n"], ids=lambda key: f"{key!r:.10}"
    )
    def test_a_key_of_1_to_400_bytes_is_taken(self, catalog: Catalog, key: str) -> None:
        catalog.put(key, 1)
        assert catalog.get(key) == Entry(key, 1, 1)
        assert [entry.key for entry in catalog.scan(key)] == [key]
        assert catalog.sequence(key) == 1
        assert catalog.delete(key) is True

    @pytest.mark.parametrize(
        "key", ["", "k" * 401, "ü" * 201, "\ud800", b"k", 7, None], ids=lambda key: f"{key!r:.10}"
    )
    def test_any_other_key_is_refused(self, catalog: Catalog, key: Any) -> None:
        for call in (
            lambda: catalog.get(key),
            lambda: catalog.put(key, 1),
            lambda: catalog.delete(key),
            lambda: catalog.apply([CatalogPut(key, 1)]),
            lambda: catalog.apply([CatalogDelete(key)]),
            lambda: catalog.sequence(key),
        ):
            with pytest.raises(ArgumentError):
                call()

    @pytest.mark.parametrize("prefix", ["\ud800", b"k", None])
    def test_a_prefix_that_is_no_text_is_refused(self, catalog: Catalog, prefix: Any) -> None:
        with pytest.raises(ArgumentError) as caught:
            catalog.scan(prefix)
        assert caught.value.subject == "prefix"

    # Reopening

    def test_reopening_keeps_entries_versions_and_sequences(self, catalog: Catalog, reopen: Reopen) -> None:
        catalog.put("a", 1)
        catalog.put("a", {"two": b"2"})
        catalog.put("gone", 1)
        catalog.delete("gone")
        catalog.sequence("s")
        catalog.sequence("s")
        again = reopen()
        assert list(again.scan("")) == [Entry("a", {"two": b"2"}, 2)]
        assert again.put("a", 3, if_version=2) == 3
        assert again.sequence("s") == 3
