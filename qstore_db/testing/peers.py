"""A peer that says whatever a test wants, over a real socket."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

from qstore_db.wire.frames import FrameReader
from qstore_db.wire.greeting import Hello
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, decode, encode

PATIENCE = 60.0
"""Seconds after which a server that should have said or done something has not."""


class Peer:
    """One connection, used by hand."""

    def __init__(
        self, port: int, *, greet: bool = True, window: int = 1 << 22, token: str | None = None
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._reader = FrameReader(Limits())
        self._ready: list[Message] = []
        if greet:
            self.say(Kind.HELLO, 0, "", Hello(window=window, token=token).body())
            assert self.hear().kind is Kind.HELLO

    def say(self, kind: Kind, id: int = 0, op: str = "", body: Any = None) -> None:
        self.send(b"".join(encode(Message(kind, id, op, body))))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hear(self) -> Message:
        """The next message. Raises ConnectionError where the server closes instead."""
        while not self._ready:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("closed by the server")
            self._ready += [decode(frame, Limits()) for frame in self._reader.feed(data)]
        return self._ready.pop(0)

    def refusal(self) -> str:
        """The code of the error that the server gives before it closes the connection; "" for none."""
        code = ""
        try:
            while True:
                message = self.hear()
                if message.kind is Kind.ERROR and message.id == 0:
                    code = message.body["code"]
        except (ConnectionError, TimeoutError) as error:
            assert not isinstance(error, TimeoutError), "the server neither answered nor closed"
        return code

    def drip(self, data: bytes, pause: float) -> bool:
        """Send a byte at a time; whether all were sent before the server closed."""
        try:
            for at in range(len(data)):
                self.socket.sendall(data[at : at + 1])
                time.sleep(pause)
        except ConnectionError:
            return False
        return True

    def reset(self) -> None:
        """End the connection without a word, as a machine that goes down."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
