"""docs/protocol.md says what the code does: its examples decode to what stands beside them, and encode back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstore_db.config import DatabaseConfig
from qstore_db.database.core import Core
from qstore_db.database.operations import Operation
from qstore_db.database.options import QueryOptions, TunnelOptions
from qstore_db.wire.frames import FrameReader
from qstore_db.wire.greeting import Hello, Welcome
from qstore_db.wire.limits import MIB, Limits
from qstore_db.wire.messages import DTYPES, Kind, Message, decode, encode
from qstore_server.tokens import SERVED

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```hex\n(.*?)```\n\n```json\n(.*?)```", PAGE, flags=re.DOTALL)


def as_told(value: Any) -> Any:
    """A body as the page writes it."""
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "values": value.tolist()}
    if isinstance(value, bytes):
        return {"bin": value.hex()}
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


def rows_of(section: str) -> dict[str, list[str]]:
    """A table's cells by its first."""
    part = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_operation_is_on_the_page_with_its_role_and_no_other_is() -> None:
    told = {name: row[0] for name, row in rows_of("Operations").items() if "." in name}
    assert told == {name: str(operation.role) for name, operation in SERVED.items()}


CALLS: dict[str, tuple[Any, ...]] = {
    "db.put": ("b", [1.0, 0.0], {"c": 1.0}, {"n": 1}, 4e9, "default", True),
    "db.update": ("b", [1.0, 0.0], {"c": 1.0}, {"n": 1}, 2, "default"),
    "db.get": (["a"], "default"),
    "db.query": ([1.0, 0.0], QueryOptions(context="c", include_vectors=True, top_k=3)),
    "db.query_batch": ([[1.0, 0.0]], QueryOptions(soft=True, filter={"n": 1})),
    "db.tunnel_search": ([1.0, 0.0], TunnelOptions(include_vectors=True, top_k=1)),
    "db.tunnel_search_batch": ([[1.0, 0.0]], TunnelOptions(objective="n")),
    "db.neighbours": ("a", 3, "default"),
    "db.scroll": (None, 5, None, "default"),
    "db.count": (None, "default"),
    "db.collection": ("default",),
    "db.list_collections": (),
    "db.list_groups": (),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_fields_of_an_operation_and_its_answer_are_on_the_page(name: str) -> None:
    operation, page = SERVED[name], PAGE.split("\n## Operations\n")[1]
    core = Core(DatabaseConfig())
    core.writes.put("a", [1.0, 0.0], {"c": 1.0}, {"n": 1}, None, "default", exclusive=True).begin(
        9.0
    ).result()
    try:
        asked = operation.pack(*CALLS[name])
        assert len(operation.unpack(asked)) == len(CALLS[name])
        reads = isinstance(operation, Operation)
        answered = operation.answer(operation.perform(core, *CALLS[name])) if reads else {}
    finally:
        core.close()
    for field in [*asked, *answered]:
        assert f"`{field}`" in page or field.startswith(("inside.", "walked.", "has_walked")), field


def test_the_greetings_have_the_fields_that_the_page_names() -> None:
    part = PAGE.split("\n## Greeting\n")[1].split("\n## ")[0]
    for kind in (Hello, Welcome):
        for field in kind.__dataclass_fields__:
            assert f"`{field}`" in part
