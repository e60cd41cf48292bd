"""The documentation names everything public, with the signatures that the code has."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import qstore_db
from qstore_db import (
    DatabaseConfig,
    Group,
    Match,
    Page,
    QuantumDatabase,
    QueryResult,
    Record,
    TunnelResult,
    errors,
)
from qstore_db.database import restore

DOCS = Path(__file__).parents[2] / "docs"
EVERYTHING = "\n".join(path.read_text() for path in sorted(DOCS.glob("*.md")))
REFERENCE = (DOCS / "api.md").read_text()
METHODS = [name for name, _ in inspect.getmembers(QuantumDatabase, callable) if not name.startswith("_")]
RESULTS = [Group, Match, Page, QueryResult, Record, TunnelResult]
ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.QStoreError) and kind.__module__ == errors.__name__
]


def bare(name: str, function: object) -> str:
    """A signature without annotations."""
    assert callable(function)
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    return name + str(inspect.Signature(parameters))


def members(kind: type) -> Iterator[str]:
    for owner in kind.__mro__:
        if owner.__module__.startswith("qstore_db"):
            yield from (name for name in vars(owner) if not name.startswith("_"))


@pytest.mark.parametrize("name", qstore_db.__all__)
def test_a_public_name_is_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", EVERYTHING)


@pytest.mark.parametrize("name", METHODS)
def test_a_call_is_documented_with_its_signature(name: str) -> None:
    assert bare(name, getattr(QuantumDatabase, name)) in REFERENCE


def test_opening_and_restoring_are_documented_with_their_signatures() -> None:
    assert bare("QuantumDatabase", QuantumDatabase) in REFERENCE
    assert bare("restore", restore) in REFERENCE
    for name in ("from_environment", "replace", "variables"):
        assert bare(name, getattr(DatabaseConfig, name)) in REFERENCE


def test_the_reference_documents_no_call_that_is_not_there() -> None:
    for table in ("## Collections", "## Writing", "## Groups", "## Reading", "## Upkeep"):
        section = REFERENCE.split(table)[1].split("\n## ")[0]
        for name in re.findall(r"^\| `(\w+)\(", section, re.MULTILINE):
            assert name in METHODS


@pytest.mark.parametrize(("field", "variable"), DatabaseConfig.variables().items())
def test_a_setting_is_documented_with_its_default_and_environment_variable(field: str, variable: str) -> None:
    default = getattr(DatabaseConfig(), field)
    shown = f'"{default}"' if isinstance(default, str) else repr(default)
    assert f"| `{field}` | `{shown}` | `{variable}` |" in REFERENCE


def test_the_table_of_settings_has_no_other_row() -> None:
    section = REFERENCE.split("### DatabaseConfig")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(DatabaseConfig.variables())


@pytest.mark.parametrize("kind", RESULTS, ids=lambda kind: kind.__name__)
def test_every_member_of_a_result_is_documented(kind: type) -> None:
    section = REFERENCE.split("## What reads give")[1].split("\n## ")[0]
    for name in members(kind):
        assert name in ("index", "count") or re.search(rf"`{name}[`(]", section), name


def test_the_table_of_errors_is_the_tree_with_its_codes() -> None:
    section = REFERENCE.split("## Errors")[1]
    table = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", section, re.MULTILINE))
    assert table == {kind.__name__: kind.code for kind in ERRORS}
