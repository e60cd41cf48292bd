"""What happened to a record, as a watcher is told."""

from __future__ import annotations

from dataclasses import dataclass

from qstore_db.records.record import Record


@dataclass(frozen=True, slots=True)
class Change:
    """The state that a record has since op `sequence`."""

    sequence: int
    """To go on watching after this change, `since` is this."""
    id: str
    record: Record | None
    """None: it was deleted, or its time is over."""
