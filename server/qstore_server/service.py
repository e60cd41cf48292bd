"""What the server does for a request: on the event loop, in a batch, or in a lane."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from qstore_db.database import operations
from qstore_db.database.arguments import check_number
from qstore_db.database.bell import Bell
from qstore_db.database.local import PATIENCE
from qstore_db.database.operations import Fields, Operation, WatchOperation, WriteOperation
from qstore_db.database.operations.found import pack_results
from qstore_db.database.options import QueryOptions
from qstore_db.engines.base import not_indexed
from qstore_db.errors import QStoreError, QueueFullError, WaitTimeoutError
from qstore_db.records import QueryResult
from qstore_server.access import Token
from qstore_server.batching import Batcher
from qstore_server.lanes import Lane
from qstore_server.permission import visible
from qstore_server.requests import Request, answer_of
from qstore_server.statistics import Statistics
from qstore_server.tokens import REVOKE
from qstore_server.watching import Watch

if TYPE_CHECKING:
    from qstore_db.database.core import Core
    from qstore_db.database.writes import Draft
    from qstore_db.engines.base import Pending, Written

QUICK_NEIGHBOURS = 128
"""Queries for no more, without filter and context, are searched for in batches."""
QUICK_IDS = 16
"""Records that are read by id on the event loop."""
_RETRY = 0.005
_TURN = 0.1
"""Seconds."""
_UPKEEP = (
    operations.CREATE_COLLECTION,
    operations.RENAME_COLLECTION,
    operations.DROP_COLLECTION,
    operations.REINDEX,
    operations.SNAPSHOT,
    operations.COMPACT,
    operations.BACKUP,
    operations.VERIFY,
    operations.STATS,
)
_OF_MATCHES = (operations.QUERY, operations.QUERY_BATCH, operations.TUNNEL, operations.TUNNEL_BATCH)
_OF_RECORDS = (*_OF_MATCHES, operations.GET, operations.SCROLL)
_RECORD_BYTES = 512
"""Of a record without its vector, in an answer."""
_BATCHED = QueryOptions.__dataclass_fields__.keys() & {
    "top_k",
    "scale",
    "include_vectors",
    "collection",
}
"""Options that a batched query may give."""

Auditing = Callable[[Request], "contextlib.AbstractContextManager[None]"]

_log = logging.getLogger("qstore.server")


class Service:
    """Performs requests, each answered once through its connection. To be used on one event loop."""

    def __init__(
        self,
        core: Core,
        loop: asyncio.AbstractEventLoop,
        statistics: Statistics,
        auditing: Auditing,
        revoked: Callable[[Token], None],
    ) -> None:
        """auditing: what stands around an administrative act. revoked: is told what token is no longer valid."""
        self.core = core
        self._loop = loop
        self._statistics = statistics
        self._auditing = auditing
        self._revoked = revoked
        self._bell = Bell(loop)
        self._search = Lane("search", 1, loop)
        self._work = Lane("work", 2, loop)
        self._bulk = Lane("bulk", 2, loop)
        self._upkeep = Lane("upkeep", 2, loop)
        self._batcher = Batcher(core, self._search, loop, self._found, statistics.batch)
        statistics.gauge("queued_requests", self.queued)

    def queued(self) -> dict[str, float]:
        """How many requests wait, by lane."""
        lanes = {lane.name: float(len(lane)) for lane in (self._work, self._bulk, self._upkeep)}
        return {"search": float(len(self._batcher)), **lanes}

    def close(self) -> None:
        """Wait for the threads, but for no scale. Nothing may be submitted any more."""
        self.core.scales.close()
        for lane in (self._search, self._work, self._bulk, self._upkeep):
            lane.close()

    def perform(self, request: Request) -> None:
        """Begin on a request whose sender may ask for it."""
        try:
            request.check_wanted(self._loop.time())
            operation = request.operation
            if operation is operations.QUERY:
                self._query(request)
            elif isinstance(operation, WriteOperation):
                self._write(request, operation)
            elif isinstance(operation, WatchOperation):
                watch = Watch(
                    self.core, self._work, self._bell, request, request.connection.window, self.fail
                )
                request.connection.watched(request, watch)
                watch.begin()
            elif operation is operations.WAIT_INDEXED:
                self._wait_indexed(request)
            elif operation is REVOKE:
                self._revoke(request)
            elif _is_quick(request):
                self._answer(request, _performed(self.core, request))
            else:
                self._submit(self._upkeep if operation in _UPKEEP else self._work, request)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            self.fail(request, error)

    def answer_bytes(self, request: Request) -> int:
        """About what the answer will take in memory, where that is much."""
        fields, operation = request.fields, request.operation
        if operation not in _OF_RECORDS:
            return 0
        try:
            view = self.core.engine.view(fields.get("collection", "default"))
        except QStoreError:
            return 0
        records = 0
        for name in ("top_k", "limit", "ids"):
            value = fields.get(name)
            records += len(value) if isinstance(value, list) else value if type(value) is int else 0
        queries = (
            len(vectors)
            if isinstance(vectors := fields.get("vectors", fields.get("queries")), np.ndarray)
            else 1
        )
        vector = (
            0 if operation in _OF_MATCHES and not fields.get("include_vectors") else 4 * view.spec.dimension
        )
        return queries * max(min(records, len(view)), 0) * (_RECORD_BYTES + vector)

    def fail(self, request: Request, error: Exception) -> None:
        if not isinstance(error, QStoreError):
            _log.error("internal error", extra={"op": request.operation.name}, exc_info=error)
            error = QStoreError(
                f"an error inside the server ({type(error).__name__}); its log has more",
                subject=request.operation.name,
            )
        request.connection.answer(request, error)

    # Queries

    def _query(self, request: Request) -> None:
        vector, options = operations.QUERY.unpack(request.fields)
        quick = (
            request.fields.keys() <= _BATCHED | {"vector"}
            and isinstance(vector, np.ndarray)
            and vector.ndim == 1
            and type(options.top_k) is int
            and options.top_k <= QUICK_NEIGHBOURS
            and type(options.scale) in (float, int, type(None))
            and type(options.include_vectors) is bool
            and isinstance(options.collection, str)
        )
        if quick:
            self._batcher.add(request, vector, options)
        else:
            self._submit(self._work, request)

    def _found(self, request: Request, result: QueryResult | Exception) -> None:
        if isinstance(result, Exception):
            self.fail(request, result)
            return
        try:
            self._answer(request, pack_results([result]))
        except Exception as error:  # noqa: BLE001 - reading the records may fail too
            self.fail(request, error)

    # Writes

    def _write(self, request: Request, operation: WriteOperation[Any]) -> None:
        if operation.many:
            self._bulk.submit(
                request.connection,
                partial(self._begun_in_a_lane, request, operation),
                partial(self._written_in_a_lane, request),
            )
        else:
            draft = operation.draft(self.core, *operation.unpack(request.fields))
            self._begin(request, draft, self._loop.time() + PATIENCE)

    def _begin(self, request: Request, draft: Draft, until: float) -> None:
        now = self._loop.time()
        try:
            request.check_wanted(now)
            pending = draft.begin(0.0, request.key)
        except QueueFullError as error:
            if now > until:
                self.fail(request, error)
            else:
                self._loop.call_later(_RETRY, self._begin, request, draft, until)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            self.fail(request, error)
        else:
            settled = partial(self._settled, request, draft, pending)
            pending.add_done_callback(lambda: self._bell.ring(settled))

    def _settled(self, request: Request, draft: Draft, pending: Pending) -> None:
        try:
            self._acknowledge(request, draft, pending.result())
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            self.fail(request, error)

    def _begun_in_a_lane(self, request: Request, operation: WriteOperation[Any]) -> tuple[Draft, Written]:
        request.check_wanted(self._loop.time())
        draft = operation.draft(self.core, *operation.unpack(request.fields))
        return draft, draft.begin(PATIENCE, request.key).result()

    def _written_in_a_lane(
        self, request: Request, done: tuple[Draft, Written] | None, error: Exception | None
    ) -> None:
        if done is None:
            assert error is not None
            self.fail(request, error)
        else:
            self._acknowledge(request, *done)

    def _acknowledge(self, request: Request, draft: Draft, written: Written) -> None:
        self._answer(request, {"sequence": written.sequence, "count": written.count})
        if self.core.scales.is_due(draft.collection, draft.puts):
            self._work.submit(self, partial(self.core.scales.measure, draft.collection), _ignore)

    # Everything else

    def _submit(self, lane: Lane, request: Request) -> None:
        lane.submit(request.connection, partial(self._in_a_lane, request), partial(self._delivered, request))

    def _in_a_lane(self, request: Request) -> Any:
        request.check_wanted(self._loop.time())
        with self._auditing(request) if request.operation.role == "admin" else contextlib.nullcontext():
            body = _performed(self.core, request)
        if request.operation is operations.STATS:
            body = {**body, "server": self._statistics.as_data()}
        return answer_of(request.id, body)

    def _delivered(self, request: Request, answer: Any, error: Exception | None) -> None:
        if error is None:
            request.connection.answer(request, answer)
        else:
            self.fail(request, error)

    def _answer(self, request: Request, body: Fields) -> None:
        request.connection.answer(request, answer_of(request.id, body))

    def _revoke(self, request: Request) -> None:
        def revoked() -> Token:
            request.check_wanted(self._loop.time())
            with self._auditing(request):
                return REVOKE.perform(self.core, *REVOKE.unpack(request.fields))

        def delivered(token: Any, error: Exception | None) -> None:
            if error is None:
                self._answer(request, REVOKE.answer(token))
                self._revoked(token)  # after the answer: it may be the token of the one who asked
            else:
                self.fail(request, error)

        self._work.submit(request.connection, revoked, delivered)

    def _wait_indexed(self, request: Request) -> None:
        """Wait in short turns: a thread that waits for long would be lost to others."""
        (timeout,) = operations.WAIT_INDEXED.unpack(request.fields)
        if timeout is not None:
            timeout = check_number("timeout", timeout, 0.0, math.inf)
        self._wait_on(request, timeout, None if timeout is None else self._loop.time() + timeout)

    def _wait_on(self, request: Request, timeout: float | None, until: float | None) -> None:
        left = math.inf if until is None else until - self._loop.time()

        def delivered(_: Any, error: Exception | None) -> None:
            if not isinstance(error, WaitTimeoutError):
                self._delivered(request, answer_of(request.id, {}), error)
            elif request.cancelled or left <= _TURN:
                self.fail(request, error if timeout is None else not_indexed(timeout))
            else:
                self._wait_on(request, timeout, until)

        turn = max(min(left, _TURN), 0.0)
        self._upkeep.submit(request.connection, partial(self.core.engine.wait_indexed, turn), delivered)


def _performed(core: Core, request: Request) -> Fields:
    operation = request.operation
    assert isinstance(operation, Operation)
    result = operation.perform(core, *operation.unpack(request.fields))
    token = request.connection.token
    assert token is not None
    return visible(token, operation, operation.answer(result))


def _is_quick(request: Request) -> bool:
    """Whether it takes less time than waking a thread."""
    operation, fields = request.operation, request.fields
    if operation is operations.GET:
        ids = fields.get("ids")
        return isinstance(ids, list) and len(ids) <= QUICK_IDS
    if operation is operations.COUNT:
        return "filter" not in fields
    return operation in (operations.COLLECTION, operations.LIST_COLLECTIONS, operations.LIST_GROUPS)


def _ignore(_: Any, __: Exception | None) -> None:
    """What measures a scale tells nobody: a later write or search measures it again."""
