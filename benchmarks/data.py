"""The data sets of the benchmarks, and their true nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Options
from qstore_db.demo import dataset

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_SPARE = 24
_CHUNK = 20_000_000


@dataclass(frozen=True, slots=True, eq=False)
class VectorSet:
    """Vectors to store and held-out ones to ask for."""

    name: str
    metric: Literal["l2", "cosine"]
    base: Floats
    """(n, d)"""
    queries: Floats
    """(m, d)"""
    labels: Integers
    """(n,) the class of each base vector; all 0 where there are none."""
    query_labels: Integers
    """(m,)"""
    source: str

    @property
    def ids(self) -> list[str]:
        return [str(i) for i in range(len(self.base))]

    def __len__(self) -> int:
        return len(self.base)


def fashion_mnist(options: Options, metric: Literal["l2", "cosine"], queries: int) -> VectorSet:
    """60,000 training images and the first test images, 784 grey values 0 to 255. Quick: 2,500 of the sample."""
    found = dataset.sample() if options.quick else dataset.load(options.data)
    rows = 2_500 if options.quick else len(found.train_images)
    return VectorSet(
        "Fashion-MNIST",
        metric,
        found.train_images[:rows].astype(np.float32),
        found.test_images[:queries].astype(np.float32),
        found.train_labels[:rows].astype(np.int64),
        found.test_labels[:queries].astype(np.int64),
        f"{rows:,} of the {len(found.train_images):,} + {len(found.test_images):,} images at hand",
    )


def digits(queries: int) -> VectorSet:
    """The 1,797 8x8 digits that come with scikit-learn, a random part of them held out as queries."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(8).permutation(len(bunch.data))
    images = bunch.data[order].astype(np.float32)
    labels = bunch.target[order].astype(np.int64)
    return VectorSet(
        "digits",
        "l2",
        images[queries:],
        images[:queries],
        labels[queries:],
        labels[:queries],
        "scikit-learn's digits",
    )


def text_like(rows: int, queries: int) -> VectorSet:
    """Unit vectors of 384 dimensions that look like sentence embeddings.

    300 topics in 12 areas, some far more popular than others (Zipf). A document mixes one to three topics; each
    topic spreads over 12 directions of its own. A mean direction that all share and a little isotropic noise
    come on top. Intrinsic dimension is low and density uneven, as with text; nothing is copied from a corpus.
    """
    rng = np.random.default_rng(384)
    dimension, topics, areas, spread = 384, 300, 12, 12
    area = rng.standard_normal((areas, dimension)).astype(np.float32)
    centre = area[rng.integers(0, areas, topics)] + 0.9 * rng.standard_normal((topics, dimension), np.float32)
    directions = rng.standard_normal((topics, spread, dimension), np.float32)
    popularity = 1.0 / np.arange(1, topics + 1) ** 0.8
    popularity /= popularity.sum()
    count = rows + queries
    out = np.tile(1.2 * rng.standard_normal(dimension).astype(np.float32), (count, 1))
    share = rng.dirichlet([2.0, 0.6, 0.3], count).astype(np.float32)
    labels = np.zeros(count, np.int64)
    for turn in range(3):
        chosen = rng.choice(topics, count, p=popularity)
        if turn == 0:
            labels = chosen
        inner = 0.35 * rng.standard_normal((count, spread), np.float32)
        for topic in range(topics):
            of = np.flatnonzero(chosen == topic)
            out[of] += share[of, turn, None] * (centre[topic] + inner[of] @ directions[topic])
    out += 0.05 * rng.standard_normal((count, dimension), np.float32)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    source = "synthetic mixture of 300 topics with 12 directions each, seed 384"
    return VectorSet(
        "text-like 384-d",
        "cosine",
        out[:rows],
        out[rows:],
        labels[:rows],
        labels[rows:],
        source,
    )


def uniform(rows: int, queries: int) -> VectorSet:
    """Independent uniform values in 100 dimensions: no structure for a graph to use."""
    rng = np.random.default_rng(100)
    values = rng.random((rows + queries, 100), np.float32)
    nothing = np.zeros(rows + queries, np.int64)
    return VectorSet(
        "uniform 100-d",
        "l2",
        values[:rows],
        values[rows:],
        nothing[:rows],
        nothing[rows:],
        "uniform, seed 100",
    )


