"""Tables of combinations in which every two values meet."""

from __future__ import annotations

from itertools import combinations, product

from qstore_db.testing.pairwise import pairwise

OPTIONS = {"a": "xyz", "b": [1, 2, 3, 4], "c": [None, True], "d": ["one"]}


def test_any_two_values_of_two_options_meet() -> None:
    table = pairwise(OPTIONS)
    for first, second in combinations(OPTIONS, 2):
        met = {(row[first], row[second]) for row in table}
        assert met == set(product(OPTIONS[first], OPTIONS[second]))


def test_the_table_is_far_smaller_than_all_combinations_and_always_the_same() -> None:
    table = pairwise(OPTIONS)
    assert 12 <= len(table) < 24
    assert table == pairwise(OPTIONS)
