"""Whether the last stop was a clean one, and the check of everything that follows one that was not."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence

from qstore_db.catalog.lmdb import LmdbCatalog
from qstore_db.engines.embedded.persist import IndexFiles
from qstore_db.engines.embedded.store import Store
from qstore_db.engines.embedded.verify import Report, check_engine
from qstore_db.errors import ClosedError, DiskFullError, QStoreError

_RUNNING = "running"


class Soundness:
    """`verdict` is "not needed", "running", "passed", or what a check found. Damage makes the store read-only."""

    def __init__(self, store: Store, catalog: LmdbCatalog) -> None:
        self._store = store
        self._catalog = catalog
        self._stop = threading.Event()
        self.verdict = _RUNNING

    def begin(self, sequence: int) -> None:
        """Take the clean mark away, so that a crash is noticed next time, and check what a crash left."""
        clean = self._store.meta("clean")
        if clean is not None:
            # Reading needs no room on the disk. A mark that stays is only believed until the next record.
            with contextlib.suppress(DiskFullError), self._store.environment.write() as transaction:
                self._store.drop_meta(transaction, "clean")
        if sequence in (clean, 0):
            self.verdict = "not needed"
        else:
            threading.Thread(target=self._check_slowly, name="qstore-verify", daemon=True).start()

    def check(self, indexes: Sequence[IndexFiles], breathe: Callable[[], None] = lambda: None) -> Report:
        report = check_engine(self._store, self._catalog, indexes, breathe)
        if report.problems:
            self._store.environment.condemn(f"a check found damage: {report.problems[0]}")
        return report

    def stop(self) -> None:
        """Abandon the check; the next start takes it up again."""
        self._stop.set()

    def end(self, sequence: int) -> None:
        """Mark a clean stop, unless a check is due that did not come to its end."""
        if self.verdict != _RUNNING:
            with self._store.environment.write() as transaction:
                self._store.put_meta(transaction, "clean", sequence)

    def _check_slowly(self) -> None:
        try:
            # Without the index: opening has just verified what it uses of it.
            report = self.check((), self._breathe)
        except ClosedError:
            return
        except QStoreError as error:
            self.verdict = str(error)
        else:
            self.verdict = "; ".join(report.problems[:3]) or "passed"

    def _breathe(self) -> None:
        time.sleep(0.003)  # leaves most of a core, and the interpreter, to others
        if self._stop.is_set():
            raise ClosedError("the database is closing")
