"""The one writer thread: group commit without a timer.

Every request that queued while the last commit ran goes into the next, so that one disk sync serves them all.
A request is all or nothing and fails alone; a failed commit fails its whole group. A group becomes visible
before it is acknowledged, so everyone reads their own writes.
"""

from __future__ import annotations

import _thread
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import lmdb

from qstore_db.catalog.environment import Environment
from qstore_db.engines.base import Written
from qstore_db.errors import ClosedError, QStoreError, QueueFullError, ReadOnlyError

MAX_QUEUED_BYTES = 256 << 20
MAX_GROUP = 4_096

_log = logging.getLogger(__name__)


class Ticket:
    """A write on its way: blocks in `result`, or calls back, once acknowledged or failed."""

    __slots__ = ("_callbacks", "_done", "_error", "_lock", "_written")

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()
        self._done = False
        self._written: Written | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[], None]] = []

    def result(self) -> Written:
        if not self._done:
            with self._lock:
                pass
        if self._error is not None:
            raise self._error
        assert self._written is not None
        return self._written

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)
        if self._done:
            self._call_back()

    def settle(self, written: Written | None, error: BaseException | None = None) -> None:
        self._written, self._error = written, error
        self._done = True
        self._lock.release()
        self._call_back()

    def _call_back(self) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.pop()  # whoever pops it calls it: `settle` or `add_done_callback`
            except IndexError:
                return
            try:
                callback()
            except Exception:  # noqa: BLE001 - the writer must go on, say where the caller's event loop has closed
                _log.exception("a callback of an acknowledged write failed")


class Request(Protocol):
    """Something to be written in one piece."""

    ticket: Ticket
    nbytes: int
    checks_first: bool
    """Whether `apply` refuses before it has written anything, so that it needs no transaction of its own."""
    alone: bool
    """Whether everything before it must be published first (it reads the published state)."""

    def apply(self, transaction: lmdb.Transaction[bytes]) -> Written: ...


class Commits(Protocol):
    """Who keeps the state that requests change, in memory and in the transaction's own bookkeeping."""

    def mark(self) -> Callable[[], None]:
        """Before a request is applied: how to undo what it leaves in memory, should it fail."""
        ...

    def seal(self, transaction: lmdb.Transaction[bytes]) -> None:
        """Last writes of a group, before the commit."""
        ...

    def publish(self) -> None:
        """Make the committed group visible."""
        ...

    def abandon(self) -> None:
        """The commit failed: forget the group."""
        ...


class Writer:
    """Owns the write transaction. `submit` may be called from any thread."""

    def __init__(self, environment: Environment, commits: Commits, delay: Callable[[], float]) -> None:
        self._environment = environment
        self._commits = commits
        self._delay = delay
        self._queue: deque[Request] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition(threading.Lock())
        self._closing = False
        self.groups = 0
        self.requests = 0
        self.slowed_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="qstore-writer", daemon=True)
        self._thread.start()

    def submit(self, request: Request, timeout: float) -> Ticket:
        """Queue a request; waits up to `timeout` seconds for room, then raises QueueFullError."""
        self._environment.check()
        self._environment.check_writable()
        with self._changed:
            if self._queued_bytes > MAX_QUEUED_BYTES and not self._changed.wait_for(
                lambda: self._queued_bytes <= MAX_QUEUED_BYTES or self._closing, timeout
            ):
                raise QueueFullError(
                    f"{len(self._queue)} writes ({self._queued_bytes >> 20} MiB) are waiting for the disk; "
                    "send fewer at once"
                )
            if self._closing:
                raise ClosedError("the database is closing")
            self._queue.append(request)
            self._queued_bytes += request.nbytes
            if len(self._queue) == 1:
                self._changed.notify_all()
        return request.ticket

    def queued(self) -> int:
        return len(self._queue)

    def close(self) -> None:
        """Finish everything queued, then stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
            pause = self._delay()
            if pause:
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, pause)
                self.slowed_seconds += pause
            self._commit(self._next_group())

    def _next_group(self) -> list[Request]:
        with self._changed:
            group: list[Request] = []
            while self._queue and len(group) < MAX_GROUP:
                if group and self._queue[0].alone:
                    break
                request = self._queue.popleft()
                self._queued_bytes -= request.nbytes
                group.append(request)
            self._changed.notify_all()
            return group

    def _commit(self, group: Sequence[Request]) -> None:
        outcomes: list[tuple[Request, Written | None, BaseException | None]] = []
        try:
            with self._environment.write(sum(request.nbytes for request in group)) as transaction:
                outcomes.extend(self._apply(transaction, request) for request in group)
                if any(written is not None for _, written, _ in outcomes):
                    self._commits.seal(transaction)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._commits.abandon()
            for request in group:
                request.ticket.settle(None, error)
            return
        try:
            self._commits.publish()
        except Exception as error:  # noqa: BLE001 - the records are stored, but memory no longer matches them
            self._environment.condemn(f"a committed write could not be shown: {error!r}")
            outcomes = [(request, None, self._unshown(error)) for request in group]
        self.groups += 1
        self.requests += len(group)
        for request, written, failure in outcomes:
            request.ticket.settle(written, failure)

    def _unshown(self, error: Exception) -> ReadOnlyError:
        return ReadOnlyError(
            f"the write is stored, but this process cannot show it ({error!r}); close and reopen the database",
            subject=str(self._environment.directory),
        )

    def _apply(
        self, transaction: lmdb.Transaction[bytes], request: Request
    ) -> tuple[Request, Written | None, BaseException | None]:
        undo = self._commits.mark()
        try:
            if request.checks_first:
                return request, request.apply(transaction), None
            with self._environment.nested(transaction) as part:
                return request, request.apply(part), None
        except QStoreError as error:
            undo()
            return request, None, error
