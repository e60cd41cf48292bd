# Generated from `aio/` by `tools/make_sync.py`: edit there, then run it.
"""Opening and closing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from qstore_db.config import DatabaseConfig
from qstore_db.database.core import Core
from qstore_db.database.edge import SyncEdge
from qstore_db.database.local import LocalEdge
from qstore_db.database.location import config_for, is_address
from qstore_db.database.sync.grouping import Grouping
from qstore_db.database.sync.reading import Reading
from qstore_db.database.sync.upkeep import Upkeep
from qstore_db.database.sync.writing import Writing

if TYPE_CHECKING:
    from types import TracebackType


class QuantumDatabase(Writing, Reading, Grouping, Upkeep):
    """A database of records in superposition contexts.

    Opening a directory makes it if absent and locks it for this process. Every acknowledged write is on disk;
    every read sees one commit, and all writes acknowledged before it began. Safe to use from many threads.
    Errors are those of `qstore_db.errors`; a refused request changes nothing. After `close` every call raises
    ClosedError, and in a forked child ForkedError.
    """

    def __init__(self, config: DatabaseConfig | None = None) -> None:
        """Open what `config` describes; without a path a temporary database, gone at close.

        Raises DatabaseLockedError where another process has the directory open, FormatError where a release of
        another format wrote it, ConfigurationError for settings that this release cannot serve.
        """
        self._edge: SyncEdge = LocalEdge(Core(DatabaseConfig() if config is None else config))

    @classmethod
    def _over(cls, edge: SyncEdge) -> Self:
        """A face over an edge that was made elsewhere, for instance with another clock."""
        face = cls.__new__(cls)
        face._edge = edge
        return face

    @classmethod
    def connect(cls, where: str | Path, *, token: str | None = None, tls: Any = None, **config: Any) -> Self:
        """Open ":memory:" (temporary), a directory, or the database behind a server, "qstore://host:port".

        For the first two, `config` are further fields of `DatabaseConfig`, and it raises as the constructor does.
        For a server, token is what `qstore token create` printed, where it wants one; tls is True for a certificate
        that this machine trusts, a file that holds the server's (or its authority's), or an `ssl.SSLContext`.
        `config` may hold timeout (seconds for each call with its retries, 30.0 by default, None for no limit),
        retries (5) and pool (16 connections at most). Calls are sent again where that is safe, writes under a key
        by which the server applies them once. Raises UnreachableError, AuthenticationError, ConfigurationError.
        """
        if is_address(where):
            from qstore_client import RemoteEdge, Target  # only who asks for a server needs it

            return cls._over(RemoteEdge.open(Target.parse(where, token, tls, config)))
        return cls._over(LocalEdge.open(config_for(where, token, tls, config)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._edge.where!r})"

    def close(self) -> None:
        """Finish queued writes, save the index and close. Calling it again does nothing."""
        self._edge.close()
