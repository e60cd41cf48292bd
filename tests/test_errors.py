"""The error tree: its drawing, its codes, and that errors travel between processes whole."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from qstore_db import errors
from qstore_db.errors import QStoreError

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, QStoreError) and value.__module__ == errors.__name__
]
GROUPS = {
    "RequestError",
    "ConfigurationError",
    "UnavailableError",
    "OutcomeUnknownError",
    "HandleError",
    "ProtocolError",
    "CorruptionError",
}


def drawn_tree() -> dict[str, tuple[str | None, set[str]]]:
    """Each class in the docstring's drawing: its parent and the built-in bases named beside it."""
    assert errors.__doc__ is not None
    drawing = errors.__doc__.split("```")[1]
    tree: dict[str, tuple[str | None, set[str]]] = {}
    path: list[str] = []
    for line in drawing.strip().splitlines():
        found = re.match(r"(?P<indent>[ │├└─]*)(?P<name>\w+)", line)
        assert found is not None, line
        depth = len(found["indent"]) // 4
        builtin_bases = set(re.findall(r"also (\w+)", line))
        tree[found["name"]] = (path[depth - 1] if depth else None, builtin_bases)
        path[depth:] = [found["name"]]
    return tree


def test_the_drawing_shows_every_class_and_no_other() -> None:
    assert set(drawn_tree()) == {kind.__name__ for kind in CLASSES}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_class_stands_below_the_parent_that_the_drawing_gives_it(kind: type[QStoreError]) -> None:
    parent, builtin_bases = drawn_tree()[kind.__name__]
    ours = [base.__name__ for base in kind.__bases__ if issubclass(base, QStoreError)]
    builtin = {base.__name__ for base in kind.__bases__ if not issubclass(base, QStoreError)}
    assert ours == ([parent] if parent else [])
    assert builtin - {"Exception"} == builtin_bases


def test_every_error_belongs_to_one_group_of_what_the_caller_does_next() -> None:
    for kind in CLASSES:
        groups = GROUPS & {base.__name__ for base in kind.__mro__}
        assert len(groups) == 1 or kind is QStoreError


def test_codes_are_unique_and_each_class_has_its_own() -> None:
    codes = [kind.__dict__["code"] for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


def test_only_what_wrote_nothing_may_be_retried() -> None:
    retryable = {kind for kind in CLASSES if kind.retryable}
    assert retryable == {kind for kind in CLASSES if issubclass(kind, errors.UnavailableError)}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_keeps_class_message_and_subject_through_pickling(kind: type[QStoreError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("what happened", subject="whom")))
    assert type(copy) is kind
    assert (str(copy), copy.message, copy.subject) == ("what happened", "what happened", "whom")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_says_in_its_docstring_what_it_means(kind: type[QStoreError]) -> None:
    assert kind.__doc__
    assert kind.__doc__ != QStoreError.__doc__ or kind is QStoreError
