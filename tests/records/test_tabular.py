"""Records as tables: round trips, what each column accepts, and refusals that name their row or column."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.errors import (
    ArgumentError,
    ConfigurationError,
    ContextError,
    IdError,
    MetadataError,
    QStoreError,
    VectorError,
)
from qstore_db.records import Match, Page, QueryResult, Record, Superposition
from qstore_db.records.results import empty_ranked
from qstore_db.records.tabular import matches_to_arrow, records_to_arrow, rows_from
from qstore_db.testing.strategies import ids, metadata, superpositions, vectors


def table(**columns: object) -> pa.Table:
    """A table of two good rows, changed by `columns`; None removes one."""
    given = {"id": ["a", "b"], "vector": pa.array([[1, 2], [3, 4]], pa.list_(pa.float32())), **columns}
    return pa.table({name: values for name, values in given.items() if values is not None})


def frame(**columns: object) -> pd.DataFrame:
    given = {"id": ["a", "b"], "vector": [[1, 2], [3, 4]], **columns}
    return pd.DataFrame({name: values for name, values in given.items() if values is not None})


@st.composite
def records(draw: st.DrawFn) -> Record:
    state = Superposition.parse(draw(superpositions()))
    return Record(
        id=draw(ids()),
        vector=draw(vectors(3)),
        contexts=state.pairs(),
        metadata=draw(metadata()),
        version=draw(st.integers(0, 2**64 - 1)),
        expires_at=draw(st.none() | st.floats(0, 1e10)),
        raw_contexts=tuple(zip(state.names, state.raw, strict=True)),
    )


@pytest.mark.parametrize("through", ["arrow", "pandas", "records"])
@given(drawn=st.lists(records(), min_size=1, max_size=4))
def test_records_come_back_as_they_went(through: str, drawn: list[Record]) -> None:
    source: object = drawn
    if through != "records":
        source = records_to_arrow(drawn)
    if through == "pandas":
        source = source.to_pandas()
    rows = rows_from(source)
    assert rows.ids == [record.id for record in drawn]
    assert [vector.tobytes() for vector in rows.vectors] == [record.vector.tobytes() for record in drawn]
    assert rows.contexts == [record.raw_contexts for record in drawn]
    assert repr(rows.metadata) == repr(
        [record.metadata for record in drawn]
    )  # repr tells 1, 1.0 and True apart
    assert (rows.expires_at or [None] * len(drawn)) == [record.expires_at for record in drawn]


def test_the_schema_of_records_is_stable() -> None:
    pair = pa.struct([("name", pa.string()), ("weight", pa.float64())])
    schema = pa.schema(
        {
            "id": pa.string(),
            "vector": pa.list_(pa.float32(), 3),
            "contexts": pa.list_(pair),
            "metadata": pa.string(),
            "version": pa.uint64(),
            "expires_at": pa.float64(),
        }
    )
    bare = Record("a", np.ones(3, np.float32))
    full = Record("b", np.ones(3, np.float32), (("c", 1.0),), {"n": 1}, 5, 9.0)
    for group in ([bare], [full], [bare, full]):
        assert records_to_arrow(group).schema == schema
    empty = records_to_arrow([])
    assert empty.schema == schema.set(1, pa.field("vector", pa.list_(pa.float32(), 0)))
    assert len(rows_from(empty)) == 0


def test_records_without_raw_weights_give_their_born_weights() -> None:
    contexts = (("a", 0.25), ("b", 0.75))
    record = Record("a", np.ones(2, np.float32), contexts)
    assert rows_from(records_to_arrow([record])).contexts == rows_from([record]).contexts == [contexts]


def test_a_page_is_a_table() -> None:
    page = Page((Record("a", np.ones(2, np.float32)),), cursor=None)
    assert page.to_arrow().equals(records_to_arrow(page))


def test_matches_are_a_table_with_one_schema_whatever_was_asked() -> None:
    plain = Match("a", -1.0, 1.0, 0.0, None, {"n": 1}, (("c", 1.0),), 7)
    full = Match("b", -2.0, 2.0, 0.0, 0.5, {}, (), 8, np.array([1, 2], np.float32), True)
    result = matches_to_arrow([plain, full])
    assert result.schema == QueryResult(empty_ranked(), exact=True).to_arrow().schema
    assert result.to_pylist() == [
        {
            "id": "a",
            "score": -1.0,
            "distance": 1.0,
            "similarity": 0.0,
            "weight": None,
            "tunneled": None,
            "contexts": [{"name": "c", "weight": 1.0}],
            "metadata": '{"n": 1}',
            "version": 7,
            "vector": None,
        },
        {
            "id": "b",
            "score": -2.0,
            "distance": 2.0,
            "similarity": 0.0,
            "weight": 0.5,
            "tunneled": True,
            "contexts": [],
            "metadata": "{}",
            "version": 8,
            "vector": [1.0, 2.0],
        },
    ]


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2)]
)
def test_float32_vectors_of_one_chunk_are_not_copied(kind: pa.DataType) -> None:
    column = pa.array([[0, 0], [1, 2], [3, 4]], kind)
    rows = rows_from(table(vector=column.slice(1)))
    assert rows.vectors.tolist() == [[1, 2], [3, 4]]
    assert np.shares_memory(rows.vectors, column.flatten().to_numpy())


@pytest.mark.parametrize("value", [pa.float16(), pa.float64(), pa.uint8(), pa.int64()])
@pytest.mark.parametrize("width", [-1, 2])
def test_vectors_of_any_number_type_become_float32(value: pa.DataType, width: int) -> None:
    numbers = np.array([1, 2]).astype(value.to_pandas_dtype())
    rows = rows_from(table(vector=pa.array([numbers, numbers], pa.list_(value, width))))
    assert rows.vectors.dtype == np.float32
    assert rows.vectors.tolist() == [[1, 2], [1, 2]]


def test_chunks_and_batches_and_streams_are_tables() -> None:
    good = table()
    halves = pa.concat_tables([good.slice(0, 1), good.slice(0, 0), good.slice(1)])
    for source in (halves, good.to_batches()[0], good.to_reader()):
        rows = rows_from(source)
        assert rows.ids == ["a", "b"]
        assert rows.vectors.tolist() == [[1, 2], [3, 4]]


def test_a_generator_of_records_is_a_source() -> None:
    rows = rows_from(Record(str(i), np.full(2, i, np.float32)) for i in range(3))
    assert (rows.ids, rows.expires_at, len(rows)) == (["0", "1", "2"], None, 3)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[("x", 0.5), ("y", 2.0)], None], pa.map_(pa.string(), pa.float64())),
        [[{"name": "x", "weight": 0.5}, {"name": "y", "weight": 2.0}], None],
        pa.array([{"x": 0.5, "y": 2.0, "z": None}, None]),
    ],
)
def test_arrow_contexts_may_be_a_map_a_struct_or_a_list(column: object) -> None:
    assert rows_from(table(contexts=column)).contexts == [(("x", 0.5), ("y", 2.0)), ()]


@pytest.mark.parametrize(
    "cell",
    [
        {"x": 0.5, "y": 2.0},
        [("x", 0.5), ["y", 2.0]],
        [{"name": "x", "weight": 0.5}, {"name": "y", "weight": 2.0}],
    ],
)
def test_pandas_contexts_may_be_pairs_or_mappings(cell: object) -> None:
    assert rows_from(frame(contexts=[cell, None])).contexts == [(("x", 0.5), ("y", 2.0)), ()]


def test_a_context_repeated_in_a_map_is_left_for_the_insert_to_refuse() -> None:
    column = pa.array([[("x", 0.5), ("x", 2.0)], None], pa.map_(pa.string(), pa.float64()))
    assert rows_from(table(contexts=column)).contexts[0] == (("x", 0.5), ("x", 2.0))


@pytest.mark.parametrize(
    "column",
    [
        ['{"n": 1, "t": null}', None],
        pa.array([{"n": 1, "t": None}, None]),
        pa.array([[("n", 1)], None], pa.map_(pa.string(), pa.int64())),
    ],
)
def test_arrow_metadata_may_be_json_a_struct_or_a_map(column: object) -> None:
    metadata = rows_from(table(metadata=column)).metadata
    assert metadata[0]["n"] == 1
    assert metadata[1] == {}


def test_pandas_metadata_may_be_a_mapping_json_or_the_pairs_of_a_map() -> None:
    kind = pa.map_(pa.string(), pa.int64())
    from_map = table(metadata=pa.array([[("n", 1)], None], kind)).to_pandas()
    for source in (from_map, frame(metadata=[{"n": 1}, None]), frame(metadata=['{"n": 1}', None])):
        assert rows_from(source).metadata == [{"n": 1}, {}]


def test_null_in_json_is_a_stored_null_and_in_a_struct_an_absent_key() -> None:
    assert rows_from(table(metadata=['{"t": null}', None])).metadata[0] == {"t": None}
    nested = [{"t": None, "u": {"v": None, "w": [1, None]}}, None]
    assert rows_from(table(metadata=pa.array(nested))).metadata[0] == {"u": {"w": [1, None]}}


def test_other_columns_become_metadata_beside_the_metadata_column() -> None:
    rows = rows_from(
        table(
            metadata=['{"n": 1}', None],
            kind=pa.array(["x", None]).dictionary_encode(),
            box=[{"m": 1.5}, None],
            tags=[["t"], []],
            version=[5, 6],
            updated_at=[1.0, 2.0],
        )
    )
    assert rows.metadata == [{"n": 1, "kind": "x", "box": {"m": 1.5}, "tags": ["t"]}, {"tags": []}]


def test_a_map_nested_in_a_column_becomes_a_nested_mapping() -> None:
    kind = pa.list_(pa.map_(pa.string(), pa.int64()))
    assert rows_from(table(x=pa.array([[[("k", 1)], None], None], kind))).metadata == [
        {"x": [{"k": 1}, None]},
        {},
    ]


def test_what_pandas_takes_for_missing_is_an_absent_key() -> None:
    rows = rows_from(
        frame(
            number=[1.5, np.nan],
            text=["x", None],
            mixed=pd.Series([pd.NA, {"deep": 1}], dtype=object),
            whole=pd.array([None, 3], dtype="Int64"),
            kind=pd.Categorical(["u", None]),
            when=pd.Series([None, None], dtype="datetime64[ns]"),
        )
    )
    assert rows.metadata == [{"number": 1.5, "text": "x", "kind": "u"}, {"mixed": {"deep": 1}, "whole": 3}]


def test_expiry_is_read_and_absent_where_null() -> None:
    for source in (table(expires_at=[5.0, None]), frame(expires_at=[5.0, np.nan])):
        assert rows_from(source).expires_at == [5.0, None]
    assert rows_from(table(expires_at=pa.nulls(2))).expires_at is None


@pytest.mark.parametrize("source", [table(vector=None), frame(vector=None)])
def test_a_missing_column_is_named_beside_those_found(source: object) -> None:
    with pytest.raises(ArgumentError, match="no column 'vector'; found 'id'") as caught:
        rows_from(source)
    assert caught.value.subject == "vector"


WHEN = datetime(2020, 1, 1, tzinfo=UTC)
WRONG_COLUMNS = [
    ({"id": ["a", None]}, IdError, "id of row 1 is null"),
    ({"id": [1, 2]}, IdError, "id of row 0 is a int: cast the column to string"),
    ({"vector": [[1, 2], None]}, VectorError, "vector of row 1 is null"),
    ({"vector": [[1, 2], [1, 2, 3]]}, VectorError, "vector of row 1 has 3 components, row 0 has 2"),
    ({"vector": [[1.0, 2.0], [1.0, float("nan")]]}, VectorError, "row 1.* holds nan|holds nan .*row 1"),
    ({"contexts": [["x"], None]}, ContextError, "contexts of row 0 hold 'x'"),
    ({"contexts": [None, "x"]}, ContextError, "contexts of row 1 are a str"),
    ({"metadata": [None, "{"]}, MetadataError, "metadata of row 1 is not JSON"),
    ({"metadata": ["[1]", None]}, MetadataError, "metadata of row 0 is a list"),
    ({"metadata": ["[" * 100_000, None]}, MetadataError, "metadata of row 0 is not JSON"),
    ({"metadata": [1, 2]}, MetadataError, "metadata of row 0 is a int"),
    ({"made": [None, WHEN]}, MetadataError, r"column 'made' holds a \w+ \(row 1\).*cast it to a number"),
    ({"raw": [b"x", None]}, MetadataError, r"column 'raw' holds a bytes \(row 0\)"),
    ({"metadata": ['{"n": 1}', None], "n": [1, 2]}, MetadataError, "row 0 has 'n' both in `metadata` and"),
    ({"expires_at": ["soon", None]}, ArgumentError, "expires_at of row 0 is 'soon'"),
    ({"expires_at": [None, float("inf")]}, ArgumentError, "expires_at of row 1 is inf"),
    ({"expires_at": [True, False]}, ArgumentError, "expires_at of row 0 is True"),
    ({"expires_at": [WHEN, None]}, ArgumentError, "expires_at of row 0 is .*finite seconds"),
]


@pytest.mark.parametrize("make", [table, frame])
@pytest.mark.parametrize(("columns", "error", "message"), WRONG_COLUMNS)
def test_a_wrong_cell_is_refused_by_its_row(
    make: object, columns: dict[str, object], error: type[QStoreError], message: str
) -> None:
    with pytest.raises(error, match=message):
        rows_from(make(**columns))  # type: ignore[operator]


def test_a_null_component_is_refused_by_its_row() -> None:
    with pytest.raises(VectorError, match="row 1, component 0"):
        rows_from(table(vector=[[1, 2], [None, 4]]))


def test_a_vector_column_of_another_type_is_refused_by_that_type() -> None:
    with pytest.raises(VectorError, match="column 'vector' is of type string"):
        rows_from(table(vector=["x", "y"]))


@pytest.mark.parametrize(
    "source",
    [
        pa.concat_tables([table()]).append_column("id", pa.array(["a", "b"])),
        pd.concat([frame(), frame()[["id"]]], axis=1),
    ],
)
def test_a_column_that_is_there_twice_is_refused_by_name(source: object) -> None:
    with pytest.raises(ArgumentError, match="column 'id' is there more than once"):
        rows_from(source)


def test_a_column_without_a_text_for_its_name_is_refused() -> None:
    with pytest.raises(MetadataError, match="column 5 must have a string for its name"):
        rows_from(frame().assign(x=[1, 2]).rename(columns={"x": 5}))


@pytest.mark.parametrize(
    "source", [5, None, "ab", {"id": ["a"]}, np.ones((2, 2)), [("a", [1, 2])], pa.array([1])]
)
def test_what_holds_no_records_is_refused_by_its_type(source: object) -> None:
    with pytest.raises(ArgumentError, match=f"rows of a {type(source).__name__}") as caught:
        rows_from(source)
    assert caught.value.subject == "source"


def test_without_pyarrow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    source = table()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for use in (lambda: records_to_arrow([]), lambda: matches_to_arrow([]), lambda: rows_from(source)):
        with pytest.raises(ConfigurationError) as caught:
            use()
        assert 'pip install "qstore-db[arrow]"' in str(caught.value)


def test_a_frame_and_records_are_read_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    source = frame()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert rows_from(source).ids == ["a", "b"]
    assert rows_from([Record("a", np.ones(2, np.float32))]).ids == ["a"]
