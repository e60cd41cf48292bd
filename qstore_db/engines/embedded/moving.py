"""How an update of one member moves the others of its groups. Arithmetic only: nothing is read or written here.

A move is correlation * (after - before), summed over the groups that two records share. It is exact, the
correlation read as the shortest decimal that names it (.1 is one tenth, so a change of 10 moves by a whole 1), and
rounded once, where it becomes a stored number. So the order of groups, members and fields does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TypeAlias

from qstore_db.errors import ContextError, MetadataError
from qstore_db.records import Body, Group, Metadata, Superposition, Value
from qstore_db.records.contexts import ABSENT, MAX_CONTEXTS
from qstore_db.records.filter import lookup
from qstore_db.records.group import CONTEXT_FIELD
from qstore_db.records.metadata import INT64_MAX, INT64_MIN

Moves: TypeAlias = "dict[str, Fraction]"
"""By field, how far it moves."""


def moves_of(groups: Iterable[Group], before: Body, after: Body) -> dict[str, Moves]:
    """By id, what the change of one record, a member of all `groups`, does to the other members."""
    out: dict[str, Moves] = {}
    for group in groups:
        correlation = Fraction(repr(group.correlation))
        moves = {field: correlation * _change(field, before, after) for field in group.fields}
        moves = {field: move for field, move in moves.items() if move}
        for id in group.ids if moves else ():
            if id != after.id:
                sums = out.setdefault(id, {})
                for field, move in moves.items():
                    sums[field] = sums.get(field, Fraction()) + move
    return out


def moved(body: Body, moves: Moves) -> Body:
    """The record after its moves; `body` itself where they change nothing.

    A field that holds no number stays. Raises MetadataError or ContextError with the id as subject.
    """
    metadata, weights = body.metadata, dict(body.contexts.pairs())
    before = dict(weights)
    for field, move in moves.items():
        held = _number(body, field)
        if held is None:
            continue
        if field.startswith(CONTEXT_FIELD):
            weight = float(Fraction(held) + move)
            # Below it queries see nothing, and rounding alone would otherwise keep a context alive.
            weights[field.removeprefix(CONTEXT_FIELD)] = weight if weight >= ABSENT else 0.0
        else:
            metadata = _placed(metadata, field.split("."), _stored(body, field, held, Fraction(held) + move))
    weights = {name: weight for name, weight in weights.items() if weight or name in before}
    contexts = body.contexts if weights == before else _superposed(body.id, weights)
    if metadata is body.metadata and contexts is body.contexts:
        return body
    return replace(body, metadata=metadata, contexts=contexts)


def _change(field: str, before: Body, after: Body) -> Fraction:
    old, new = _number(before, field), _number(after, field)
    return Fraction() if old is None or new is None else Fraction(new) - Fraction(old)


def _number(body: Body, field: str) -> int | float | None:
    """None where there is no number. A weight of zero is not stored, so a context that is not named weighs 0; a
    record without any contexts is in no superposition and has no weights."""
    if field.startswith(CONTEXT_FIELD):
        weights = dict(body.contexts.pairs())
        return weights.get(field.removeprefix(CONTEXT_FIELD), 0.0) if weights else None
    value = lookup(body.metadata, field)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _stored(body: Body, field: str, held: int | float, target: Fraction) -> int | float:
    """An int where `held` is one and the target is whole, else the nearest float."""
    where = f"the group would move {field!r} of record {body.id!r}"
    if isinstance(held, int):
        if not INT64_MIN <= target <= INT64_MAX:
            raise MetadataError(f"{where} beyond the integers of 64 bits", subject=body.id)
        if target.denominator == 1:
            return int(target)
    try:
        return float(target)
    except OverflowError:
        raise MetadataError(f"{where} beyond the finite numbers", subject=body.id) from None


def _placed(metadata: Metadata, steps: Sequence[str], value: Value) -> Metadata:
    """A copy with `value` at a path that exists."""
    first, *rest = steps
    inner = metadata[first]
    if not rest:
        return metadata if inner == value and type(inner) is type(value) else {**metadata, first: value}
    assert isinstance(inner, dict)
    placed = _placed(inner, rest, value)
    return metadata if placed is inner else {**metadata, first: placed}


def _superposed(id: str, weights: Mapping[str, float]) -> Superposition:
    """`weights`, normalised, without those that are zero."""
    total = math.fsum(weights.values())
    if total == 0.0:
        raise ContextError(
            f"the group would leave record {id!r} with all context weights zero, which describes no state",
            subject=id,
        )
    kept = {name: weight / total for name, weight in weights.items() if weight / total > 0.0}
    if len(kept) > MAX_CONTEXTS:
        raise ContextError(
            f"the group would put record {id!r} into {len(kept)} contexts, at most {MAX_CONTEXTS} are allowed",
            subject=id,
        )
    return Superposition(tuple(kept), tuple(kept.values()))
