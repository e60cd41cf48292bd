"""The beginning of a connection, without any I/O."""

from __future__ import annotations

import ssl
from importlib.metadata import version

from qstore_client.target import Target
from qstore_db.errors import ConfigurationError, ProtocolError, QStoreError, UnreachableError
from qstore_db.wire.faults import error_of
from qstore_db.wire.frames import Bytes
from qstore_db.wire.greeting import VERSION, Hello, Welcome
from qstore_db.wire.messages import Kind, Message, encode


def hello(target: Target) -> list[Bytes]:
    """The first frame of a client."""
    greeting = Hello(token=target.token, agent=f"qstore-db/{version('qstore-db')} (python)")
    return encode(Message(Kind.HELLO, 0, "", greeting.body()))


def not_connected(target: Target, error: Exception) -> QStoreError:
    """The error that says why there is no connection. Only an UnreachableError may go away by itself."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigurationError(
            f"{target.url} is not trusted: {error.verify_message}; give as tls= the file of the server's "
            "certificate or of its authority, and in the address a name that it is for",
            subject="tls",
        )
    if isinstance(error, ssl.SSLError):
        return UnreachableError(f"{target.url}: TLS failed: {error}", subject=target.url)
    why = getattr(error, "strerror", None) or str(error)
    was_there = not isinstance(error, OSError) or isinstance(error, ConnectionResetError)
    hint = (
        "; a server with TLS does that to a client without: give tls="
        if was_there and target.tls is None
        else ""
    )
    return UnreachableError(f"{target.url} cannot be reached: {why}{hint}", subject=target.url)


def welcome(message: Message) -> Welcome:
    """What the server's first message says. Raises the error that it is instead."""
    if message.kind is Kind.ERROR:
        raise error_of(message.body)
    if message.kind is not Kind.HELLO:
        raise ProtocolError("the server did not begin with HELLO")
    found = Welcome.of(message.body)
    if found.version != VERSION:
        raise ProtocolError(f"the server speaks version {found.version} of the protocol, not {VERSION}")
    return found
