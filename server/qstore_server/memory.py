"""The memory that what is in flight takes, of all connections together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from qstore_db.errors import ArgumentError, QueueFullError

if TYPE_CHECKING:
    from qstore_server.connection import Connection
    from qstore_server.requests import Request


class Memory:
    """Counts it, and tells the connections when there is room again. To be used on one event loop."""

    def __init__(self, limit: int, connections: Collection[Connection]) -> None:
        """limit: bytes; connections: those that are there, whenever it is looked at."""
        self._limit = limit
        self._connections = connections
        self._frames: dict[Connection, int] = {}
        """Bytes of frames that are not complete; who began first stands first."""
        self.charged = 0

    @property
    def is_full(self) -> bool:
        """Whether the requests in flight take all the memory that they may."""
        return self.charged > self._limit

    @property
    def is_crowded(self) -> bool:
        """Whether what goes on although it is full takes as much again."""
        return self.charged > 2 * self._limit

    def charge(self, nbytes: int) -> None:
        """So much more is in flight; less, if negative. Who waits for room is told when there is some."""
        was_full, was_crowded = self.is_full, self.is_crowded
        self.charged += nbytes
        if was_full > self.is_full or was_crowded > self.is_crowded:
            for connection in list(self._connections):
                _grant(connection)

    def hold(self, connection: Connection, nbytes: int) -> None:
        """So many bytes are there of a connection's frame that is not complete."""
        before = self._frames.get(connection, 0)
        if nbytes:
            self._frames[connection] = nbytes
        elif before:
            del self._frames[connection]
            if self._frames:
                _grant(next(iter(self._frames)))
        if nbytes != before:
            self.charge(nbytes - before)

    def must_wait(self, connection: Connection) -> bool:
        """Whether there is no room for the rest of a frame: in a crowd only the one that began first goes on."""
        return self.is_crowded and connection in self._frames and connection is not next(iter(self._frames))

    def check_room(self, request: Request, nbytes: int) -> None:
        """An upload goes on when memory is full, since it must be able to end; but not without bounds.

        Raises ArgumentError for one that alone takes too much, QueueFullError where all together do.
        """
        if request.charge + nbytes > self._limit:
            raise ArgumentError(
                f"a request that takes more than {self._limit:,} bytes of memory is not accepted; "
                "send fewer records at once",
                subject=request.operation.name,
            )
        if self.is_crowded:
            raise QueueFullError(
                "uploads take all the memory that the server may use; send it again later",
                subject=request.operation.name,
            )


def _grant(connection: Connection) -> None:
    """Not at once: whoever frees memory is in the middle of something."""
    asyncio.get_running_loop().call_soon(connection.grant)
