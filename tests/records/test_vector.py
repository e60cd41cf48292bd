"""From what users hold to checked float32 rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.errors import ArgumentError, DimensionError, VectorError
from qstore_db.records import Metric, Vectors, as_matrix, as_vector, check_matrix, unit_rows
from qstore_db.records.vector import check_dimension
from qstore_db.testing.strategies import vectors


class Tensor:
    """What matters of a torch tensor that requires grad and lives on a device: no direct way to NumPy."""

    def __init__(self, values: object, *, half: bool = False) -> None:
        self.values, self.half = np.asarray(values), half

    def __array__(self, *args: object, **options: object) -> np.ndarray:
        raise RuntimeError("call detach().cpu() first")

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def float(self) -> Tensor:
        return Tensor(self.values)

    def numpy(self) -> np.ndarray:
        if self.half:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values


@pytest.mark.parametrize(
    "values",
    [
        [1, 2.5],
        (1, 2.5),
        np.array([1, 2.5]),
        np.array([1, 2.5], np.float16),
        np.array([1, 0, 2.5], np.float32)[::2],
        np.array([2.5, 1], np.float32)[::-1],
        np.array([1, 2.5], ">f8"),
        [np.float32(1), np.float64(2.5)],
        Tensor([1, 2.5]),
        Tensor([1, 2.5], half=True),
        np.ma.array([1, 2.5]),
    ],
)
def test_whatever_holds_real_numbers_becomes_float32(values: object) -> None:
    vector = as_vector(values)
    assert vector.dtype == np.dtype("=f4")
    assert vector.flags.c_contiguous
    assert vector.tolist() == [1.0, 2.5]


def test_integers_of_any_width_are_vectors() -> None:
    assert as_vector(np.array([0, 255], np.uint8)).tolist() == [0.0, 255.0]
    assert as_vector([2**63, 1]).tolist() == [2.0**63, 1.0]


@pytest.mark.parametrize("read", [as_vector, as_matrix])
def test_the_result_shares_no_memory_with_what_was_given(read: object) -> None:
    source = np.ones(3 if read is as_vector else (2, 3), np.float32)
    result = read(source)  # type: ignore[operator]
    source[...] = 5.0
    assert (result == 1.0).all()


def test_a_matrix_without_copy_is_the_array_itself_where_it_can_be() -> None:
    source = np.ones((2, 3), np.float32)
    assert np.shares_memory(as_matrix(source, copy=False), source)
    assert as_matrix(source.astype(np.float64), copy=False).dtype == np.float32
    assert as_matrix(source.T, copy=False).flags.c_contiguous


@given(vectors(5))
def test_float32_is_kept_bit_for_bit(vector: Vectors) -> None:
    assert as_vector(vector).tobytes() == vector.tobytes()


def test_large_finite_values_whose_squares_overflow_are_kept() -> None:
    largest = float(np.finfo(np.float32).max)
    assert as_vector([largest, -largest]).tolist() == [largest, -largest]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1.0, float("nan")], "holds nan .* at component 1"),
        ([float("-inf"), 1.0], "holds -inf .* at component 0"),
        (np.array([0, np.inf], np.float16), "holds inf .* at component 1"),
        ([1.0, 1e39], r"holds 1e\+39 \(not finite as float32\) at component 1"),
        ([1j, 1.0], "of dtype complex128"),
        ([object()], "of dtype object"),
        ([None, 1.0], "of dtype object"),
        ([10**400], "of dtype object"),
        ([True, False], "of dtype bool"),
        (["1", "2"], "of dtype <U1"),
        ("12", "of dtype"),
        ([[1.0], [1.0, 2.0]], "ragged"),
        (np.array(["2020-01-01"], "M8[D]"), "of dtype datetime64"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "masked"),
        (Tensor([float("nan")]), "holds nan"),
        ([], "empty"),
        (5.0, "one axis"),
        ([[1.0, 2.0]], "one axis"),
        ({"a": 1}, "of dtype object"),
    ],
)
def test_what_is_no_finite_real_vector_is_refused(values: object, reason: str) -> None:
    with pytest.raises(VectorError, match=rf"query .*{reason}") as caught:
        as_vector(values, what="query")
    assert caught.value.subject == "query"


def test_a_matrix_is_refused_by_row_and_component() -> None:
    with pytest.raises(VectorError, match=r"vectors holds nan .* at row 1, component 2"):
        as_matrix([[1.0, 2.0, 3.0], [1.0, 2.0, float("nan")]])


def test_a_matrix_needs_two_axes() -> None:
    with pytest.raises(VectorError, match=r"two axes .* got shape \(2,\)"):
        as_matrix([1.0, 2.0])


def test_a_matrix_without_rows_is_one() -> None:
    assert as_matrix(np.empty((0, 4))).shape == (0, 4)


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_another_dimension_names_the_collection_and_both_lengths(shape: tuple[int, ...]) -> None:
    with pytest.raises(DimensionError, match=r"'art' holds vectors of dimension 4, vector has 3") as caught:
        check_matrix(
            np.ones(shape, np.float32), dimension=4, metric=Metric.L2, collection="art", what="vector"
        )
    assert caught.value.subject == "art"


def test_a_zero_row_is_refused_under_cosine_only() -> None:
    rows = np.array([[1, 0], [0, 0]], np.float32)
    with pytest.raises(VectorError, match=r"vectors row 1 is all zero.*metric='l2'"):
        check_matrix(rows, dimension=2, metric=Metric.COSINE, collection="art", what="vectors")
    with pytest.raises(VectorError, match="query is all zero"):
        check_matrix(rows[1], dimension=2, metric=Metric.COSINE, collection="art", what="query")
    for metric in (Metric.L2, Metric.DOT):
        check_matrix(rows, dimension=2, metric=metric, collection="art", what="vectors")


def test_a_vector_too_small_to_square_is_not_zero() -> None:
    tiny = np.array([1e-45, 0], np.float32)
    check_matrix(tiny, dimension=2, metric=Metric.COSINE, collection="art", what="vector")
    assert unit_rows(tiny).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("magnitude", [1e-45, 1e-30, 1.0, 1e30, 3e38])
def test_unit_rows_have_length_one_at_any_magnitude(magnitude: float) -> None:
    rows = (np.array([[1, 1, 1, 1], [1, -1, 0, 0]]) * magnitude).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(unit_rows(rows).astype(np.float64), axis=1), 1.0, rtol=1e-7)


@given(st.lists(vectors(7), min_size=1, max_size=5))
def test_a_unit_row_has_the_same_bits_alone_and_in_company(rows: list[Vectors]) -> None:
    together = unit_rows(np.stack(rows * 300))
    assert all(
        unit_rows(row).tobytes() == unit.tobytes() for row, unit in zip(rows * 300, together, strict=True)
    )


@pytest.mark.parametrize("dimension", [0, -1, 65_537, 1.5, "3", True, None])
def test_a_dimension_is_an_integer_from_1_to_65536(dimension: object) -> None:
    assert check_dimension(65_536) == 65_536
    with pytest.raises(ArgumentError, match="dimension=") as caught:
        check_dimension(dimension)
    assert caught.value.subject == "dimension"


@pytest.mark.parametrize("metric", [Metric.L2, Metric.DOT])
def test_a_vector_whose_distances_would_overflow_float32_is_refused_by_row(metric: Metric) -> None:
    rows = np.ones((3, 4), np.float32)
    rows[1] = 1e18
    with pytest.raises(VectorError, match="row 1 has length 2e"):
        check_matrix(rows, dimension=4, metric=metric, collection="c", what="vectors")
    check_matrix(rows / 4, dimension=4, metric=metric, collection="c", what="vectors")


def test_many_long_vectors_are_fine_while_each_is() -> None:
    rows = np.full((100_000, 1), 5e17, np.float32)
    check_matrix(rows, dimension=1, metric=Metric.L2, collection="c", what="vectors")
