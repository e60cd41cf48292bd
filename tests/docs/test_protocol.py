"""docs/protocol.md says what the code does: its examples decode to what stands beside them, and encode back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db.wire.frames import FrameReader
from qstore_db.wire.limits import MIB, Limits
from qstore_db.wire.messages import DTYPES, Kind, Message, decode, encode

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```hex\n(.*?)```\n\n```json\n(.*?)```", PAGE, flags=re.DOTALL)


def as_told(value: Any) -> Any:
    """A body as the page writes it."""
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "values": value.tolist()}
    return {key: as_told(inner) for key, inner in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize(("bytes_", "told"), EXAMPLES)
def test_an_example_decodes_to_what_stands_beside_it_and_encodes_back(bytes_: str, told: str) -> None:
    stream = bytes.fromhex(bytes_)
    [frame] = FrameReader(Limits()).feed(stream)
    message = decode(frame, Limits())
    found = {"kind": message.kind.name, "id": message.id, "op": message.op, "body": as_told(message.body)}
    assert found == json.loads(told)
    assert b"".join(encode(message)) == stream


def test_there_is_an_example_of_every_case() -> None:
    kinds = {json.loads(told)["kind"] for _, told in EXAMPLES}
    assert {"REQUEST", "RESPONSE", "ERROR"} <= kinds
    assert any("dtype" in told for _, told in EXAMPLES)


def test_every_kind_and_dtype_is_on_the_page() -> None:
    for kind in Kind:
        assert f"| {kind.value} | {kind.name} |" in PAGE
    for code, dtype in DTYPES.items():
        assert f"{code} {dtype.name}" in PAGE


def test_the_page_names_the_limits_that_hold() -> None:
    assert Limits() == Limits(head=MIB, attachments=16 * MIB, depth=32)
    assert Message(Kind.PING, 0).body is None
    for told in ("1 MiB", "16 MiB", "32 deep", "4 KiB"):
        assert told in PAGE
