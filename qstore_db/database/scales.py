"""The stored distance scale of every collection of a database: read, measured at milestones, renamed, forgotten."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from qstore_db.catalog.base import CatalogDelete, CatalogPut
from qstore_db.engines.base import Selection, View
from qstore_db.errors import ClosedError, QStoreError
from qstore_db.records import Metric
from qstore_db.search.scale import Scale, following, largest_product, measure, milestone

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine


class Scales:
    """Safe to use from many threads. `_lock` guards the two dictionaries, `_measuring` lets one thread measure.

    A scale is measured by the write that reaches a milestone, or by the first search after a restart that lost
    that. Nothing a caller asked for fails because a scale could not be stored.
    """

    def __init__(self, engine: EmbeddedEngine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._measuring = threading.Lock()
        self._known: dict[str, Scale] = {}
        self._closing = False
        self._room: dict[str, int] = {}  # records a collection takes at least before its next milestone

    def of(self, view: View) -> Scale:
        """The scale that searches of this view are ranked by."""
        known = self._known.get(view.spec.name) or self._settle(view)
        if known.version == 0 and view.spec.metric is Metric.DOT:
            return replace(known, max_dot=largest_product(view))  # of fewer than 64 records
        return known

    def is_due(self, collection: str, written: int) -> bool:
        """Whether these writes may have brought the collection to a milestone: then `measure` is to be called."""
        with self._lock:
            room = self._room.get(collection, 0) - written
            self._room[collection] = room
        return room <= 0

    def measure(self, collection: str) -> None:
        """Measure where a milestone is reached. The writes that led here stand, whatever becomes of this."""
        with contextlib.suppress(QStoreError):  # closed or dropped meanwhile; a search will try again
            self._settle(self._engine.view(collection))

    def close(self) -> None:
        """Give up what is being measured, and measure nothing any more. What is known stays known."""
        self._closing = True

    def rename(self, old: str, new: str) -> None:
        with self._measuring:
            entry = self._engine.catalog.get(_key(old))
            moved = [CatalogDelete(_key(new)) if entry is None else CatalogPut(_key(new), entry.value)]
            self._engine.catalog.apply([*moved, CatalogDelete(_key(old))])
            self._forget(old)
            self._forget(new)

    def drop(self, collection: str) -> None:
        with self._measuring:
            if self._engine.catalog.get(_key(collection)) is not None:
                self._engine.catalog.delete(_key(collection))
            self._forget(collection)

    def _check(self) -> None:
        if self._closing:
            raise ClosedError("the database is closing")

    def _forget(self, collection: str) -> None:
        with self._lock:
            self._known.pop(collection, None)
            self._room.pop(collection, None)

    def _settle(self, view: View) -> Scale:
        name = view.spec.name
        with self._measuring:
            known = self._known.get(name)
            if known is None:
                entry = self._engine.catalog.get(_key(name))
                known = Scale() if entry is None else Scale.of(entry.value)
            now = self._clock()
            count = view.count(Selection(now=now))
            if milestone(count) > milestone(known.count):
                known = measure(view, now, known, self._check)
                with contextlib.suppress(
                    QStoreError
                ):  # a full disk: ranked by it all the same, until a restart
                    self._engine.catalog.put(_key(name), known.as_data())
            with self._lock:
                self._known[name] = known
                self._room[name] = following(max(count, known.count)) - count
            return known


def _key(collection: str) -> str:
    return f"scale/{collection}"
