"""The first message of each side: who it is, and what it accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, get_type_hints

from qstore_db.errors import ProtocolError
from qstore_db.wire.limits import MAX_WINDOW, MIB

VERSION = 1
"""Of the protocol. A server answers a HELLO of another version with an error that names its own."""
WINDOW = 4 * MIB
DOOR = "server.sock"
"""The Unix socket in the directory of a database that is served: whoever may open it needs no token."""
_Body = TypeVar("_Body", "Hello", "Welcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a client begins with."""

    version: int = VERSION
    token: str | None = None
    agent: str = ""
    """Name and version of the program, for logs."""
    window: int = WINDOW
    """Bytes of each streamed answer that the server may send before it is granted more."""

    def __repr__(self) -> str:
        return f"Hello(version={self.version}, agent={self.agent!r}, window={self.window})"

    def body(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, body: object) -> Hello:
        """Raises ProtocolError for what is no such body."""
        return _read(cls, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What a server answers once it knows who the client is."""

    version: int = VERSION
    agent: str = ""
    head: int
    """Bytes of a head that it accepts at most."""
    attachments: int
    """Bytes of the attachments of a frame."""
    requests: int
    """Requests in flight at once. Further ones are not read before an earlier one is answered."""
    window: int
    """Bytes of each streamed request that may be sent before the server grants more."""
    streamed: int
    """Bytes of a streamed request in all."""
    uploads: int
    """Streamed requests at once; further ones are refused."""
    role: str

    def body(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, body: object) -> Welcome:
        """Raises ProtocolError for what is no such body."""
        return _read(cls, body)


def _read(kind: type[_Body], body: object) -> _Body:
    if not isinstance(body, Mapping):
        raise ProtocolError("the body of a HELLO must be a map")
    hints = get_type_hints(kind)
    known = {name: value for name, value in body.items() if name in hints}  # a later release may say more
    for name, value in known.items():
        if isinstance(value, bool) or not isinstance(value, hints[name]):
            raise ProtocolError(f"{name} of a HELLO must be of another type than {type(value).__name__}")
        if isinstance(value, int) and value < 0:
            raise ProtocolError(f"{name} of a HELLO must not be negative")
    if known.get("window", 0) > MAX_WINDOW:  # the first grant would be refused
        raise ProtocolError(f"window of a HELLO must be at most {MAX_WINDOW}")
    try:
        return kind(**known)
    except TypeError:
        missing = sorted(hints.keys() - known.keys())
        raise ProtocolError(f"of a HELLO there is missing one of {', '.join(missing)}") from None
