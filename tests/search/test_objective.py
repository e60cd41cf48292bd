"""Objective mode as it is asked for: `tunnel_search(objective=...)` against brute force over exact neighbours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qstore_db import QuantumDatabase
from qstore_db.errors import ArgumentError
from qstore_db.search import objective as module
from qstore_db.search.prominence import usual_prominence
from qstore_db.testing.databases import Clock

Fill = Callable[..., str]
Floats = NDArray[np.float64]
METRICS = ["cosine", "l2", "dot"]
HILLS = [((0.2, 0.2), 1.0), ((0.8, 0.25), 0.9), ((0.4, 0.8), 0.8)]


def hilly(x: Floats) -> Floats:
    """Three round hills on the unit square, well apart, of heights 1, .9 and .8."""
    return np.asarray(
        sum(height * np.exp(-((x - at) ** 2).sum(axis=1) / 0.02) for at, height in HILLS), np.float64
    )


def square(n: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).uniform(size=(n, 2))


def of(values: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"v": value} for value in values]


def tops(x: Floats, values: Floats) -> list[int]:
    """The best record on each hill, best hill first."""
    nearest = np.argmin([((x - at) ** 2).sum(axis=1) for at, _ in HILLS], axis=0)
    best = [int(np.argmax(np.where(nearest == hill, values, -np.inf))) for hill in range(3)]
    return sorted(best, key=lambda i: -values[i])


def joined(x: NDArray[np.float32], metric: str) -> NDArray[np.bool_]:
    """(n, n): whether either is one of the other's ten nearest, ties of the tenth among them."""
    wide = x.astype(np.float64)
    if metric == "cosine":
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    far = -wide @ wide.T if metric == "dot" else ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    far = far.astype(np.float32)
    np.fill_diagonal(far, np.inf)
    if len(x) == 1:
        return np.zeros((1, 1), np.bool_)
    listed = far <= np.sort(far, axis=1)[:, [min(10, len(x) - 1) - 1]]
    return np.asarray(listed | listed.T)


def brute(
    values: Floats, edge: NDArray[np.bool_], ids: Sequence[str], least: float
) -> list[tuple[str, float]]:
    """The peaks that stand out by `least`, best first, with their prominence, by the definition of it."""
    n = len(values)
    ways = np.where(edge, np.minimum(values[:, None], values), -np.inf)
    np.fill_diagonal(ways, values)
    for via in range(n):  # the best lowest point of any path
        ways = np.maximum(ways, np.minimum(ways[:, [via]], ways[via]))
    found = []
    for node in sorted(range(n), key=lambda i: (-values[i], ids[i])):
        higher = [
            ways[node, other]
            for other in range(n)
            if values[other] > values[node] or (values[other] == values[node] and ids[other] < ids[node])
        ]
        saddle = max(higher, default=-np.inf)
        if saddle < values[node]:
            prominence = values[node] - (values.min() if saddle == -np.inf else saddle)
            if prominence >= least:
                found.append((ids[node], float(prominence)))
    return found


# What is found


@pytest.mark.parametrize("n", [200, 1_000])
def test_the_best_record_of_each_hill_comes_back_best_first(db: QuantumDatabase, fill: Fill, n: int) -> None:
    x = square(n)
    values = hilly(x)
    name = fill(x, metadata=of(values.tolist()))
    found = db.tunnel_search(x[0], objective="v", min_prominence=0.5, collection=name)
    assert found.ids == [f"r{i:05}" for i in tops(x, values)]
    assert found.scores.tolist() == sorted(values[tops(x, values)].tolist(), reverse=True)
    assert found.prominence is not None
    assert (found.prominence >= 0.5).all()
    assert found.exact
    assert found.warnings == ()
    for match in found:
        parts = match.explain()
        assert (parts.terms, parts.path) == ({"objective": match.metadata["v"]}, ())
        assert match.score == match.metadata["v"]


