"""Checking everything that is stored: every record against its checksums, every total, every index file.

LMDB's own pages carry no checksums, so a flipped bit in its tree can make records vanish or point elsewhere.
The totals catch that: they are kept in the same transactions as the records, and a full scan must reproduce
them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qstore_db.catalog.environment import DATA_FILE, Environment
from qstore_db.catalog.lmdb import LmdbCatalog
from qstore_db.catalog.pages import check_metas, check_pages
from qstore_db.engines.embedded import layout
from qstore_db.engines.embedded.files import room_in
from qstore_db.engines.embedded.format import check_records, read_format
from qstore_db.engines.embedded.layout import COLLECTION_PREFIX, INDEX_FOLDER, RECORDS_FOLDER, Total
from qstore_db.engines.embedded.ownership import DirectoryLock
from qstore_db.engines.embedded.persist import IndexFiles
from qstore_db.engines.embedded.receipts import Receipts
from qstore_db.engines.embedded.store import Store
from qstore_db.errors import CorruptionError, FormatError

MAX_PROBLEMS = 20
_BREATHE_EVERY = (
    32  # about a millisecond: what a query in another thread may have to wait for the interpreter
)
_NUMBERS = ("format", "sequence", "purged", "clean")
_OTHER_FORMAT = 3


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. `problems` is empty exactly when everything stored is what was written."""

    records: int
    oplog_entries: int
    receipts: int
    catalog_entries: int
    index_files: int
    problems: tuple[str, ...]
    """About records and the catalog: data is damaged."""
    index_problems: tuple[str, ...]
    """About derived files only: they are rebuilt at the next start, no record is affected."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Report:
        return cls(
            **{**data, "problems": tuple(data["problems"]), "index_problems": tuple(data["index_problems"])}
        )

    @property
    def ok(self) -> bool:
        return not self.problems and not self.index_problems


def check_engine(
    store: Store,
    catalog: LmdbCatalog,
    indexes: Sequence[IndexFiles],
    breathe: Callable[[], None] = lambda: None,
) -> Report:
    """One scan of everything, the records as of one moment.

    Collections that were dropped are left out: they may be half erased. `breathe` is called every 32 entries;
    it may sleep, and what it raises ends the check.
    """
    problems: list[str] = []
    records = _check_records(store, catalog, problems, breathe)
    entries = _count(catalog.verify, problems)
    ops = _count(lambda: _check_oplog(store, breathe), problems)
    receipts = _count(lambda: _check_receipts(store, breathe), problems)
    index_problems: list[str] = []
    files = sum(_count(index.verify, index_problems) for index in indexes)
    return Report(
        records,
        ops,
        receipts,
        entries,
        files,
        tuple(problems[:MAX_PROBLEMS]),
        tuple(index_problems[:MAX_PROBLEMS]),
    )


def _count(check: Callable[[], int], problems: list[str]) -> int:
    try:
        return check()
    except CorruptionError as error:
        problems.append(str(error))
        return 0


def _check_oplog(store: Store, breathe: Callable[[], None]) -> int:
    """Follow the oplog, which has no gaps; how many entries it has."""
    count = before = 0
    for op in store.oplog(0):
        if before and op.sequence != before + 1:
            raise CorruptionError(f"the oplog has a gap after {before}", subject=f"oplog {before}")
        count, before = count + 1, op.sequence
        if count % _BREATHE_EVERY == 0:
            breathe()
    return count


def _check_receipts(store: Store, breathe: Callable[[], None]) -> int:
    """Follow the receipts, and compare their sums with the stored total; how many there are."""
    found = Total()
    with store.environment.read() as transaction:
        for checksum in Receipts(store).checksums(transaction):
            found = found.plus(checksum)
            if found.count % _BREATHE_EVERY == 0:
                breathe()
        expected = store.total(transaction, layout.RECEIPTS_CID)
    if expected != found:
        raise CorruptionError(
            f"there should be {expected.count} receipts with checksum sum {expected.checksum:#x}, a full scan "
            f"finds {found.count} with {found.checksum:#x}",
            subject="receipts",
        )
    return found.count


def _check_records(
    store: Store, catalog: LmdbCatalog, problems: list[str], breathe: Callable[[], None]
) -> int:
    """Follow every id to its record and compare the sums with the stored totals."""
    sums: dict[int, Total] = {}
    count = newest = 0
    try:
        with store.environment.read() as transaction:
            # Asked after the read began: what was being erased by then is no longer in the catalog.
            whole = {entry.value["cid"] for entry in catalog.scan(COLLECTION_PREFIX)}
            for cid, id, row in store.every_id(transaction):
                if cid not in whole:
                    continue
                try:
                    checksum = store.check_record(transaction, cid, id, row)
                    sums[cid] = sums.get(cid, Total()).plus(checksum)
                except CorruptionError as error:
                    problems.append(str(error))
                count, newest = count + 1, max(newest, row)
                if count % _BREATHE_EVERY == 0:
                    breathe()
            for cid in sorted(whole):
                expected, found = store.total(transaction, cid), sums.get(cid, Total())
                if expected != found:
                    problems.append(
                        f"collection {cid} should hold {expected.count} records with checksum sum "
                        f"{expected.checksum:#x}, a full scan finds {found.count} with {found.checksum:#x}"
                    )
            for name in store.numbers(transaction):
                if name not in _NUMBERS:
                    problems.append(f"the stored number {name!r} is none of this format")
                store.meta(name)
        if store.check_sequence() < newest:
            problems.append(f"record row {newest} lies beyond the last sequence")
    except CorruptionError as error:
        problems.append(str(error))
    return count


def verify_directory(directory: str | Path) -> Report:
    """Check a database that is not open, as `check_engine` does, and the structure of its file besides.

    The work is done in a process of its own: where the file is so damaged that reading it ends the process, that
    is reported as a problem. Nothing is changed. Raises DatabaseLockedError where the database is open, and
    FormatError where `directory` holds none or one of another format.
    """
    directory = Path(directory)
    if not (directory / RECORDS_FOLDER).is_dir():
        raise FormatError(f"{directory} holds no database", subject=str(directory))
    with room_in(directory):
        lock = DirectoryLock(directory)
    try:
        checked = subprocess.run(
            [sys.executable, "-m", __name__, str(directory)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    finally:
        lock.release()
    if checked.returncode == 0:
        return Report.of(json.loads(checked.stdout))
    if checked.returncode == _OTHER_FORMAT:
        raise FormatError(checked.stderr.strip(), subject=str(directory))
    how = signal.strsignal(-checked.returncode) if checked.returncode < 0 else checked.stderr.strip()[-500:]
    return Report(0, 0, 0, 0, 0, (f"the check itself crashed reading the file: {how}",), ())


def check_directory(directory: Path) -> Report:
    """The work of `verify_directory`, in this process, which a damaged file may end.

    The directory must not be open anywhere.
    """
    path = directory / RECORDS_FOLDER / DATA_FILE
    try:
        check_records(directory, path.parent)
        check_metas(path, both=True)
        check_pages(path)
        environment = Environment(
            path.parent, tables=layout.TABLES, added=layout.ADDED_TABLES, read_only=True
        )
    except CorruptionError as error:  # what follows from damaged pages would only blur this
        return Report(0, 0, 0, 0, 0, (str(error),), ())
    try:
        store, catalog = Store(environment), LmdbCatalog(environment)
        read_format(directory, store)
        folders = [
            IndexFiles(directory / INDEX_FOLDER, catalog, entry.value["cid"])
            for entry in catalog.scan(COLLECTION_PREFIX)
        ]
        return check_engine(store, catalog, folders)
    except CorruptionError as error:
        return Report(0, 0, 0, 0, 0, (str(error),), ())
    finally:
        environment.close()


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(check_directory(Path(sys.argv[1])))))
    except FormatError as error:
        print(error, file=sys.stderr)
        sys.exit(_OTHER_FORMAT)
