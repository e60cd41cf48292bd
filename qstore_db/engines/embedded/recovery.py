"""Opening a collection: the newest index that verifies, plus what was written since, else a rebuild."""

from __future__ import annotations

from dataclasses import dataclass

from qstore_db.engines.embedded.collection import Change, Collection
from qstore_db.engines.embedded.persist import IndexFiles, Manifest
from qstore_db.engines.embedded.store import Store
from qstore_db.errors import CorruptionError
from qstore_db.records import Body, Vectors

_BATCH = 4_096


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a collection came up: from which manifest, what was skipped as damaged, how much was read again."""

    from_sequence: int
    """Op sequence of the index used; 0 for a rebuild from the records."""
    skipped: tuple[str, ...]
    rows_read: int


def recover(store: Store, collection: Collection, index: IndexFiles, sequence: int) -> Recovery:
    """Bring `collection` to op sequence `sequence`. Records are the truth; index files only save time."""
    skipped: list[str] = []
    oldest = next((op.sequence for op in store.oplog(0, 1)), sequence + 1)
    try:
        manifests = index.manifests()
    except CorruptionError as error:
        skipped.append(str(error))
        manifests = []
    for manifest in manifests:
        if manifest.sequence + 1 < oldest and manifest.sequence < sequence:
            skipped.append(f"index at {manifest.sequence}: the oplog starts later, at {oldest}")
            continue
        try:
            parts = index.load(manifest, collection.spec)
        except CorruptionError as error:
            skipped.append(str(error))
            index.drop(manifest)
            continue
        collection.load(parts, manifest.sequence)
        _replay_deaths(store, collection, manifest, sequence)
        rows_read = _read_rows(store, collection, manifest.last_row, sequence)
        try:
            links = index.load_links(manifest)
        except CorruptionError as error:
            skipped.append(str(error))  # they are made anew in the background
            links = None
        if links is not None:
            collection.restore_links(links)
        return Recovery(manifest.sequence, tuple(skipped), rows_read)
    return Recovery(0, tuple(skipped), _read_rows(store, collection, 0, sequence))


def _replay_deaths(store: Store, collection: Collection, manifest: Manifest, sequence: int) -> None:
    deaths = [
        Change(0, op.superseded)
        for op in store.oplog(manifest.sequence)
        if op.cid == collection.cid and op.superseded
    ]
    collection.publish(deaths, sequence)


def _read_rows(store: Store, collection: Collection, after: int, sequence: int) -> int:
    """Append every current record above row `after`, in row order."""
    count = 0
    batch: list[tuple[int, Body, Vectors]] = []
    for found in store.live(collection.cid, after):
        batch.append(found)
        if len(batch) == _BATCH:
            count += _append(collection, batch, sequence)
            batch = []
    return count + (_append(collection, batch, sequence) if batch else 0)


def _append(collection: Collection, batch: list[tuple[int, Body, Vectors]], sequence: int) -> int:
    changes = [Change.of(row, 0, body, vector) for row, body, vector in batch]
    collection.publish(changes, sequence)
    return len(batch)
