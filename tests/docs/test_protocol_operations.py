"""The tables of docs/protocol.md name every operation, the fields that it takes and those that it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db.config import DatabaseConfig
from qstore_db.database.core import Core
from qstore_db.database.operations import PUT, WATCH, Operation, WatchOperation, WriteOperation
from qstore_db.database.options import QueryOptions, TunnelOptions
from qstore_db.database.pieces import Columns, Piece, pieces_of
from qstore_db.errors import ArgumentError
from qstore_db.records import Change
from qstore_db.testing.messages import read
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, encode
from qstore_server.tokens import SERVED

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
GROUPS = {
    "records": "### Records",
    "results": "### Results",
    "tunnel results": "### Results of tunnelling",
    "changes": "### Changes",
}
X, Y = [1.0, 0.0], [0.0, 1.0]


def table(heading: str, columns: int) -> list[tuple[str, ...]]:
    """The rows of a section's tables that have so many columns, without their heads."""
    part = re.split(r"\n##", PAGE.split(f"\n{heading}\n")[1])[0]
    rows = [
        tuple(cell.strip() for cell in line[1:-1].split("|")) for line in part.splitlines() if line[:1] == "|"
    ]
    return [row for row in rows if len(row) == columns and row[0].startswith("`")]


@dataclass(frozen=True)
class Told:
    """A row of the table of operations."""

    name: str
    role: str
    again: str
    fields: dict[str, Any]
    """Defaults by name, without those that are required."""
    required: list[str]
    answer: str

    @classmethod
    def of(cls, name: str, role: str, again: str, fields: str, answer: str) -> Told:
        named = re.findall(r"`(\w+)(?: = ([^`]+))?`", fields)
        options = {field: json.loads(default) for field, default in named if default}
        for group in re.findall(r"\[(\w+)\]", fields):
            options |= {field: json.loads(default) for field, default in OPTIONS[group].items()}
        return cls(
            name.strip("`"), role, again, options, [field for field, default in named if not default], answer
        )


OPTIONS: dict[str, dict[str, str]] = {"search": {}, "tunnel": {}}
for _field, _, _default, _group in table("### Fields of a search", 4):
    OPTIONS[_group][_field.strip("`")] = _default
TOLD = {told.name: told for told in (Told.of(*row) for row in table("## Operations", 5))}

SAMPLES: dict[str, Any] = {
    "ids": ["a"],
    "vectors": [[1.0]],
    "queries": [[1.0]],
    "vector": [1.0],
    "query": [1.0],
}
"""What required fields may be; any text will do for the others."""


def required_of(told: Told) -> dict[str, Any]:
    return {field: SAMPLES.get(field, "x") for field in told.required}


def unpacked(told: Told, given: dict[str, Any]) -> Any:
    """What is performed for a body, in a form that can be compared."""
    found = SERVED[told.name].unpack(given)
    return [list(value.puts) if isinstance(value, Piece) else value for value in found]


def test_every_operation_is_on_the_page_with_its_role_and_no_other_is() -> None:
    assert {name: told.role for name, told in TOLD.items()} == {
        name: str(operation.role) for name, operation in SERVED.items()
    }


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_an_operation_may_be_sent_again_as_the_page_says(told: Told) -> None:
    operation = SERVED[told.name]
    if isinstance(operation, WriteOperation):
        assert told.again == "key"
    else:
        assert told.again == (
            "yes" if isinstance(operation, WatchOperation) or operation.repeatable else "no"
        )


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_an_operation_knows_the_fields_of_the_page_and_no_others(told: Told) -> None:
    with pytest.raises(ArgumentError, match=r"\? is unknown here; there are: ") as caught:
        SERVED[told.name].unpack({**required_of(told), "?": 1})
    known = caught.value.message.partition("there are: ")[2].split(", ")
    # A search's own vectors are told apart from its options.
    assert {*known, *told.required} - {""} == {*told.fields, *told.required}


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_a_field_has_the_default_of_the_page_and_without_one_it_is_required(told: Told) -> None:
    given = required_of(told)
    assert unpacked(told, given) == unpacked(told, {**given, **told.fields})
    for field in told.required:
        with pytest.raises(ArgumentError, match=f"{field} is missing"):
            SERVED[told.name].unpack({name: value for name, value in given.items() if name != field})


