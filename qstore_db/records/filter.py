"""Mongo-style metadata filters: parsing, a canonical form, and what each operator means.

`{"price": {"$lt": 10}, "tags": "new"}` reads as a conjunction. A path may lead into nested maps with dots. On a
list, an operator holds if it holds for any element. Types are kept: `True` is not 1, "1" is not 1, while 1 and
1.0 are equal. `$ne`, `$nin` and `$not` are exact negations, so they also hold where the path is absent.
`null` equals a stored null only; use `{"$exists": false}` for absence. `$gt` and its kin compare numbers with
numbers and strings with strings (by code point), anything else does not match.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from qstore_db.errors import FilterError
from qstore_db.records.metadata import Scalar, Value

MAX_DEPTH = 16
MAX_LIST = 10_000
MAX_NODES = 1_000
ORDERED = ("$gt", "$gte", "$lt", "$lte")
_OPERATORS = ("$eq", "$ne", *ORDERED, "$in", "$nin", "$exists", "$not")


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Node


@dataclass(frozen=True, slots=True)
class Exists:
    path: str


@dataclass(frozen=True, slots=True)
class Equals:
    """Any of `values` equals the value at `path` (or one of its list elements)."""

    path: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    path: str
    operator: str
    bound: int | float | str


Node: TypeAlias = "And | Or | Not | Exists | Equals | Compare"


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """A checked filter. `key` is canonical: equal keys select equal records (so results may be cached by it)."""

    root: Node
    key: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def matches(self, metadata: Mapping[str, Value]) -> bool:
        """The definition of the language, on one record. Columns must agree with it (a property test)."""
        return _matches(self.root, metadata)


def parse_filter(filter: Mapping[str, object] | None) -> Filter | None:
    """A checked filter, or None for none. Raises FilterError naming the path to what is wrong."""
    if filter is None:
        return None
    if not isinstance(filter, Mapping):
        raise FilterError(f"filter must be a mapping, got {type(filter).__name__}", subject="filter")
    budget = [MAX_NODES]
    root = _document(filter, "filter", 1, budget)
    return Filter(root, json.dumps(_canonical(root), ensure_ascii=True))


def _document(filter: Mapping[object, object], at: str, depth: int, budget: list[int]) -> Node:
    if depth > MAX_DEPTH:
        raise FilterError(f"{at} is nested deeper than {MAX_DEPTH} levels", subject=at)
    parts: list[Node] = []
    for key, operand in filter.items():
        budget[0] -= 1
        if budget[0] < 0:
            raise FilterError(f"filter has more than {MAX_NODES} conditions", subject=at)
        if not isinstance(key, str) or not key:
            raise FilterError(f"{at}: key {key!r} must be a non-empty string", subject=at)
        where = f"{at}.{key}"
        if key in ("$and", "$or"):
            if not isinstance(operand, (list, tuple)) or not operand:
                raise FilterError(f"{where} needs a non-empty list of filters", subject=where)
            _cap(operand, where)
            inner = tuple(
                _document(_mapping(part, f"{where}[{i}]"), f"{where}[{i}]", depth + 1, budget)
                for i, part in enumerate(operand)
            )
            parts.append(And(inner) if key == "$and" else Or(inner))
        elif key == "$not":
            parts.append(Not(_document(_mapping(operand, where), where, depth + 1, budget)))
        elif key[0] == "$":
            raise FilterError(
                f"{at}: unknown operator {key!r}; at this level use $and, $or, $not or a metadata path",
                subject=where,
            )
        elif isinstance(operand, Mapping):
            parts.append(_conditions(key, operand, where, depth + 1, budget))
        else:
            parts.append(Equals(key, (_scalar(operand, where),)))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _conditions(
    path: str, operands: Mapping[object, object], at: str, depth: int, budget: list[int]
) -> Node:
    if depth > MAX_DEPTH:
        raise FilterError(f"{at} is nested deeper than {MAX_DEPTH} levels", subject=at)
    if not operands:
        raise FilterError(f"{at} needs at least one operator", subject=at)
    parts: list[Node] = []
    for operator, operand in operands.items():
        budget[0] -= 1
        if budget[0] < 0:
            raise FilterError(f"filter has more than {MAX_NODES} conditions", subject=at)
        where = f"{at}.{operator}"
        if operator not in _OPERATORS:
            hint = "write nested maps as a dotted path" if not str(operator).startswith("$") else "unknown"
            raise FilterError(
                f"{at}: {operator!r} is not an operator ({hint}); use one of {', '.join(_OPERATORS)}", subject=where
            )
        parts.append(_condition(path, str(operator), operand, where, depth, budget))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _condition(path: str, operator: str, operand: object, at: str, depth: int, budget: list[int]) -> Node:
    if operator in ("$eq", "$ne"):
        equal = Equals(path, (_scalar(operand, at),))
        return equal if operator == "$eq" else Not(equal)
    if operator in ("$in", "$nin"):
        if not isinstance(operand, (list, tuple, np.ndarray)):
            raise FilterError(f"{at} needs a list of values, got {type(operand).__name__}", subject=at)
        _cap(operand, at)
        among = Equals(path, tuple(_scalar(value, f"{at}[{i}]") for i, value in enumerate(operand)))
        return among if operator == "$in" else Not(among)
    if operator == "$exists":
        if not isinstance(operand, bool):
            raise FilterError(f"{at} needs true or false, got {operand!r}", subject=at)
        return Exists(path) if operand else Not(Exists(path))
    if operator == "$not":
        return Not(_conditions(path, _mapping(operand, at), at, depth + 1, budget))
    bound = _scalar(operand, at)
    if bound is None or isinstance(bound, bool):
        raise FilterError(f"{at} needs a number or a string, got {operand!r}", subject=at)
    return Compare(path, operator, bound)


def _mapping(value: object, at: str) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise FilterError(f"{at} needs a mapping, got {type(value).__name__}", subject=at)
    return value


def _cap(values: Sequence[object] | np.ndarray, at: str) -> None:
    if len(values) > MAX_LIST:
        raise FilterError(f"{at} lists {len(values)} values, at most {MAX_LIST} are allowed", subject=at)


def _scalar(value: object, at: str) -> Scalar:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise FilterError(f"{at}: {value!r} must be a string, finite number, bool or null", subject=at)


def _canonical(node: Node) -> list[object]:
    if isinstance(node, (And, Or)):
        return [type(node).__name__, *(_canonical(part) for part in node.parts)]
    if isinstance(node, Not):
        return ["Not", _canonical(node.part)]
    if isinstance(node, Exists):
        return ["Exists", node.path]
    if isinstance(node, Equals):
        return ["Equals", node.path, *([type(v).__name__, v] for v in node.values)]
    return ["Compare", node.path, node.operator, type(node.bound).__name__, node.bound]


_MISSING = object()


def lookup(metadata: Mapping[str, Value], path: str) -> object:
    """The value at a dotted path, or a marker that equals no stored value."""
    value: object = metadata
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return _MISSING
        value = value[step]
    return value


def _matches(node: Node, metadata: Mapping[str, Value]) -> bool:
    if isinstance(node, And):
        return all(_matches(part, metadata) for part in node.parts)
    if isinstance(node, Or):
        return any(_matches(part, metadata) for part in node.parts)
    if isinstance(node, Not):
        return not _matches(node.part, metadata)
    stored = lookup(metadata, node.path)
    if stored is _MISSING:
        return False
    if isinstance(node, Exists):
        return True
    elements = stored if isinstance(stored, list) else [stored]
    if isinstance(node, Equals):
        return any(equal(element, value) for element in elements for value in node.values)
    return any(_holds(node.operator, element, node.bound) for element in elements)


def equal(a: object, b: object) -> bool:
    """Equality with types kept: a bool equals bools only, numbers compare across int and float."""
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b
    return isinstance(a, str) and isinstance(b, str) and a == b


def _holds(operator: str, stored: object, bound: int | float | str) -> bool:
    if isinstance(stored, str) and isinstance(bound, str):
        return _ordered(operator, (stored > bound) - (stored < bound))
    if (
        isinstance(stored, (int, float))
        and not isinstance(stored, bool)
        and isinstance(bound, (int, float))
    ):
        return _ordered(operator, (stored > bound) - (stored < bound))
    return False


def _ordered(operator: str, sign: int) -> bool:
    if operator == "$gt":
        return sign > 0
    if operator == "$gte":
        return sign >= 0
    return sign < 0 if operator == "$lt" else sign <= 0
