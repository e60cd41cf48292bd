"""Metadata and contexts as columns, so that a filter costs array comparisons instead of decoded records.

For each path and type there is one list of entries: ascending row positions and values. A list in a record
puts one entry an element there, so scalars and list elements need no separate treatment, and a path that few
records have costs only those. Columns grow at the end; a reader that knows n rows ignores what came later, so
growing needs no lock against readers. The time of its last write, which every row has, is a plain array. Columns
are derived: they can always be rebuilt from the records.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.records import Superposition, Value
from qstore_db.records.filter import lookup

MAX_PATHS = 256
"""Paths beyond this many are not indexed; filters on them scan the records, with a warning."""
LONG_TEXT = 128
"""Strings longer than this are kept as a 16-byte digest: enough for equality, not for order."""

Key: TypeAlias = "str | bytes"


class Growable:
    """An append-only array. `data[:n]` of an earlier moment stays valid and unchanged for ever."""

    __slots__ = ("data", "n")

    def __init__(self, dtype: Any, data: NDArray[Any] | None = None) -> None:
        self.data: NDArray[Any] = np.empty(16, dtype) if data is None else data
        self.n = 0 if data is None else len(data)

    def append(self, value: Any) -> None:
        if self.n == len(self.data):
            wider = np.empty(max(16, 2 * self.n), self.data.dtype)
            wider[: self.n] = self.data
            self.data = wider
        self.data[self.n] = value
        self.n += 1

    def view(self) -> NDArray[Any]:
        n = self.n  # read before `data`: a growing array only ever gets longer
        return self.data[:n]


class Entries:
    """(position, value) pairs, positions ascending. `values` is None where presence is all there is to
    say."""

    __slots__ = ("positions", "values")

    def __init__(self, values: Any | None, positions: Growable | None = None) -> None:
        self.positions = Growable(np.int32) if positions is None else positions
        self.values: Growable | None = (
            values if isinstance(values, Growable) or values is None else Growable(values)
        )

    def append(self, position: int, value: Any = None) -> None:
        if self.values is not None:
            self.values.append(value)
        self.positions.append(position)  # last: a reader trusts as many values as there are positions

    def upto(self, n: int) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Positions below n and their values."""
        positions = self.positions.view()
        if len(positions) and positions[-1] >= n:
            positions = positions[: np.searchsorted(positions, n)]
        values = positions if self.values is None else self.values.data[: len(positions)]
        return positions, values


class Column:
    """One metadata path: its entries by type, and the dictionary of its strings."""

    __slots__ = ("codes", "entries", "texts")

    TYPES: Mapping[str, Any] = {
        "int": np.int64,
        "float": np.float64,
        "text": np.int32,
        "bool": np.bool_,
        "null": None,
        "other": None,
    }

    def __init__(self) -> None:
        self.entries: dict[str, Entries] = {}
        self.codes: dict[Key, int] = {}
        self.texts: list[Key] = []

    def add(self, position: int, value: Value) -> None:
        """One scalar, or the marker that a list or map stands here."""
        if isinstance(value, bool):
            self.of("bool").append(position, value)
        elif isinstance(value, str):
            self.of("text").append(position, self.code(value))
        elif isinstance(value, int):
            self.of("int").append(position, value)
        elif isinstance(value, float):
            self.of("float").append(position, value)
        else:
            self.of("null" if value is None else "other").append(position)

    def of(self, kind: str) -> Entries:
        entries = self.entries.get(kind)
        if entries is None:
            entries = Entries(self.TYPES[kind])
            self.entries[kind] = entries
        return entries

    def code(self, text: str) -> int:
        key = text_key(text)
        code = self.codes.get(key)
        if code is None:
            code = len(self.texts)
            self.texts.append(key)
            self.codes[key] = code
        return code


