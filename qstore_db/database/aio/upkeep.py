"""The calls that look after collections and the directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qstore_db.database import operations
from qstore_db.database.edge import AsyncEdge
from qstore_db.engines.base import IndexKind, StorageKind


class AsyncUpkeep:
    """Queries and writes go on meanwhile, except where a call says otherwise."""

    _edge: AsyncEdge

    async def create_collection(
        self,
        name: str,
        *,
        dimension: int,
        metric: str = "cosine",
        index: IndexKind = "auto",
        storage: StorageKind = "float32",
        target_recall: float = 0.99,
    ) -> None:
        """Create a collection; all but "default" need it.

        name: printable, without "/", up to 200 bytes. dimension: 1 to 65,536. metric: "cosine", "l2" (distances
        are squared) or "dot". index: "auto" builds graphs that reach `target_recall` (share of the true ten
        nearest, 0.5 to 1) and searches exactly where none does; "hnsw" takes the graph all the same; "flat" is
        always exact. storage: precision of the graph's vectors, "float32" or "float16"; records keep float32.

        Raises CollectionExistsError, ArgumentError.
        """
        await self._edge.run(
            operations.CREATE_COLLECTION, name, dimension, metric, index, storage, target_recall
        )

    async def list_collections(self) -> list[str]:
        """The names of all collections, sorted."""
        return await self._edge.run(operations.LIST_COLLECTIONS)

    async def rename_collection(self, old: str, new: str) -> None:
        """Give a collection another name. Raises CollectionNotFoundError, CollectionExistsError."""
        await self._edge.run(operations.RENAME_COLLECTION, old, new)

    async def drop_collection(self, name: str) -> None:
        """Remove a collection with all its records; its space comes back in the background.

        Raises CollectionNotFoundError. Results and iterations that began before may still be read.
        """
        await self._edge.run(operations.DROP_COLLECTION, name)

    async def reindex(
        self, name: str, *, index: IndexKind | None = None, storage: StorageKind | None = None
    ) -> None:
        """Change how a collection is searched; None leaves a setting. Rebuilding runs in the background.

        Raises CollectionNotFoundError, ArgumentError. `wait_indexed` waits for the end.
        """
        await self._edge.run(operations.REINDEX, name, index, storage)

    async def wait_indexed(self, timeout: float | None = None) -> None:
        """Wait until everything written so far is indexed.

        timeout: seconds, None for ever. Raises WaitTimeoutError when it is over; building goes on then.
        """
        await self._edge.run(operations.WAIT_INDEXED, timeout)

    async def snapshot(self) -> int:
        """Save the index now, so that a restart is quick; the op sequence. Happens in the background anyway."""
        return await self._edge.run(operations.SNAPSHOT)

    async def compact(self) -> int:
        """Give free space back to the file system; the bytes given back. Other calls wait meanwhile.

        Needs room for a second copy of what is stored. Raises DiskFullError.
        """
        return await self._edge.run(operations.COMPACT)

    async def backup(self, dest: str | Path) -> Path:
        """A consistent copy in a new folder, with a checksum for every file; the folder.

        `qstore_db.database.restore` makes a database of it. Raises ArgumentError where `dest` exists.
        """
        return await self._edge.run(operations.BACKUP, dest)

    async def verify(self) -> dict[str, Any]:
        """Check every stored byte against its checksum: counts, "problems" and "index_problems".

        Problems are damage to records; the index is derived, and damage to it is mended at the next start.
        """
        return await self._edge.run(operations.VERIFY)

    async def stats(self) -> dict[str, Any]:
        """Counts, memory, index lag and faults, of the database and of each collection, as plain data."""
        return await self._edge.run(operations.STATS)
