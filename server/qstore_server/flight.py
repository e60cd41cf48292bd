"""The requests of one connection that are in flight, and how many there may be."""

from __future__ import annotations

from collections import deque
from collections.abc import Sized

from qstore_server.answers import Answers
from qstore_server.config import ServerConfig
from qstore_server.memory import Memory
from qstore_server.requests import Request
from qstore_server.uploads import Uploads


class InFlight:
    """Keeps each from when it came until it is answered, with the memory that all of them take."""

    def __init__(
        self, memory: Memory, config: ServerConfig, uploads: Uploads, answers: Answers, watches: Sized
    ) -> None:
        """uploads, answers, watches: those of the same connection, whenever they are looked at."""
        self._memory = memory
        self._limit = config.connection_bytes
        self._max_requests = config.max_requests
        self._uploads = uploads
        self._answers = answers
        self._watches = watches
        self.requests: dict[int, Request] = {}
        """By their ids."""
        self.deferred: deque[Request] = deque()
        """Those that wait for room for their answers."""
        self._charged = 0

    def add(self, request: Request) -> None:
        self.requests[request.id] = request
        self._charge(request.charge)

    def charge(self, request: Request, nbytes: int) -> None:
        """The request takes so many bytes more."""
        request.charge += nbytes
        self._charge(nbytes)

    def remove(self, request: Request) -> None:
        """It is answered."""
        if self.requests.pop(request.id, None) is not None:
            self._charge(-request.charge)

    @property
    def served(self) -> int:
        """Requests that are being answered, and will soon make room for others."""
        return len(self.requests) - len(self._uploads) - len(self._watches) - len(self.deferred)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for a further answer."""
        return self._charged > self._limit or self._memory.is_full or self._answers.choked

    @property
    def is_enough(self) -> bool:
        """Whether no more should be read before something is answered."""
        if self._answers.choked:
            return True
        if self._answers:  # who waits for their next parts must be heard when they are granted
            return False
        if len(self.requests) - len(self._uploads) >= self._max_requests:
            return True
        if self._uploads:  # which must go on to end; what comes beside them is answered without them
            return self._charged - self._uploads.charged > self._limit
        return self.is_full and self.served > 0

    @property
    def is_too_much(self) -> bool:
        """Whether further requests are refused: reading cannot be paused while an answer waits for a window."""
        return bool(self._answers) and len(self.requests) >= 2 * self._max_requests

    def _charge(self, nbytes: int) -> None:
        self._charged += nbytes
        self._memory.charge(nbytes)