def clustered(rows: int, queries: int) -> VectorSet:
    """96 dimensions, 1,000 clusters in 100 groups of equal size; the label is the group.

    Vectors are a fixed linear image of a 16-dimensional mixture of Gaussians plus a little noise.
    """
    rng = np.random.default_rng(96)
    groups, per_group, latent, dimension = 100, 10, 16, 96
    centre = 3.0 * np.repeat(rng.standard_normal((groups, latent)), per_group, axis=0)
    centre += 1.5 * rng.standard_normal(centre.shape)
    lift = (rng.standard_normal((latent, dimension)) / 4.0).astype(np.float32)
    count = rows + queries
    labels = np.concatenate([rng.permutation(rows) % groups, rng.integers(0, groups, queries)])
    cluster = labels * per_group + rng.integers(0, per_group, count)
    inner = (centre[cluster] + rng.standard_normal((count, latent))).astype(np.float32)
    out: Floats = inner @ lift
    out += 0.05 * rng.standard_normal((count, dimension), np.float32)
    source = "synthetic, 1,000 clusters in 100 groups on 16 latent dimensions, seed 96"
    return VectorSet(
        "clustered 96-d",
        "l2",
        out[:rows],
        out[rows:],
        labels[:rows],
        labels[rows:],
        source,
    )


class Truth:
    """Exact distances from queries to all base vectors of a set, to judge what was found.

    Distances are squared Euclidean, of unit vectors under cosine: the same order as the metric's own.
    """

    def __init__(self, data: VectorSet) -> None:
        self._base = unit(data.base) if data.metric == "cosine" else data.base
        self._queries = unit(data.queries) if data.metric == "cosine" else data.queries
        self._norms = np.einsum("nd,nd->n", self._base, self._base)

    def coarse(self, queries: Integers) -> Floats:
        """(q, n) float32 distances of some queries, up to a constant a row."""
        out = self._queries[queries] @ self._base.T
        out *= -2.0
        out += self._norms
        return out

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        step = max(1, _CHUNK // len(self._base))
        for start in range(0, len(self._queries), step):
            yield start, self.coarse(np.arange(start, min(start + step, len(self._queries))))

    def nearest(self, query: int, coarse: Floats, k: int, allowed: Mask | None = None) -> Integers:
        """Positions of the k nearest allowed base vectors of one query, nearest first."""
        if allowed is not None:
            coarse = np.where(allowed, coarse, np.float32(np.inf))
            k = min(k, int(allowed.sum()))
        fetch = min(k + _SPARE, len(coarse))
        near = np.argpartition(coarse, fetch - 1)[:fetch] if fetch < len(coarse) else np.arange(len(coarse))
        if allowed is not None:
            near = near[allowed[near]]
        return near[np.argsort(self.distances(query, near), kind="stable")][:k]

    def all_nearest(self, k: int) -> Integers:
        """(m, k) positions of the k nearest of every query."""
        return np.array(
            [self.nearest(start + i, row, k) for start, block in self.blocks() for i, row in enumerate(block)]
        )

    def distances(self, query: int, positions: Integers) -> NDArray[np.float64]:
        difference = self._base[positions].astype(np.float64) - self._queries[query]
        d2: NDArray[np.float64] = np.einsum("md,md->m", difference, difference)
        return d2

    def share(self, query: int, found: Integers, true: Integers) -> float:
        """Recall of one query: found no farther than the last true neighbour, so that ties count."""
        if len(true) == 0:
            return 1.0
        reach = self.distances(query, true[-1:])[0] * (1 + 1e-6)
        inside = self.distances(query, np.unique(found)) <= reach
        return min(1.0, float(inside.sum()) / len(true))

    def recall(self, found: list[Integers], true: Integers) -> float:
        """Mean recall of queries 0, 1, ... as far as `found` goes."""
        return float(np.mean([self.share(i, f, true[i]) for i, f in enumerate(found)]))


def unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(vectors / lengths, np.float32)
