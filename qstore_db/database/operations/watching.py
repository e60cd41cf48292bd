"""Following a collection: the one operation whose answer never ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qstore_db.database.arguments import check_since
from qstore_db.database.operations.base import Fields, Role, check_fields
from qstore_db.database.operations.found import pack_records, unpack_records
from qstore_db.records import Change

WATCH_OPS = 1_000
"""Ops that a watcher reads at once: some ten milliseconds, and no more than their records in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class WatchOperation:
    """Its answer is a CHUNK for every few changes, the first at once, until it is cancelled or fails."""

    name: str = "db.watch"
    role: Role = "read"
    scope: tuple[str, ...] = ("collection",)

    def pack(self, collection: str, since: int | None) -> Fields:
        packed: Fields = {"collection": collection}
        return packed if since is None else {**packed, "since": check_since(since)}

    def unpack(self, given: Fields) -> tuple[str, int | None]:
        check_fields(given, {"collection": None, "since": None})
        since = given.get("since")
        return given.get("collection", "default"), None if since is None else check_since(since)

    def answer(self, changes: Sequence[Change], sequence: int) -> Fields:
        """`sequence`: everything up to it was given."""
        return {
            "sequence": sequence,
            "sequences": [change.sequence for change in changes],
            "ids": [change.id for change in changes],
            **pack_records([change.record for change in changes]),
        }

    def understand(self, given: Fields) -> tuple[list[Change], int]:
        changes = zip(given["sequences"], given["ids"], unpack_records(given), strict=True)
        return [Change(sequence, id, record) for sequence, id, record in changes], given["sequence"]


WATCH = WatchOperation()
