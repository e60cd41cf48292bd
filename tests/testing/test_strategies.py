"""The shipped strategies draw what the records accept, and filters that tell metadata apart."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from qstore_db.records import (
    Metadata,
    Metric,
    Superposition,
    Vectors,
    as_vector,
    check_id,
    check_matrix,
    check_metadata,
    parse_filter,
)
from qstore_db.records.filter import ORDERED
from qstore_db.testing.strategies import PATHS, filters, ids, metadata, superpositions, vectors

# An example that exists is enough; making it small takes minutes.
ANY = settings(phases=[Phase.generate], max_examples=5_000, derandomize=True, database=None, deadline=None)


@given(ids(), vectors(3), metadata(), superpositions(), filters())
def test_whatever_is_drawn_is_accepted(
    id: str,
    vector: Vectors,
    values: Metadata,
    contexts: list[tuple[str, float]],
    filter: Mapping[str, object],
) -> None:
    check_id(id)
    check_matrix(as_vector(vector), dimension=3, metric=Metric.COSINE, collection="drawn", what="vector")
    check_metadata(values)
    Superposition.parse(contexts)
    parse_filter(filter)


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    "operator", ["$eq", "$ne", *ORDERED, "$in", "$nin", "$exists", "$not", "$and", "$or"]
)
def test_drawn_filters_of_every_operator_select_and_refuse_drawn_metadata(
    operator: str, wanted: bool
) -> None:
    def decides(drawn: tuple[Mapping[str, object], Metadata]) -> bool:
        filter, values = drawn
        parsed = parse_filter(filter)
        return f"'{operator}'" in str(filter) and parsed is not None and parsed.matches(values) is wanted

    find(st.tuples(filters(), metadata()), decides, settings=ANY)


@pytest.mark.parametrize("path", [path for path in PATHS if path != "absent"])
def test_drawn_metadata_fills_the_paths_that_filters_ask_for(path: str) -> None:
    exists = parse_filter({path: {"$exists": True}})
    assert exists is not None
    find(metadata(), exists.matches, settings=ANY)


@given(filters(paths=["only"]), metadata())
def test_filters_ask_for_the_given_paths_alone(filter: Mapping[str, object], values: Metadata) -> None:
    values.pop("only", None)
    parsed = parse_filter(filter)
    assert parsed is not None
    assert parsed.matches(values) is parsed.matches({})
