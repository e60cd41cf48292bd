"""What the server's settings may be: how the text of one is read, and why a value is refused."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qstore_db.settings import flag, setting, whole

_SIZE = re.compile(r"(\d+)\s*(|B|KIB|MIB|GIB)")
_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value."""

    parse: Callable[[str], Any]
    """The value of a text; ValueError says what it must be."""
    allows: Callable[[Any], bool]
    must: str
    """What is required of a value that `allows` refuses."""

    def setting(self, default: Any, variable: str) -> Any:
        """A field of this kind."""
        return setting(default, variable, parse=self.parse, kind=self)

    def optional(self, word: str) -> Kind:
        """This kind or None, which the text `word` means."""
        return Kind(
            lambda text: None if text.strip().lower() == word else self.parse(text),
            lambda value: value is None or self.allows(value),
            f"{self.must}, or {word}",
        )


def choice(*words: str) -> Kind:
    return Kind(str, lambda value: value in words, f"must be one of {', '.join(map(repr, words))}")


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip().upper())
    if found is None:
        raise ValueError(SIZE.must)
    return int(found[1]) * _UNITS[found[2]]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _is_whole(value: Any, low: int, high: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike)) and bool(os.fspath(value))


PATH = Kind(str, _is_path, "must be a path, and not an empty one")
HOST = Kind(
    str,
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"[^\s/\[\]]+", value)),
    "must be an address or a host name, as '127.0.0.1', '::1' or 'localhost'",
)
PORT = Kind(whole, lambda value: _is_whole(value, 0, 65_535), "must be a port, 0 to 65535")
FLAG = Kind(flag, lambda value: isinstance(value, bool), "must be true or false")
COUNT = Kind(whole, lambda value: _is_whole(value, 1), "must be a positive integer")
SIZE = Kind(
    _size, lambda value: _is_whole(value, 1), "must be a positive number of bytes, as 67108864 or 64MiB"
)
SECONDS = Kind(
    _number, lambda value: _is_number(value) and value > 0, "must be a positive, finite number of seconds"
)
MILLISECONDS = Kind(
    _number,
    lambda value: _is_number(value) and value >= 0,
    "must be a finite number of milliseconds, not negative",
)
