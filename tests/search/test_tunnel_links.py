"""What tunnel_search promises over a collection with a graph; its Flat twin, searched exactly, is the reference."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qstore_db import DatabaseConfig, QuantumDatabase, TunnelResult
from qstore_db.database.core import Core
from qstore_db.database.local import LocalEdge
from qstore_db.engines.embedded import builder
from qstore_db.engines.links import Links
from qstore_db.search import field
from qstore_db.search.diffusion import LEAST_PROBABILITY
from qstore_db.testing.databases import Clock

Floats = NDArray[np.float32]
METRICS = ["cosine", "l2", "dot"]
ENGINES = ["diffusion", "walk"]
N, D, KINDS = 3_000, 12, 12
FEW = 1_000
"""Candidates wherever the twin is asked many times: it needs the square of that."""
UNREACHED = math.log(LEAST_PROBABILITY)


def curves(n: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Noisy closed curves that run past each other, one a kind: what is of a kind is not just what is near."""
    shape = np.random.default_rng(0)
    waves = shape.normal(size=(KINDS, 3, 2, D)) / np.arange(1, 4)[:, None, None]
    centres = shape.normal(size=(KINDS, D)) * 0.8
    rng = np.random.default_rng(seed)
    kind, angle = rng.integers(KINDS, size=n), rng.uniform(0.0, 2.0 * np.pi, n)[:, None] * np.arange(1, 4)
    x = centres[kind] + np.einsum("nh,nhd->nd", np.cos(angle), waves[kind, :, 0])
    x += np.einsum("nh,nhd->nd", np.sin(angle), waves[kind, :, 1]) + rng.normal(size=(n, D)) * 0.35
    return x.astype(np.float32), kind


@dataclass(frozen=True)
class Twins:
    """The same records twice: in the collection "linked", under a graph with links, and "flat", without."""

    db: QuantumDatabase
    x: Floats
    kind: NDArray[np.int64]
    queries: Floats
    """(50, D), not stored."""
    wanted: NDArray[np.int64]
    """The kinds of the queries."""

    def both(self, queries: Floats, **options: Any) -> tuple[list[TunnelResult], list[TunnelResult]]:
        return (
            self.db.tunnel_search_batch(queries, collection="linked", **options),
            self.db.tunnel_search_batch(queries, collection="flat", **options),
        )


def name(i: int) -> str:
    return f"r{i:05}"


def number(id: str) -> int:
    return int(id[1:])


def contexts_of(i: int, kind: int) -> dict[str, float] | None:
    return None if i % 10 == 9 else {"a": 0.2 + kind % 5, "b": 1.0} if i % 3 else {"a": 1.0}


def write(db: QuantumDatabase, collection: str, x: Floats, kind: NDArray[np.int64]) -> None:
    db.insert_many(
        ids=[name(i) for i in range(len(x))],
        vectors=x,
        contexts=[contexts_of(i, int(k)) for i, k in enumerate(kind)],
        metadata=[{"n": i, "even": i % 2 == 0, "kind": int(k)} for i, k in enumerate(kind)],
        collection=collection,
    )


def links_of(db: QuantumDatabase, collection: str) -> Links:
    links = db._edge.core.engine.view(collection).links
    assert links is not None
    return links


