"""Following a collection through the oplog, and waking those who wait for what it will say next."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable

import lmdb

from qstore_db.engines.embedded.collection import Collection
from qstore_db.engines.embedded.layout import DELETE
from qstore_db.engines.embedded.store import Store
from qstore_db.errors import ArgumentError, CollectionNotFoundError, SequenceExpired
from qstore_db.records import Change

_log = logging.getLogger(__name__)


class Subscribers:
    """Who wants to be called whenever there may be something new.

    There is no lock, since a subscription may be ended by a finaliser, in whatever a thread is doing: each step
    on the dictionary is atomic.
    """

    def __init__(self) -> None:
        self._callbacks: dict[object, Callable[[], None]] = {}
        self.closed = False

    def add(self, callback: Callable[[], None]) -> Callable[[], None]:
        """From now on; what is returned ends it."""
        key = object()
        self._callbacks[key] = callback

        def unsubscribe() -> None:
            self._callbacks.pop(key, None)

        return unsubscribe

    def call(self) -> None:
        for callback in list(self._callbacks.values()):
            try:
                callback()
            except Exception:  # noqa: BLE001 - the writer must go on, say where a subscriber's event loop has closed
                _log.exception("a subscriber to changes failed")

    def close(self) -> None:
        """Call for the last time."""
        self.closed = True
        self.call()


class Feed:
    """What `engines.base.Feed` promises. Between two calls it holds no transaction and no collection, so that it is
    in nobody's way: not in that of a drop, which waits for whoever reads before anything is erased."""

    def __init__(
        self,
        store: Store,
        collection: Collection,
        since: int,
        published: Callable[[], int],
        clock: Callable[[], float],
        subscribers: Subscribers,
    ) -> None:
        self._store = store
        self._collection = weakref.ref(collection)
        self._name = collection.spec.name
        self._sequence = since
        self._published = published
        self._clock = clock
        self._subscribers = subscribers
        if not 0 <= since <= published():
            raise ArgumentError(
                f"since={since} must be from 0 to the last op sequence, {published()}; a later one is of another "
                "database, or of what this one was before a backup was restored",
                subject="since",
            )
        if since < published():
            with store.environment.read() as transaction:
                self._check_logged(transaction)

    @property
    def sequence(self) -> int:
        return self._sequence

    def next(self, limit: int) -> list[Change]:
        collection = self._there()
        if not self.due():
            return []
        # Not beyond what searches show: a reader who looks for what it hears of finds it.
        upto = min(self._published(), self._sequence + limit)
        changes = self._read(collection, upto)
        self._sequence = max(self._sequence, upto)
        return changes

    def due(self) -> bool:
        collection = self._collection()
        if self._subscribers.closed or collection is None or collection.dropped:
            return True
        published = self._published()  # before the collection's own, which moves first
        if collection.current.sequence > self._sequence:
            return published > self._sequence
        # The writer may do this while the reader is in `next`. Either sets only what is true by then.
        self._sequence = max(self._sequence, published)
        return False

    def wait(self, timeout: float | None = None) -> bool:
        self._there()
        ready = threading.Event()

        def look() -> None:
            if self.due():
                ready.set()

        unsubscribe = self._subscribers.add(look)
        try:
            look()
            ready.wait(timeout)
        finally:
            unsubscribe()
        self._there()
        return ready.is_set()

    def _there(self) -> Collection:
        """The collection, held by the caller for as long as it reads."""
        self._store.environment.check()
        collection = self._collection()
        if collection is None or collection.dropped:
            raise CollectionNotFoundError(
                f"collection {self._name!r} was dropped; one of that name that was created since is another, "
                "to be watched anew",
                subject=self._name,
            )
        self._name = collection.spec.name
        return collection

    def _check_logged(self, transaction: lmdb.Transaction[bytes]) -> None:
        """Raises SequenceExpired where the next op, which there was, is no longer in the oplog. It has no gaps."""
        first = next(self._store.ops(transaction, self._sequence), None)
        if first is not None and first.sequence == self._sequence + 1:
            return
        present = self._published()
        oldest = present if first is None else first.sequence - 1
        raise SequenceExpired(
            f"the changes of collection {self._name!r} since {self._sequence} are no longer kept, only those since "
            f"{oldest}; read everything with scroll, and then watch since={present}",
            subject=self._name,
        )

    def _read(self, collection: Collection, upto: int) -> list[Change]:
        """What the ops up to `upto` left behind, as of one moment."""
        store, cid, now = self._store, collection.cid, self._clock()
        changes: list[Change] = []
        with store.environment.read() as transaction, store.vectors(transaction) as vectors:
            self._check_logged(transaction)
            for op in store.ops(transaction, self._sequence):
                if op.sequence > upto:
                    break
                if op.cid != cid:
                    continue
                row = store.row_of(transaction, cid, op.id)
                if row is None:
                    if op.kind == DELETE:
                        changes.append(Change(op.sequence, op.id, None))
                elif row == op.sequence:
                    record = store.at(transaction, vectors, cid, row, op.id, now)
                    changes.append(Change(op.sequence, op.id, record))
        return changes
