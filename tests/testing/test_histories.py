"""A history is accepted exactly where one order of its operations explains it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.errors import ArgumentError
from qstore_db.testing.histories import Operation, Refusal, Seen, check
from qstore_db.testing.histories.operation import Kind

DUPLICATE, ABSENT, CONFLICT = Refusal
LOST = None
"""The time of an answer that never came."""


def op(kind: Kind, called: float, returned: float | None, result: Any = None, **more: Any) -> Operation:
    argument = more.pop("value", None)
    return Operation(
        more.pop("client", 0), more.pop("key", "k"), kind, argument, result, called, returned, **more
    )


def put(value: Any, version: int | Refusal | None, called: float, returned: float | None) -> Operation:
    return op("upsert", called, returned, version, value=value)


def insert(value: Any, version: int | Refusal | None, called: float, returned: float | None) -> Operation:
    return op("insert", called, returned, version, value=value)


def update(
    value: Any, version: int | Refusal | None, called: float, returned: float | None, at: int | None = None
) -> Operation:
    return op("update", called, returned, version, value=value, if_version=at)


def delete(count: int | None, called: float, returned: float | None) -> Operation:
    return op("delete", called, returned, count)


def get(value: Any, version: int, called: float, returned: float) -> Operation:
    return op("get", called, returned, Seen(value, version))


def nothing(called: float, returned: float) -> Operation:
    return op("get", called, returned)


GOOD = {
    "empty": [],
    "one after the other": [
        nothing(0, 1),
        insert("a", 1, 2, 3),
        insert("b", DUPLICATE, 4, 5),
        get("a", 1, 6, 7),
        update("c", 2, 8, 9, at=1),
        update("d", CONFLICT, 10, 11, at=1),
        put("e", 5, 12, 13),
        delete(1, 14, 15),
        delete(0, 16, 17),
        update("f", ABSENT, 18, 19),
        nothing(20, 21),
    ],
    "a read meets the old value while a write is under way": [
        put("a", 1, 0, 1),
        put("b", 2, 2, 9),
        get("a", 1, 3, 4),
        get("b", 2, 5, 6),
    ],
    "two inserts at once, of which one is refused": [insert("a", DUPLICATE, 0, 9), insert("b", 1, 1, 8)],
    "an update of a version that is written meanwhile": [put("a", 1, 0, 9), update("b", 2, 1, 8, at=1)],
    "two deletes at once": [put("a", 1, 0, 1), delete(1, 2, 5), delete(0, 3, 4)],
    "two deletes at once around an insert": [
        put("a", 1, 0, 1),
        delete(1, 2, 9),
        delete(1, 3, 8),
        insert("b", 2, 4, 7),
    ],
    "a return and a call that the clock cannot tell apart": [put("a", 1, 0, 1), nothing(1, 2)],
    "a lost write that took effect": [put("a", 1, 0, 1), put("b", LOST, 2, LOST), get("b", 3, 4, 5)],
    "a lost write that never did": [put("a", 1, 0, 1), put("b", LOST, 2, LOST), get("a", 1, 4, 5)],
    "a lost write that took effect late": [
        put("a", 1, 0, 1),
        put("b", LOST, 2, LOST),
        get("a", 1, 4, 5),
        put("c", 2, 6, 7),
        get("b", 3, 8, 9),
    ],
    "a lost delete": [put("a", 1, 0, 1), delete(LOST, 2, LOST), insert("b", 2, 3, 4)],
    "a lost insert that refuses another": [
        insert("a", LOST, 0, LOST),
        insert("b", DUPLICATE, 1, 2),
        get("a", 1, 3, 4),
    ],
    "a lost update that held": [
        put("a", 1, 0, 1),
        update("b", LOST, 2, LOST, at=1),
        update("c", CONFLICT, 3, 4, at=1),
    ],
    "a refusal that tells what the version of a lost write is not": [
        put("a", LOST, 0, LOST),
        update("b", CONFLICT, 1, 2, at=7),
        get("a", 8, 3, 4),
    ],
    "two lost writes of one value": [
        put("a", LOST, 0, LOST),
        put("a", LOST, 0, LOST),
        get("a", 4, 1, 9),
        get("a", 6, 2, 8),
    ],
    "a lost read": [op("get", 0, LOST)],
    "other keys": [put("a", 1, 0, 1), nothing(2, 3), op("upsert", 4, 5, 2, value="a", key="l")][1:],
}

BAD = {
    "a stale read": [put("a", 1, 0, 1), put("b", 2, 2, 3), get("a", 1, 4, 5)],
    "a read of nothing after a write": [put("a", 1, 0, 1), nothing(2, 3)],
    "a read from the future": [get("a", 1, 0, 1), put("a", 1, 2, 3)],
    "a read of a value that nobody wrote": [put("a", 1, 0, 1), get("z", 1, 2, 3)],
    "a read of a value at another's version": [put("a", 1, 0, 1), put("b", 2, 2, 3), get("b", 1, 4, 5)],
    "reads that go back": [
        put("a", 1, 0, 1),
        put("b", 2, 2, 9),
        get("b", 2, 3, 4),
        get("a", 1, 5, 6),
    ],
    "a lost update": [
        put("a", 1, 0, 1),
        update("b", 2, 2, 9, at=1),
        update("c", 3, 3, 8, at=1),
    ],
    "if_version accepted twice, one after the other": [
        put("a", 1, 0, 1),
        update("b", 2, 2, 3, at=1),
        update("c", 3, 4, 5, at=1),
    ],
    "if_version refused though it held": [put("a", 1, 0, 1), update("b", CONFLICT, 2, 3, at=1)],
    "a conflict of an update that asked for nothing": [put("a", 1, 0, 1), update("b", CONFLICT, 2, 3)],
    "insert succeeds twice": [insert("a", 1, 0, 9), insert("b", 2, 1, 8)],
    "insert refused where nothing was": [insert("a", DUPLICATE, 0, 1)],
    "insert refused in the manner of an update": [insert("a", ABSENT, 0, 1)],
    "an update of what is not there": [update("a", 1, 0, 1)],
    "an update that misses what is there": [put("a", 1, 0, 1), update("b", ABSENT, 2, 3)],
    "a deleted record that comes back": [put("a", 1, 0, 1), delete(1, 2, 3), get("a", 1, 4, 5)],
    "a deleted record that comes back as a new one": [put("a", 1, 0, 1), delete(1, 2, 3), get("a", 4, 4, 5)],
    "a delete that counts twice": [put("a", 1, 0, 1), delete(1, 2, 9), delete(1, 3, 8)],
    "a delete that misses what is there": [put("a", 1, 0, 1), delete(0, 2, 3)],
    "a retried write that is applied again": [put("a", 1, 0, 1), put("b", 2, 2, 3), get("a", 3, 4, 5)],
    "a lost write that is applied twice": [
        put("a", LOST, 0, LOST),
        get("a", 1, 1, 2),
        put("b", 2, 3, 4),
        get("a", 3, 5, 6),
    ],
    "a lost write that is seen and then undone": [
        put("a", 1, 0, 1),
        put("b", LOST, 2, LOST),
        get("b", 2, 3, 4),
        get("a", 1, 5, 6),
    ],
    "a lost delete that took effect, and did not": [
        put("a", 1, 0, 1),
        delete(LOST, 2, LOST),
        nothing(3, 4),
        get("a", 1, 5, 6),
    ],
    "a lost write that shows before it was asked for": [get("a", 1, 0, 1), put("a", LOST, 2, LOST)],
    "a lost write at two versions": [put("a", LOST, 0, LOST), get("a", 1, 1, 2), get("a", 2, 3, 4)],
    "a lost write at a version that it was refused for": [
        put("a", LOST, 0, LOST),
        get("a", 7, 1, 2),
        update("b", CONFLICT, 3, 4, at=7),
    ],
    "a lost write at an old version": [put("a", 5, 0, 1), put("b", LOST, 2, LOST), get("b", 4, 3, 4)],
    "a later write with a lower version": [put("a", 2, 0, 1), put("b", 1, 2, 3)],
    "one version for two writes": [put("a", 1, 0, 9), put("b", 1, 1, 8)],
    "versions against the order that reads saw": [
        put("a", 2, 0, 9),
        put("b", 1, 0, 9),
        get("a", 2, 1, 2),
        get("b", 1, 3, 4),
    ],
    "a write that was given no version": [put("a", None, 0, 1)],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_what_one_order_explains_is_accepted(history: list[Operation]) -> None:
    assert check(history) is None
    assert check(reversed(history)) is None


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_what_no_order_explains_is_refused(history: list[Operation]) -> None:
    violation = check(history)
    assert violation is not None
    assert violation.culprit in violation.operations
    assert set(violation.operations) <= set(history)
    assert check(reversed(history)) is not None


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_a_wrong_key_is_found_among_right_ones(history: list[Operation]) -> None:
    mixed = [*history]
    for key, good in GOOD.items():
        mixed += [replace(operation, key=key) for operation in good]
    violation = check(mixed)
    assert violation is not None
    assert violation.key == "k"


def test_keys_are_judged_apart() -> None:
    assert check([put("a", 2, 0, 1), replace(put("b", 1, 2, 3), key="other"), get("a", 2, 4, 5)]) is None


def test_the_violation_names_what_cannot_be_ordered_and_nothing_else() -> None:
    history = [
        put("first", 1, 0.000, 0.001),
        put("old", 2, 0.002, 0.003),
        put("new", 3, 0.004, 0.005),
        delete(0, 0.0061, 0.0062),
    ]
    quiet = [get("new", 3, 0.0051, 0.0058), put("late", 9, 0.5, 0.6)]
    stale = replace(get("old", 2, 0.0052, 0.0057), client=7)
    violation = check([*history[:3], *quiet, stale])
    assert violation is not None
    assert violation.operations == (stale,)
    assert str(violation).splitlines() == [
        "key 'k': no order of these operations explains what they returned",
        "before: 'new' at version 3",
        "  client  called ms  returned ms",
        "       7      0.000        0.500  get() -> 'old' at version 2   <- fits nowhere",
        "met: 'new' at version 3",
        "what it saw was written by:",
        "       0     -3.200       -2.200  upsert('old') -> version 2",
    ]


def test_the_violation_shows_what_ran_beside_the_culprit() -> None:
    writes = [put("a", 1, 0, 1), update("b", 2, 2, 9, at=1), update("c", 3, 3, 8, at=1)]
    violation = check([*writes, nothing(10, 11)])
    assert violation is not None
    assert violation.operations == tuple(writes[1:])
    assert violation.culprit == writes[2]
    assert [state.value for state in violation.before] == ["a"]
    text = str(violation)
    assert "update('b', if_version=1) -> version 2" in text
    assert "'b' at version 2" in text


def test_the_text_counts_the_lost_writes_that_it_does_not_show() -> None:
    lost = [put(f"lost-{i}", LOST, i, LOST) for i in range(30)]
    violation = check([*lost, delete(1, 40, 41), get("a", 1, 50, 51)])
    assert violation is not None
    assert len(violation.operations) == 30  # one of the lost writes did take effect: something was deleted
    assert "lost-26" in str(violation)
    assert "lost-25" not in str(violation)
    assert "and 25 of unknown outcome, called before those" in str(violation)


def test_a_value_that_nobody_wrote_is_called_so() -> None:
    assert "nobody ever wrote 'z'" in str(check(BAD["a read of a value that nobody wrote"]))


def test_of_several_violations_the_first_to_show_is_told() -> None:
    bad = BAD["a stale read"]
    early = [replace(o, key="early") for o in bad]
    late = [replace(o, key="late", invoked=o.invoked + 9, returned=(o.returned or 0) + 9) for o in bad]
    violation = check([*late, *early])
    assert violation is not None
    assert violation.key == "early"


def test_an_operation_that_returns_before_its_call_is_refused() -> None:
    with pytest.raises(ArgumentError) as caught:
        put("a", 1, 2.0, 1.0)
    assert caught.value.subject == "returned"


# Against an oracle that tries everything.


@st.composite
def small_histories(draw: st.DrawFn) -> list[Operation]:
    """Up to five operations of any result, at any times: most have no order, and many almost have one."""
    versions = st.integers(1, 4)
    values = st.sampled_from("ab")
    history: list[Operation] = []
    for _ in range(draw(st.integers(1, 5))):
        kind: Kind = draw(st.sampled_from(["insert", "upsert", "upsert", "update", "delete", "get", "get"]))
        called, lasted = draw(st.integers(0, 6)), draw(st.none() | st.integers(0, 6))
        returned = None if lasted is None else called + lasted
        result: Any = None
        if kind == "get":
            result = draw(st.none() | st.builds(Seen, values, versions))
        elif kind == "delete":
            result = draw(st.integers(0, 1))
        else:
            refused = {"insert": [DUPLICATE], "upsert": [], "update": [ABSENT, CONFLICT]}[kind]
            result = draw(versions | st.sampled_from(refused) if refused else versions)
        at = draw(st.none() | versions) if kind == "update" else None
        value = None if kind in ("get", "delete") else draw(values)
        result = None if returned is None else result
        history.append(op(kind, called, returned, result, value=value, if_version=at))
    return history


def has_an_order(history: Sequence[Operation]) -> bool:
    """By trying every choice of what took effect, in every order, with every version that could matter."""
    lost = [o for o in history if o.returned is None]
    known = [o for o in history if o.returned is not None]
    for number in range(len(lost) + 1):
        for some in itertools.combinations(lost, number):
            if any(explains(order) for order in itertools.permutations([*known, *some])):
                return True
    return False


def explains(order: Sequence[Operation]) -> bool:
    for i, earlier in enumerate(order):
        for later in order[i + 1 :]:
            if later.returned is not None and later.returned < earlier.invoked:
                return False
    writes = [o for o in order if o.returned is None and o.kind in ("insert", "upsert", "update")]
    return any(
        all(happens(order, dict(zip(map(id, writes), versions, strict=True))))
        for versions in itertools.product([*range(1, 5), None], repeat=len(writes))
    )


def happens(order: Sequence[Operation], versions: dict[int, int | None]) -> Iterator[bool]:
    """For each operation whether it can be; a lost write is given the version of `versions`, None: another one."""
    held: tuple[Any, int | None] | None = None
    last = 0
    for o in order:
        if o.kind == "get":
            yield held == o.result
            continue
        if o.kind == "delete":
            yield o.returned is None or o.result == (held is not None)
            held = None
            continue
        at_odds = o.if_version is not None and held is not None and held[1] != o.if_version
        if isinstance(o.result, Refusal):
            yield {
                ("insert", DUPLICATE): held is not None,
                ("update", ABSENT): held is None,
                ("update", CONFLICT): at_odds,
            }.get((o.kind, o.result), False)
            continue
        yield {"insert": held is None, "upsert": True, "update": held is not None and not at_odds}[o.kind]
        version = versions[id(o)] if o.returned is None else o.result
        if o.returned is not None or version is not None:
            version = version or 0
            yield version > last
            last = version
        held = (o.argument, version)


@given(small_histories())
def test_it_agrees_with_trying_everything(history: list[Operation]) -> None:
    assert (check(history) is None) == has_an_order(history)


@pytest.mark.parametrize(
    ("history", "good"),
    [(history, good) for some, good in ((GOOD, True), (BAD, False)) for history in some.values()],
    ids=[*GOOD, *BAD],
)
def test_trying_everything_agrees_with_what_is_known(history: list[Operation], good: bool) -> None:
    results = [o.result.version if isinstance(o.result, Seen) else o.result for o in history]
    versions = [v for v in [*results, *(o.if_version for o in history)] if isinstance(v, int)]
    if len(history) > 5 or len({o.key for o in history}) > 1 or max(versions, default=0) > 4:
        return  # more than the oracle can do
    assert has_an_order(history) == good


# Histories of a register that answers one after the other, each somewhere between its call and its return.


@st.composite
def orderly(draw: st.DrawFn) -> list[Operation]:
    """What clients of a correct register may see: the order is that of the list, calls and returns spread out."""
    history: list[Operation] = []
    held: Seen | None = None
    for moment in range(1, draw(st.integers(10, 60))):
        kind: Kind = draw(st.sampled_from(["get", "get", "get", "insert", "upsert", "update", "delete"]))
        called, returned = moment - draw(st.floats(0, 8)), moment + draw(st.floats(0, 8))
        at = draw(st.none() | st.just(held and held.version) | st.just(1)) if kind == "update" else None
        result: Any = moment
        if kind == "get":
            result = held
        elif kind == "delete":
            result = int(held is not None)
        elif kind == "insert" and held is not None:
            result = DUPLICATE
        elif kind == "update" and held is None:
            result = ABSENT
        elif kind == "update" and at is not None and held is not None and at != held.version:
            result = CONFLICT
        value = None if kind in ("get", "delete") else f"v{moment}"
        lost = kind != "get" and draw(st.integers(0, 9)) == 0
        if kind == "delete":
            held = None
        elif result == moment:
            held = Seen(value, moment)
        history.append(
            op(kind, called, None if lost else returned, None if lost else result, value=value, if_version=at)
        )
    return history


@given(orderly(), st.randoms(use_true_random=False))
def test_what_a_correct_register_answers_is_accepted(history: list[Operation], random: Any) -> None:
    random.shuffle(history)
    violation = check(history)
    assert violation is None, violation


@given(orderly(), st.data())
def test_one_impossible_read_is_refused(history: list[Operation], data: st.DataObject) -> None:
    """A value is impossible that was replaced before the read began, or written after it ended, or never."""
    reads = [i for i, o in enumerate(history) if o.kind == "get"]
    if not reads:
        return
    i = data.draw(st.sampled_from(reads))
    read = history[i]
    assert read.returned is not None
    impossible = [Seen("never written", 1)]
    for write in history:
        if write.returned is None or not isinstance(write.result, int) or write.kind in ("delete", "get"):
            continue
        replaced = any(
            isinstance(o.result, int) and o.returned is not None and o.returned < read.invoked
            for o in history
            if o.invoked > write.returned and (o.kind != "delete" or o.result == 1)
        )
        if replaced or write.invoked > read.returned:
            impossible.append(Seen(write.argument, write.result))
    history[i] = replace(read, result=data.draw(st.sampled_from(impossible)))
    violation = check(history)
    assert violation is not None
    assert str(violation)
