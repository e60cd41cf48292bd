"""Messages as text, for pages and files that show them, and streams of bytes read as a connection reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from qstore_db.errors import ProtocolError
from qstore_db.wire.frames import FrameReader
from qstore_db.wire.limits import Limits
from qstore_db.wire.messages import Kind, Message, decode


def told(message: Message) -> dict[str, Any]:
    """A message as JSON can hold it: arrays as {"dtype", "shape", "values"}, bytes as {"hex"}."""
    body = _told(message.body)
    return {"kind": message.kind.name, "id": message.id, "op": message.op, "body": body}


def meant(told: dict[str, Any]) -> Message:
    """The message of which that was told."""
    return Message(Kind[told["kind"]], told["id"], told["op"], _meant(told["body"]))


def read(pieces: Iterable[bytes], limits: Limits) -> tuple[list[Message], str | None]:
    """The messages in a stream that comes in these pieces, and what ended it, if anything did.

    Whatever is raised besides ProtocolError goes through: nothing else may be.
    """
    reader, found = FrameReader(limits), list[Message]()
    try:
        for piece in pieces:
            for frame in reader.feed(piece):
                found.append(decode(frame, limits))
    except ProtocolError as error:
        return found, error.message
    return found, None


def _told(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "shape": list(value.shape), "values": value.ravel().tolist()}
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: _told(inner) for key, inner in value.items()}
    return [_told(inner) for inner in value] if isinstance(value, list) else value


def _meant(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"dtype", "shape", "values"}:
        return np.array(value["values"], value["dtype"]).reshape(value["shape"])
    if isinstance(value, dict) and value.keys() == {"hex"}:
        return bytes.fromhex(value["hex"])
    if isinstance(value, dict):
        return {key: _meant(inner) for key, inner in value.items()}
    return [_meant(inner) for inner in value] if isinstance(value, list) else value
