"""Micro-batching: queries that wait for the same search become one.

There is no timer: what arrived while the last search ran goes into the next. Searches that are known to be short
run on the event loop, since a worker thread would cost a tenth of a millisecond more; the others in a lane.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qstore_db.database.options import QueryOptions
from qstore_db.errors import QStoreError
from qstore_db.records import QueryResult, Vectors
from qstore_server.lanes import Lane
from qstore_server.requests import Request

if TYPE_CHECKING:
    from qstore_db.database.core import Core

MAX_BATCH = 64
INLINE_NUMBERS = 4_000_000
"""A batch that is compared exactly with no more numbers is searched for on the event loop itself, as all are that a
graph answers: on two cores, a worker beside the loop brought a tenth to a third less."""

Answered = Callable[[Request, "QueryResult | Exception"], None]


class Batcher:
    """Groups queries by class: the same collection, options and dimension. To be used on one event loop."""

    def __init__(
        self,
        core: Core,
        lane: Lane,
        loop: asyncio.AbstractEventLoop,
        answered: Answered,
        batch: Callable[[int], None],
    ) -> None:
        """`answered` takes each request with its result; `batch` is told how many shared a search."""
        self._core = core
        self._lane = lane
        self._loop = loop
        self._answered = answered
        self._batch = batch
        self._waiting: dict[Hashable, deque[tuple[Request, Vectors]]] = {}
        self._options: dict[Hashable, QueryOptions] = {}
        self._scheduled = self._busy = False

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, request: Request, vector: Vectors, options: QueryOptions) -> None:
        """`options` must be hashable: without filter and context."""
        kind = (options, len(vector))
        queue = self._waiting.get(kind)
        if queue is None:
            queue = self._waiting[kind] = deque()
        queue.append((request, vector))
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._busy and self._waiting:
            self._scheduled = True
            self._loop.call_soon(self._search)

    def _search(self) -> None:
        self._scheduled = False
        kind = next(iter(self._waiting))
        queue = self._waiting.pop(kind)
        options: QueryOptions = kind[0]  # type: ignore[index]
        group = self._wanted([queue.popleft() for _ in range(min(MAX_BATCH, len(queue)))])
        if queue:
            self._waiting[kind] = queue  # behind the other classes
        if group:
            self._batch(len(group))
        if not self._is_short(options.collection, len(group)):
            self._busy = True
            self._lane.submit(
                self,
                lambda: _results(self._core, group, options),
                lambda found, _: self._deliver(group, found),
            )
            return
        if group:
            self._answer(group, _results(self._core, group, options))
        self._schedule()

    def _is_short(self, collection: str, queries: int) -> bool:
        try:
            view = self._core.engine.view(collection)
        except QStoreError:
            return True  # which is soon said
        return queries * view.unindexed * view.spec.dimension <= INLINE_NUMBERS

    def _deliver(
        self, group: Sequence[tuple[Request, Vectors]], found: Sequence[QueryResult | Exception]
    ) -> None:
        self._busy = False
        self._schedule()
        self._answer(group, found)

    def _answer(
        self, group: Sequence[tuple[Request, Vectors]], found: Sequence[QueryResult | Exception]
    ) -> None:
        for (request, _), result in zip(group, found, strict=True):
            self._answered(request, result)

    def _wanted(self, group: Sequence[tuple[Request, Vectors]]) -> list[tuple[Request, Vectors]]:
        now, wanted = self._loop.time(), []
        for request, vector in group:
            try:
                request.check_wanted(now)
            except QStoreError as error:
                self._answered(request, error)
            else:
                wanted.append((request, vector))
        return wanted


def _results(
    core: Core, group: Sequence[tuple[Request, Vectors]], options: QueryOptions
) -> Sequence[QueryResult | Exception]:
    """One result or error each: a query that is refused must not fail its neighbours."""
    if len(group) > 1:
        with contextlib.suppress(Exception):  # whose it was shows when each is searched for alone
            return core.reads.query_batch(np.stack([vector for _, vector in group]), options)
    return [_result(core, vector, options) for _, vector in group]


def _result(core: Core, vector: Vectors, options: QueryOptions) -> QueryResult | Exception:
    try:
        return core.reads.query(vector, options)
    except Exception as error:  # noqa: BLE001 - whoever asked is told
        return error
