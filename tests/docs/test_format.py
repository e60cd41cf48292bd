"""The bytes shown in docs/format.md are what the code writes and reads."""

from __future__ import annotations

import re
from pathlib import Path

import google_crc32c
import msgpack
import numpy as np
import pytest

from qstore_db.catalog.base import Entry
from qstore_db.catalog.environment import CATALOG_TABLE, Environment
from qstore_db.catalog.lmdb import LmdbCatalog
from qstore_db.engines.base import CollectionSpec, Delete, DeleteWhere, Patch, Put, Selection
from qstore_db.engines.embedded import files, layout
from qstore_db.engines.embedded.columns import Columns
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.engines.embedded.layout import FORMAT, PUT, Body, Op, Receipt, Total
from qstore_db.engines.embedded.part import Part
from qstore_db.engines.embedded.persist import IndexFiles, SavedLinks
from qstore_db.engines.embedded.segment import PackedIds, Segment
from qstore_db.engines.links import Links, Lists
from qstore_db.records import Superposition, parse_filter

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
_EXAMPLE = re.compile(r"^```bytes ([\w-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEX = re.compile(r"\s*((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:\s{2,}|$)")

CID, ROW, ID = 1, 7, "cat-1"
BODY = Body(ID, Superposition(("pet", "wild"), (3.0, 1.0)), {"legs": 4}, None, 1.5)
VECTOR = np.array([1.0, -0.5], np.float32).tobytes()
OP = Op(ROW, PUT, CID, 5, 1.5, ID)
KEY = bytes(range(16))
RECEIPT = Receipt(layout.fingerprint(CID, [(1, ID)]), ROW, 1)


def _bytes_of(listing: str) -> bytes:
    """The hexadecimal columns of an annotated listing, end to end."""
    found = [_HEX.match(line) for line in listing.splitlines()]
    assert all(found), listing
    return bytes.fromhex(" ".join(match[1] for match in found if match))


EXAMPLES = {name: _bytes_of(listing) for name, listing in _EXAMPLE.findall(PAGE)}
TOTAL = Total(1, layout.body_crc(EXAMPLES["body"]) + layout.body_crc(EXAMPLES["vector"]))
SCALE = {"u": 1.0, "max_dot": 0.0, "count": 0, "version": 0}


def test_the_page_describes_the_format_that_this_release_writes() -> None:
    assert f"Format **{FORMAT}**" in PAGE


@pytest.mark.parametrize(
    ("example", "written"),
    [
        ("id-key", layout.id_key(CID, ID)),
        ("id-value", layout.pack_row(ROW)),
        ("body", layout.encode_body(BODY)),
        ("vector", layout.encode_vector(ID, VECTOR)),
        ("op-key", layout.pack_row(OP.sequence)),
        ("op", layout.encode_op(OP)),
        ("total", layout.encode_total(CID, TOTAL)),
        ("meta-sequence", layout.encode_meta("sequence", ROW)),
        ("receipt-key", KEY),
        ("receipt", layout.encode_receipt(KEY, RECEIPT)),
        ("segment-start", files.MAGIC),
    ],
)
def test_an_example_is_what_the_code_writes(example: str, written: bytes) -> None:
    assert EXAMPLES[example] == written


def test_every_example_reads_as_what_the_page_says() -> None:
    assert layout.split_id_key(EXAMPLES["id-key"]) == (CID, ID)
    assert layout.unpack_row(EXAMPLES["id-value"]) == ROW
    assert layout.decode_body(EXAMPLES["body"], ROW) == BODY
    assert layout.decode_vector(ID, EXAMPLES["vector"]) == VECTOR
    assert layout.decode_op(EXAMPLES["op-key"], EXAMPLES["op"]) == OP
    assert layout.decode_total(CID, EXAMPLES["total"]) == TOTAL
    assert layout.decode_meta("sequence", EXAMPLES["meta-sequence"]) == ROW
    assert layout.decode_receipt(EXAMPLES["receipt-key"], EXAMPLES["receipt"]) == RECEIPT
    assert google_crc32c.value(EXAMPLES["receipt-request"]) == RECEIPT.fingerprint
    assert msgpack.unpackb(EXAMPLES["receipt-request"]) == [CID, [[1, ID]]]


def test_requests_are_told_apart_by_the_kinds_of_writes_that_the_page_lists(tmp_path: Path) -> None:
    vector = np.ones(2, np.float32)
    where = parse_filter({"legs": 4})
    assert where is not None
    engine = EmbeddedEngine(tmp_path, durable=False)
    try:
        engine.create_collection(CollectionSpec("c", 2))
        writes = [Put("a", vector), Put("b", vector, exclusive=True), Patch("c"), Delete("d")]
        engine.write("c", [Put("c", vector)]).result()
        written = engine.write("c", [*writes, DeleteWhere(Selection(where))], key=KEY).result()
        kinds = [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, where.key)]
        receipt = Receipt(layout.fingerprint(CID, kinds), written.sequence, written.count)
        assert dict(engine.receipts.scan()) == {KEY: receipt}
    finally:
        engine.close()


def test_the_catalog_entry_shown_is_what_the_catalog_stores_and_gives_back(tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    try:
        catalog = LmdbCatalog(environment)
        catalog.put("scale/default", SCALE)
        with environment.read() as transaction:
            assert (
                transaction.get(b"scale/default", None, environment.tables[CATALOG_TABLE])
                == EXAMPLES["catalog-entry"]
            )
        assert catalog.get("scale/default") == Entry("scale/default", SCALE, 1)
    finally:
        environment.close()


@pytest.mark.parametrize(
    ("dimension", "pieces"), [(2, [12]), (784, [3140]), (512, [1028, 1024]), (1024, [1028, 1028, 1028, 1016])]
)
def test_vectors_are_cut_into_the_pieces_that_the_page_says(dimension: int, pieces: list[int]) -> None:
    assert [stop - start for start, stop in layout.piece_bounds(4 + 4 * dimension)] == pieces


def test_a_segment_file_is_laid_out_as_the_page_says(tmp_path: Path) -> None:
    path = tmp_path / "one.segment"
    rows = np.array([7, 9], np.int64)
    matrix = np.array([[1.0, -0.5], [0.5, 0.5]], np.float32)
    files.write_arrays(path, {"paths": []}, {"rows": rows, "matrix": matrix})
    content = path.read_bytes()

    length = int.from_bytes(content[8:12], "little")
    places, values = msgpack.unpackb(content[12 : 12 + length])
    base = -(-(12 + length) // 64) * 64

    assert content.startswith(EXAMPLES["segment-start"])
    assert values == {"paths": []}
    assert places == [["rows", "<i8", [2], 0], ["matrix", "<f4", [2, 2], 64]]
    assert content[base : base + 16] == rows.tobytes()
    assert content[base + 64 :] == matrix.tobytes()


def test_index_files_hold_the_arrays_of_their_tables(tmp_path: Path) -> None:
    columns = Columns()
    for position, value in enumerate([1, 0.5, True, "text", None, [1]]):
        columns.add(position, {"path": value}, BODY.contexts, 9.0, BODY.updated_at)
    matrix = np.eye(6, dtype=np.float32)
    segment = Segment(np.arange(1, 7), PackedIds.pack(list("abcdef")), matrix, columns)
    environment = Environment(tmp_path / "records")
    try:
        lists = Lists.empty(6)
        lists.nodes[:, 0], lists.d2[:, 0] = [1, 0, 3, 2, 5, 4], 1.0
        saved = SavedLinks(Links.joining(lists), segment.rows)
        IndexFiles(tmp_path, LmdbCatalog(environment), CID).save([Part(segment, 6)], 6, saved)
    finally:
        environment.close()
    (path,) = tmp_path.rglob("*.segment")
    _, arrays = files.read_arrays(path)
    assert listed("Segment files", "Graph files") == {
        re.sub(r"^path/\d+/\w+", "path/I/KIND", re.sub(r"^context/\d+", "context/I", name)) for name in arrays
    }
    (path,) = tmp_path.rglob("*.links")
    values, arrays = files.read_arrays(path)
    assert listed("Links files", "At a start") == {*arrays}
    assert {*values} == {"lost"}


def listed(section: str, following: str) -> set[str]:
    """The arrays that a section's table names."""
    text = PAGE.split(f"### {section}")[1].split(f"### {following}")[0]
    rows = re.findall(r"^\| (`\w[^|]+)\|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([\w/]+)`", row)}


def test_every_table_and_meta_number_has_its_row() -> None:
    for name in (
        *layout.TABLES,
        *layout.ADDED_TABLES,
        CATALOG_TABLE,
        "format",
        "sequence",
        "purged",
        "clean",
    ):
        assert f"`{name}`" in PAGE
