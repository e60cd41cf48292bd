"""What stands behind a face: where its operations are performed, and who waits how.

`database.local` performs them in this process, `qstore_client` sends them to a server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import ParamSpec, Protocol, TypeVar

from qstore_db.database.operations import Operation, WriteOperation
from qstore_db.engines.base import Written
from qstore_db.records import Change

P = ParamSpec("P")
T = TypeVar("T")


class SyncEdge(Protocol):
    """Blocks. Safe to use from many threads."""

    @property
    def where(self) -> str:
        """The directory or address, for people."""
        ...

    def run(self, operation: Operation[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def write(self, operation: WriteOperation[P], /, *args: P.args, **kwargs: P.kwargs) -> Written:
        """Returns once the write is durable and visible."""
        ...

    def compute(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work that needs no database but takes a while."""
        ...

    def watch(self, collection: str, since: int | None) -> Iterator[Change]:
        """Changes after `since` (None: from now on) as they happen, without an end."""
        ...

    def close(self) -> None: ...


class AsyncEdge(Protocol):
    """Hands over to the event loop. Safe to use from many tasks."""

    @property
    def where(self) -> str: ...
    async def run(self, operation: Operation[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def write(self, operation: WriteOperation[P], /, *args: P.args, **kwargs: P.kwargs) -> Written: ...
    async def compute(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def watch(self, collection: str, since: int | None) -> AsyncIterator[Change]: ...
    async def close(self) -> None: ...
