"""docs/protocol.md says what the code does: its examples are read and written, its limits are those that hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from qstore_db.database.pieces import ATOMIC_RECORDS
from qstore_db.errors import WaitTimeoutError
from qstore_db.records import Body
from qstore_db.testing.messages import meant, read, told
from qstore_db.wire.faults import MAX_TEXT
from qstore_db.wire.greeting import Hello, Welcome
from qstore_db.wire.limits import MAX_WINDOW, MIB, UNAUTHENTICATED, Limits
from qstore_db.wire.messages import DTYPES, MAX_ID, Kind, Message, encode
from qstore_db.wire.parts import PART
from qstore_server.config import ServerConfig
from qstore_server.requests import KEY_BYTES, WHOLE
from qstore_server.uploads import MAX_UPLOADS, STALLED_SECONDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```hex\n(.*?)```\n\n```json\n(.*?)```", PAGE, flags=re.DOTALL)
PACKED = re.findall(r"```packed\n(.*?)```\n\n```json\n(.*?)```", PAGE, flags=re.DOTALL)
CONFIG = ServerConfig(path="any")


def section(heading: str) -> str:
    return PAGE.split(f"\n{heading}\n")[1].split("\n## ")[0]


def in_section(heading: str, *facts: str) -> None:
    """Each of these stands in a section, however its lines are broken."""
    text = " ".join(section(heading).split())
    assert [fact for fact in facts if fact not in text] == []


@pytest.mark.parametrize(("bytes_", "beside"), EXAMPLES)
def test_an_example_is_read_as_what_stands_beside_it_and_written_so(bytes_: str, beside: str) -> None:
    stream, shown = bytes.fromhex(bytes_), json.loads(beside)
    [message], error = read([stream], Limits())
    assert error is None
    assert told(message) == shown
    assert b"".join(encode(meant(shown))) == stream


def test_there_is_an_example_of_every_kind_that_is_sent() -> None:
    kinds = {json.loads(beside)["kind"] for _, beside in EXAMPLES}
    assert kinds == {kind.name for kind in Kind} - {Kind.EVENT.name}


def test_the_packed_record_is_the_one_of_the_example_and_read_as_shown() -> None:
    [(bytes_, beside)] = PACKED
    packed = bytes.fromhex(bytes_)
    id, names, weights, metadata, expires_at, updated_at = json.loads(beside)
    body = Body.unpacked(packed)
    assert (body.id, list(body.contexts.names), list(body.contexts.raw)) == (id, names, weights)
    assert (body.metadata, body.expires_at, body.updated_at) == (metadata, expires_at, updated_at)
    assert any(list(packed) == _records(json.loads(beside)) for _, beside in EXAMPLES)


def _records(message: dict) -> list[int] | None:  # type: ignore[type-arg]
    body = message["body"]
    return body["records"]["values"] if isinstance(body, dict) and "records" in body else None


def test_every_kind_and_dtype_is_on_the_page() -> None:
    for kind in Kind:
        assert f"| {kind.value} | {kind.name} |" in PAGE
    for code, dtype in DTYPES.items():
        assert f"{code} {dtype.name}" in PAGE


def test_the_greetings_have_the_fields_that_the_page_names_and_the_defaults() -> None:
    of_client, of_server = section("## Greeting").split("The server answers")
    fields = {"str": str, "int": int, "str or nil": (str, type(None))}
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (\S+) \|", of_client, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(Hello.__dataclass_fields__)
    for name, type_, default in rows:
        value = getattr(Hello(), name)
        assert isinstance(value, fields[type_])
        assert value == (None if default == "nil" else json.loads(default))
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", of_server, re.MULTILINE)
    assert dict(rows) == {name: field.type for name, field in Welcome.__dataclass_fields__.items()}


def test_the_page_names_the_limits_that_hold() -> None:
    assert Limits() == Limits(head=MIB, attachments=16 * MIB, depth=32)
    assert Limits(head=4096, attachments=0, depth=4) == UNAUTHENTICATED
    assert (MAX_ID, MAX_WINDOW, MAX_TEXT, KEY_BYTES) == (2**63 - 1, 2**40, 4096, 16)
    in_section("## Heads", "from 0 to 2^63 - 1", "at most 32 deep")
    in_section("## Greeting", "above 4 KiB of head", "more than 4 deep", "2^40 at most")
    in_section("## Requests", "| `$key` | bin | 16 bytes")
    in_section("## Windows", "above 2^40")
    in_section("## Errors", "at most 4,096 characters")


def test_the_page_names_what_goes_in_parts() -> None:
    assert Limits(head=MIB // 4, attachments=MIB) == PART
    assert Limits(head=MIB // 2, attachments=MIB) == WHOLE
    in_section(
        "## Bodies in parts",
        "at most 1 MiB of head and 16 MiB of attachments",
        "up to 256 KiB of head and 1 MiB of attachments",
        "larger than 512 KiB of head or 1 MiB of attachments",
    )


def test_the_table_of_limits_has_those_of_the_server() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section("## Limits"), re.MULTILINE)[1:]
    slow = f"{CONFIG.frame_seconds:g} s, and 1 s for each {CONFIG.frame_rate >> 10} KiB"
    assert rows == [
        ("head of a frame", "1 MiB, 4 KiB before the greeting"),
        ("attachments of a frame", "16 MiB, none before the greeting"),
        ("lists and maps within each other", "32, 4 before the greeting"),
        ("requests in flight on a connection (`max_requests`)", f"{CONFIG.max_requests}"),
        ("requests in parts on a connection", f"{MAX_UPLOADS}"),
        ("all CHUNK frames of a request (`request_bytes`)", f"{CONFIG.request_bytes // MIB} MiB"),
        ("records in one `db.put_many`", f"{ATOMIC_RECORDS:,}"),
        ("until the HELLO is there (`frame_seconds`)", f"{CONFIG.frame_seconds:g} s"),
        ("from the first byte of a frame to its last (`frame_seconds`, `frame_rate`)", f"{slow} that came"),
        ("until the client reads what was sent (`frame_seconds`, `frame_rate`)", slow),
        (
            "until more of an answer in parts, except for `db.watch`, is granted (`frame_seconds`, `frame_rate`)",
            f"{slow}, then the error `{WaitTimeoutError.code}`",
        ),
        (
            "that the CHUNKs of a connection's requests in parts are behind `frame_rate`",
            f"{STALLED_SECONDS:g} s",
        ),
        ("without a byte, and nothing to answer (`idle_seconds`)", f"{CONFIG.idle_seconds:,} s, then GOAWAY"),
    ]


def test_a_body_that_the_page_calls_nil_is_written_as_nil() -> None:
    rows = re.findall(r"^\| (\d+) \| \w+ \| \w+ \| nil \|", section("## Heads"), re.MULTILINE)
    for kind in map(int, rows):
        [message], _ = read([b"".join(bytes(piece) for piece in encode(Message(Kind(kind), 1)))], Limits())
        assert message.body is None
    assert len(rows) == 5
