"""Hypothesis strategies for what records hold and queries ask.

Metadata and filters draw from one small pool of paths and values (and from anything else besides), so that a
drawn filter selects some of the drawn records and not others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from qstore_db.records import Metadata, Value, Vectors
from qstore_db.records.filter import ORDERED

KEYS = ("kind", "price", "tags")
PATHS = (*KEYS, "box", *(f"box.{key}" for key in KEYS), "absent")
"""The paths that `metadata` often fills, and one that it never does."""

_UNICODE = st.characters(exclude_categories=["Cs"])
_NUMBERS = st.sampled_from([-1, 0, 1, 2, -1.0, -0.0, 0.5, 1.0, 2.5, 2**53 + 1, float(2**53)])
_STRINGS = st.sampled_from(["", "a", "b", "ab", "1", "é"])
_COMMON = _NUMBERS | _STRINGS | st.sampled_from([True, False, None])


def ids() -> st.SearchStrategy[str]:
    """Record ids: 1 to 128 bytes of UTF-8."""
    return st.text(_UNICODE, min_size=1, max_size=32)


def vectors(dimension: int, *, magnitude: float = 1_000.0) -> st.SearchStrategy[Vectors]:
    """(dimension,) float32, finite, within +-magnitude and not all zero: fit for every metric."""
    bound = float(np.float32(magnitude))
    elements = st.floats(-bound, bound, width=32)
    return npst.arrays(np.float32, dimension, elements=elements).filter(lambda vector: bool(vector.any()))


def scalars() -> st.SearchStrategy[Value]:
    """What one metadata key may hold besides lists and maps, and a filter may compare with."""
    integers = st.integers(-(2**63), 2**63 - 1)
    return (
        _COMMON | integers | st.floats(allow_nan=False, allow_infinity=False) | st.text(_UNICODE, max_size=8)
    )


def metadata() -> st.SearchStrategy[Metadata]:
    """Metadata of every storable type: scalars, lists and nested maps."""
    leaves = scalars()
    usual: st.SearchStrategy[Value] = leaves | st.lists(leaves, max_size=3)
    anything: st.SearchStrategy[Value] = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys(), inner, max_size=3),
        max_leaves=5,
    )
    optional = dict.fromkeys(KEYS, usual)
    box = st.fixed_dictionaries({}, optional=optional)
    known = st.fixed_dictionaries({}, optional={**optional, "box": box | leaves})
    return st.builds(
        lambda others, some: {**others, **some}, st.dictionaries(_keys(), anything, max_size=2), known
    )


def superpositions() -> st.SearchStrategy[list[tuple[str, float]]]:
    """Valid `contexts`: none, or up to five names with weights of any sum, some of them zero."""
    names = st.sampled_from(["a", "b", "c", "footwear"]) | st.text(_UNICODE, min_size=1, max_size=8)
    weights = st.sampled_from([0.0, 0.3, 0.7, 1.0, 5.0]) | st.floats(0.0, 1e6)
    pairs = st.lists(st.tuples(names, weights), max_size=5, unique_by=lambda pair: pair[0])
    return pairs.filter(lambda drawn: not drawn or any(weight > 0.0 for _, weight in drawn))


def filters(paths: Sequence[str] = PATHS) -> st.SearchStrategy[Mapping[str, object]]:
    """Valid filters over `paths`, with every operator, nested."""
    values: st.SearchStrategy[object] = scalars()
    several: st.SearchStrategy[object] = st.lists(values, max_size=4)
    ordered: st.SearchStrategy[object] = _NUMBERS | _STRINGS
    conditions: st.SearchStrategy[Mapping[str, object]] = st.fixed_dictionaries(
        {},
        optional={
            "$eq": values,
            "$ne": values,
            **dict.fromkeys(ORDERED, ordered),
            "$in": several,
            "$nin": several,
            "$exists": st.booleans(),
        },
    ).filter(bool)
    negated = st.fixed_dictionaries({"$not": conditions})
    clause: st.SearchStrategy[Mapping[str, object]] = st.dictionaries(
        st.sampled_from(paths), values | conditions | negated, max_size=2
    )
    return st.recursive(
        clause,
        lambda inner: (
            st.fixed_dictionaries({"$not": inner})
            | st.dictionaries(
                st.sampled_from(["$and", "$or"]),
                st.lists(inner, min_size=1, max_size=3),
                min_size=1,
                max_size=1,
            )
        ),
        max_leaves=6,
    )


def _keys() -> st.SearchStrategy[str]:
    names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=".$"), min_size=1, max_size=6)
    return names.filter(lambda name: name not in PATHS)
