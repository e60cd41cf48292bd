"""Superpositions of contexts and how queries read them (design: |psi> = sum_c sqrt(w_c) |c>)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.errors import ContextError
from qstore_db.records import ContextQuery, Superposition, soften
from qstore_db.testing.strategies import superpositions


def probability(context: object, **weights: float) -> float:
    query = ContextQuery.parse(context)
    row = np.array([[weights.get(name, 0.0) for name in query.names]])
    return float(query.probabilities(row)[0])


def test_no_contexts_is_a_record_without_any() -> None:
    assert Superposition.parse(None) == Superposition.parse([]) == Superposition.parse({}) == Superposition()
    assert Superposition().weights == ()


def test_pairs_and_mappings_describe_the_same_state() -> None:
    assert Superposition.parse([("a", 1), ["b", 3.0]]) == Superposition.parse({"a": 1.0, "b": 3.0})


def test_weights_are_normalised_and_raw_values_kept() -> None:
    state = Superposition.parse([("a", 1), ("b", 3)])
    assert state.raw == (1.0, 3.0)
    assert state.pairs() == (("a", 0.25), ("b", 0.75))


def test_numpy_weights_and_names_become_plain_python() -> None:
    state = Superposition.parse({np.str_("a"): np.float32(0.5), "b": np.int64(2)})
    assert [type(name) for name in state.names] == [str, str]
    assert [type(weight) for weight in state.raw] == [float, float]


def test_entries_of_weight_zero_are_dropped() -> None:
    assert Superposition.parse({"a": 0.0, "b": 2.0, "c": -0.0}).names == ("b",)


def test_all_zero_weights_are_refused() -> None:
    with pytest.raises(ContextError, match="all context weights are zero"):
        Superposition.parse({"a": 0.0, "b": 0.0})


def test_a_name_given_twice_is_refused_by_name() -> None:
    with pytest.raises(ContextError, match="'a' is named twice") as caught:
        Superposition.parse([("a", 0.5), ("a", 0.5)])
    assert caught.value.subject == "a"


def test_a_name_given_twice_is_refused_even_with_weight_zero() -> None:
    with pytest.raises(ContextError, match="named twice"):
        Superposition.parse([("a", 0.0), ("a", 1.0)])


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf, -0.1, 10**400, "1", None, True, 1j])
def test_a_weight_that_is_no_finite_number_from_zero_up_is_refused_by_name(weight: object) -> None:
    with pytest.raises(ContextError, match="of context 'b'") as caught:
        Superposition.parse([("a", 1.0), ("b", weight)])
    assert caught.value.subject == "b"


@pytest.mark.parametrize("name", ["", 1, None, b"a", "\ud800", "é" * 65])
def test_a_name_that_is_no_short_text_is_refused(name: object) -> None:
    with pytest.raises(ContextError, match="context name"):
        Superposition.parse([(name, 1.0)])


@pytest.mark.parametrize("contexts", ["footwear", 5, ["ab"], [("a",)], [("a", 1.0, 2.0)], [None]])
def test_contexts_that_are_no_pairs_are_refused(contexts: object) -> None:
    with pytest.raises(ContextError):
        Superposition.parse(contexts)


def test_at_most_64_contexts_fit_one_record() -> None:
    Superposition.parse({f"c{i}": 1.0 for i in range(64)})
    with pytest.raises(ContextError, match="65 contexts given, at most 64"):
        Superposition.parse({f"c{i}": 1.0 for i in range(65)})


def test_weights_whose_sum_overflows_are_normalised() -> None:
    assert Superposition.parse({"a": 1.7e308, "b": 1.7e308}).weights == (0.5, 0.5)


@given(superpositions())
def test_born_weights_sum_to_one_whatever_was_given(contexts: list[tuple[str, float]]) -> None:
    state = Superposition.parse(contexts)
    assert state.raw == tuple(weight for _, weight in contexts if weight > 0)
    assert math.fsum(state.weights) == pytest.approx(1.0 if contexts else 0.0, abs=1e-12)


def test_no_context_is_a_plain_query() -> None:
    assert ContextQuery.parse(None) is None


def test_a_query_in_one_context_sees_its_born_weight() -> None:
    assert probability("a", a=0.3, b=0.7) == 0.3


def test_without_phases_probabilities_add() -> None:
    assert probability({"a": 3, "b": 1}, a=0.4, b=0.6) == pytest.approx(0.75 * 0.4 + 0.25 * 0.6)


def test_equal_phases_read_as_and() -> None:
    query = {"a": (0.5, 0.0), "b": (0.5, 0.0)}
    assert probability(query, a=0.5, b=0.5) == pytest.approx(1.0)
    assert probability(query, a=1.0) == pytest.approx(0.5)


def test_opposite_phases_read_as_exclusive_or() -> None:
    query = {"a": (0.5, 0.0), "b": (0.5, math.pi)}
    assert probability(query, a=0.5, b=0.5) == 0.0
    assert probability(query, a=1.0) == pytest.approx(0.5)
    assert probability(query, b=1.0) == pytest.approx(0.5)


def test_a_probability_below_1e_12_counts_as_absent() -> None:
    assert probability("a", a=0.9e-12) == 0.0
    assert probability("a", a=1.1e-12) == 1.1e-12


def test_the_phase_of_a_context_of_weight_zero_is_dropped_with_it() -> None:
    query = ContextQuery.parse({"a": (0.5, 0.1), "b": (0.0, 0.2), "c": (0.5, 0.3)})
    assert query == ContextQuery(("a", "c"), (0.5, 0.5), (0.1, 0.3))


@pytest.mark.parametrize(
    "context",
    [
        "",
        5,
        {},
        ["a", "b"],
        {"a": 0.0},
        {"a": -1.0},
        {"a": (0.5, 0.0), "b": 0.5},
        {"a": (0.5,)},
        {"a": (0.5, math.nan)},
        {"a": (0.5, 10**400)},
        {"a": (0.5, "pi")},
        {"a": (math.inf, 0.0)},
        {1: 0.5},
    ],
)
def test_a_context_query_that_is_no_state_is_refused(context: object) -> None:
    with pytest.raises(ContextError):
        ContextQuery.parse(context)


@given(st.data())
def test_probabilities_stay_within_zero_and_one(data: st.DataObject) -> None:
    record = Superposition.parse(data.draw(superpositions()))
    asked = dict(data.draw(superpositions().filter(bool)))
    phases = data.draw(st.lists(st.floats(-10, 10), min_size=len(asked), max_size=len(asked)))
    phased = {name: (weight, phase) for (name, weight), phase in zip(asked.items(), phases, strict=True)}
    context = data.draw(st.sampled_from([asked, phased]))
    query = ContextQuery.parse(context)
    weights = dict(record.pairs())
    p = query.probabilities(np.array([[weights.get(name, 0.0) for name in query.names]]))
    assert p.shape == (1,)
    assert p[0] == 0.0 or 1e-12 <= p[0] <= 1.0


def test_a_record_in_the_queried_state_itself_is_seen_with_probability_one() -> None:
    assert probability({"a": (0.3, 1.0), "b": (0.7, 1.0)}, a=0.3, b=0.7) == pytest.approx(1.0)


def test_soft_grants_every_record_a_sixtieth() -> None:
    np.testing.assert_allclose(soften(np.array([0.0, 0.5, 1.0])), [1 / 60, 59 / 120 + 1 / 60, 1.0])
