from __future__ import annotations

import itertools
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.signal import find_peaks

from qstore_db.search.diffusion import knn_graph
from qstore_db.search.prominence import Peaks, distinct_best, peaks, usual_prominence

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Edges = list[tuple[int, int]]


def rows(n: int, edges: Edges) -> tuple[Ints, Ints]:
    """Compressed sparse rows with each edge in both directions."""
    both = sorted({*edges, *((b, a) for a, b in edges)})
    indptr = np.concatenate([[0], np.cumsum(np.bincount([a for a, _ in both], minlength=n))])
    return indptr.astype(np.int64), np.array([b for _, b in both], np.int64)


def found(values: Floats, edges: Edges, rank: Ints | None = None) -> Peaks:
    n = len(values)
    return peaks(*rows(n, edges), values, np.arange(n) if rank is None else rank)


def line(*values: float) -> tuple[Floats, Edges]:
    return np.array(values), list(itertools.pairwise(range(len(values))))


def listed(result: Peaks) -> list[tuple[int, float]]:
    return list(zip(result.nodes.tolist(), result.prominence.tolist(), strict=True))


@st.composite
def landscapes(draw: st.DrawFn, most: int = 14) -> tuple[Floats, Edges, Ints]:
    """Small graphs of all densities and parts, with few values (plateaus and ties) or many."""
    n = draw(st.integers(1, most))
    pairs = list(itertools.combinations(range(n), 2))
    edges = draw(st.lists(st.sampled_from(pairs), max_size=2 * n)) if pairs else []
    # Eighths: differences are exact, so that what is computed another way must be equal.
    heights = draw(st.sampled_from([st.integers(0, 2), st.integers(-9, 9), st.integers(-(10**6), 10**6)]))
    values = draw(arrays(np.float64, n, elements=heights.map(lambda eighths: eighths / 8)))
    return values, edges, np.array(draw(st.permutations(range(n))))


def brute(values: Floats, edges: Edges, rank: Ints) -> list[tuple[int, float]]:
    """Peaks and prominences by the definition: of all paths to a higher node, the best lowest point."""
    n = len(values)
    bottleneck = np.full((n, n), -np.inf)
    np.fill_diagonal(bottleneck, values)
    for a, b in edges:
        bottleneck[a, b] = bottleneck[b, a] = min(values[a], values[b])
    for via in range(n):
        bottleneck = np.maximum(
            bottleneck, np.minimum(bottleneck[:, via][:, np.newaxis], bottleneck[via][np.newaxis])
        )
    result = []
    for node in sorted(range(n), key=lambda i: (-values[i], rank[i])):
        higher = [
            bottleneck[node, other]
            for other in range(n)
            if (-values[other], rank[other]) < (-values[node], rank[node])
        ]
        saddle = max(higher, default=-np.inf)
        if saddle == -np.inf:
            result.append((node, float(values[node] - values.min())))
        elif saddle < values[node]:
            result.append((node, float(values[node] - saddle)))
    return result


@given(landscape=landscapes())
def test_peaks_and_prominences_are_those_of_the_definition(landscape: tuple[Floats, Edges, Ints]) -> None:
    assert listed(found(*landscape)) == brute(*landscape)


@given(landscape=landscapes())
def test_at_every_level_one_peak_stands_out_for_each_island(landscape: tuple[Floats, Edges, Ints]) -> None:
    values, edges, rank = landscape
    result = found(values, edges, rank)
    for level in np.unique(values)[1:]:
        islands = components(np.flatnonzero(values >= level).tolist(), edges)
        height = values[result.nodes]
        risen = (height >= level) & (result.prominence > height - level)
        assert len(islands) == risen.sum()


def components(nodes: list[int], edges: Edges) -> set[frozenset[int]]:
    part = {node: frozenset([node]) for node in nodes}
    for a, b in edges:
        if a in part and b in part:
            joined = part[a] | part[b]
            part.update(dict.fromkeys(joined, joined))
    return set(part.values())


@given(landscape=landscapes())
def test_every_node_climbs_to_its_peak_through_its_basin_without_a_step_down(
    landscape: tuple[Floats, Edges, Ints],
) -> None:
    values, edges, rank = landscape
    result = found(values, edges, rank)
    around: dict[int, set[int]] = {node: set() for node in range(len(values))}
    for a, b in edges:
        around[a].add(b)
        around[b].add(a)
    for basin, peak in enumerate(result.nodes.tolist()):
        seen, queue = {peak}, deque([peak])
        while queue:
            node = queue.popleft()
            for other in around[node] - seen:
                if result.labels[other] == basin and values[other] <= values[node]:
                    seen.add(other)
                    queue.append(other)
        assert seen == set(np.flatnonzero(result.labels == basin).tolist())


