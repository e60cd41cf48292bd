"""Where a server is, and how to speak to it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from qstore_db.errors import ConfigurationError
from qstore_db.wire.greeting import DOOR

SCHEME = "qstore"
PORT = 7740
Tls: TypeAlias = "bool | str | os.PathLike[str] | ssl.SSLContext | None"
_OPTIONS = ("timeout", "retries", "pool")
_MOST_SECONDS = 2_147_483
"""What a socket waits at most, 2^31 milliseconds: 24 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server's address with everything that a connection to it needs."""

    host: str
    port: int
    token: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    timeout: float | None = 30.0
    """Seconds that a call may take in all, retries included. None: as long as it takes."""
    retries: int = 5
    """How often a call that is safe to repeat is repeated when the server cannot be reached."""
    pool: int = 16
    """Connections at most; the sync client uses one for each call in flight."""
    directory: Path | None = None
    """A database directory whose server is asked through the socket in it, in place of host and port."""

    @classmethod
    def parse(cls, url: str, token: str | None, tls: Tls, options: dict[str, Any]) -> Target:
        """The target of a URL `qstore://host[:port]`. Raises ConfigurationError naming what is wrong."""
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port or PORT
        except ValueError:
            raise ConfigurationError(
                f"{_hidden(url)!r} has no valid port; it is qstore://host:port", subject="where"
            ) from None
        extra = parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password
        if parts.scheme != SCHEME or not host or extra:
            raise ConfigurationError(
                f"{_hidden(url)!r} is no address of a server; it is qstore://host:port", subject="where"
            )
        for name in options:
            if name not in _OPTIONS:
                raise ConfigurationError(
                    f"{name} is no setting of a connection; there are: {', '.join(_OPTIONS)}", subject=name
                )
        if token is not None and (not isinstance(token, str) or not token.isascii() or not token):
            raise ConfigurationError(
                "token must be the text that `qstore token create` printed", subject="token"
            )
        if token is not None and tls is None and not _is_loopback(host):
            raise ConfigurationError(
                f"the token would go to {host} for everyone to read; give tls=True or the file of its certificate, "
                "or tls=False where the network itself is trusted",
                subject="tls",
            )
        target = cls(host=host, port=port, token=token, tls=_context(tls), **options)
        _check(target)
        return target

    @property
    def url(self) -> str:
        if self.directory is not None:
            return str(self.directory)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{SCHEME}://{host}:{self.port}"

    def connect(self, timeout: float | None) -> socket.socket:
        """A connected socket, without TLS yet. Raises OSError."""
        if self.directory is not None:
            return connect_in(self.directory, timeout)
        connection = socket.create_connection((self.host, self.port), timeout)
        prepare(connection)
        return connection


def prepare(connection: socket.socket) -> None:
    """Send small messages at once, and notice when the other machine is gone."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def connect_in(directory: Path, timeout: float | None) -> socket.socket:
    """A socket connected to the server of that directory. Raises OSError where there is none."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        door.settimeout(timeout)
        # The path itself may be longer than the 107 bytes that an address can hold.
        door.connect(f"/proc/self/fd/{descriptor}/{DOOR}")
    except BaseException:
        door.close()
        raise
    finally:
        os.close(descriptor)
    return door


def _context(tls: Tls) -> ssl.SSLContext | None:
    if tls is None or tls is False:
        return None
    if isinstance(tls, ssl.SSLContext):
        return tls
    try:
        return ssl.create_default_context(cafile=None if tls is True else os.fspath(tls))
    except (OSError, ssl.SSLError, TypeError) as error:
        raise ConfigurationError(
            f"tls={tls!r} cannot be used: {error}; give True, the file of a certificate, or an ssl.SSLContext",
            subject="tls",
        ) from None


def _check(target: Target) -> None:
    timeout = target.timeout
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= _MOST_SECONDS
    ):
        raise ConfigurationError(
            f"timeout={timeout!r} must be a number of seconds above 0 and at most {_MOST_SECONDS:,}; "
            "None means no limit",
            subject="timeout",
        )
    for name, least in (("retries", 0), ("pool", 1)):
        value = getattr(target, name)
        if type(value) is not int or value < least:
            raise ConfigurationError(f"{name}={value!r} must be an integer of at least {least}", subject=name)


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _hidden(url: str) -> str:
    """A URL without what stands before an @, which may be a secret."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}...@{rest.rpartition('@')[2]}" if "@" in rest else url
