"""How a frozen dataclass of settings is declared, checked by name, and read from text.

`DatabaseConfig` is one, the server's configuration another: each field names its environment variable.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from qstore_db.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody set a setting to: a value, or the text of one."""

    value: Any
    where: str
    """As an error names it: a variable, a flag, a place in a file."""


def setting(
    default: Any, variable: str, *, parse: Callable[[str], Any] = str, secret: bool = False, **more: Any
) -> Any:
    """A field with its environment variable. `parse` makes a value of text, or raises ValueError saying what it
    must be. A secret is left out of the repr. `more` goes into the field's metadata."""
    metadata = {"variable": variable, "parse": parse, "secret": secret, **more}
    return field(default=default, repr=not secret, metadata=metadata)


def variables_of(kind: type) -> dict[str, str]:
    """The environment variable of each setting."""
    return {f.name: f.metadata["variable"] for f in fields(kind) if "variable" in f.metadata}


def in_environment(kind: type, environment: Mapping[str, str]) -> dict[str, Given]:
    """The settings that have their variable set."""
    return {
        name: Given(environment[variable], variable)
        for name, variable in variables_of(kind).items()
        if variable in environment
    }


def values_of(kind: type, given: Mapping[str, Given]) -> dict[str, Any]:
    """The value of each setting; texts are parsed. Raises ConfigurationError naming the place and the text."""
    parsers = {f.name: f.metadata["parse"] for f in fields(kind) if "parse" in f.metadata}
    values: dict[str, Any] = {}
    for name, each in given.items():
        try:
            values[name] = parsers[name](each.value) if isinstance(each.value, str) else each.value
        except ValueError as error:
            raise refusal(each.where, each.value, str(error), subject=name) from None
    return values


def flag(text: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("must be true or false")


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be an integer") from None


def check_names(owner: str, given: Iterable[str], known: Iterable[str], what: str = "field") -> None:
    """Raises ConfigurationError for a name that `owner` does not have, with the nearest one that it has."""
    known = list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
            raise ConfigurationError(f"{owner} has no {what} {name!r}; {hint}", subject=name)


def refusal(name: str, value: object, why: str, *, subject: str | None = None) -> ConfigurationError:
    """A value that a setting cannot have; `name` is where it was found."""
    return ConfigurationError(f"{name}={value!r} {why}", subject=subject or name)
