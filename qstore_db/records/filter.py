"""Mongo-style metadata filters: parsing, a canonical form, and what each operator means.

`{"price": {"$lt": 10}, "tags": "new"}` reads as a conjunction. A path may lead into nested maps with dots.
On a list, an operator holds if it holds for any element. Types are kept: `True` is not 1, "1" is not 1, while
1 and 1.0 are equal. `$ne`, `$nin` and `$not` are exact negations, so they also hold where the path is absent.
`null` equals a stored null only; use `{"$exists": false}` for absence. `$gt` and its kin compare numbers with
numbers and strings with strings (by code point); anything else does not match.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from qstore_db.errors import FilterError
from qstore_db.records.metadata import INT64_MAX, INT64_MIN, Scalar, Value

MAX_DEPTH = 16
MAX_LIST = 10_000
MAX_NODES = 1_000
ORDERED = ("$gt", "$gte", "$lt", "$lte")
_OPERATORS = ("$eq", "$ne", *ORDERED, "$in", "$nin", "$exists", "$not")


@dataclass(frozen=True, slots=True)
class And:
    """Every part holds; without parts, always."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold: the exact complement."""

    part: Node


@dataclass(frozen=True, slots=True)
class Exists:
    """Something is stored at `path`, be it null."""

    path: str


@dataclass(frozen=True, slots=True)
class Equals:
    """Any of `values` equals the value at `path` (or one of its list elements)."""

    path: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """The value at `path` (or one of its list elements) stands to `bound` as `operator` says."""

    path: str
    operator: str
    bound: int | float | str


Node: TypeAlias = "And | Or | Not | Exists | Equals | Compare"


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """A checked filter. `key` is canonical: equal keys select equal records."""

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
    root = _Reader().document(filter, "filter", 1)
    return Filter(root, json.dumps(_canonical(root)))


class _Reader:
    """Reads one filter. `at` is the path to what is being read, `left` how many conditions may still come."""

    def __init__(self) -> None:
        self.left = MAX_NODES

    def document(self, filter: object, at: str, depth: int) -> Node:
        return _joined(
            [self._clause(key, operand, at, depth) for key, operand in self._entries(filter, at, depth)]
        )

    def _clause(self, key: object, operand: object, at: str, depth: int) -> Node:
        if not isinstance(key, str) or not key:
            raise FilterError(f"{at}: key {key!r} must be a non-empty string", subject=at)
        key = _text(key, at)
        where = f"{at}.{key}"
        if key in ("$and", "$or"):
            if not isinstance(operand, (list, tuple)) or not operand:
                raise FilterError(f"{where} needs a non-empty list of filters", subject=where)
            parts = tuple(self.document(part, f"{where}[{i}]", depth + 1) for i, part in enumerate(operand))
            return And(parts) if key == "$and" else Or(parts)
        if key == "$not":
            return Not(self.document(operand, where, depth + 1))
        if key[0] == "$":
            raise FilterError(
                f"{at}: unknown operator {key!r}; at this level use $and, $or, $not or a metadata path",
                subject=where,
            )
        if isinstance(operand, Mapping):
            return self._conditions(key, operand, where, depth + 1)
        return Equals(key, (_scalar(operand, where),))

    def _conditions(self, path: str, operands: object, at: str, depth: int) -> Node:
        entries = self._entries(operands, at, depth)
        if not entries:
            raise FilterError(f"{at} needs at least one operator", subject=at)
        return _joined([self._condition(path, operator, operand, at, depth) for operator, operand in entries])

    def _condition(self, path: str, operator: object, operand: object, at: str, depth: int) -> Node:
        where = f"{at}.{operator}"
        if not isinstance(operator, str) or operator not in _OPERATORS:
            hint = "unknown" if str(operator).startswith("$") else "write nested maps as a dotted path"
            raise FilterError(
                f"{at}: {operator!r} is not an operator ({hint}); use one of {', '.join(_OPERATORS)}",
                subject=where,
            )
        if operator == "$not":
            return Not(self._conditions(path, operand, where, depth + 1))
        if operator in ("$eq", "$ne"):
            node: Node = Equals(path, (_scalar(operand, where),))
        elif operator in ("$in", "$nin"):
            node = Equals(path, _scalars(operand, where))
        elif operator == "$exists":
            wanted = _scalar(operand, where)
            if not isinstance(wanted, bool):
                raise FilterError(f"{where} needs true or false, got {operand!r}", subject=where)
            return Exists(path) if wanted else Not(Exists(path))
        else:
            bound = _scalar(operand, where)
            if bound is None or isinstance(bound, bool):
                raise FilterError(f"{where} needs a number or a string, got {operand!r}", subject=where)
            return Compare(path, operator, bound)
        return Not(node) if operator in ("$ne", "$nin") else node

    def _entries(self, mapping: object, at: str, depth: int) -> list[tuple[object, object]]:
        """The entries of one level, charged to the caps before they are read."""
        if not isinstance(mapping, Mapping):
            raise FilterError(f"{at} needs a mapping, got {type(mapping).__name__}", subject=at)
        if depth > MAX_DEPTH:
            raise FilterError(f"{at} is nested deeper than {MAX_DEPTH} levels", subject=at)
        self.left -= max(1, len(mapping))
        if self.left < 0:
            raise FilterError(f"filter has more than {MAX_NODES} conditions", subject=at)
        return list(mapping.items())


def _joined(parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _scalars(values: object, at: str) -> tuple[Scalar, ...]:
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, (list, tuple, set, frozenset)):
        raise FilterError(f"{at} needs a list of values, got {type(values).__name__}", subject=at)
    if len(values) > MAX_LIST:
        raise FilterError(f"{at} lists {len(values)} values, at most {MAX_LIST} are allowed", subject=at)
    return tuple(_scalar(value, f"{at}[{i}]") for i, value in enumerate(values))


def _scalar(value: object, at: str) -> Scalar:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, at)
    if isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise FilterError(
                f"{at} holds an integer that does not fit 64 bits; write it as a float", subject=at
            )
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise FilterError(f"{at}: {value!r} must be a string, finite number, bool or null", subject=at)


def _text(text: str, at: str) -> str:
    try:
        text.encode()  # two lone surrogates would share the canonical form of the character they pair to
    except UnicodeEncodeError:
        raise FilterError(f"{at}: {text!r} is not valid Unicode", subject=at) from None
    return str.__str__(text)


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
    if isinstance(stored, bool) or not isinstance(stored, (int, float)) or isinstance(bound, str):
        return False
    return _ordered(operator, (stored > bound) - (stored < bound))


def _ordered(operator: str, sign: int) -> bool:
    if operator == "$gt":
        return sign > 0
    if operator == "$gte":
        return sign >= 0
    return sign < 0 if operator == "$lt" else sign <= 0
