"""Contexts for Fashion-MNIST, and how good a ranking in a context is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Floats, Integers, Truth
from qstore_db.demo import dataset

Weights = NDArray[np.float64]

SUPERCLASSES = ("top", "trousers", "dress", "footwear", "bag")
SUPERCLASS_OF = np.array([0, 1, 0, 2, 0, 3, 0, 3, 4, 3])
"""Index into SUPERCLASSES of each of the ten labels: four kinds of top and three of footwear share one."""
DEPTH = 20
_LEAST_WEIGHT = 0.01


def classifier_weights(images: Floats, labels: Integers, vectors: Floats) -> Weights:
    """(n, 5) probabilities of each superclass, from a logistic regression on `images` and their fine labels.

    This is how weights arise in practice: a model's opinion, right mostly, sure of itself too often.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=200).fit(images / 255.0, SUPERCLASS_OF[labels])
    weights: Weights = model.predict_proba(vectors / 255.0)
    return _sparse(weights)


def noisy_weights(labels: Integers, wrong: float) -> Weights:
    """(n, 5): .8 on the superclass and .05 on each other, but a share `wrong` of the records names another one."""
    rng = np.random.default_rng(5)
    named = SUPERCLASS_OF[labels].copy()
    lied = rng.random(len(labels)) < wrong
    named[lied] = (named[lied] + rng.integers(1, len(SUPERCLASSES), int(lied.sum()))) % len(SUPERCLASSES)
    weights = np.full((len(labels), len(SUPERCLASSES)), 0.05)
    weights[np.arange(len(labels)), named] = 0.8
    return weights


def _sparse(weights: Weights) -> Weights:
    """Weights below .01 dropped, the rest adding up to 1."""
    kept = np.where(weights >= _LEAST_WEIGHT, weights, 0.0)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True))


def as_contexts(weights: Weights, names: Sequence[str] = SUPERCLASSES) -> list[list[tuple[str, float]]]:
    """Rows of weights as the `contexts` of records."""
    return [
        [(name, weight) for name, weight in zip(names, row, strict=True) if weight > 0.0]
        for row in weights.tolist()
    ]


class Rankings:
    """Rankings of one query's neighbours in a context, by brute force over the whole set."""

    def __init__(self, truth: Truth, query: int, coarse: Floats, w: NDArray[np.float64]) -> None:
        """coarse: (n,) float32 of `Truth.coarse`, of unit vectors; w: (n,) weights of the context."""
        self._truth = truth
        self._query = query
        self._d2 = np.maximum(coarse.astype(np.float64) + 1.0, 0.0)
        self._w = w

    def log_linear(self, u: float, strength: float = 0.5) -> Integers:
        """-d^2/u + strength log w, with distances in float64 and ties by distance, then id."""
        with np.errstate(divide="ignore"):
            term = strength * np.log(self._w)
        near = _best(-self._d2 / u + term, 4 * DEPTH)
        near = near[self._w[near] > 0.0]
        d2 = self._truth.distances(self._query, near)
        order = sorted(range(len(near)), key=lambda i: (-(-d2[i] / u + term[near[i]]), d2[i], str(near[i])))
        return near[order][:DEPTH]

    def plain(self) -> Integers:
        """By distance alone, as if there were no contexts."""
        return _best(-self._d2, DEPTH)

    def weight_filter(self, least: float = 0.5) -> Integers:
        """By distance among the records whose weight is at least `least`."""
        return _best(np.where(self._w >= least, -self._d2, -np.inf), DEPTH)

    def product(self) -> Integers:
        """Similarity times weight."""
        return _best((1.0 - self._d2 / 2.0) * self._w, DEPTH)


def _best(score: NDArray[np.float64], count: int) -> Integers:
    count = min(count, len(score))
    near = np.argpartition(-score, count - 1)[:count]
    return near[np.argsort(-score[near], kind="stable")]


def ndcg(ranking: Integers, labels: Integers, label: int) -> float:
    """NDCG@20 with gain 1 for a record of the query's own fine label. Every label has more than 20 records."""
    discount = 1.0 / np.log2(np.arange(2, DEPTH + 2))
    gains = np.zeros(DEPTH)
    gains[: len(ranking)] = labels[ranking] == label
    return float(gains @ discount / discount.sum())


def spare_images(data_source: dataset.FashionMnist, count: int) -> tuple[Floats, Integers]:
    """The last test images and their labels: neither stored nor asked for, free to train a classifier on."""
    images = data_source.test_images[-count:].astype(np.float32)
    return images, data_source.test_labels[-count:].astype(np.int64)