@given(landscape=landscapes())
def test_a_node_belongs_to_the_basin_of_the_best_of_its_higher_neighbours(
    landscape: tuple[Floats, Edges, Ints],
) -> None:
    values, edges, rank = landscape
    labels = found(values, edges, rank).labels
    for node in range(len(values)):
        higher = [
            b for edge in edges for a, b in (edge, edge[::-1]) if a == node and values[b] > values[node]
        ]
        if higher:
            assert labels[node] == labels[min(higher, key=lambda i: (-values[i], rank[i]))]


@given(landscape=landscapes(), seed=st.integers(0, 1000))
def test_nothing_depends_on_how_nodes_and_edges_are_numbered(
    landscape: tuple[Floats, Edges, Ints], seed: int
) -> None:
    values, edges, rank = landscape
    plain = found(values, edges, rank)
    shuffle = np.random.default_rng(seed).permutation(len(values))
    place = np.argsort(shuffle)
    moved = found(
        values[shuffle], [(int(place[a]), int(place[b])) for a, b in reversed(edges)], rank[shuffle]
    )
    np.testing.assert_array_equal(shuffle[moved.nodes], plain.nodes)
    np.testing.assert_array_equal(moved.prominence, plain.prominence)
    np.testing.assert_array_equal(moved.labels, plain.labels[shuffle])


def test_the_order_within_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, 60).astype(np.float64)
    indptr, indices = rows(60, [(int(a), int(b)) for a, b in rng.integers(0, 60, (120, 2)) if a != b])
    mixed = np.concatenate(
        [rng.permutation(indices[a:b]) for a, b in itertools.pairwise(indptr)], dtype=np.int64
    )
    one, other = peaks(indptr, indices, values, np.arange(60)), peaks(indptr, mixed, values, np.arange(60))
    assert listed(one) == listed(other)
    np.testing.assert_array_equal(one.labels, other.labels)


def test_three_hills_in_a_row_have_the_prominences_of_a_map() -> None:
    result = found(*line(0, 5, 2, 8, 3, 6, 1))
    assert listed(result) == [(3, 8.0), (5, 3.0), (1, 3.0)]
    np.testing.assert_array_equal(result.labels, [2, 2, 0, 0, 0, 1, 1])


def test_a_ripple_on_a_slope_is_a_peak_of_little_prominence() -> None:
    assert listed(found(*line(0, 4, 3.5, 9))) == [(3, 9.0), (1, 0.5)]


def test_a_saddle_shared_by_three_hills_ends_the_two_lower_ones() -> None:
    values = np.array([7.0, 6.0, 5.0, 1.0, 0.0])
    assert listed(found(values, [(0, 3), (1, 3), (2, 3), (3, 4)])) == [(0, 7.0), (1, 5.0), (2, 4.0)]


def test_the_prominence_of_a_hill_counts_to_the_highest_way_out() -> None:
    values = np.array([9.0, 1.0, 6.0, 4.0])
    assert listed(found(values, [(0, 1), (1, 2), (2, 3), (3, 0)])) == [(0, 8.0), (2, 2.0)]


def test_a_plateau_is_one_peak_at_its_node_of_lowest_rank() -> None:
    values, edges = line(0, 5, 5, 5, 0)
    assert listed(found(values, edges, np.array([4, 3, 1, 0, 2]))) == [(3, 5.0)]


def test_a_ledge_below_a_peak_is_no_peak_and_belongs_to_it() -> None:
    result = found(*line(3, 3, 3, 4, 0), np.arange(5))
    assert listed(result) == [(3, 4.0)]
    np.testing.assert_array_equal(result.labels, 0)


def test_a_ledge_between_two_peaks_is_shared_by_them() -> None:
    result = found(*line(7, 3, 3, 3, 6), np.array([4, 3, 2, 1, 0]))
    assert listed(result) == [(0, 4.0), (4, 3.0)]
    np.testing.assert_array_equal(result.labels[[0, 1, 3, 4]], [0, 0, 1, 1])


def test_of_two_peaks_of_one_height_the_lower_rank_is_the_higher() -> None:
    values, edges = line(5, 2, 5, 0)
    assert listed(found(values, edges, np.array([0, 1, 2, 3]))) == [(0, 5.0), (2, 3.0)]
    assert listed(found(values, edges, np.array([2, 1, 0, 3]))) == [(2, 5.0), (0, 3.0)]


def test_the_summit_of_each_part_stands_out_above_the_lowest_value_of_all() -> None:
    values = np.array([9.0, 7.0, 4.0, 3.0, 2.0])
    assert listed(found(values, [(0, 1), (2, 3)])) == [(0, 7.0), (2, 2.0), (4, 0.0)]


def test_a_flat_landscape_is_one_peak_a_part_at_sea_level() -> None:
    result = found(np.full(5, 3.0), [(0, 1), (1, 2), (3, 4)])
    assert listed(result) == [(0, 0.0), (3, 0.0)]
    np.testing.assert_array_equal(result.labels, [0, 0, 0, 1, 1])


def test_a_single_node_is_a_peak() -> None:
    assert listed(found(np.array([2.0]), [])) == [(0, 0.0)]


