"""Many connections at once."""

from __future__ import annotations

import resource
import selectors
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from qstore_db.errors import ConfigurationError
from qstore_db.testing.attackers.peer import PATIENCE, Outcome, Peer, Target, hello_of
from qstore_db.wire.messages import encode

_SPARE_FILES = 200


class Crowd:
    """Connections that stay, each having sent the same few bytes and nothing more; within a `with` block.

    For as long, this process may have more open files than before: twice as many as connections, since the server
    may be in it too. Raises ConfigurationError where the system forbids that.
    """

    def __init__(self, target: Target, size: int = 1_000, *, opening: bytes = b"") -> None:
        self._target = target
        self._size = size
        self._opening = opening
        self._peers: list[Peer] = []
        self._refused = 0
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)

    def __enter__(self) -> Self:
        self._allow_files(len(list(Path("/dev/fd").iterdir())) + 2 * self._size + _SPARE_FILES)
        try:
            for _ in range(self._size):
                try:
                    peer = Peer(self._target)
                except OSError:
                    self._refused += 1
                else:
                    self._peers.append(peer)
                    peer.send(self._opening)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    @property
    def peers(self) -> Sequence[Peer]:
        """Those whose connection came about."""
        return self._peers

    def wait(self, patience: float = PATIENCE) -> list[Outcome]:
        """What has become of each connection, once the server has ended all of them or patience is lost."""
        deadline = time.monotonic() + patience
        with selectors.DefaultSelector() as selector:
            for peer in self._peers:
                if peer.is_open:
                    selector.register(peer, selectors.EVENT_READ, peer)
            while selector.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    peer = key.data
                    while peer.read():
                        pass
                    if not peer.is_open:
                        selector.unregister(peer)
        return [*(peer.outcome() for peer in self._peers), *[Outcome("refused")] * self._refused]

    def _leave(self) -> None:
        for peer in self._peers:
            peer.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, self._files)

    def _allow_files(self, count: int) -> None:
        soft, hard = self._files
        if hard != resource.RLIM_INFINITY and hard < count:
            raise ConfigurationError(
                f"{self._size} connections need {count} open files, and the system allows {hard}; "
                "raise the hard limit (ulimit -Hn)",
                subject="size",
            )
        if soft != resource.RLIM_INFINITY and soft < count:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def idle_clients(target: Target, size: int = 1_000) -> Crowd:
    """Clients that were let in and ask for nothing."""
    return Crowd(target, size, opening=b"".join(map(bytes, encode(hello_of(target)))))


def flood(
    target: Target, size: int = 1_000, *, opening: bytes = b"", patience: float = PATIENCE
) -> list[Outcome]:
    """Connections that never say who they are, all at once; what became of each."""
    with Crowd(target, size, opening=opening) as crowd:
        return crowd.wait(patience)
