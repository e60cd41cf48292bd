"""One segment as one snapshot sees it: how many of its rows, which of them are dead, and which a selection
admits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.base import Selection
from qstore_db.engines.embedded.columns import Columns, NotIndexed
from qstore_db.engines.embedded.graph import Graph
from qstore_db.engines.embedded.kernels import Bits, Rows, count, pack, positions_of, unpack
from qstore_db.engines.embedded.predicate import evaluate
from qstore_db.engines.embedded.segment import Segment, Tail
from qstore_db.records import Filter, Metadata

_CACHED_SELECTIONS = 64
_NORM_ROWS = 4_096

_SelectionKey: TypeAlias = "tuple[str | None, tuple[str, ...]]"
ScanRecords: TypeAlias = Callable[[NDArray[np.int64]], list[Metadata]]
"""Metadata of rows, decoded from the store: what answers a filter that columns cannot."""


class SelectionCache:
    """Bits by selection, the oldest dropped first. Dropping an entry only costs its recomputation."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits: OrderedDict[_SelectionKey, Bits] = OrderedDict()

    def get(self, key: _SelectionKey) -> Bits | None:
        return self._bits.get(key)

    def put(self, key: _SelectionKey, bits: Bits) -> None:
        self._bits[key] = bits
        while len(self._bits) > _CACHED_SELECTIONS:
            try:
                self._bits.popitem(last=False)
            except KeyError:  # another reader emptied it first
                break


class Admitted:
    """The rows of a part that a selection admits. `bits` is None when that is all of them."""

    __slots__ = ("bits", "count", "warning")

    def __init__(self, bits: Bits | None, count: int, warning: str | None = None) -> None:
        self.bits = bits
        self.count = count
        self.warning = warning

    def positions(self, n: int) -> NDArray[np.int64]:
        return np.arange(n) if self.bits is None else positions_of(self.bits, n)


class Part:
    """Immutable. A segment's parts share the cache of their selections; each state of the tail has its
    own."""

    __slots__ = ("_alive", "_cache", "_peak", "_scanned", "dead", "dead_count", "n", "source")

    def __init__(
        self,
        source: Segment | Tail,
        n: int,
        dead: Bits | None = None,
        dead_count: int = 0,
        cache: SelectionCache | None = None,
        peak: tuple[float, int] = (0.0, 0),
    ) -> None:
        self.source = source
        self.n = n
        self.dead = dead
        self.dead_count = dead_count
        self._cache = SelectionCache() if cache is None else cache
        self._scanned = SelectionCache()
        self._peak = peak
        self._alive: Bits | None = None

    @property
    def rows(self) -> NDArray[np.int64]:
        source = self.source
        return source.rows if isinstance(source, Segment) else source.rows.data[: self.n]

    @property
    def matrix(self) -> Rows:
        return self.source.matrix[: self.n]

    @property
    def columns(self) -> Columns:
        return self.source.columns

    @property
    def graph(self) -> Graph | None:
        return self.source.graph

    @property
    def alive_count(self) -> int:
        return self.n - self.dead_count

    def grown(self, n: int) -> Part:
        """The tail, seen up to row n."""
        return Part(self.source, n, self.dead, self.dead_count, peak=self._peak)

    def without(self, positions: list[int]) -> Part:
        """The same rows with some more of them dead."""
        dead = np.zeros((self.n + 7) // 8, np.uint8)
        if self.dead is not None:
            dead[: len(self.dead)] = self.dead
        for position in positions:
            dead[position >> 3] |= 1 << (position & 7)
        cache = self._cache if isinstance(self.source, Segment) else None
        return Part(self.source, self.n, dead, self.dead_count + len(positions), cache, self._peak)

    def replaced(self, segment: Segment) -> Part:
        """The same rows and dead ones over another form of the segment (sealed, or saved to a file)."""
        return Part(segment, self.n, self.dead, self.dead_count, peak=self._peak)

    def is_dead(self, position: int) -> bool:
        at = position >> 3
        return self.dead is not None and at < len(self.dead) and bool(self.dead[at] >> (position & 7) & 1)

    def dead_mask(self) -> NDArray[np.bool_]:
        mask = np.zeros(self.n, np.bool_)
        if self.dead is not None:
            known = min(self.n, 8 * len(self.dead))
            mask[:known] = unpack(self.dead, known)
        return mask

    def admitted(self, selection: Selection, scan: ScanRecords) -> Admitted:
        """Bits of the rows that are alive, match and have not expired."""
        bits: Bits | None = None
        warning: str | None = None
        if selection.filter is not None or selection.contexts:
            bits, warning = self._selected(selection.filter, selection.contexts, scan)
        if self.dead_count:
            alive = self._alive_bits()
            bits = alive if bits is None else bits & alive
        expired = self._expired(selection.now)
        if len(expired):
            mask = np.ones(self.n, np.bool_) if bits is None else unpack(bits, self.n)
            mask[expired] = False
            bits = pack(mask)
        return Admitted(bits, self.n if bits is None else count(bits), warning)

    def peak(self) -> float:
        """The largest squared norm of a row, rounded up; remembered, and for the tail continued as it grows."""
        peak, known = self._peak
        for start in range(known, self.n, _NORM_ROWS):
            rows = self.matrix[start : start + _NORM_ROWS].astype(np.float64)
            peak = max(peak, 1.001 * float(np.einsum("nd,nd->n", rows, rows).max()))
        self._peak = (peak, self.n)
        return peak

    def _alive_bits(self) -> Bits:
        if self._alive is None:
            self._alive = pack(~self.dead_mask())
        return self._alive

    def _expired(self, now: float) -> NDArray[np.int32]:
        positions, times = self.columns.expiry.upto(self.n)
        return positions[times <= now]

    def _selected(
        self, filter: Filter | None, contexts: tuple[str, ...], scan: ScanRecords
    ) -> tuple[Bits, str | None]:
        key = (None if filter is None else filter.key, contexts)
        known = self._cache.get(key)
        if known is not None:
            return known, None
        mask = np.ones(self.n, np.bool_)
        if contexts:
            mask[:] = False
            for name in contexts:
                entries = self.columns.contexts.get(name)
                if entries is not None:
                    mask[entries.upto(self.n)[0]] = True
        if filter is not None:
            try:
                mask &= evaluate(filter.root, self.columns, self.n)
            except NotIndexed as gap:
                warning = f"filter on {gap.path!r} is not indexed: its records were read one by one"
                return self._scan(key, filter, mask, scan), warning
        bits = pack(mask)
        self._cache.put(key, bits)
        return bits, None

    def _scan(self, key: _SelectionKey, filter: Filter, mask: NDArray[np.bool_], scan: ScanRecords) -> Bits:
        """Of the rows in `mask`, the living ones that match. Others may have died since or be alive in an older
        snapshot, so that this part alone can use it again."""
        bits = self._scanned.get(key)
        if bits is None:
            candidates = np.flatnonzero(mask & ~self.dead_mask())
            mask[:] = False
            mask[candidates] = [filter.matches(metadata) for metadata in scan(self.rows[candidates])]
            bits = pack(mask)
            self._scanned.put(key, bits)
        return bits