@pytest.fixture(scope="module")
def twins() -> Iterator[Callable[[str], Twins]]:
    """`twins("l2")`: made when first asked for."""
    opened: list[QuantumDatabase] = []

    @cache
    def make(metric: str) -> Twins:
        db = QuantumDatabase(DatabaseConfig(build_threads=1))
        opened.append(db)
        x, kind = curves(N + 50, 1)
        for collection, index in (("linked", "hnsw"), ("flat", "flat")):
            db.create_collection(
                collection,
                dimension=D,
                metric=metric,
                index=index,  # type: ignore[arg-type]
                target_recall=1.0,
            )
            write(db, collection, x[:N], kind[:N])
        db.wait_indexed(60.0)
        assert len(links_of(db, "linked")) == N
        return Twins(db, x[:N], kind[:N], x[N:], kind[N:])

    yield make
    for db in opened:
        db.close()


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links wait until somebody waits for them."""
    monkeypatch.setattr(builder, "CALM_SECONDS", math.inf)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def db(unhurried: None, clock: Clock) -> Iterator[QuantumDatabase]:
    """For tests that change what is stored."""
    with QuantumDatabase._over(LocalEdge(Core(DatabaseConfig(build_threads=1), clock))) as database:
        yield database


def linked(db: QuantumDatabase, x: Floats, **columns: Any) -> None:
    """The collection "c", all of it linked: at least 2,048 rows."""
    db.create_collection("c", dimension=x.shape[1], metric="l2", index="hnsw", target_recall=1.0)
    db.insert_many(ids=[name(i) for i in range(len(x))], vectors=x, collection="c", **columns)
    db.wait_indexed(60.0)
    assert len(links_of(db, "c")) == len(x)


def unlinked(db: QuantumDatabase) -> int:
    view = db._edge.core.engine.view("c")
    return len(view) - len(links_of(db, "c"))


def bits(found: TunnelResult) -> list[Any]:
    """All that a result says, to the last bit."""
    rows = [
        (m.id, m.score, m.distance, m.similarity, m.weight, m.tunneled, m.explain().terms, m.explain().path)
        for m in found
    ]
    told = [found.well_size, found.eligible, found.exact, found.warnings]
    return [*rows, found.inside.ids, found.inside.scores.tobytes(), *told]


def names_in(found: TunnelResult) -> set[str]:
    """Every id that a result shows: matches, the well, the paths, and what a picture would show."""
    paths = {id for match in found for id in match.explain().path}
    walked = set() if found.walked is None else set(found.walked.ids)
    return {*found.ids, *found.inside.ids, *paths, *walked}


def shared(a: list[TunnelResult], b: list[TunnelResult]) -> float:
    """Of the results of one, the mean share that the other has too."""
    return float(np.mean([len(set(r.ids) & set(s.ids)) / len(s) for r, s in zip(a, b, strict=True)]))


# Against the exact twin


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("b", [None, 0.8, 0.5, 0.3])
def test_the_well_is_that_of_the_flat_twin(
    twins: Callable[[str], Twins], metric: str, b: float | None
) -> None:
    both = twins(metric)
    ours, theirs = both.both(both.queries[:10], barrier_threshold=b, top_k=12, candidates=50)
    for found, exact in zip(ours, theirs, strict=True):
        assert (found.well_size, found.eligible) == (exact.well_size, exact.eligible)
        assert found.inside.ids == exact.inside.ids
        assert found.inside.distances == pytest.approx(exact.inside.distances, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_results_are_those_of_the_flat_twin_but_for_a_few(
    twins: Callable[[str], Twins], metric: str, engine: str
) -> None:
    # Measured: .979 to .988 with diffusion, .946 to .95 with the walk, whose waves come back from where the
    # candidates end.
    both = twins(metric)
    ours, theirs = both.both(both.queries[:12], barrier_threshold=0.5, top_k=20, engine=engine)
    assert shared(ours, theirs) >= (0.95 if engine == "diffusion" else 0.9)
    assert not any(found.exact for found in ours)


@pytest.mark.parametrize("metric", METRICS)
def test_as_many_results_are_of_the_querys_kind_as_with_the_flat_twin(
    twins: Callable[[str], Twins], metric: str
) -> None:
    both = twins(metric)

    def precision(results: list[TunnelResult]) -> float:
        kinds = np.array([[both.kind[number(id)] for id in found.ids] for found in results])
        return float((kinds == both.wanted[:, None]).mean())

    ours, theirs = both.both(both.queries, barrier_threshold=0.5, top_k=20, candidates=FEW)
    assert abs(precision(ours) - precision(theirs)) <= 0.02


def test_more_results_are_of_the_querys_kind_than_among_the_next_nearest(
    twins: Callable[[str], Twins],
) -> None:
    both = twins("l2")
    options: Any = {"barrier_threshold": 0.5, "top_k": 20, "collection": "linked"}
    far = both.db.tunnel_search_batch(both.queries, **options)
    near = both.db.tunnel_search_batch(both.queries, tunneling_strength=0.0, **options)

    def of_kind(results: list[TunnelResult]) -> int:
        return sum(
            both.kind[number(id)] == kind
            for found, kind in zip(results, both.wanted, strict=True)
            for id in found.ids
        )

    assert of_kind(far) > of_kind(near)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("beyond_only", [True, False])
def test_strength_zero_is_the_order_of_distance(
    twins: Callable[[str], Twins], metric: str, beyond_only: bool
) -> None:
    both = twins(metric)
    for query in both.queries[:5]:
        plain = both.db.query(query, top_k=60, collection="flat")
        found = both.db.tunnel_search(
            query, tunneling_strength=0.0, beyond_only=beyond_only, top_k=30, collection="linked"
        )
        first = 30 if beyond_only else 0
        assert found.ids == plain.ids[first : first + 30]
        assert found.distances.tolist() == plain.distances[first : first + 30].tolist()
        assert found.exact


@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_are_the_nearest_others(twins: Callable[[str], Twins], metric: str) -> None:
    both = twins(metric)
    found = total = 0
    for i in range(0, N, 30):
        for k in (3, 10, 25):
            ours = both.db.neighbours(name(i), k, collection="linked")
            theirs = both.db.neighbours(name(i), k, collection="flat")
            assert len(ours) == k
            assert name(i) not in ours.ids
            assert ours.distances.tolist() == sorted(ours.distances.tolist())
            found += len(set(ours.ids) & set(theirs.ids))
            total += k
    assert found >= 0.95 * total


# The well and the walk


@settings(max_examples=40)
@given(
    query=st.integers(0, 49),
    b=st.none() | st.floats(0.1, 1.5),
    strength=st.sampled_from([0.3, 1.0]),
    engine=st.sampled_from(ENGINES),
    context=st.sampled_from([None, "a", {"a": (0.5, 0.0), "b": (0.5, math.pi)}]),
    filter=st.sampled_from([None, {"even": True}]),
)
def test_no_record_of_the_well_is_among_what_lies_beyond(
    twins: Callable[[str], Twins],
    query: int,
    b: float | None,
    strength: float,
    engine: str,
    context: Any,
    filter: Any,
) -> None:
    both = twins("l2")
    found = both.db.tunnel_search(
        both.queries[query],
        barrier_threshold=b,
        tunneling_strength=strength,
        engine=engine,  # type: ignore[arg-type]
        context=context,
        filter=filter,
        top_k=50,
        candidates=FEW,
        collection="linked",
    )
    assert not set(found.ids) & set(found.inside.ids)
    assert all(match.tunneled for match in found)
    assert len(found) == 50
    assert len(set(found.ids)) == 50


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", ["rank", "distance"])
def test_a_higher_barrier_never_makes_the_well_larger(
    twins: Callable[[str], Twins], metric: str, scale: Any
) -> None:
    both = twins(metric)
    for query in both.queries[:5]:
        barriers: list[float] = [1.2, 1.0, 0.8, 0.6, 0.4, 0.25]
        if scale == "distance":
            far = both.db.query(query, top_k=300, collection="flat").distances
            barriers = [float(far[at]) for at in (0, 3, 10, 50, 299)]
        wells = [
            both.db.tunnel_search(query, barrier_threshold=b, barrier_scale=scale, collection="linked").inside
            for b in barriers
        ]
        for smaller, larger in itertools.pairwise(wells):
            assert smaller.ids == larger.ids[: len(smaller)]
            assert len(smaller) < len(larger)


@pytest.mark.parametrize("engine", ENGINES)
def test_repeats_and_batches_are_equal_bit_for_bit(twins: Callable[[str], Twins], engine: Any) -> None:
    both = twins("cosine")
    several: list[dict[str, Any]] = [
        {},
        {"context": "a", "barrier_threshold": 0.6},
        {"filter": {"even": True}, "walk_through": True},
        {"diversity": 0.4, "tunneling_strength": 0.5, "beyond_only": False},
    ]
    for options in several:
        options = {**options, "engine": engine, "candidates": FEW, "collection": "linked"}
        single = [bits(both.db.tunnel_search(query, **options)) for query in both.queries[:6]]
        assert [bits(both.db.tunnel_search(query, **options)) for query in both.queries[:6]] == single
        assert [bits(f) for f in both.db.tunnel_search_batch(both.queries[:6], **options)] == single


@pytest.mark.parametrize("engine", ENGINES)
def test_a_search_before_and_after_a_restart_is_equal_bit_for_bit(tmp_path: Path, engine: Any) -> None:
    x, kind = curves(2_200, 3)
    options: Any = {"top_k": 30, "context": "a", "barrier_threshold": 0.5, "engine": engine}
    with QuantumDatabase.connect(tmp_path / "db") as db:
        db.create_collection("default", dimension=D, index="hnsw")
        write(db, "default", x[:2_150], kind[:2_150])
        db.wait_indexed(60.0)
        before = [bits(found) for found in db.tunnel_search_batch(x[2_150:], **options)]
        kept = [
            array.tobytes() for array in (links_of(db, "default").indices, links_of(db, "default").weights)
        ]
    with QuantumDatabase.connect(tmp_path / "db") as db:
        links = links_of(db, "default")
        assert [links.indices.tobytes(), links.weights.tobytes()] == kept
        assert [bits(found) for found in db.tunnel_search_batch(x[2_150:], **options)] == before


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_a_match_explains_its_score(twins: Callable[[str], Twins], engine: Any, strength: float) -> None:
    both = twins("l2")
    found = both.db.tunnel_search(
        both.queries[0],
        engine=engine,
        tunneling_strength=strength,
        context="a",
        coherence_time=1e9,
        beyond_only=False,
        collection="linked",
    )
    for match in found:
        terms = match.explain().terms
        assert set(terms) == {"distance", "walk", "context", "age"}
        assert sum(terms.values()) == pytest.approx(match.score)
    assert list(found.scores) == sorted(found.scores, reverse=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_path_leads_from_one_of_the_nearest_over_neighbours_to_the_match(
    twins: Callable[[str], Twins], engine: Any
) -> None:
    both = twins("l2")
    links, view = links_of(both.db, "linked"), both.db._edge.core.engine.view("linked")

    def place(id: str) -> int:
        record = both.db.get(id, collection="linked")
        assert record is not None
        found = view.place_of(record.version)
        assert found is not None
        return found

    longest = 0
    for query in both.queries[:6]:
        nearest = both.db.query(query, top_k=5, collection="flat").ids
        found = both.db.tunnel_search(
            query, engine=engine, barrier_threshold=0.5, top_k=15, candidates=FEW, collection="linked"
        )
        for match in found:
            way = [*match.explain().path, match.id]
            assert way[0] in nearest
            assert len(set(way)) == len(way)
            for a, b in itertools.pairwise(way):
                assert place(b) in links.edges_of(np.array([place(a)]))[1]
            longest = max(longest, len(way))
    assert longest > 3


def test_a_match_that_nothing_came_to_has_no_path(db: QuantumDatabase) -> None:
    # A wire: ten steps of a walk lead some fifty records along it, and the region reaches much farther.
    wire = np.stack([np.linspace(0.0, 1.0, 2_100), np.zeros(2_100)], axis=1).astype(np.float32)
    linked(db, wire)
    found = db.tunnel_search(
        wire[0], tunneling_strength=0.5, diversity=1.0, top_k=30, candidates=FEW, collection="c"
    )
    never = [match for match in found if match.explain().terms["walk"] <= 0.5 * UNREACHED]
    assert never
    assert len(never) < len(found)
    assert all(match.explain().path == () for match in never)
    assert all(match.explain().path != () for match in found if match not in never)


@pytest.mark.parametrize("metric", METRICS)
def test_diversity_spreads_the_results_and_keeps_the_best_first(
    twins: Callable[[str], Twins], metric: str
) -> None:
    both = twins(metric)

    def spread(found: TunnelResult) -> float:
        x = np.array([match.vector for match in found], np.float64)
        if metric == "cosine":
            x /= np.linalg.norm(x, axis=1, keepdims=True)
        return float(np.linalg.norm(x[:, None] - x[None], axis=2).mean())

    for query in both.queries[:5]:
        options: Any = {"top_k": 15, "include_vectors": True, "collection": "linked"}
        plain = both.db.tunnel_search(query, **options)
        some, most = (both.db.tunnel_search(query, diversity=share, **options) for share in (0.4, 0.9))
        assert some.ids[0] == most.ids[0] == plain.ids[0]
        assert spread(plain) <= spread(some) <= spread(most)
        assert spread(plain) < spread(most)
        assert some.inside.ids == plain.inside.ids
        assert len(set(most.ids)) == 15


@pytest.mark.parametrize("query", range(4))
@pytest.mark.parametrize("b", [None, 0.3])
def test_what_was_walked_over_is_part_of_the_links_and_holds_the_whole_well(
    twins: Callable[[str], Twins], query: int, b: float | None
) -> None:
    both = twins("l2")
    found = both.db.tunnel_search(
        both.queries[query], barrier_threshold=b, candidates=60, include_vectors=True, collection="linked"
    )
    assert not found.exact
    walked = found.walked
    assert walked is not None
    assert set(found.ids) | set(found.inside.ids) <= set(walked.ids)
    assert {id for id, within in zip(walked.ids, walked.inside, strict=True) if within} == set(
        found.inside.ids
    )
    places = np.array([number(id) for id in walked.ids])  # records were written in the order of their numbers
    counts, nodes, weights = links_of(both.db, "linked").edges_of(places)
    owner = np.repeat(np.arange(len(places)), counts)
    weight = dict(zip(zip(owner.tolist(), nodes.tolist(), strict=True), weights, strict=True))
    assert len(walked.edges) > len(walked.ids)
    for (a, b), w in zip(walked.edges.tolist(), walked.weights, strict=True):
        assert weight[a, int(places[int(b)])] == w


# Filter and context


def test_a_filtered_search_gives_matching_records_alone(twins: Callable[[str], Twins]) -> None:
    both = twins("l2")
    for walk_through in (False, True):
        found = both.db.tunnel_search(
            both.queries[0],
            filter={"even": True},
            walk_through=walk_through,
            top_k=20,
            collection="linked",
        )
        assert found.eligible == N // 2
        assert len(found) == 20
        assert not found.exact
        assert not any(number(id) % 2 for id in [*found.ids, *found.inside.ids])
        passed = {id for match in found for id in match.explain().path}
        assert any(number(id) % 2 for id in passed) == walk_through


def test_a_filter_that_leaves_half_finds_what_the_twin_finds(twins: Callable[[str], Twins]) -> None:
    both = twins("l2")
    for walk_through in (False, True):
        ours, theirs = both.both(
            both.queries[:10], filter={"even": True}, walk_through=walk_through, top_k=20, candidates=FEW
        )
        wells = [(found.inside.ids, found.well_size) for found in ours]
        assert wells == [(found.inside.ids, found.well_size) for found in theirs]
        # Measured: .8 without walking through. The walk follows edges that the filter left, while the twin joins
        # the matching records anew.
        assert shared(ours, theirs) >= (0.9 if walk_through else 0.6)


@pytest.mark.parametrize("engine", ENGINES)
def test_only_a_walk_through_crosses_what_the_filter_leaves_out(db: QuantumDatabase, engine: Any) -> None:
    rng = np.random.default_rng(0)
    here = rng.normal(size=(60, 2)) * 0.3
    bridge = np.stack([np.linspace(1.0, 3.0, 20), rng.normal(size=20) * 0.05], axis=1)
    there = rng.normal(size=(300, 2)) * 0.3 + np.array([4.0, 0.0])
    elsewhere = rng.normal(size=(1_700, 2)) + np.array([0.0, 50.0])
    kept = [True] * 60 + [False] * 20 + [True] * 2_000
    x = np.concatenate([here, bridge, there, elsewhere]).astype(np.float32)
    linked(db, x, metadata=[{"kept": keep} for keep in kept])
    island = {name(i) for i in range(60)}
    across = {name(i) for i in range(80, 380)}
    options: Any = {"filter": {"kept": True}, "engine": engine, "collection": "c"}

    found = db.tunnel_search(x[0], top_k=20, **options)
    assert set(found.ids) <= island
    assert not found.exact
    crossing = db.tunnel_search(x[0], top_k=40, walk_through=True, barrier_threshold=0.5, **options)
    reached = [match for match in crossing if match.id in across]
    assert reached
    assert not crossing.exact
    assert set(crossing.ids) <= island | across
    for match in reached:
        assert match.explain().terms["walk"] > UNREACHED
        assert {name(i) for i in range(60, 80)} & set(match.explain().path)
    # Without it the links give too little, and the exact graph of the matching records answers in full.
    without = db.tunnel_search(x[0], top_k=40, barrier_threshold=0.5, **options)
    assert len(without) == 40
    assert without.exact
    for match in without:
        assert (match.explain().terms["walk"] == UNREACHED) == (match.id in across)


@pytest.mark.parametrize(("metric", "every"), [("cosine", 20), ("l2", 20), ("dot", 100)])
def test_a_filter_that_cuts_the_graph_to_pieces_is_answered_exactly(
    twins: Callable[[str], Twins], metric: str, every: int
) -> None:
    # Under dot products a few long vectors are everyone's neighbours, and hold more together.
    both = twins(metric)
    chosen = {"n": {"$in": list(range(0, N, every))}}
    for query in both.queries[:5]:
        options: Any = {"filter": chosen, "top_k": 15, "barrier_threshold": 0.6}
        ours = both.db.tunnel_search(query, collection="linked", **options)
        theirs = both.db.tunnel_search(query, collection="flat", **options)
        assert ours.exact
        assert len(ours) == 15
        assert bits(ours) == bits(theirs)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_walking_through_keeps_a_narrow_filter_on_the_links(
    twins: Callable[[str], Twins], metric: str
) -> None:
    both = twins(metric)
    chosen = set(range(0, N, 20))
    for query in both.queries[:5]:
        options: Any = {"filter": {"n": {"$in": sorted(chosen)}}, "barrier_threshold": 0.6}
        found = both.db.tunnel_search(query, walk_through=True, top_k=5, collection="linked", **options)
        assert not found.exact
        assert {number(id) for id in [*found.ids, *found.inside.ids]} <= chosen
        assert all(match.explain().terms["walk"] > UNREACHED for match in found)
        assert found.inside.ids == both.db.tunnel_search(query, collection="flat", **options).inside.ids


@pytest.mark.parametrize(
    "context",
    [
        "a",
        "b",
        {"a": 0.3, "b": 0.7},
        {"a": (0.5, 0.0), "b": (0.5, 0.0)},
        {"a": (0.5, 0.0), "b": (0.5, math.pi)},
    ],
    ids=["a", "b", "either", "and", "xor"],
)
def test_a_context_bounds_what_is_found_and_weighs_it(twins: Callable[[str], Twins], context: Any) -> None:
    both = twins("l2")
    options: Any = {"context": context, "context_strength": 2.0, "top_k": 20, "candidates": FEW}
    ours, theirs = both.both(both.queries[:10], **options)
    weight = {
        match.id: match.weight
        for match in both.db.query(both.queries[0], context=context, top_k=N, collection="flat")
    }
    for found, exact in zip(ours, theirs, strict=True):
        assert found.eligible == exact.eligible
        assert found.inside.ids == exact.inside.ids
        for match in found:
            assert match.weight == weight[match.id]
            assert match.weight is not None
            assert match.explain().terms["context"] == pytest.approx(2.0 * math.log(match.weight))
    assert shared(ours, theirs) >= 0.6


def test_soft_lets_records_outside_the_context_in(twins: Callable[[str], Twins]) -> None:
    both = twins("l2")
    found = both.db.tunnel_search(
        both.queries[0], context="b", soft=True, top_k=200, beyond_only=False, collection="linked"
    )
    assert found.eligible == N
    outside = [match for match in found if contexts_of(number(match.id), 0) in (None, {"a": 1.0})]
    assert outside
    assert all(match.weight == pytest.approx(1 / 60) for match in outside)


@pytest.mark.parametrize("denoise", [False, True])
def test_where_few_candidates_are_in_the_context_the_answer_is_full_or_says_that_it_is_not(
    db: QuantumDatabase, denoise: bool
) -> None:
    # Of the 80 records that it does not leave out, about eleven are among 300 candidates.
    x, _ = curves(2_200, 4)
    states = [{"a": 1.0} if i % 27 == 0 else None if denoise else {"a": 0.5, "b": 0.5} for i in range(2_150)]
    linked(db, x[:2_150], contexts=states)
    context: Any = "a" if denoise else {"a": (0.5, 0.0), "b": (0.5, math.pi)}
    for query in x[2_150:2_155]:
        found = db.tunnel_search(
            query, context=context, denoise=denoise, top_k=15, candidates=300, collection="c"
        )
        assert len(found.inside) == 15
        assert len(found) == 15 or "top_k=15 reaches past" in found.warnings[0]


# Writes


def near_a_result(x: Floats, query: Floats, db: QuantumDatabase) -> Floats:
    """(5, d) vectors beside the best results of a search."""
    found = db.tunnel_search(query, top_k=10, barrier_threshold=0.7, collection="c")
    beside = [number(id) for id in found.ids[:5]]
    rng = np.random.default_rng(5)
    return np.asarray(x[beside] + rng.normal(size=(5, x.shape[1])) * 0.02, np.float32)


@pytest.mark.parametrize("engine", ENGINES)
def test_records_that_are_not_linked_yet_are_found_beside_their_neighbours(
    db: QuantumDatabase, engine: Any
) -> None:
    x, _ = curves(2_200, 4)
    linked(db, x[:2_150])
    query = x[2_150]
    new = near_a_result(x, query, db)
    db.insert_many(ids=[f"n{i}" for i in range(5)], vectors=new, collection="c")
    assert unlinked(db) == 5
    options: Any = {"top_k": 30, "barrier_threshold": 0.7, "engine": engine, "collection": "c"}
    at_once = db.tunnel_search(query, **options)
    arrived = {match.id: match for match in at_once if match.id.startswith("n")}
    assert len(arrived) == 5
    assert not at_once.exact
    for match in arrived.values():
        terms, path = match.explain().terms, match.explain().path
        assert terms["walk"] > UNREACHED
        assert path
        assert not any(id.startswith("n") for id in path)  # nothing walks through a leaf
        assert path[-1] in db.neighbours(match.id, 25, collection="c").ids
    db.wait_indexed(60.0)
    assert unlinked(db) == 0
    assert {f"n{i}" for i in range(5)} <= set(db.tunnel_search(query, **options).ids)


def test_records_that_are_not_linked_yet_lie_in_the_well_where_they_are_near(db: QuantumDatabase) -> None:
    x, _ = curves(2_200, 4)
    linked(db, x[:2_150])
    query = x[2_150]
    db.insert("new", query, collection="c", metadata={"new": True})
    found = db.tunnel_search(query, collection="c")
    assert found.inside.ids[0] == "new"
    assert "new" not in found.ids
    assert found.inside.ids == db.query(query, top_k=10, collection="c").ids
    ranked = db.tunnel_search(query, beyond_only=False, top_k=20, collection="c")
    assert not next(match for match in ranked if match.id == "new").tunneled
    # A walk needs a linked record to begin at.
    alone = db.tunnel_search(query, filter={"new": True}, beyond_only=False, collection="c")
    assert (alone.ids, alone.exact) == (["new"], True)


def test_only_eligible_records_hang_on_as_leaves(db: QuantumDatabase, clock: Clock) -> None:
    x, _ = curves(2_200, 4)
    linked(db, x[:2_150], metadata=[{"old": True}] * 2_150)
    query = x[2_150]
    new = near_a_result(x, query, db)
    db.insert_many(ids=[f"n{i}" for i in range(4)], vectors=new[:4], collection="c")
    db.insert("gone", new[4], collection="c", expires_at=clock.now + 10.0)
    clock.now += 20.0
    options: Any = {"top_k": 30, "barrier_threshold": 0.7, "include_vectors": True, "collection": "c"}
    found = db.tunnel_search(query, **options)
    assert {f"n{i}" for i in range(4)} <= set(found.ids)
    assert "gone" not in names_in(found)
    old = db.tunnel_search(query, filter={"old": True}, **options)
    assert len(old) == 30
    assert all(id.startswith("r") for id in names_in(old))


def test_with_too_many_unlinked_records_the_exact_graph_answers(
    db: QuantumDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field, "_MAX_UNLINKED", 3)
    x, _ = curves(2_200, 4)
    linked(db, x[:2_150])
    db.insert_many(ids=list("abc"), vectors=x[2_151:2_154], collection="c")
    assert not db.tunnel_search(x[2_150], candidates=300, collection="c").exact
    db.insert("d", x[2_154], collection="c")
    assert db.tunnel_search(x[2_150], candidates=300, collection="c").exact


@pytest.mark.parametrize("engine", ENGINES)
def test_deleted_and_expired_records_are_neither_found_nor_passed(
    db: QuantumDatabase, clock: Clock, engine: Any
) -> None:
    x, _ = curves(2_200, 4)
    linked(db, x[:2_150])
    queries = x[2_150:2_155]
    options: Any = {"top_k": 20, "include_vectors": True, "engine": engine, "collection": "c"}
    options |= {"barrier_threshold": 0.6}
    seen = sorted(set.union(*(names_in(found) for found in db.tunnel_search_batch(queries, **options))))
    gone, late = set(seen[::4]), set(seen[1::4])
    db.delete(sorted(gone), collection="c")
    for id in sorted(late):
        db.upsert(id, x[number(id)], collection="c", expires_at=clock.now + 10.0)
    clock.now += 20.0
    assert unlinked(db) == len(late)
    for walk_through in (False, True):
        for found in db.tunnel_search_batch(queries, walk_through=walk_through, **options):
            assert len(found) == 20
            assert not found.exact
            assert not (gone | late) & names_in(found)
    db.wait_indexed(60.0)
    assert unlinked(db) == 0
    for found in db.tunnel_search_batch(queries, **options):
        assert not (gone | late) & names_in(found)
        assert found.eligible == 2_150 - len(gone) - len(late)
    for id in sorted(set(seen) - gone - late)[:20]:
        others = db.neighbours(id, 10, collection="c").ids
        assert len(others) == 10
        assert not (gone | late) & set(others)


def test_a_record_that_moved_is_found_where_it_is_now(db: QuantumDatabase) -> None:
    x, _ = curves(2_200, 4)
    linked(db, x[:2_150])
    query = x[2_150]
    found = db.tunnel_search(query, top_k=10, barrier_threshold=0.6, collection="c")
    moved, beside = found.ids[0], number(found.ids[1])
    far = np.full(D, 40.0, np.float32)
    db.update(moved, vector=far, collection="c")
    stranger = next(name(i) for i in range(2_150) if name(i) not in names_in(found))
    db.update(stranger, vector=x[beside] + np.float32(0.01), collection="c")
    for _ in range(2):
        again = db.tunnel_search(query, top_k=20, barrier_threshold=0.6, collection="c")
        assert moved not in names_in(again)
        assert stranger in again.ids
        db.wait_indexed(60.0)


def test_a_record_is_a_neighbour_as_soon_as_it_is_written(db: QuantumDatabase) -> None:
    x, _ = curves(2_200, 4)
    linked(db, x[:2_150])
    new = x[7] + np.float32(1e-3)
    db.insert("new", new, collection="c")
    assert unlinked(db) == 1
    for _ in range(2):
        for k in (1, 5, 10, 20):
            assert db.neighbours(name(7), k, collection="c").ids[0] == "new"
            assert db.neighbours("new", k, collection="c").ids[0] == name(7)
        db.wait_indexed(60.0)
    db.delete("new", collection="c")
    assert "new" not in db.neighbours(name(7), 10, collection="c").ids
    assert len(db.neighbours(name(7), 10, collection="c")) == 10


def test_a_record_that_is_not_linked_yet_keeps_its_own_weights_when_denoised(db: QuantumDatabase) -> None:
    x, _ = curves(2_200, 4)
    weights = np.random.default_rng(6).uniform(0.1, 0.9, 2_150)
    linked(db, x[:2_150], contexts=[{"a": float(w), "b": 1.0 - float(w)} for w in weights])
    db.insert("new", x[7] + np.float32(1e-3), contexts={"a": 0.75, "b": 0.25}, collection="c")
    options: Any = {"context": "a", "denoise": True, "top_k": 3_000, "collection": "c"}
    first = {match.id: match.weight for match in db.query(x[7], **options)}
    assert first["new"] == 0.75
    assert first[name(7)] != pytest.approx(weights[7])
    db.wait_indexed(60.0)
    then = {match.id: match.weight for match in db.query(x[7], **options)}
    assert then["new"] != 0.75
    assert then[name(7)] != first[name(7)]
