"""Which collections and groups a database has: defined in the catalog, held in memory."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from qstore_db.catalog.base import ABSENT, CatalogDelete, CatalogPut
from qstore_db.catalog.lmdb import LmdbCatalog
from qstore_db.engines.base import CollectionSpec, IndexKind, StorageKind
from qstore_db.engines.embedded.collection import Collection
from qstore_db.engines.embedded.groups import GROUP_PREFIX, group_data, group_of
from qstore_db.engines.embedded.layout import COLLECTION_PREFIX
from qstore_db.engines.embedded.persist import IndexFiles
from qstore_db.engines.embedded.recovery import Recovery, recover
from qstore_db.engines.embedded.specs import spec_data, spec_of
from qstore_db.engines.embedded.store import Store
from qstore_db.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    GroupExistsError,
    GroupNotFoundError,
    RecordNotFoundError,
    VersionConflictError,
)
from qstore_db.records import Group

_DROPPED_PREFIX = "dropped/"


class Roster:
    """Definitions change under one lock, in the catalog first; who only looks takes none."""

    def __init__(self, store: Store, catalog: LmdbCatalog, index: Path) -> None:
        self._store = store
        self._catalog = catalog
        self._index = index
        self._changing = threading.Lock()
        self._collections: dict[str, Collection] = {}
        self._leaving: dict[int, Collection.Readers] = {}

    def load(self, sequence: int) -> dict[str, Recovery]:
        """Bring up all that the catalog defines, to op sequence `sequence`; how each collection came up."""
        recoveries: dict[str, Recovery] = {}
        for entry in self._catalog.scan(COLLECTION_PREFIX):
            spec = spec_of(entry.key.removeprefix(COLLECTION_PREFIX), entry.value)
            collection = Collection(self._store, entry.value["cid"], spec, sequence)
            recoveries[spec.name] = recover(
                self._store, collection, self.index_files(collection.cid), sequence
            )
            self._collections[spec.name] = collection
        owners = {collection.cid: collection for collection in self._collections.values()}
        names = {cid: collection.spec.name for cid, collection in owners.items()}
        for entry in self._catalog.scan(GROUP_PREFIX):
            cid, group = group_of(entry.key.removeprefix(GROUP_PREFIX), entry.value, names)
            owners[cid].groups.add(group)
        return recoveries

    def __contains__(self, name: str) -> bool:
        return name in self._collections

    def __getitem__(self, name: str) -> Collection:
        try:
            return self._collections[name]
        except KeyError:
            known = ", ".join(repr(n) for n in sorted(self._collections)) or "none yet"
            raise CollectionNotFoundError(
                f"collection {name!r} does not exist (there are: {known}); create it with create_collection",
                subject=name,
            ) from None

    def live(self) -> list[Collection]:
        """All collections, by name."""
        return [collection for _, collection in sorted(self._collections.items())]

    def index_files(self, cid: int) -> IndexFiles:
        return IndexFiles(self._index, self._catalog, cid)

    # Collections

    def create(self, spec: CollectionSpec, sequence: int) -> None:
        with self._changing:
            if spec.name in self._collections:
                raise CollectionExistsError(f"collection {spec.name!r} already exists", subject=spec.name)
            cid = self._catalog.sequence("collection")
            self._catalog.put(COLLECTION_PREFIX + spec.name, spec_data(cid, spec), if_version=ABSENT)
            self._collections[spec.name] = Collection(self._store, cid, spec, sequence)

    def rename(self, old: str, new: str) -> None:
        with self._changing:
            collection = self[old]
            spec = replace(collection.spec, name=new)
            data = spec_data(collection.cid, spec)
            try:
                self._catalog.apply(
                    [
                        CatalogDelete(COLLECTION_PREFIX + old),
                        CatalogPut(COLLECTION_PREFIX + new, data, if_version=ABSENT),
                    ]
                )
            except VersionConflictError:
                raise CollectionExistsError(f"collection {new!r} already exists", subject=new) from None
            collection.respecify(spec)
            # In one step: whoever goes through the collections meanwhile must meet this one.
            self._collections = {new if c is collection else n: c for n, c in self._collections.items()}

    def respecify(self, name: str, *, index: IndexKind, storage: StorageKind) -> None:
        """Define how a collection is to be searched from now on."""
        with self._changing:
            collection = self[name]
            spec = replace(collection.spec, index=index, storage=storage)
            self._catalog.put(COLLECTION_PREFIX + name, spec_data(collection.cid, spec))
            collection.respecify(spec)

    def drop(self, name: str) -> None:
        """The collection is gone at once; `dropped` names it until its space was given back."""
        with self._changing:
            collection = self[name]
            collection.dropped = True  # first, so that no write follows into what is being erased
            self._leaving[collection.cid] = collection.readers
            try:
                self._catalog.apply(
                    [
                        CatalogDelete(COLLECTION_PREFIX + name),
                        *(CatalogDelete(GROUP_PREFIX + group.name) for group in collection.groups.all()),
                        CatalogPut(f"{_DROPPED_PREFIX}{collection.cid}", collection.cid),
                    ]
                )
            except BaseException:
                collection.dropped = False
                del self._leaving[collection.cid]
                raise
            del self._collections[name]

    def dropped(self) -> list[int]:
        """Collections whose space can be given back: nobody reads them any more."""
        cids = [entry.value for entry in self._catalog.scan(_DROPPED_PREFIX)]
        return [cid for cid in cids if not self._leaving.get(cid)]

    def forget(self, cid: int) -> None:
        """The records of a dropped collection are erased."""
        self.index_files(cid).forget()
        self._catalog.delete(f"{_DROPPED_PREFIX}{cid}")
        self._leaving.pop(cid, None)

    def horizons(self, sequence: int) -> dict[int, int]:
        """By collection, the lowest op sequence that somebody may still read; at most `sequence`, the newest."""
        live = {collection.cid: collection.oldest_held() for collection in self.live()}
        leaving = {
            cid: min((reader.sequence for reader in readers), default=sequence)
            for cid, readers in list(self._leaving.items())
        }
        return leaving | live

    # Groups

    def create_group(self, group: Group, now: float) -> None:
        with self._changing:
            collection = self[group.collection]
            found, _ = self._store.fetch(collection.cid, group.ids, now)
            for id, record in zip(group.ids, found, strict=True):
                if record is None:
                    raise RecordNotFoundError(
                        f"record {id!r} is not in collection {group.collection!r}, so it cannot join group "
                        f"{group.name!r}",
                        subject=id,
                    )
            data = group_data(collection.cid, group)
            try:
                self._catalog.put(GROUP_PREFIX + group.name, data, if_version=ABSENT)
            except VersionConflictError:
                raise GroupExistsError(f"group {group.name!r} already exists", subject=group.name) from None
            collection.groups.add(group)

    def groups(self) -> list[Group]:
        """All groups, by name."""
        with self._changing:
            found = [
                replace(group, collection=collection.spec.name)
                for collection in self._collections.values()
                for group in collection.groups.all()
            ]
        return sorted(found, key=lambda group: group.name)

    def drop_group(self, name: str) -> None:
        with self._changing:
            for collection in self._collections.values():
                if name in collection.groups:
                    self._catalog.delete(GROUP_PREFIX + name)
                    collection.groups.remove(name)
                    return
        raise GroupNotFoundError(f"group {name!r} does not exist", subject=name)
