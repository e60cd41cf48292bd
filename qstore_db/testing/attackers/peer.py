"""One connection that may send anything, and what the server did with it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Self, TypeAlias

from qstore_db.errors import ProtocolError, QStoreError
from qstore_db.wire.faults import error_of
from qstore_db.wire.frames import Bytes, FrameReader
from qstore_db.wire.greeting import Hello
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, decode, encode

Ending: TypeAlias = Literal["open", "closed", "reset", "refused", "left"]

PATIENCE = 60.0
"""Seconds that an attacker waits for the server to do something about it."""
_CONNECTING = 10.0
_RECEIVED = 1 << 16


@dataclass(frozen=True, slots=True)
class Target:
    """The server that is attacked."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    """None: no TLS, which is an attack of its own on a server that wants it."""
    server_name: str | None = None
    """Of its certificate, where `tls` checks one."""
    token: str | None = None
    """For attacks by somebody who may come in."""

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Raises OSError where no connection comes about, that of TLS included."""
        connection = socket.create_connection((self.host, self.port), _CONNECTING)
        try:
            if receive_buffer is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if self.tls is not None:
                return self.tls.wrap_socket(connection, server_hostname=self.server_name)
        except BaseException:
            connection.close()
            raise
        return connection


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a server did with a connection, as far as its other end could tell."""

    ending: Ending
    """open: nothing, until the attacker lost patience. closed: its end came in order. reset: at once, or after an
    error of TLS. refused: there never was a connection. left: the attacker went first."""
    seconds: float = 0.0
    """From the connection until that."""
    sent: int = 0
    """Bytes that went out; of those of TLS, the content."""
    received: int = 0
    messages: tuple[Message, ...] = ()
    """What came in, in order."""
    garbled: bool = False
    """Whether anything came in that is no message."""
    blocked: bool = False
    """Whether the server stopped reading."""

    @property
    def ended(self) -> bool:
        """Whether it was the server that ended the connection."""
        return self.ending in ("closed", "reset", "refused")

    @property
    def alive(self) -> bool:
        """Whether the server goes on with the connection, and answered a PING to prove it."""
        return self.ending == "open" and any(message.kind is Kind.PONG for message in self.messages)

    @property
    def errors(self) -> tuple[QStoreError, ...]:
        """What the server complained about; the last one is why it closed, if it did."""
        return tuple(error_of(message.body) for message in self.messages if message.kind is Kind.ERROR)

    @property
    def codes(self) -> tuple[object, ...]:
        """The codes of `errors`, as they came."""
        bodies = [message.body for message in self.messages if message.kind is Kind.ERROR]
        return tuple(body.get("code") if isinstance(body, dict) else None for body in bodies)


class Peer:
    """The attacker's end. To be used by one thread."""

    def __init__(self, target: Target, *, receive_buffer: int | None = None) -> None:
        """receive_buffer: bytes that the system takes in while nobody reads, as SO_RCVBUF.

        Raises OSError where no connection comes about.
        """
        self._target = target
        self._began = time.monotonic()
        self._socket = target.connect(receive_buffer=receive_buffer)
        self._reader = FrameReader(Limits())
        self._messages: list[Message] = []
        self._heard = 0
        self._so_far = Outcome("open")
        self._broken: Ending | None = None

    @property
    def is_open(self) -> bool:
        return self._so_far.ending == "open"

    @property
    def messages(self) -> Sequence[Message]:
        return self._messages

    def fileno(self) -> int:
        return self._socket.fileno()

    # Speaking

    def send(self, data: Bytes, patience: float = PATIENCE) -> bool:
        """Whether all of it went out. Otherwise the server reads no more, or has ended the connection."""
        rest, deadline = memoryview(data), time.monotonic() + patience
        while len(rest) and self.is_open and self._broken is None:
            try:
                self._socket.settimeout(max(deadline - time.monotonic(), 1e-3))
                count = self._socket.send(rest)
            except (TimeoutError, ssl.SSLWantWriteError):
                self._so_far = replace(self._so_far, blocked=True)
                return False
            except OSError as error:
                # What came in before may still be there to be read.
                self._broken = "reset" if isinstance(error, ConnectionResetError) else "closed"
                return False
            self._so_far = replace(self._so_far, sent=self._so_far.sent + count)
            rest = rest[count:]
        return not len(rest)

    def say(self, *messages: Message) -> bool:
        """Send whole messages, in one piece."""
        return self.send(b"".join(bytes(part) for message in messages for part in encode(message)))

    def greet(self, hello: Hello | None = None) -> None:
        """Introduce oneself as a client does, and wait for the answer. Raises what the server answers instead."""
        self.say(hello_of(self._target, hello))
        self.listen(PATIENCE, lambda: bool(self._messages))
        if not self._messages:
            raise ProtocolError("the server did not answer a greeting")
        self._heard = 1
        if self._messages[0].kind is not Kind.HELLO:
            raise error_of(self._messages[0].body)

    def ping(self, patience: float = PATIENCE) -> bool:
        """Whether the server still answers."""
        before = len(self._pongs())
        self.say(Message(Kind.PING, 0))
        self.listen(patience, lambda: len(self._pongs()) > before)
        return len(self._pongs()) > before

    def finish(self) -> None:
        """Say that no more will come (FIN), and go on reading."""
        with contextlib.suppress(OSError):  # the server was first
            # Not the method of an SSLSocket, which would forget how to decrypt what comes in.
            socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def reset(self) -> None:
        """Leave without a word (RST)."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._end("left")
        self._socket.close()

    # Listening

    def listen(self, patience: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Read until the server ends the connection, `enough` holds, or patience is lost."""
        deadline = time.monotonic() + patience
        while self.is_open and not enough() and (left := deadline - time.monotonic()) > 0:
            self.read(left)

    def hear(self, patience: float = PATIENCE) -> Message:
        """The next message; after a greeting, the one that follows its answer.

        Raises ConnectionError where the server ends the connection instead, TimeoutError where it says nothing.
        """
        self.listen(patience, lambda: len(self._messages) > self._heard)
        if len(self._messages) == self._heard:
            if self.is_open:
                raise TimeoutError(f"the server said nothing for {patience:g} s")
            raise ConnectionError("the server ended the connection")
        self._heard += 1
        return self._messages[self._heard - 1]

    def read(self, patience: float = 0.0) -> bool:
        """Take what comes in first, or is there; whether there was anything."""
        self._socket.settimeout(patience)
        try:
            if isinstance(self._socket, ssl.SSLSocket) and not self._socket.pending():
                # TLS would show a reset as an end in order; whoever looks beneath it sees which it is.
                socket.socket.recv(self._socket, 1, socket.MSG_PEEK)
            data = self._socket.recv(_RECEIVED)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            self._end("reset")
            return False
        if data:
            self._hear(data)
        else:
            self._end(self._broken or "closed")
        return bool(data)

    def outcome(self) -> Outcome:
        """What has become of the connection by now."""
        if self.is_open and self._broken is not None:
            self._end(self._broken)
        seconds = self._so_far.seconds if not self.is_open else time.monotonic() - self._began
        return replace(self._so_far, seconds=seconds, messages=tuple(self._messages))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hear(self, data: bytes) -> None:
        self._so_far = replace(self._so_far, received=self._so_far.received + len(data))
        if self._so_far.garbled:
            return
        try:
            for frame in self._reader.feed(data):
                self._messages.append(decode(frame, Limits()))
        except ProtocolError:
            self._so_far = replace(self._so_far, garbled=True)

    def _end(self, ending: Ending) -> None:
        if self.is_open:
            self._so_far = replace(self._so_far, ending=ending, seconds=time.monotonic() - self._began)

    def _pongs(self) -> list[Message]:
        return [message for message in self._messages if message.kind is Kind.PONG]


def let_in(target: Target, hello: Hello | None = None) -> Peer:
    """A peer that has come in as a client does. Raises what the server answers instead."""
    peer = Peer(target)
    try:
        peer.greet(hello)
    except BaseException:
        peer.close()
        raise
    return peer


def hello_of(target: Target, hello: Hello | None = None) -> Message:
    """What every attack begins with that is one by a client. The only place that knows how to greet."""
    if hello is None:
        hello = Hello(token=target.token, agent="attacker")
    return Message(Kind.HELLO, 0, "", hello.body())


def trusting_anyone() -> ssl.SSLContext:
    """For a target's `tls`: attackers do not care whom they attack."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
