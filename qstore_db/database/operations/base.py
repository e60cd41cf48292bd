"""What a call of the interface is: what it does where the database is open, and how it goes over a connection.

The two faces name an operation and its arguments, and leave it to their edge where it is performed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, Literal, ParamSpec, TypeAlias, TypeVar

import numpy as np

from qstore_db.errors import ArgumentError

if TYPE_CHECKING:
    from qstore_db.database.core import Core
    from qstore_db.database.writes import Draft

P = ParamSpec("P")
T = TypeVar("T")
_Options = TypeVar("_Options")

Fields: TypeAlias = dict[str, Any]
"""The body of a request or of an answer: what `qstore_db.wire.messages` can hold, by name."""
Role: TypeAlias = Literal["read", "write", "admin"]
"""What a caller must at least be allowed to do."""
REQUIRED: Final = object()


@dataclass(frozen=True, slots=True, eq=False)
class Operation(Generic[P, T]):
    """A call that reads, or that changes something other than records."""

    name: str
    role: Role
    perform: Callable[Concatenate[Core, P], T]
    pack: Callable[P, Fields]
    """Arguments to the body of a request. Raises what `perform` would for arguments that cannot be sent."""
    unpack: Callable[[Fields], tuple[Any, ...]]
    """A body to arguments, which `perform` checks like a caller's own. Raises ArgumentError for other names."""
    answer: Callable[[T], Fields]
    understand: Callable[[Fields], T]
    """An answer to the result."""
    scope: tuple[str, ...] = ("collection",)
    """The fields that name the collections it is about; without any it is about all of them."""
    patient: bool = False
    """Whether it may take as long as it takes: a client sets it no deadline of its own."""
    repeatable: bool = True
    """Whether doing it twice is no different from doing it once."""


@dataclass(frozen=True, slots=True, eq=False)
class WriteOperation(Generic[P]):
    """A call that writes records; its result is a `Written`."""

    name: str
    draft: Callable[Concatenate[Core, P], Draft]
    pack: Callable[P, Fields]
    unpack: Callable[[Fields], tuple[Any, ...]]
    many: bool = False
    """Whether encoding the records takes long enough to hold up others."""
    role: Role = "write"
    scope: tuple[str, ...] = ("collection",)


def plain(**parameters: Any) -> tuple[Callable[..., Fields], Callable[[Fields], tuple[Any, ...]]]:
    """`pack` and `unpack` for plain data under these names, in order; each with its default, or REQUIRED."""

    def pack(*arguments: Any) -> Fields:
        return {
            name: sendable(value)
            for (name, default), value in zip(parameters.items(), arguments, strict=True)
            if value is not default
        }

    def unpack(given: Fields) -> tuple[Any, ...]:
        check_fields(given, parameters)
        return tuple(
            required(given, name) if default is REQUIRED else given.get(name, default)
            for name, default in parameters.items()
        )

    return pack, unpack


def sendable(value: Any) -> Any:
    """NumPy values as plain ones, mappings and sequences as dicts and lists; anything else as it is."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: sendable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [sendable(inner) for inner in value]
    return value


def required(given: Fields, name: str) -> Any:
    try:
        return given[name]
    except KeyError:
        raise ArgumentError(f"{name} is missing", subject=name) from None


def check_fields(given: Fields, known: Mapping[str, object]) -> None:
    """Raises ArgumentError for a field of another name."""
    for name in given:
        if name not in known:
            raise ArgumentError(f"{name} is unknown here; there are: {', '.join(known)}", subject=name)


def pack_options(options: object) -> Fields:
    """Those fields of a dataclass of options that differ from their defaults."""
    packed: Fields = {}
    for name, default in _defaults(type(options)).items():  # type: ignore[arg-type]  # classes are hashable
        value = getattr(options, name)
        if value is not default and (type(value) is not type(default) or value != default):
            packed[name] = sendable(value)
    return packed


def unpack_options(kind: type[_Options], given: Fields) -> _Options:
    """The options that `pack_options` packed. Raises ArgumentError for fields of other names."""
    check_fields(given, _defaults(kind))  # type: ignore[arg-type]  # classes are hashable
    return kind(**given)


@cache
def _defaults(kind: type[object]) -> Fields:
    """Of each field of a dataclass."""
    defaults = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]  # which has no type
    assert MISSING not in defaults.values()
    return defaults


def no_result(_: None) -> Fields:
    return {}


def nothing(_: Fields) -> None:
    return None
