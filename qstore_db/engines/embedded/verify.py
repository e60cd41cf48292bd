"""Checking everything that is stored: every record against its checksums, every total, every index file.

LMDB's own pages carry no checksums, so a flipped bit in its tree can make records vanish or point elsewhere.
The totals catch that: they are kept in the same transactions as the records, and a full scan must reproduce
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from qstore_db.catalog.lmdb import LmdbCatalog
from qstore_db.engines.embedded.layout import COLLECTION_PREFIX, Total
from qstore_db.engines.embedded.persist import IndexFiles
from qstore_db.engines.embedded.store import Store
from qstore_db.errors import CorruptionError

MAX_PROBLEMS = 20
_BREATHE_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. `problems` is empty exactly when everything stored is what was written."""

    records: int
    oplog_entries: int
    catalog_entries: int
    index_files: int
    problems: tuple[str, ...]
    """About records and the catalog: data is damaged."""
    index_problems: tuple[str, ...]
    """About derived files only: they are rebuilt at the next start, no record is affected."""

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

    Collections that were dropped are left out: they may be half erased. `breathe` is called every 1,000 records;
    it may sleep, and what it raises ends the check.
    """
    problems: list[str] = []
    records = _check_records(store, catalog, problems, breathe)
    for name in ("format", "sequence", "purged", "clean"):
        _count(partial(_meta, store, name), problems)
    entries = _count(catalog.verify, problems)
    ops = _count(lambda: sum(1 for _ in store.oplog(0)), problems)
    index_problems: list[str] = []
    files = sum(_count(index.verify, index_problems) for index in indexes)
    return Report(
        records, ops, entries, files, tuple(problems[:MAX_PROBLEMS]), tuple(index_problems[:MAX_PROBLEMS])
    )


def _count(check: Callable[[], int], problems: list[str]) -> int:
    try:
        return check()
    except CorruptionError as error:
        problems.append(str(error))
        return 0


def _meta(store: Store, name: str) -> int:
    return 0 if store.meta(name) is None else 1


def _check_records(
    store: Store, catalog: LmdbCatalog, problems: list[str], breathe: Callable[[], None]
) -> int:
    """Follow every id to its record and compare the sums with the stored totals."""
    sums: dict[int, Total] = {}
    count = 0
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
                count += 1
                if count % _BREATHE_EVERY == 0:
                    breathe()
            for cid in sorted(whole):
                expected, found = store.total(transaction, cid), sums.get(cid, Total())
                if expected != found:
                    problems.append(
                        f"collection {cid} should hold {expected.count} records with checksum sum "
                        f"{expected.checksum:#x}, a full scan finds {found.count} with {found.checksum:#x}"
                    )
    except CorruptionError as error:
        problems.append(str(error))
    return count