def test_twenty_near_copies_of_one_good_record_are_one_answer(db: QuantumDatabase, fill: Fill) -> None:
    x = square(300)
    rng = np.random.default_rng(1)
    copies = x[tops(x, hilly(x))[0]] + rng.normal(size=(20, 2)) * 0.004
    x = np.concatenate([x, copies])
    values = hilly(x)
    name = fill(x, metadata=of(values.tolist()))
    found = db.tunnel_search(x[0], objective="v", min_prominence=0.5, collection=name)
    assert found.ids == [f"r{i:05}" for i in tops(x, values)]


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 90),
    levels=st.sampled_from([2, 5, 1_000]),
    least=st.sampled_from([None, 0.0, 0.125, 0.5]),
    top_k=st.integers(1, 20),
)
def test_results_are_the_prominent_peaks_over_exact_neighbours(
    db: QuantumDatabase,
    fill: Fill,
    metric: str,
    seed: int,
    n: int,
    levels: int,
    least: float | None,
    top_k: int,
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    values = rng.integers(levels, size=n) / 8.0  # eighths: differences are exact
    ids = [f"x{i:03}" for i in rng.permutation(n)]
    name = fill(x, metric=metric, ids=ids, metadata=of(values.tolist()))
    found = db.tunnel_search(x[0], objective="v", min_prominence=least, top_k=top_k, collection=name)
    expected = brute(values, joined(x, metric), ids, usual_prominence(values) if least is None else least)
    assert found.prominence is not None
    assert list(zip(found.ids, found.prominence.tolist(), strict=True)) == expected[:top_k]
    db.drop_collection(name)


def test_equal_peaks_are_ordered_by_id(db: QuantumDatabase, fill: Fill) -> None:
    x = np.concatenate([square(15, seed) + np.array([far, 0.0]) for seed, far in ((0, 0), (1, 50), (2, 99))])
    values = np.zeros(45)
    values[[7, 22, 37]] = 1.0
    ids = [f"z{i:02}" for i in range(45)]
    ids[7], ids[22], ids[37] = "b", "c", "a"
    name = fill(x, ids=ids, metadata=of(values.tolist()))
    assert db.tunnel_search(x[0], objective="v", min_prominence=0.5, collection=name).ids == list("abc")


def test_where_all_are_equally_good_the_lowest_id_stands_for_all(db: QuantumDatabase, fill: Fill) -> None:
    x = square(40)
    name = fill(x, ids=[f"r{39 - i:02}" for i in range(40)], metadata=of([3] * 40))
    found = db.tunnel_search(x[0], objective="v", collection=name)
    assert found.ids == ["r00"]
    assert found.prominence is not None
    assert found.prominence.tolist() == [0.0]
    assert len(db.tunnel_search(x[0], objective="v", min_prominence=0.1, collection=name)) == 0


def test_a_higher_prominence_keeps_a_part_of_what_a_lower_one_keeps(db: QuantumDatabase, fill: Fill) -> None:
    x = square(400)
    values = hilly(x) + np.random.default_rng(2).normal(size=400) * 0.1
    name = fill(x, metadata=of(values.tolist()))
    kept = [
        db.tunnel_search(x[0], objective="v", min_prominence=least, top_k=400, collection=name).ids
        for least in (0.0, 0.1, 0.3, 0.6, 10.0)
    ]
    assert len(kept[0]) > len(kept[1]) > len(kept[2]) >= len(kept[3]) > len(kept[4]) == 0
    for more, fewer in itertools.pairwise(kept):
        assert fewer == [id for id in more if id in set(fewer)]


def test_the_query_decides_what_lies_inside_and_nothing_else(db: QuantumDatabase, fill: Fill) -> None:
    x = square(300)
    values = hilly(x)
    name = fill(x, metadata=of(values.tolist()))
    best = tops(x, values)
    options: Any = {"objective": "v", "min_prominence": 0.5, "barrier_threshold": 0.4, "collection": name}
    several = db.tunnel_search_batch(x[best], include_vectors=True, **options)
    for found, query in zip(several, x[best], strict=True):
        assert found.ids == [f"r{i:05}" for i in best]
        assert found.inside.ids == db.query(query, top_k=30, collection=name).ids  # floor(300 ** .6) = 30
        assert (found.well_size, found.eligible) == (30, 300)
        assert [match.tunneled for match in found] == [id not in found.inside.ids for id in found.ids]
        assert found.distances == pytest.approx(((x[best] - query) ** 2).sum(axis=1), abs=1e-6)
        for match, i in zip(found, best, strict=True):
            assert match.vector is not None
            assert match.vector.tolist() == x[i].astype(np.float32).tolist()
        single = db.tunnel_search(query, include_vectors=True, **options)
        assert (single.ids, single.scores.tobytes()) == (found.ids, found.scores.tobytes())
        assert [match.tunneled for match in single] == [match.tunneled for match in found]
    assert sum(bool(match.tunneled) for match in several[0]) == 2


# Who takes part


@pytest.mark.parametrize(
    "value", [None, True, "0.9", [0.9, 1.0], {"w": 2.0}, "absent"], ids=lambda value: type(value).__name__
)
def test_a_record_without_a_number_is_left_out_and_counted(
    db: QuantumDatabase, fill: Fill, value: Any
) -> None:
    x = square(300)
    values = hilly(x)
    best = tops(x, values)
    metadata = of(values.tolist())
    metadata[best[0]] = {} if value == "absent" else {"v": value}
    name = fill(x, metadata=metadata)
    found = db.tunnel_search(x[0], objective="v", min_prominence=0.5, collection=name)
    rest = np.where(np.arange(300) == best[0], -np.inf, values)
    assert found.ids == [f"r{i:05}" for i in tops(x, rest)]
    assert found.warnings == ("1 of 300 records have no number at 'v' and were left out",)
    assert found.eligible == 300


def test_numbers_may_be_whole_and_lie_in_nested_maps(db: QuantumDatabase, fill: Fill) -> None:
    x = square(300)
    values = np.round(hilly(x) * 1_000).astype(int)
    whole = [{"metrics": {"accuracy": int(v)}} for v in values]
    name = fill(x, metadata=whole)
    found = db.tunnel_search(x[0], objective="metrics.accuracy", min_prominence=500, collection=name)
    assert found.scores.tolist() == sorted(values[tops(x, values)].tolist(), reverse=True)
    assert found.warnings == ()


def test_without_any_number_nothing_is_found_and_all_are_counted(db: QuantumDatabase, fill: Fill) -> None:
    x = square(30)
    found = db.tunnel_search(x[0], objective="v", top_k=3, collection=fill(x))
    assert len(found) == 0
    assert len(found.inside) == 3
    assert found.warnings == ("30 of 30 records have no number at 'v' and were left out",)


def test_a_filter_bounds_what_is_eligible(db: QuantumDatabase, fill: Fill) -> None:
    x = square(600)
    values = hilly(x)
    metadata = [{"v": float(v), "even": i % 2 == 0} for i, v in enumerate(values)]
    both = fill(x, metadata=metadata)
    alone = fill(x[::2], ids=[f"r{i:05}" for i in range(0, 600, 2)], metadata=metadata[::2])
    options: Any = {"objective": "v", "min_prominence": 0.05, "top_k": 50}
    found = db.tunnel_search(x[0], filter={"even": True}, collection=both, **options)
    expected = db.tunnel_search(x[0], collection=alone, **options)
    assert (found.ids, found.eligible) == (expected.ids, 300)
    assert found.inside.ids == expected.inside.ids
    assert found.prominence is not None
    assert expected.prominence is not None
    assert found.prominence.tolist() == expected.prominence.tolist()
    nobody = db.tunnel_search(x[0], filter={"v": -1.0}, collection=both, **options)
    assert (len(nobody), len(nobody.inside), nobody.eligible, nobody.warnings) == (0, 0, 0, ())


def test_deleted_and_expired_records_take_no_part(db: QuantumDatabase, fill: Fill, clock: Clock) -> None:
    x = square(300)
    values = hilly(x)
    name = fill(x, metadata=of(values.tolist()))
    first, second, _ = tops(x, values)
    db.delete(f"r{first:05}", collection=name)
    db.upsert(f"r{second:05}", x[second], metadata={"v": 9.0}, expires_at=clock.now + 5.0, collection=name)
    options: Any = {"objective": "v", "min_prominence": 0.5, "collection": name}
    assert db.tunnel_search(x[0], **options).ids[0] == f"r{second:05}"
    clock.now += 10.0
    found = db.tunnel_search(x[0], **options)
    rest = np.where(np.isin(np.arange(300), [first, second]), -np.inf, values)
    assert found.ids == [f"r{i:05}" for i in tops(x, rest)]
    assert found.eligible == 298
    clock.now -= 10.0


def test_an_empty_collection_gives_an_empty_result(db: QuantumDatabase) -> None:
    db.create_collection("nothing", dimension=2, index="flat")
    for where in ("nothing", "default"):
        found = db.tunnel_search([1.0, 2.0], objective="v", collection=where)
        assert (len(found), len(found.inside), found.well_size, found.eligible) == (0, 0, 0, 0)
        assert found.exact
    db.drop_collection("nothing")


# Many records


def test_beyond_the_most_candidates_the_nearest_are_looked_at_and_the_result_says_so(
    db: QuantumDatabase, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CANDIDATES", 200)
    x = square(500)
    values = hilly(x)
    name = fill(x, metadata=of(values.tolist()))
    found = db.tunnel_search(HILLS[1][0], objective="v", min_prominence=0.5, collection=name)
    near = np.argsort(((x - HILLS[1][0]) ** 2).sum(axis=1))[:200]
    assert found.ids[0] == f"r{near[np.argmax(values[near])]:05}"
    assert {int(id[1:]) for id in found.ids} <= set(near.tolist())
    assert found.warnings == ("of 500 records the 200 nearest to the query were looked at",)
    assert not found.exact


@pytest.fixture
def linked(db: QuantumDatabase) -> Iterator[tuple[str, Floats, Floats]]:
    """More records than the exact graph takes, under links; a tenth have no number."""
    x = square(4_500)
    values = hilly(x)
    values[::10] = np.nan
    db.create_collection("linked", dimension=2, metric="l2", index="hnsw")
    db.insert_many(
        ids=[f"r{i:05}" for i in range(4_500)],
        vectors=x,
        metadata=[{} if math.isnan(v) else {"v": float(v), "low": v < 0.85} for v in values],
        collection="linked",
    )
    db.wait_indexed(60.0)
    yield "linked", x, values
    db.drop_collection("linked")


def test_with_links_all_records_are_looked_at_however_many(
    db: QuantumDatabase, linked: tuple[str, Floats, Floats]
) -> None:
    name, x, values = linked
    best = tops(x, np.nan_to_num(values, nan=-np.inf))
    options: Any = {"objective": "v", "min_prominence": 0.5, "collection": name}
    for query in (x[0], [0.9, 0.9], [5.0, -5.0]):
        found = db.tunnel_search(query, **options)
        assert found.ids == [f"r{i:05}" for i in best]
        assert found.warnings == ("450 of 4500 records have no number at 'v' and were left out",)
        assert not found.exact
    low = db.tunnel_search(x[0], filter={"low": True}, **options)
    assert low.scores.max() < 0.85
    assert low.eligible == int((values < 0.85).sum())
    # What is deleted takes no part, though its edges are still there.
    db.delete([f"r{i:05}" for i in best], collection=name)
    values[best] = -np.inf
    gone = db.tunnel_search(x[0], **options)
    assert gone.ids == [f"r{i:05}" for i in tops(x, np.nan_to_num(values, nan=-np.inf))]


def test_records_that_have_no_links_yet_take_part_like_the_others(
    db: QuantumDatabase, linked: tuple[str, Floats, Floats]
) -> None:
    name, x, values = linked
    best = tops(x, np.nan_to_num(values, nan=-np.inf))
    beside = {"below": (x[best[0]] + 0.001, 0.9 * values[best[0]]), "summit": (x[best[1]] - 0.001, 7.0)}
    db.insert_many(
        ids=[*beside, "none"],
        vectors=np.array([*(at for at, _ in beside.values()), x[3]]),
        metadata=[*({"v": float(v)} for _, v in beside.values()), {}],
        collection=name,
    )
    found = db.tunnel_search(x[0], objective="v", min_prominence=0.5, collection=name)
    expected = [f"r{i:05}" for i in best]
    expected.remove(f"r{best[1]:05}")
    assert found.ids == ["summit", *expected]  # a slightly lower one beside a summit is none of its own
    assert found.warnings == ("451 of 4503 records have no number at 'v' and were left out",)


# Arguments


@pytest.mark.parametrize(
    ("subject", "options"),
    [
        ("objective", {"objective": ""}),
        ("objective", {"objective": 3}),
        ("objective", {"objective": ["v"]}),
        ("min_prominence", {"objective": "v", "min_prominence": -0.1}),
        ("min_prominence", {"objective": "v", "min_prominence": float("nan")}),
        ("min_prominence", {"objective": "v", "min_prominence": float("inf")}),
        ("min_prominence", {"objective": "v", "min_prominence": "deep"}),
        ("min_prominence", {"min_prominence": 0.5}),
        ("context", {"objective": "v", "context": "a"}),
        ("coherence_time", {"objective": "v", "coherence_time": 60.0}),
        ("soft", {"objective": "v", "soft": True}),
        ("denoise", {"objective": "v", "denoise": True}),
        ("tunneling_strength", {"objective": "v", "tunneling_strength": 0.5}),
        ("engine", {"objective": "v", "engine": "walk"}),
        ("walk_through", {"objective": "v", "walk_through": True}),
        ("diversity", {"objective": "v", "diversity": 0.5}),
        ("engine", {"objective": "v", "engine": "circuit"}),
        ("top_k", {"objective": "v", "top_k": 0}),
    ],
)
def test_what_does_not_go_with_an_objective_is_refused_by_name(
    db: QuantumDatabase, fill: Fill, subject: str, options: Any
) -> None:
    name = fill(square(10), metadata=of([1.0] * 10))
    with pytest.raises(ArgumentError) as caught:
        db.tunnel_search([0.0, 0.0], collection=name, **options)
    assert caught.value.subject == subject