class Columns:
    """All columns of one segment or tail."""

    def __init__(self) -> None:
        self.paths: dict[str, Column] = {}
        self.contexts: dict[str, Entries] = {}
        self.expiry = Entries(np.float64)
        self.updated = Growable(np.float64)
        """When each row was written, seconds since the epoch."""
        self.overflow = False
        """Whether some path found no room: an unknown path may then still exist in a record."""

    def add(
        self,
        position: int,
        metadata: Mapping[str, Value],
        contexts: Superposition,
        expires_at: float | None,
        updated_at: float,
    ) -> None:
        """One row; positions come without gaps, from 0."""
        if metadata:
            self._flatten(position, metadata, "")
        for name, weight in contexts.pairs():
            entries = self.contexts.get(name)
            if entries is None:
                entries = self.contexts[name] = Entries(np.float64)
            entries.append(position, weight)
        if expires_at is not None:
            self.expiry.append(position, expires_at)
        self.updated.append(updated_at)

    def _flatten(self, position: int, metadata: Mapping[str, Value], prefix: str) -> None:
        for key, value in metadata.items():
            path = prefix + key
            column = self.paths.get(path)
            if column is None:
                if len(self.paths) >= MAX_PATHS:
                    self.overflow = True
                    continue
                column = self.paths[path] = Column()
            column.add(position, value)
            if isinstance(value, dict):
                self._flatten(position, value, path + ".")
            elif isinstance(value, list):
                for element in value:
                    if not isinstance(element, (list, dict)):
                        column.add(position, element)

    def weights(self, name: str, positions: NDArray[np.int64], n: int) -> NDArray[np.float64]:
        """Born weights of one context at `positions`; 0 where a record lacks it."""
        entries = self.contexts.get(name)
        out = np.zeros(len(positions))
        if entries is None:
            return out
        at, values = entries.upto(n)
        if len(at) == 0:
            return out
        slot = np.minimum(np.searchsorted(at, positions), len(at) - 1)
        found = at[slot] == positions
        out[found] = values[slot[found]]
        return out

    def numbers(self, path: str, n: int) -> NDArray[np.float64]:
        """The number at one path of each of n rows; NaN where there is none, or a list. Raises NotIndexed."""
        out = np.full(n, np.nan)
        column = self.paths.get(path)
        if column is None:
            if self.overflow:
                raise NotIndexed(path)
            return out
        for kind in ("int", "float"):
            if kind in column.entries:
                positions, values = column.entries[kind].upto(n)
                out[positions] = values
        if "other" in column.entries:
            out[column.entries["other"].upto(n)[0]] = np.nan
        return out

    def nbytes(self) -> int:
        lists = [self.expiry, *self.contexts.values()]
        texts = 0
        for column in self.paths.values():
            lists.extend(column.entries.values())
            texts += sum(len(text) + 100 for text in column.texts)  # str object, dict slot, list slot
        sparse = sum(e.positions.data.nbytes + (e.values.data.nbytes if e.values else 0) for e in lists)
        return texts + sparse + self.updated.data.nbytes


class NotIndexed(Exception):  # noqa: N818 - a signal to read the records, not an error
    """The columns cannot answer: the path found no room, or the order of long strings is asked for."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def number_at(metadata: Mapping[str, Value], path: str) -> float:
    """What `Columns.numbers` holds of one record."""
    value = lookup(metadata, path)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def text_key(text: str) -> Key:
    """A string as a dictionary key: itself, or its digest when long."""
    if len(text) <= LONG_TEXT:
        return text
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def merge(sources: Iterable[tuple[Columns, int, NDArray[np.int64] | None]]) -> Columns:
    """The columns of several sources laid end to end: (columns, rows known, kept positions or None for
    all)."""
    sources = list(sources)
    merged = Columns()
    known = dict.fromkeys(path for columns, _, _ in sources for path in list(columns.paths))
    # A source that overflowed may hold any path it has no column for.
    sure = [path for path in known if all(path in c.paths or not c.overflow for c, _, _ in sources)]
    merged.overflow = any(columns.overflow for columns, _, _ in sources) or len(sure) > MAX_PATHS
    merged.paths = {path: Column() for path in sure[:MAX_PATHS]}
    updated: list[NDArray[np.float64]] = []
    base = 0
    for columns, n, kept in sources:
        target: NDArray[np.int64] | None = None
        size = n
        if kept is not None:
            target = np.full(n, -1, np.int64)
            target[kept] = np.arange(len(kept))
            size = len(kept)
        for path, column in list(columns.paths.items()):
            if path not in merged.paths:
                continue
            into = merged.paths[path]
            recode = np.array([_recode(into, text) for text in list(column.texts)], np.int32)
            for kind, entries in list(column.entries.items()):
                positions, values = entries.upto(n)
                _extend(into.of(kind), positions, recode[values] if kind == "text" else values, target, base)
        for name, entries in list(columns.contexts.items()):
            into_context = merged.contexts.setdefault(name, Entries(np.float64))
            _extend(into_context, *entries.upto(n), target, base)
        _extend(merged.expiry, *columns.expiry.upto(n), target, base)
        times = columns.updated.data[:n]
        updated.append(times if kept is None else times[kept])
        base += size
    merged.updated = Growable(np.float64, np.concatenate(updated))
    return merged


def _recode(column: Column, text: Key) -> int:
    code = column.codes.get(text)
    if code is None:
        code = column.codes[text] = len(column.texts)
        column.texts.append(text)
    return code


def _extend(
    into: Entries,
    positions: NDArray[np.int32],
    values: NDArray[Any],
    target: NDArray[np.int64] | None,
    base: int,
) -> None:
    if target is not None:
        moved = target[positions]
        keep = moved >= 0
        positions, values = moved[keep].astype(np.int32), values[keep]
    if len(positions) == 0:
        return
    into.positions = Growable(np.int32, np.concatenate([into.positions.view(), positions + np.int32(base)]))
    if into.values is not None:
        into.values = Growable(into.values.data.dtype, np.concatenate([into.values.view(), values]))
