"""The beginning of a connection, without any I/O."""

from __future__ import annotations

from importlib.metadata import version

from qstore_client.target import Target
from qstore_db.errors import ProtocolError
from qstore_db.wire.faults import error_of
from qstore_db.wire.frames import Bytes
from qstore_db.wire.greeting import VERSION, Hello, Welcome
from qstore_db.wire.messages import Kind, Message, encode


def hello(target: Target) -> list[Bytes]:
    """The first frame of a client."""
    greeting = Hello(token=target.token, agent=f"qstore-db/{version('qstore-db')} (python)")
    return encode(Message(Kind.HELLO, 0, "", greeting.body()))


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