def test_no_nodes_have_no_peaks() -> None:
    result = found(np.empty(0), [])
    assert (len(result.nodes), len(result.prominence), len(result.labels)) == (0, 0, 0)
    assert len(distinct_best(result, np.empty(0))) == 0


def test_values_next_to_each_other_are_told_apart_and_the_largest_do_not_overflow() -> None:
    least, most = np.nextafter(0.0, 1.0), np.finfo(np.float64).max
    assert listed(found(*line(least, 0, most, -most))) == [(2, np.inf), (0, least)]
    assert usual_prominence(np.array([-most, -most, most, most])) == np.inf


@given(values=st.lists(st.floats(0.001, 100), min_size=1, max_size=80, unique=True))
def test_along_a_line_prominences_are_those_of_signal_processing(values: list[float]) -> None:
    # Shores at sea level on both sides: without them SciPy counts the ends of the line as saddles.
    signal = np.array([0.0, *values, 0.0])
    nodes, properties = find_peaks(signal, prominence=0)
    result = found(*line(*signal))
    wanted = dict(zip(nodes.tolist(), properties["prominences"].tolist(), strict=True))
    assert dict(listed(result)) == wanted


def test_a_long_ridge_is_climbed_to_its_end() -> None:
    result = found(*line(*range(3_000)))
    assert listed(result) == [(2_999, 2_999.0)]
    np.testing.assert_array_equal(result.labels, 0)


def test_distinct_peaks_come_best_first_and_without_ripples() -> None:
    values, edges = line(0, 5, 4.9, 5.1, 2, 8, 3, 6, 5.8, 5.9, 1)
    result = found(values, edges)
    chosen = distinct_best(result, values, 1.0)
    assert result.nodes[chosen].tolist() == [5, 7, 3]


def test_a_peak_just_as_prominent_as_asked_is_kept() -> None:
    values, edges = line(0, 5, 2, 8, 0)
    result = found(values, edges)
    assert result.nodes[distinct_best(result, values, 3.0)].tolist() == [3, 1]
    assert result.nodes[distinct_best(result, values, np.nextafter(3.0, 4.0))].tolist() == [3]


@given(landscape=landscapes(), low=st.floats(0, 20), high=st.floats(0, 20))
def test_asking_for_more_prominence_keeps_a_part_of_the_same_peaks(
    landscape: tuple[Floats, Edges, Ints], low: float, high: float
) -> None:
    low, high = sorted((low, high))
    values = landscape[0]
    result = found(*landscape)
    assert set(distinct_best(result, values, high)) <= set(distinct_best(result, values, low))
    np.testing.assert_array_equal(distinct_best(result, values, 0.0), np.arange(len(result.nodes)))


@given(landscape=landscapes())
def test_the_best_peak_of_all_is_kept_unless_told(landscape: tuple[Floats, Edges, Ints]) -> None:
    values = landscape[0]
    assert distinct_best(found(*landscape), values)[0] == 0


def test_unless_told_a_peak_stands_out_by_half_the_interquartile_range() -> None:
    assert usual_prominence(np.arange(1.0, 101.0)) == 25.0
    values, edges = line(0, 10, 8, 9, 0, 4, 0.5, 3, 0)
    result = found(values, edges)
    assert usual_prominence(values) == 4.0
    assert result.nodes[distinct_best(result, values)].tolist() == [1, 5]


def test_diverged_runs_do_not_drown_the_peaks() -> None:
    values, edges = line(*[0, 2, 4, 6, 8, 6, 4, 2] * 8)
    plain = found(values, edges)
    diverged = values.copy()
    diverged[0] = -1e9
    assert len(distinct_best(found(diverged, edges), diverged)) == len(distinct_best(plain, values)) == 8


def test_a_few_spikes_on_a_plain_are_all_peaks() -> None:
    values = np.zeros(40)
    values[[5, 20, 30]] = 1.0, 3.0, 0.1
    result = found(*line(*values))
    assert result.nodes[distinct_best(result, values)].tolist() == [20, 5, 30]


@pytest.mark.parametrize("dimensions", [2, 4])
def test_two_good_regions_of_a_noisy_objective_are_two_results(dimensions: int) -> None:
    rng = np.random.default_rng(0)
    settings = rng.random((600, dimensions)).astype(np.float32)
    centres = np.array([[0.2] * dimensions, [0.8] * dimensions])
    d2 = ((settings[:, np.newaxis] - centres) ** 2).sum(axis=2)
    values = (np.exp(-d2 / (0.09 * dimensions)) * [1.0, 0.9]).max(axis=1) + rng.normal(0, 0.01, 600)
    graph = knn_graph(settings, 10, max_dot=None)
    result = peaks(graph.indptr, graph.indices, values, np.arange(600))
    best = result.nodes[distinct_best(result, values)]
    assert d2[best].argmin(axis=1).tolist() == [0, 1]
