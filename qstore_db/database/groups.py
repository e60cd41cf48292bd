"""The groups of a database: arguments checked, and refused where the engine cannot move records together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qstore_db.config import DatabaseConfig
from qstore_db.database.arguments import (
    check_able,
    check_contexts_enabled,
    check_ids,
    check_name,
    check_number,
)
from qstore_db.errors import ArgumentError
from qstore_db.records import Group, Superposition
from qstore_db.records.group import CONTEXT_FIELD, MAX_FIELDS, MAX_MEMBERS
from qstore_db.records.metadata import MAX_DEPTH

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine


class GroupCalls:
    """Safe to use from many threads; holds no state of its own."""

    def __init__(self, engine: EmbeddedEngine, config: DatabaseConfig) -> None:
        self._engine = engine
        self._config = config

    def create(
        self, name: str, ids: Iterable[str], correlation: float, fields: Iterable[str], collection: str
    ) -> None:
        check_able(self._engine, "create_group", "groups")
        group = Group(
            check_name(name, "group"),
            collection,
            _members(ids),
            check_number("correlation", correlation, -1.0, 1.0),
            _fields(fields),
        )
        if any(field.startswith(CONTEXT_FIELD) for field in group.fields):
            check_contexts_enabled(self._config)
        self._engine.create_group(group)

    def all(self) -> list[Group]:
        check_able(self._engine, "list_groups", "groups")
        return self._engine.groups()

    def drop(self, name: str) -> None:
        check_able(self._engine, "drop_group", "groups")
        self._engine.drop_group(name)


def _members(ids: Iterable[str]) -> tuple[str, ...]:
    members = check_ids(ids)
    _check_distinct("ids", members)
    if not 2 <= len(members) <= MAX_MEMBERS:
        raise ArgumentError(
            f"a group has 2 to {MAX_MEMBERS:,} members, {len(members):,} ids are given", subject="ids"
        )
    return tuple(members)


def _fields(fields: Iterable[str]) -> tuple[str, ...]:
    if isinstance(fields, (str, bytes)) or not isinstance(fields, Iterable):
        raise ArgumentError(f"fields={fields!r} must be a sequence of strings", subject="fields")
    named = [_field(field) for field in fields]
    _check_distinct("fields", named)
    if not 1 <= len(named) <= MAX_FIELDS:
        raise ArgumentError(
            f"a group moves 1 to {MAX_FIELDS} fields, {len(named)} are given", subject="fields"
        )
    return tuple(named)


def _field(field: object) -> str:
    """A path that metadata can have, or a context's name behind its prefix (ContextError where it is none)."""
    if isinstance(field, str) and field.startswith(CONTEXT_FIELD):
        Superposition.parse({field.removeprefix(CONTEXT_FIELD): 1.0})
        return str.__str__(field)
    if isinstance(field, str) and _is_path(field):
        return str.__str__(field)
    raise ArgumentError(
        f"field {field!r} must be a dotted path into metadata, of up to {MAX_DEPTH} keys without a leading '$', "
        f"or {CONTEXT_FIELD!r} and the name of a context",
        subject="fields",
    )


def _is_path(field: str) -> bool:
    steps = field.split(".")
    encodable = not any("\ud800" <= letter <= "\udfff" for letter in field)
    return encodable and len(steps) <= MAX_DEPTH and all(step and step[0] != "$" for step in steps)


def _check_distinct(parameter: str, values: list[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ArgumentError(f"{parameter} hold {value!r} twice", subject=parameter)
        seen.add(value)