def documented() -> set[str]:
    """Every name that has a row saying what it is."""
    rows = table("## Operations", 3) + [(row[0], row[1], "") for row in table("### Fields of a search", 4)]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row[0])} | {"scale"}


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_every_field_has_a_row_with_its_type(told: Told) -> None:
    assert {*told.fields, *told.required} <= documented()
    if told.name != "db.stats":
        assert set(re.findall(r"`(\w+)`", told.answer.partition(";")[0])) <= documented()


def begun(core: Core, *arguments: Any) -> None:
    PUT.draft(core, *arguments).begin(9.0).result()


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    core = Core(DatabaseConfig())
    try:
        begun(core, "a", X, {"c": 1.0}, {"n": 1}, None, "default", True)
        begun(core, "b", Y, {"d": 1.0}, {"n": 2}, 4e9, "default", True)
        core.groups.create("both", ["a", "b"], 0.5, ["n"], "default")
        core.create_collection("spare", 2, "l2", "flat", "float16", 0.9)
        yield core
    finally:
        core.close()


def piece(count: int) -> Piece:
    columns = Columns(
        ids=[f"p{at}" for at in range(count)],
        vectors=np.ones((count, 2)),
        contexts=[{"c": 1.0}] * count,
        metadata=[{"n": 1}] * count,
        expires_at=[4e9] * count,
    )
    return pieces_of(columns, None, exclusive=False)[0]


SEARCH = {"context": "c", "soft": True, "filter": {"n": {"$gt": 0}}, "top_k": 3, "include_vectors": True}
CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("db.put", ("x", X, {"c": 1.0}, {"n": 1}, 4e9, "default", False)),
    ("db.put_many", (piece(2), "default")),
    ("db.update", ("a", X, {"c": 1.0}, {"n": 1}, 1, "default")),
    ("db.delete", (["x"], None, "default")),
    ("db.get", (["a", "absent"], "default")),
    ("db.scroll", ({"n": 1}, 1, None, "default")),
    ("db.count", ({"n": 1}, "default")),
    ("db.query", (X, QueryOptions(**SEARCH, scale=2.0))),
    ("db.query", (X, QueryOptions())),
    ("db.query_batch", ([X, Y], QueryOptions(context="absent"))),
    ("db.query_batch", (np.empty((0, 2)), QueryOptions())),
    ("db.tunnel_search", (X, TunnelOptions(**SEARCH, barrier_threshold=0.9, beyond_only=False))),
    ("db.tunnel_search", (X, TunnelOptions(tunneling_strength=0.0))),
    ("db.tunnel_search_batch", ([X, Y], TunnelOptions(objective="n", min_prominence=0.1))),
    ("db.tunnel_search_batch", ([X, Y], TunnelOptions(context="absent"))),
    ("db.neighbours", ("a", 3, "default")),
    ("db.collection", ("spare",)),
    ("db.list_collections", ()),
    ("db.list_groups", ()),
    ("db.wait_indexed", (30.0,)),
    ("db.snapshot", ()),
    ("db.compact", ()),
    ("db.verify", ()),
    ("db.stats", ()),
    ("tokens.list", ()),
]


def expected(answer: str) -> tuple[dict[str, str], set[str]]:
    """The fields of an answer with their types, and which of them need not be there."""
    plain = re.findall(r"`(\w+)`", answer.partition(";")[0])
    types, optional = dict.fromkeys(plain, ""), set()
    for group in re.findall(r"\[([\w ]+)\]", answer):
        rows = table(GROUPS[group], 3)
        if group == "tunnel results":
            results = table(GROUPS["results"], 3)
            rows += results + [(f"`inside.{row[0].strip('`')}`", *row[1:]) for row in results]
        if group == "changes":
            rows += table(GROUPS["records"], 3)
        for name, type_, text in rows:
            types[name.strip("`")] = type_
            if "not there" in text or "with `include_vectors`" in text or name.startswith("`walked."):
                optional.add(name.strip("`"))
    types.pop("inside.` and a field of results", None)
    return types, optional


def is_of(value: Any, type_: str) -> bool:
    """Whether a value is of the type that the page gives it."""
    array = re.fullmatch(r"(\w+) \((.+?),(.*)\)", type_)
    if array:
        dimensions = 2 if array[3].strip() else 1
        return isinstance(value, np.ndarray) and (value.dtype, value.ndim) == (array[1], dimensions)
    if type_.startswith("list of "):
        inner = type_.removeprefix("list of ").replace("lists of", "list of", 1)
        return isinstance(value, list) and all(is_of(one, inner) for one in value)
    if type_.startswith("map of "):
        return isinstance(value, dict) and all(is_of(one, type_.split(" to ")[1]) for one in value.values())
    return type_ == "" or type(value).__name__ == type_


def over_the_wire(answer: dict[str, Any]) -> dict[str, Any]:
    frame = encode(Message(Kind.RESPONSE, 1, "", answer))
    [message], _ = read([b"".join(bytes(piece) for piece in frame)], Limits())
    return dict(message.body)


def answered(core: Core, operation: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """What a client that asks for this gets."""
    asked = over_the_wire(operation.pack(*arguments))
    return over_the_wire(operation.answer(operation.perform(core, *operation.unpack(asked))))


def check_answer(answer: dict[str, Any], told: str) -> None:
    types, optional = expected(told)
    assert {*types} - optional <= {*answer} <= {*types}
    assert {field: value for field, value in answer.items() if not is_of(value, types[field])} == {}


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=[name for name, _ in CALLS])
def test_an_answer_has_the_fields_of_the_page_and_of_their_types(
    core: Core, name: str, arguments: tuple[Any, ...]
) -> None:
    told, operation = TOLD[name], SERVED[name]
    asked = operation.pack(*arguments)
    assert asked.keys() <= {*told.fields, *told.required}
    if not isinstance(operation, Operation):
        return
    answer = answered(core, operation, arguments)
    if name == "db.stats":
        assert {*expected(told.answer)[0]} <= {*answer, "server"}
    else:
        check_answer(answer, told.answer)


def test_the_columns_of_results_are_those_of_the_page(core: Core) -> None:
    seen: set[str] = set()
    for name, arguments in CALLS:
        if "results" in TOLD[name].answer:
            answer = answered(core, SERVED[name], arguments)
            columns = answer.get("columns", [])
            assert columns == [] or columns[:3] == ["score", "distance", "similarity"]
            assert answer.get("values", np.empty((0, 0))).shape[1] == len(columns)
            seen |= set(columns)
    plain = {column for column in seen if not column.startswith("term.")}
    text = PAGE.split("\nColumns are ")[1].split("\n\n")[0]
    assert plain == set(re.findall(r"`(\w+)`", text)) - {"objective"}


def test_a_watch_answers_what_the_page_says(core: Core) -> None:
    [record] = core.reads.get(["b"], "default")
    for changes in ([], [Change(1, "gone", None), Change(2, "b", record)]):
        check_answer(over_the_wire(WATCH.answer(changes, 2)), TOLD["db.watch"].answer)


def test_a_token_has_the_fields_of_the_page(core: Core) -> None:
    answer = answered(core, SERVED["tokens.create"], ("one", "read", ["default"]))
    check_answer(answer, TOLD["tokens.create"].answer)
    [row] = [row for row in table("## Operations", 3) if row[0] == "`token`"]
    assert set(answer["token"]) == set(re.findall(r"`(\w+)`", row[2]))
    revoked = answered(core, SERVED["tokens.revoke"], (answer["token"]["id"],))
    check_answer(revoked, TOLD["tokens.revoke"].answer)


def test_a_group_has_the_fields_of_the_page(core: Core) -> None:
    [group] = answered(core, SERVED["db.list_groups"], ())["groups"]
    [row] = [row for row in table("## Operations", 3) if row[0] == "`groups`"]
    assert list(group) == re.findall(r"`(\w+)`", row[2])
